"""The Delta table of the archive: where it lies, which files it has, and how they change, in one commit each.

    FOLDER or s3://bucket/folder
    ├── _delta_log/                     what the table is; Spark, DuckDB and polars read it too
    ├── pilot=luft/month=2026-01/*.parquet
    └── _late/6c756674/20456            readings of that day (since 1970) came after it was archived

The log also keeps how far the archive has come, as versions of application transactions, which change in the commit
that makes them true: a round that is cut short and repeated writes nothing twice.
"""

from __future__ import annotations

import configparser
import os
import re
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import pyarrow as pa
from pyarrow import fs, parquet

from techport_storage.archive.files import (
    FILE_SCHEMA,
    ROWS_OF_FILE,
    ArchivedFile,
    FileWriter,
    OpenFile,
    read_contents,
)
from techport_storage.clock import now
from techport_storage.errors import StoreBusy, StoreIncompatible, StoreUnavailable
from techport_storage.microseconds import DAY
from techport_storage.model import Micros

try:
    from deltalake import CommitProperties, DeltaTable, Transaction
    from deltalake.exceptions import CommitFailedError, DeltaError
    from deltalake.fs import DeltaStorageHandler
    from deltalake.transaction import AddAction, RemoveAction
except ImportError as error:  # pragma: no cover - the tests have it
    raise StoreIncompatible("the archive needs the package deltalake: pip install 'techport[archive]'") from error

TABLE_SCHEMA = pa.schema([pa.field("pilot", pa.string()), pa.field("month", pa.string()), *FILE_SCHEMA])
PARTITIONS = ["pilot", "month"]
_CONFIGURATION = {
    # Values and names of devices must not outlive an erasure in the log: old entries go with the next checkpoint.
    "delta.logRetentionDuration": "interval 0 days",
    "delta.deletedFileRetentionDuration": "interval 1 days",
    "delta.dataSkippingStatsColumns": "device,quantity,time",
    "delta.checkpointInterval": "50",
}
_ARCHIVED, _MOVED, _TOUCHED = "techport-archived", "techport-moved", "techport-touched"
_LATE = "_late"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
VACUUM_HOURS = 24  # for which files that are no longer part of the table stay, for readers of other programs

_PATIENCE = {"timeout": "30s", "connect_timeout": "5s", "max_retries": "2", "retry_timeout": "30s"}
_S3_OPTIONS = {"endpoint": "AWS_ENDPOINT_URL", "region": "AWS_REGION"}


@dataclass(frozen=True)
class Place:
    """Where the archive is."""

    uri: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> Place:
        """A folder, or `s3://bucket/folder?endpoint=URL&region=NAME&credentials_file=FILE`.

        Without a file of credentials (in the form of AWS's own) the environment's AWS_* variables count. Raises
        ValueError.
        """
        if "://" not in url:
            return cls(str(Path(url).resolve()))
        parts = urlsplit(url)
        if parts.scheme == "file":
            return cls(str(Path(unquote(parts.path)).resolve()))
        if parts.scheme != "s3" or not parts.netloc:
            raise ValueError(f"no archive for {url!r}: use a folder or s3://bucket/folder")
        options = dict(_PATIENCE)
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if name == "credentials_file":
                options |= _credentials(Path(value))
            elif name in _S3_OPTIONS:
                options[_S3_OPTIONS[name]] = value
            else:
                accepted = ", ".join([*_S3_OPTIONS, "credentials_file"])
                raise ValueError(f"the archive's address has no option {name!r}: use some of {accepted}")
        if options.get("AWS_ENDPOINT_URL", "").startswith("http://"):
            options["AWS_ALLOW_HTTP"] = "true"
        return cls(f"s3://{parts.netloc}{parts.path.rstrip('/')}", options)

    @property
    def folder(self) -> Path | None:
        """None for object storage."""
        return None if "://" in self.uri else Path(self.uri)


