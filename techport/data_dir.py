"""The data folder: one running platform at a time, a note of where it answers, and nobody else's eyes in it."""

from __future__ import annotations

import fcntl
import json
import os
import ssl
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import IO

import msgspec

from techport.errors import CannotRun
from techport.settings import Address
from techport_ingest.sources.settings import pinned
from techport_pilots.access.operator_token import FILE as TOKEN_FILE
from techport_pilots.access.operator_token import read_token

NOTE = "running.json"
UMASK = 0o077  # of every process: what it makes is for its own user

# What techport itself keeps in the folder. Other files in it, as with `--data .`, are left as they are.
_KEPT = (
    NOTE, "registry.sqlite*", "readings.duckdb*", "packages", "receipts", "archive", "snapshots", "photos", "mosquitto",
    "demo", "token*", "sign-in-links", "*.log",
)  # fmt: skip


class Running(msgspec.Struct, frozen=True):
    """The process that holds a data folder."""

    pid: int
    command: str
    http: str | None
    mqtt: str | None
    certificate: str | None = None  # file with the certificate of the pages, where they speak TLS


class Platform(msgspec.Struct, frozen=True):
    """A platform that can be asked: HOST:PORT, and the token that shows that the data folder is ours to read."""

    http: str
    token: str
    certificate: str | None = None

    @classmethod
    def of(cls, folder: Path, http: str, certificate: str | None = None) -> Platform:
        """Raises CannotRun where the token may not be read, UnusableToken where there is none in the file."""
        try:
            return cls(str(Address.parse(http).reachable), read_token(folder), certificate)
        except OSError as error:
            raise CannotRun(
                f"cannot read {folder / TOKEN_FILE}, with which this command shows that it may ask: {error.strerror}. "
                "Run it as the user whose platform it is"
            ) from error

    @property
    def origin(self) -> str:
        return f"{'https' if self.certificate else 'http'}://{self.http}"

    @property
    def tls(self) -> ssl.SSLContext | None:
        """Trusts the very certificate that the platform has, whatever its name: we ask by the address it listens on."""
        return None if self.certificate is None else pinned(self.certificate)

    @property
    def headers(self) -> dict[str, str]:
        """What a request has to carry."""
        return {"Authorization": f"Bearer {self.token}"}

    def __repr__(self) -> str:  # without the token
        return f"Platform({self.http})"


class FolderInUse(Exception):
    """Another process holds the data folder."""

    def __init__(self, folder: Path, owner: Running | None) -> None:
        who = f"`techport {owner.command}` (process {owner.pid})" if owner else "another process"
        super().__init__(
            f"{folder} is in use by {who}. Stop that one first, or give this one a folder of its own with --data"
        )
        self.holder = owner


def open_to_others(folder: Path, files: Iterable[Path] = ()) -> list[Path]:
    """What of the folder, and of `files` elsewhere, other users of the machine may read or change."""
    entries = [path for pattern in _KEPT for path in folder.glob(pattern)]
    inside = [path for path in entries if path.is_dir() and not path.is_symlink() for path in path.rglob("*")]
    return [path for path in dict.fromkeys((folder, *entries, *inside, *files)) if _others_may(path)]


def close_to_others(folder: Path, files: Iterable[Path] = ()) -> None:
    """Make the folder (0700), and take the rights of other users from what is kept in it, by versions before too.

    A file of another user is left to the doctor, who names it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in open_to_others(folder, files):
        with suppress(PermissionError, FileNotFoundError):
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~UMASK)


def _others_may(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISLNK(mode) and not stat.S_ISSOCK(mode) and bool(mode & UMASK)


@contextmanager
def lock(
    folder: Path, command: str, http: str | None, mqtt: str | None, certificate: Path | None = None
) -> Iterator[None]:
    """Make the folder, lock it for this process, and note where the process answers. Raises FolderInUse."""
    close_to_others(folder)
    with (folder / NOTE).open("a+") as note:
        if not _lock(note):
            raise FolderInUse(folder, owner(folder))
        note.truncate(0)
        shown = str(certificate.resolve()) if certificate else None
        json.dump({"pid": os.getpid(), "command": command, "http": http, "mqtt": mqtt, "certificate": shown}, note)
        note.flush()
        with _listed(folder):
            yield
        note.truncate(0)


def _lock(note: IO[str], patience: float = 1.0) -> bool:
    """Take the lock. Somebody who only looks (holder) has it for an instant; a platform keeps it."""
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)


def owner(folder: Path) -> Running | None:
    """The process that holds the folder now, or None. A note that a killed process left does not count."""
    try:
        with (folder / NOTE).open("r") as note:
            try:
                fcntl.flock(note, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return msgspec.json.decode(note.read(), type=Running)
    except (FileNotFoundError, msgspec.DecodeError):
        pass
    return None


def _list_folder() -> Path:
    """Where this user's running platforms are listed, so that a command can find one that runs in another folder."""
    return Path(tempfile.gettempdir()) / f"techport-{os.getuid()}"


@contextmanager
def _listed(folder: Path) -> Iterator[None]:
    """List the folder while its platform runs. Where that is not possible, commands have to be told with --data."""
    place = _list_folder()
    entry = place / blake2b(bytes(folder.resolve()), digest_size=8).hexdigest()
    with suppress(OSError):
        place.mkdir(mode=0o700, exist_ok=True)
        if _is_ours(place):
            entry.write_text(str(folder.resolve()))
    try:
        yield
    finally:
        with suppress(OSError):
            entry.unlink(missing_ok=True)


def _is_ours(place: Path) -> bool:
    """Whether nobody else can have written there: the folder of temporary files is everybody's."""
    status = place.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not stat.S_IMODE(status.st_mode) & UMASK


def running_folders() -> list[Path]:
    """The data folders of this user in which a platform runs now."""
    place, folders = _list_folder(), []
    with suppress(OSError):
        entries = sorted(place.iterdir()) if _is_ours(place) else []
        folders = [Path(entry.read_text()) for entry in entries]
    return [folder for folder in folders if owner(folder) is not None]


def platform_at(folder: Path) -> Platform | None:
    """The platform that runs in the folder; None where none does.

    Raises CannotRun for one without pages: it has the embedded store open, and nobody can ask it.
    """
    running = owner(folder)
    if running is None:
        return None
    if running.http is None:
        raise CannotRun(
            f"`techport {running.command}` (process {running.pid}) runs in {folder}, and only it may open the store: "
            "stop it (Ctrl-C), run this command, and start it again"
        )
    return Platform.of(folder, running.http, running.certificate)
