"""Opening a package elsewhere: its sums are checked, the pilot is restored, and its KPIs are worked out again."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from techport_pilots.accounting.ledger import Ledger
from techport_pilots.accounting.tally import DeviceDay, Tally, day_of
from techport_pilots.definition.load import parse_definition
from techport_pilots.errors import BadPackage, UnknownPilot, WrongState
from techport_pilots.evaluation import Evaluation, agree
from techport_pilots.handover.package import COLUMNS, Progress, no_progress, sums_of
from techport_pilots.i18n import Message
from techport_pilots.model import PilotDefinition
from techport_pilots.registry import lifecycle
from techport_pilots.registry.registry import Registry
from techport_pilots.reports.build import evaluate_all, keep_evaluations
from techport_storage.clock import now
from techport_storage.microseconds import DAY
from techport_storage.model import Batch, Stream
from techport_storage.store import ReadingStore

ROWS_AT_ONCE = 100_000
_WORKER = "package"


class Opened(msgspec.Struct, frozen=True):
    """A pilot that was restored, with what its package says of each KPI. `differing` names those that come out
    otherwise when they are worked out again here."""

    pilot: str
    rows: int
    evaluations: list[Evaluation]
    differing: list[str]


def open_package(
    path: Path, registry: Registry, store: ReadingStore, books: Ledger, who: str, progress: Progress = no_progress
) -> Opened:
    """Restore the pilot of a package, a zip or a folder that one was unpacked to.

    Raises BadPackage when a file is missing or was changed, WrongState when the registry has another pilot of that id,
    and what store and registry raise. Opening the same package twice changes nothing.
    """
    with _files(path) as folder:
        _verify(folder)
        source = (folder / "pilot.yaml").read_text("utf-8")
        pilot = parse_definition(source, file="pilot.yaml")
        _refuse_another(registry, pilot)
        taken = msgspec.json.decode((folder / "history.json").read_bytes(), type=list[lifecycle.Change])
        said = msgspec.json.decode((folder / "evaluation.json").read_bytes(), type=list[Evaluation])
        if not _knows(registry, pilot.id):
            registry.import_pilot(pilot, source, who, f"opened from {path.name}")
        rows = _write_readings(folder / "readings.parquet", store, books, progress)
    if taken and not lifecycle.changes(registry.database, pilot.id):
        lifecycle.restore(registry.database, pilot.id, taken)
    until = lifecycle.measured_until(taken, now())
    here = {one.kpi: one for one in evaluate_all(store, pilot, until)}
    differing = [one.kpi for one in said if one.kpi not in here or not agree(one, here[one.kpi])]
    keep_evaluations(registry.database, pilot.id, said, max((c.at for c in taken), default=0))
    return Opened(pilot.id, rows, said, differing)


@contextmanager
def _files(path: Path) -> Iterator[Path]:
    """The package as a folder. A Parquet file is read from its end, which a zip does not give cheaply."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="techport-package-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                for name in ("SHA256SUMS", *sums_of(archive.read("SHA256SUMS").decode())):
                    target = Path(folder) / name
                    if target.resolve().parent != Path(folder).resolve():
                        raise BadPackage(f"{path.name} has a file outside of itself: {name}")
                    with archive.open(name) as source, target.open("wb") as copy:
                        shutil.copyfileobj(source, copy, 1 << 20)
        except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
            raise BadPackage(f"{path.name} is no package, or only a part of one: {error}") from error
        yield Path(folder)


def _verify(folder: Path) -> None:
    """Every file that the sums name is there and unchanged. Raises BadPackage."""
    if not (folder / "SHA256SUMS").is_file():
        raise BadPackage(f"{folder} has no SHA256SUMS: it is no package")
    sums: Mapping[str, str] = sums_of((folder / "SHA256SUMS").read_text("utf-8"))
    for name in ("pilot.yaml", "history.json", "evaluation.json", "readings.parquet"):
        if name not in sums:
            raise BadPackage(f"the package has no {name}")
    for name, total in sums.items():
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise BadPackage(f"{name} is missing from the package") from error
        if found != total:
            raise BadPackage(f"{name} was changed since the package was made: its SHA-256 is {found}")


def _knows(registry: Registry, pilot: str) -> bool:
    try:
        registry.pilot(pilot)
    except UnknownPilot:
        return False
    return True


def _refuse_another(registry: Registry, pilot: PilotDefinition) -> None:
    if _knows(registry, pilot.id) and registry.pilot(pilot.id) != pilot:
        raise WrongState(Message("lifecycle.other-pilot", {"pilot": pilot.id}))


def _write_readings(file: Path, store: ReadingStore, books: Ledger, progress: Progress) -> int:
    """Into the store, and into the ledger as what they are: received and stored, once."""
    rows = 0
    with pq.ParquetFile(file) as parquet:
        if tuple(parquet.schema_arrow.names) != COLUMNS:
            raise BadPackage(f"readings.parquet has the columns {parquet.schema_arrow.names}, not {list(COLUMNS)}")
        for piece in parquet.iter_batches(ROWS_AT_ONCE):
            batch = _batch(pa.Table.from_batches([piece]))
            days = _device_days(batch)
            books.open_batch(_WORKER, days)
            receipt = store.write(batch)
            for row in receipt.duplicate_rows.tolist():
                tally = days[_day_of_row(batch, row)]
                tally.stored, tally.duplicates = tally.stored - 1, tally.duplicates + 1
            books.close_batch(_WORKER, days)
            rows += len(batch)
            progress("readings.parquet", rows, parquet.metadata.num_rows)
    return rows


def _batch(table: pa.Table) -> Batch:
    """Rows of the package as a store takes them."""
    names = [table[part].cast(pa.string()).to_pylist() for part in ("pilot", "device", "quantity")]
    index: dict[Stream, int] = {}
    stream = [index.setdefault(Stream(*name), len(index)) for name in zip(*names, strict=True)]
    return Batch(
        streams=tuple(index),
        stream=np.array(stream, np.int32),
        time=np.asarray(table["time"].cast(pa.int64()).to_numpy()),
        value=np.asarray(table["value"].to_numpy()),
        received=np.asarray(table["received"].cast(pa.int64()).to_numpy()),
        quality=np.asarray(table["quality"].to_numpy()),
    )


def _device_days(batch: Batch) -> dict[DeviceDay, Tally]:
    """What the rows add up to. In how many messages they once came, nobody knows here."""
    keys, counts = np.unique(np.stack([batch.stream, batch.time // DAY]), axis=1, return_counts=True)
    days: dict[DeviceDay, Tally] = {}
    for stream, day, count in zip(*keys.tolist(), counts.tolist(), strict=True):
        one = batch.streams[stream]
        days.setdefault(DeviceDay(one.pilot, one.device, day), Tally()).add(Tally(received=count, stored=count))
    return days


def _day_of_row(batch: Batch, row: int) -> DeviceDay:
    one = batch.streams[int(batch.stream[row])]
    return DeviceDay(one.pilot, one.device, day_of(int(batch.time[row])))