def _credentials(file: Path) -> dict[str, str]:
    parser = configparser.ConfigParser()
    try:
        parser.read_string(file.read_text(encoding="utf-8"))
        section = parser["default"]
        return {name.upper(): section[name] for name in ("aws_access_key_id", "aws_secret_access_key")}
    except OSError as error:
        raise StoreUnavailable(f"cannot read the archive's credentials {file}: {error.strerror}") from error
    except (configparser.Error, KeyError, UnicodeDecodeError):
        raise ValueError(
            f"{file} is not a file of AWS credentials: it needs a section [default] with aws_access_key_id and "
            "aws_secret_access_key"
        ) from None


@dataclass(frozen=True)
class Snapshot:
    """The table at one moment."""

    version: int
    files: Sequence[ArchivedFile]
    archived: Micros | None  # days that end here or before are in the table
    moved: Micros | None  # readings before this are in the table alone, but for those that came late

    def of_month(self, pilot: str, month: str) -> list[ArchivedFile]:
        return [file for file in self.files if (file.pilot, file.month) == (pilot, month)]


@dataclass(frozen=True, slots=True)
class Change:
    """What a commit does. `archived`, `moved`: how far the archive has come with it. `touch`: others who prepare a
    change at this moment have to begin anew, whether or not a file changes."""

    add: Sequence[ArchivedFile] = ()
    remove: Sequence[ArchivedFile] = ()
    archived: Micros | None = None
    moved: Micros | None = None
    touch: bool = False


