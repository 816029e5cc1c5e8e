"""Snapshots: answers frozen in files that never change, so that what was used can be cited.

A snapshot is `<id>.parquet` and, written after it, `<id>.json` that describes it; its id is made of the file's own
checksum. One without its description is not there yet.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from techport_dashboards.problems import Problem
from techport_dashboards.settings import WebSettings
from techport_dashboards.viewer import Viewer

_ID = re.compile(r"[0-9a-f]{24}")


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot says about itself. `doi` is null until somebody registers one and writes it into the file."""

    id: str
    created: str
    pilots: list[str]
    question: dict[str, object]
    start: str | None
    end: str | None
    every: str | None
    zone: str
    rows: int
    bytes: int
    sha256: str
    licences: list[str]
    attribution: list[str]
    titles: list[str]
    doi: str | None = None


class NoRoom(Exception):
    """The folder holds as much as it may; the text says how much that is."""


class Unfinished(Exception):
    """Something was erased while the snapshot was written, so it may hold what is gone everywhere else."""


class SnapshotStore:
    """The snapshots of a folder, which may hold so many of so many bytes together."""

    def __init__(self, folder: Path, most: int = 1_000, most_bytes: int = 10_000_000_000) -> None:
        self._folder = folder
        self._most = most
        self._most_bytes = most_bytes

    def write(self, stream: Iterable[bytes]) -> tuple[str, str, int]:
        """Keep a file durably: (id, SHA-256, bytes). The same bytes are one file. Raises NoRoom, Unfinished."""
        self._folder.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        handle, name = tempfile.mkstemp(dir=self._folder, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                for piece in stream:
                    digest.update(piece)
                    size += len(piece)
                    if size > self._most_bytes:
                        raise NoRoom(f"The response alone has more than {self._most_bytes:,} bytes.")
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            checksum = digest.hexdigest()
            if not self.path(checksum[:24]).exists():
                self._find_room(size)
            Path(name).chmod(0o400)
            Path(name).replace(self.path(checksum[:24]))
        except FileNotFoundError:
            raise Unfinished from None
        finally:
            Path(name).unlink(missing_ok=True)
        return checksum[:24], checksum, size

    def _find_room(self, size: int) -> None:
        held = [path.stat().st_size for path in self._folder.glob("*.parquet")]
        if len(held) >= self._most:
            raise NoRoom(f"{len(held):,} snapshots are kept; the limit is {self._most:,}.")
        if sum(held) + size > self._most_bytes:
            raise NoRoom(
                f"The snapshots kept have {sum(held):,} bytes and this one {size:,}; the limit is {self._most_bytes:,}."
            )

    def describe(self, snapshot: Snapshot) -> Snapshot:
        """Keep the description; where the same file is described already, that one stays. Raises Unfinished."""
        stored = self.get(snapshot.id)
        if stored is not None:
            return stored
        handle, name = tempfile.mkstemp(dir=self._folder, suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(snapshot)))
            file.flush()
            os.fsync(file.fileno())
        try:
            Path(name).chmod(0o600)
            Path(name).replace(self._folder / f"{snapshot.id}.json")
        except FileNotFoundError:
            raise Unfinished from None
        if not self.path(snapshot.id).exists():  # erased meanwhile
            (self._folder / f"{snapshot.id}.json").unlink(missing_ok=True)
            raise Unfinished
        return snapshot

    def get(self, snapshot_id: str) -> Snapshot | None:
        if not _ID.fullmatch(snapshot_id):
            return None
        try:
            return msgspec.json.decode((self._folder / f"{snapshot_id}.json").read_bytes(), type=Snapshot)
        except FileNotFoundError:
            return None

    def all(self) -> list[Snapshot]:
        """By their ids."""
        snapshots = (self.get(path.stem) for path in sorted(self._folder.glob("*.json")))
        return [snapshot for snapshot in snapshots if snapshot is not None]

    def files_of(self, pilot: str) -> list[Path]:
        """The files that may hold readings of the pilot, for when they have to be forgotten: rows and description.

        Those that are not finished too, of whichever pilot: a process that was killed leaves them behind, and one that
        still writes has read what is being erased.
        """
        snapshots = self.all()
        of_pilot = [snapshot.id for snapshot in snapshots if pilot in snapshot.pilots]
        described = {snapshot.id for snapshot in snapshots}
        return [
            *(
                path
                for snapshot_id in of_pilot
                for path in (self._folder / f"{snapshot_id}.json", self.path(snapshot_id))
            ),
            *self._folder.glob("*.part"),
            *(path for path in self._folder.glob("*.parquet") if path.stem not in described),
        ]

    def path(self, snapshot_id: str) -> Path:
        return self._folder / f"{snapshot_id}.parquet"


def snapshot_store(settings: WebSettings) -> SnapshotStore:
    """Where snapshots are kept. Raises Problem where this process keeps none."""
    if settings.snapshots is None:
        raise Problem("not-found", "This process keeps no snapshots. Its operator can configure a folder for them.")
    return SnapshotStore(settings.snapshots, settings.snapshots_most, settings.snapshots_bytes)


def find_snapshot(store: SnapshotStore, viewer: Viewer, snapshot_id: str) -> Snapshot:
    """The snapshot. Raises the same Problem for one that does not exist and for one that the viewer may not see."""
    snapshot = store.get(snapshot_id)
    if snapshot is None or not all(map(viewer.may_see, snapshot.pilots)):
        raise Problem("not-found", "There is no snapshot {name}.", name=repr(snapshot_id[:40]))
    return snapshot