class ArchiveTable:
    """Safe to use from several threads, and by several processes at once: of two commits that meet, one fails."""

    def __init__(self, place: Place) -> None:
        """Use open()."""
        self.place = place
        self._lock = threading.RLock()
        self._contents: dict[str, ArchivedFile] = {}
        self._snapshot: Snapshot | None = None
        with errors():
            self._table = self._opened()
            self._files: fs.FileSystem = (
                fs.PyFileSystem(_Storage(place.uri, dict(place.options)))
                if place.folder is None
                else fs.SubTreeFileSystem(place.uri, fs.LocalFileSystem())
            )
        self.snapshot()

    @classmethod
    def open(cls, url: str) -> ArchiveTable:
        """Open the archive at an address, or make one. Raises ValueError, StoreUnavailable, StoreIncompatible."""
        return cls(Place.parse(url))

    def _opened(self) -> DeltaTable:
        options = dict(self.place.options)
        if self.place.folder is not None:
            self.place.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not DeltaTable.is_deltatable(self.place.uri, options):
            with suppress(DeltaError):  # another process makes it at this moment
                DeltaTable.create(
                    self.place.uri,
                    schema=TABLE_SCHEMA,
                    partition_by=PARTITIONS,
                    configuration=_CONFIGURATION,
                    storage_options=options,
                    name="readings",
                    description="techport: readings of closed days, sorted by stream and time",
                )
        return DeltaTable(self.place.uri, storage_options=options)

    def snapshot(self) -> Snapshot:
        """The table as it is now."""
        with self._lock, errors():
            if self._snapshot is not None:
                self._table.update_incremental()
                if self._table.version() == self._snapshot.version:
                    return self._snapshot
            rows = pa.table(self._table.get_add_actions(flatten=True)).to_pylist()
            files = []
            for row in rows:
                path = row["path"]
                if path not in self._contents:
                    self._contents[path] = self._read(row)
                files.append(self._contents[path])
            self._contents = {file.path: file for file in files}
            files.sort(key=lambda file: (file.pilot, file.first))
            self._snapshot = Snapshot(
                self._table.version(), tuple(files), self._transaction(_ARCHIVED), self._transaction(_MOVED)
            )
            return self._snapshot

    def _read(self, row: Mapping[str, Any]) -> ArchivedFile:
        with self._files.open_input_file(row["path"]) as source:
            contents = read_contents(parquet.read_metadata(source), row["path"])
        return ArchivedFile(
            row["path"], row["partition.pilot"], row["partition.month"], int(row["size_bytes"]), contents
        )

    def _transaction(self, name: str) -> Micros | None:
        day = self._table.transaction_version(name)
        return None if day is None else day * DAY

    @contextmanager
    def opened(self, file: ArchivedFile) -> Iterator[OpenFile]:
        with (
            errors(),
            self._files.open_input_file(file.path) as source,
            parquet.ParquetFile(source, pre_buffer=True) as rows,
        ):
            yield OpenFile(rows)

    def write(self, pilot: str, month: str, rows: Iterable[pa.RecordBatch]) -> list[ArchivedFile]:
        """Rows of RAW_SCHEMA, in order, as files that are not part of the table yet. On disk once this returns."""
        # Some readers take the partition from the path, so it is there in plain letters, as ids of pilots have, or not.
        folder = f"pilot={pilot}/month={month}" if _PLAIN.fullmatch(pilot) else f"other/{pilot.encode().hex()}/{month}"
        written: list[ArchivedFile] = []
        batches = iter(rows)
        try:
            for first in batches:
                if not first.num_rows:
                    continue
                path = f"{folder}/{uuid.uuid4().hex}.parquet"
                with errors(), self._sink(path) as sink:
                    writer = FileWriter(sink)
                    writer.write(first)
                    while writer.rows < ROWS_OF_FILE and (batch := next(batches, None)) is not None:
                        if batch.num_rows:
                            writer.write(batch)
                    writer.close()
                with errors():
                    size = int(self._files.get_file_info(path).size)
                written.append(ArchivedFile(path, pilot, month, size, writer.contents))
        except BaseException:
            self.discard(written)
            raise
        return written

    @contextmanager
    def _sink(self, path: str) -> Iterator[Any]:
        folder = self.place.folder
        if folder is None:
            with self._files.open_output_stream(path) as sink:
                yield sink
            return
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with file.open("wb") as sink:
            yield sink
            sink.flush()
            os.fsync(sink.fileno())
        for parent in (file.parent, file.parent.parent, folder):
            _sync(parent)

    def discard(self, files: Iterable[ArchivedFile]) -> None:
        """Remove files that did not become part of the table."""
        for file in files:
            with suppress(OSError):
                self._files.delete_file(file.path)

    def commit(self, since: Snapshot, change: Change) -> Snapshot:
        """Make a change that was prepared with a snapshot; files that it adds are removed when it fails.

        Raises
        ------
        StoreBusy
            The table has changed since the snapshot. Nothing was changed: prepare it anew.
        StoreUnavailable
        """
        try:
            with self._lock, errors():
                if self.snapshot().version != since.version:
                    raise StoreBusy("the archive was changed by somebody else at this moment")
                transactions = [
                    Transaction(name, day // DAY)
                    for name, day in ((_ARCHIVED, change.archived), (_MOVED, change.moved))
                    if day is not None
                ]
                if change.touch:
                    transactions.append(Transaction(_TOUCHED, now()))
                actions: list[AddAction | RemoveAction] = [*map(_added, change.add), *map(_removed, change.remove)]
                try:
                    self._table.create_write_transaction(
                        actions,
                        "append",
                        TABLE_SCHEMA,
                        PARTITIONS,
                        commit_properties=CommitProperties(app_transactions=transactions),
                    )
                except CommitFailedError as failure:
                    raise StoreBusy(f"the archive was changed by somebody else at this moment: {failure}") from failure
                if self.place.folder is not None:
                    self._sync_log(self.place.folder)
        except BaseException:
            self.discard(change.add)
            raise
        return self.snapshot()

    def _sync_log(self, folder: Path) -> None:
        """The last commit is on disk when this returns: the store's own rows may go after it."""
        log = folder / "_delta_log"
        entry = log / f"{self._table.version():020d}.json"
        if entry.exists():
            _sync(entry)
        _sync(log)

    def forget(self, hours: int = VACUUM_HOURS) -> list[str]:
        """Remove files that left the table so many hours ago; with 0 also what the log says of earlier versions."""
        with self._lock, errors():
            removed = self._table.vacuum(
                retention_hours=hours, enforce_retention_duration=False, dry_run=False, full=True
            )
            if not hours:
                self._table.create_checkpoint()
                self._table.cleanup_metadata()
            self._table.update_incremental()
            return list(removed)

    # -- Days that readings were written to after they were archived.

    def mark_late(self, marks: Iterable[tuple[str, int]]) -> None:
        """Note durably that days (since 1970) of pilots have to be looked at again."""
        paths = [_late_path(pilot, day) for pilot, day in marks]
        with errors():
            folder = self.place.folder
            if folder is None:
                for path in paths:
                    with self._files.open_output_stream(path) as sink:
                        sink.write(b"\n")
                return
            for path in paths:
                (folder / path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                (folder / path).touch(0o600)
            for parent in {(folder / path).parent for path in paths}:
                _sync(parent)
            for parent in (folder / _LATE, folder) if paths else ():
                _sync(parent)

    def late(self) -> list[tuple[str, int]]:
        """(pilot, day) that are marked, in order."""
        with errors():
            infos = self._files.get_file_info(fs.FileSelector(_LATE, recursive=True, allow_not_found=True))
        names = [Path(info.path).parts[-2:] for info in infos if info.type == fs.FileType.File]
        return sorted((bytes.fromhex(pilot).decode(), int(day)) for pilot, day in names)

    def unmark_late(self, pilot: str, day: int) -> None:
        with errors(), suppress(FileNotFoundError):
            self._files.delete_file(_late_path(pilot, day))


class _InBytes:
    """A file that is being written: pyarrow hands on buffers, and deltalake's take nothing but bytes."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @property
    def closed(self) -> bool:
        return bool(self._stream.closed)

    def write(self, data: Any) -> int:
        return int(self._stream.write(bytes(data)))

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


class _Storage(DeltaStorageHandler):
    def open_output_stream(self, path: str, metadata: dict[str, str] | None = None) -> pa.PythonFile:
        return pa.PythonFile(_InBytes(self._handler.open_output_stream(path, metadata)), mode="w")


@contextmanager
def errors() -> Iterator[None]:
    """What goes wrong with files and object storage, in the words of a store."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreUnavailable(
            f"a file of the archive is gone, as after an erasure while it was read; ask again: {error}"
        ) from error
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise StoreUnavailable(f"the archive does not answer: {error}") from error


def _late_path(pilot: str, day: int) -> str:
    return f"{_LATE}/{pilot.encode().hex()}/{day}"  # a pilot may have any name, a file may not


def _added(file: ArchivedFile) -> AddAction:
    contents = file.contents
    low = {"device": min(contents.device), "quantity": min(contents.quantity), "time": _iso(file.first)}
    high = {"device": max(contents.device), "quantity": max(contents.quantity), "time": _iso(file.last + 999)}
    nulls = dict.fromkeys(("device", "quantity", "time"), 0)
    stats = {"numRecords": file.rows, "minValues": low, "maxValues": high, "nullCount": nulls}
    return AddAction(
        path=file.path,
        size=file.size,
        partition_values={"pilot": file.pilot, "month": file.month},
        modification_time=now() // 1000,
        data_change=True,
        stats=msgspec.json.encode(stats).decode(),
    )


def _removed(file: ArchivedFile) -> RemoveAction:
    return RemoveAction(
        path=file.path,
        data_change=True,
        deletion_timestamp=now() // 1000,
        size=file.size,
        partition_values={"pilot": file.pilot, "month": file.month},
    )


def _iso(time: Micros) -> str:
    """As statistics of a Delta table have times, to the millisecond."""
    return str(pa.scalar(time // 1000, pa.timestamp("ms")).cast(pa.string()).as_py()).replace(" ", "T") + "Z"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
