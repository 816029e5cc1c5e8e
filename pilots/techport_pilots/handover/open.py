"""Opening a package elsewhere: its sums are checked, the pilot is restored, and its KPIs are worked out again.

A package comes from somebody else, so what it says of itself is not believed:

- only readings of its own pilot are taken, and of the streams of other pilots that its KPIs are adjusted for, where
  this platform does not have that pilot;
- they pass the checks that a device's message passes, all of them before the first is written;
- a reading that is here already stays as it is, whatever the package says.

Packages hold counts of people as sums, so they are compared with what this platform publishes, not with what it stores.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_pilots.accounting.ledger import Ledger
from techport_pilots.accounting.tally import DeviceDay, Tally, day_of
from techport_pilots.definition.lending import borrowed
from techport_pilots.definition.load import parse_definition
from techport_pilots.errors import BadPackage, UnknownPilot, WrongState
from techport_pilots.evaluation import Evaluation, agree, in_its_words, recalculated
from techport_pilots.handover.archive import ENTITY_IDS, PLAN, READINGS, VERSIONS, Contents, opened_package
from techport_pilots.handover.package import Progress, no_progress
from techport_pilots.handover.readings_file import read_rows
from techport_pilots.handover.signature import Origin, origin, origin_in_words
from techport_pilots.i18n import Message
from techport_pilots.model import PilotDefinition
from techport_pilots.quality.people_counts import published
from techport_pilots.quantities import builtin, vocabulary_of
from techport_pilots.registry import lifecycle
from techport_pilots.registry.entity_ids import NumberedEntity, keep_numbers
from techport_pilots.registry.registration import OPENED, Past, Plan, Registration, Version
from techport_pilots.registry.registry import Registry
from techport_pilots.reports.build import evaluate_all, final_evaluations, keep_evaluations
from techport_storage.clock import now
from techport_storage.columns import batch_of
from techport_storage.microseconds import DAY, HOUR, MINUTE
from techport_storage.model import Batch, Quality, Query, Selection, Stream
from techport_storage.store import ReadingStore

MAX_STREAMS = 100_000
EARLIEST = 946_684_800_000_000  # 2000-01-01T00:00:00Z, as for messages
AHEAD = 5 * MINUTE  # that a clock may be ahead of ours, as for messages
LONGEST_NAME = 80
_LONGEST_REASON = 2000
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_ALL_FLAGS = int(sum(Quality))
_WORKER = "package"

T = TypeVar("T")


class Opened(msgspec.Struct, frozen=True):
    """A pilot that was restored, with what its package says of each KPI. `differing` names those that come out
    otherwise when they are worked out again here."""

    pilot: str
    rows: int  # of the package
    evaluations: list[Evaluation]
    differing: list[str]
    origin: Origin  # whether this platform signed it
    written: int = 0  # rows that were not here before
    left_out: int = 0  # rows of other pilots that this platform has itself


def open_package(
    path: Path,
    registry: Registry,
    store: ReadingStore,
    ledger: Ledger,
    who: str,
    progress: Progress = no_progress,
    folder: Path | None = None,
) -> Opened:
    """Restore the pilot of a package, a zip or a folder that one was unpacked to.

    Parameters
    ----------
    path : Path
        The package.
    folder : Path
        Where its readings are unpacked to meanwhile; beside it when None.

    Raises
    ------
    BadPackage
        A file is missing or was changed, or there is more in it, or something else, than it declares. Nothing was
        changed here.
    DefinitionError
        Its definition cannot be used.
    WrongState
        The registry has another pilot of that id, or a closed one without these readings.
    """
    with opened_package(path, folder or path.resolve().parent) as contents:
        signed = origin(registry.database, contents.sums, contents.comment)
        source = contents.texts["pilot.yaml"].decode("utf-8", "replace")
        pilot = parse_definition(source, file="pilot.yaml")
        taken = _history(contents, pilot)
        brought_evaluations = _evaluations(contents, pilot)
        past = _past(contents, pilot)
        numbered = _decoded(contents, ENTITY_IDS, list[NumberedEntity]) if ENTITY_IDS in contents.texts else []
        _refuse_another(registry, pilot)
        left_out = _check_readings(contents, pilot, registry)
        shown = published(store, registry)
        if _knows(registry, pilot.id) and registry.state(pilot.id) == "closed":
            _refuse_news(contents, pilot, shown)
        elif not _knows(registry, pilot.id):
            why = f"{OPENED}{path.name} ({origin_in_words(signed)})"
            registry.import_pilot(pilot, source, who, why, archived=past)
        keep_numbers(registry.database, pilot.id, numbered)
        written, skipped = _write_readings(contents, pilot, left_out, shown, ledger, progress)
    brought = _came_from_a_package(registry, pilot.id)
    at = max((c.at for c in taken), default=0)
    if brought:
        if taken and not lifecycle.changes(registry.database, pilot.id):
            lifecycle.restore(registry.database, pilot.id, taken)
        if final_evaluations(registry.database, pilot) is None:
            keep_evaluations(registry.database, pilot.id, brought_evaluations, at)
    until = lifecycle.measured_until(taken, now())
    ended = lifecycle.has_ended(taken)
    recalculated_here = {
        evaluation.kpi: evaluation
        for evaluation in evaluate_all(shown, pilot, until, registry.lent(pilot), ended=ended)
    }
    differing = [
        evaluation.kpi
        for evaluation in brought_evaluations
        if evaluation.kpi not in recalculated_here or not agree(evaluation, recalculated_here[evaluation.kpi])
    ]
    brought_evaluations = [
        _with_recalculated(evaluation, recalculated_here.get(evaluation.kpi), evaluation.kpi in differing)
        for evaluation in brought_evaluations
    ]
    if brought and _is_kept(registry, pilot, brought_evaluations):
        keep_evaluations(registry.database, pilot.id, brought_evaluations, at)
    return Opened(pilot.id, contents.rows, brought_evaluations, differing, signed, written, skipped)


# -- What stands beside the readings.


def _history(contents: Contents, pilot: PilotDefinition) -> list[lifecycle.Change]:
    """The steps of the pilot's life, each of which follows from the one before."""
    taken = _decoded(contents, "history.json", list[lifecycle.Change])
    state: lifecycle.State = "draft"
    for number, change in enumerate(taken, start=1):
        if change.pilot != pilot.id or change.number != number or change.state not in lifecycle.NEXT[state]:
            raise BadPackage(f"history.json: step {number} is none that {pilot.id} can have taken after {state}")
        state = change.state
    return taken


class _FrozenPlan(msgspec.Struct):
    """What is taken from plan.json; the rest of it follows from the versions."""

    registration: Registration | None = None


def _is_plan_of(version: PilotDefinition, pilot: PilotDefinition) -> bool:
    """Whether the pilot is planned as the version says. Exclusions may be added to a pilot without a new version."""
    then, now_planned = Plan.of(version), Plan.of(pilot)
    kept_all = all(exclusion in now_planned.exclusions for exclusion in then.exclusions)
    return kept_all and msgspec.structs.replace(then, exclusions=now_planned.exclusions) == now_planned


def _past(contents: Contents, pilot: PilotDefinition) -> Past:
    """The pilot's versions and what its start froze. Raises BadPackage where they cannot be its own."""
    versions = _decoded(contents, VERSIONS, list[Version]) if VERSIONS in contents.texts else []
    latest = now() + AHEAD
    for number, earlier in enumerate(versions, start=1):
        if earlier.version != number or earlier.definition.id != pilot.id:
            raise BadPackage(f"{VERSIONS}: entry {number} is no version {number} of {pilot.id}")
        if not EARLIEST <= earlier.at <= latest or (number > 1 and earlier.at < versions[number - 2].at):
            raise BadPackage(f"{VERSIONS}: version {number} was written before the one before it, or in the future")
        if max(len(earlier.who), len(earlier.why)) > _LONGEST_REASON:
            raise BadPackage(
                f"{VERSIONS}: author or reason of version {number} has more than {_LONGEST_REASON} letters"
            )
    if versions and not _is_plan_of(versions[-1].definition, pilot):
        raise BadPackage(f"{VERSIONS}: its last version plans something else than pilot.yaml")
    frozen = _decoded(contents, PLAN, _FrozenPlan).registration if PLAN in contents.texts else None
    if frozen is not None:
        try:
            right = hashlib.sha256(frozen.content.encode()).hexdigest() == frozen.sha256 and frozen.plan is not None
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            right = False
        if not right or not EARLIEST <= frozen.at <= latest:
            raise BadPackage(f"{PLAN}: what the start froze does not have the sum that is stated, or is no plan")
    return Past(versions, frozen)


def _evaluations(contents: Contents, pilot: PilotDefinition) -> list[Evaluation]:
    brought = _decoded(contents, "evaluation.json", list[Evaluation])
    kpis = {kpi.id for kpi in pilot.kpis}
    for evaluation in brought:
        if evaluation.kpi not in kpis:
            raise BadPackage(f"evaluation.json is about {evaluation.kpi[:80]!r}, which is no KPI of {pilot.id}")
        kpis.discard(evaluation.kpi)
    by_id = {kpi.id: kpi for kpi in pilot.kpis}
    return [
        in_its_words(by_id[evaluation.kpi], msgspec.structs.replace(evaluation, recalculated=None))
        for evaluation in brought
    ]


def _is_kept(registry: Registry, pilot: PilotDefinition, brought: list[Evaluation]) -> bool:
    """Whether what is kept of the pilot is what this package says, and not what another one said before it."""
    stored = {evaluation.kpi: evaluation for evaluation in final_evaluations(registry.database, pilot) or ()}
    return all(evaluation.kpi in stored and agree(evaluation, stored[evaluation.kpi]) for evaluation in brought)


def _with_recalculated(brought: Evaluation, recalculation: Evaluation | None, differs: bool) -> Evaluation:
    """What the package says, with what came out here where that is something else."""
    return msgspec.structs.replace(
        brought, recalculated=recalculated(recalculation) if differs and recalculation is not None else None
    )


def _decoded(contents: Contents, name: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(contents.texts[name], type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadPackage(f"{name} cannot be read: {error}") from error


def _knows(registry: Registry, pilot: str) -> bool:
    try:
        registry.pilot(pilot)
    except UnknownPilot:
        return False
    return True


def _refuse_another(registry: Registry, pilot: PilotDefinition) -> None:
    if _knows(registry, pilot.id) and registry.pilot(pilot.id) != pilot:
        raise WrongState(Message("lifecycle.other-pilot", {"pilot": pilot.id}))


def _came_from_a_package(registry: Registry, pilot: str) -> bool:
    """Whether the pilot is here because a package was opened: then its life and results are those of the package."""
    return registry.history(pilot)[0].why.startswith(OPENED)


# -- Readings: all of them are checked before one is written.


class _Pieces:
    """The rows as batches. Raises BadPackage for rows that no store has, for another order, and for more or fewer rows
    than are declared."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self.rows = 0  # before the piece that is under way
        self._complete: set[Stream] = set()
        self._last: tuple[Stream, int] | None = None

    def __iter__(self) -> Iterator[Batch]:
        declared = self._contents.rows
        for piece in read_rows(self._contents.readings):
            if self.rows + piece.num_rows > declared:
                raise BadPackage(f"{READINGS} has more than the {declared} rows that datapackage.json declares")
            if piece.num_rows:
                yield self._batch(piece)
                self.rows += piece.num_rows
        if self.rows != declared:
            raise BadPackage(f"{READINGS} has {self.rows} rows, datapackage.json declares {declared}")

    def _batch(self, piece: pa.RecordBatch) -> Batch:
        if any(column.null_count for column in piece.columns):
            raise BadPackage(f"{READINGS}: fields without a value in the rows after {self.rows}")
        try:
            batch = batch_of(piece)
        except UnicodeDecodeError as error:
            raise BadPackage(f"{READINGS} has a name that is not text in UTF-8: {error}") from error
        new_stream = np.flatnonzero(np.diff(batch.stream, prepend=-1))
        ordered = np.diff(batch.time) > 0
        ordered[new_stream[1:] - 1] = True
        if not ordered.all():
            raise self._unordered(int(np.flatnonzero(~ordered)[0]) + 1)
        for stream, row in zip(batch.streams, new_stream.tolist(), strict=True):
            if self._last is not None and stream == self._last[0]:
                if int(batch.time[row]) <= self._last[1]:
                    raise self._unordered(row)
            elif stream in self._complete:
                raise self._unordered(row)
            elif len(self._complete) >= MAX_STREAMS:
                raise BadPackage(f"{READINGS} has readings of more than {MAX_STREAMS} streams")
            self._complete.add(stream)
            self._last = None if stream != batch.streams[-1] else (stream, int(batch.time[-1]))
        return batch

    def _unordered(self, row: int) -> BadPackage:
        return BadPackage(
            f"{READINGS}, row {self.rows + row + 1}: out of order; a package has the readings of a stream"
            " together, ordered by time, each once"
        )


def _check_readings(contents: Contents, pilot: PilotDefinition, registry: Registry) -> set[str]:
    """Look at every row. Raises BadPackage; returns the other pilots that are here, whose rows are not taken."""
    pieces = _Pieces(contents)
    allowed = frozenset(borrowed(pilot))
    latest = now() + AHEAD
    left_out: set[str] = set()
    for batch in pieces:
        for number, stream in enumerate(batch.streams):
            problem = _problem_of_stream(stream, pilot, allowed, registry)
            if problem is not None:
                row = int(np.flatnonzero(batch.stream == number)[0])
                raise BadPackage(f"{READINGS}, row {pieces.rows + row + 1}: {problem}")
            if stream.pilot != pilot.id and _knows(registry, stream.pilot):
                left_out.add(stream.pilot)
        for wrong, complaint in (
            (~np.isfinite(batch.value), "the value is not a number"),
            ((batch.time < EARLIEST) | (batch.time > latest), "the time is before 2000 or in the future"),
            ((batch.received < 0) | (batch.received > latest), "it would have arrived in the future"),
            ((batch.quality & ~np.uint8(_ALL_FLAGS)) != 0, f"flags beyond {_ALL_FLAGS} are unknown"),
        ):
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                raise BadPackage(f"{READINGS}, row {pieces.rows + row + 1}: {complaint}")
    return left_out


def _problem_of_stream(
    stream: Stream, pilot: PilotDefinition, allowed: frozenset[Stream], registry: Registry
) -> str | None:
    """Why the package may not have readings of the stream."""
    owner, device, quantity = (part[:LONGEST_NAME] for part in stream)
    if stream.pilot != pilot.id:
        if stream not in allowed:
            return (
                f"a reading of {owner!r}, and the package is of {pilot.id}, whose KPIs need no {device!r}, {quantity!r}"
            )
        if not _knows(registry, stream.pilot):
            return None
        if registry.state(stream.pilot) == "closed":
            return f"a reading of {owner}, which is closed here: its data no longer changes"
        lender = registry.pilot(stream.pilot)
        if lender.personal_data or lender.data_class == "personal":
            return f"a reading of {owner}, which is about people and is not taken from packages"
    if not _DEVICE.fullmatch(stream.device):
        return f"{device!r} is not a device's id"
    key = stream.quantity
    if not key or len(key) > LONGEST_NAME or not key.isprintable() or key != key.strip():
        return f"{quantity!r} is not the name of a quantity"
    return None


def _refuse_news(contents: Contents, pilot: PilotDefinition, store: ReadingStore) -> None:
    """A closed pilot's data does not change: every reading of the package must be here. Raises WrongState."""
    for batch in _Pieces(contents):
        own = np.array([stream.pilot == pilot.id for stream in batch.streams])[batch.stream]
        if not _present(store, batch)[own].all():
            raise WrongState(Message("lifecycle.closed", {"pilot": pilot.id}))


def _write_readings(
    contents: Contents,
    pilot: PilotDefinition,
    left_out: set[str],
    store: ReadingStore,
    ledger: Ledger,
    progress: Progress,
) -> tuple[int, int]:
    """Into the store, and into the ledger as what they are: received, and stored or here already.

    Returns how many rows were written, and how many are of pilots in `left_out`.
    """
    written = skipped = 0
    pieces = _Pieces(contents)
    for whole in pieces:
        taken = np.array([stream.pilot not in left_out for stream in whole.streams])[whole.stream]
        skipped += int((~taken).sum())
        batch = _rows(whole, taken)
        present = _present(store, batch)
        absent = _flag_ranges(_rows(batch, ~present), pilot)
        days = _device_days(batch, present)
        ledger.open_batch(_WORKER, days)
        receipt = store.write(absent)
        for rows, outcome in ((receipt.duplicate_rows, "duplicates"), (receipt.correction_rows, "corrections")):
            for row in rows.tolist():
                tally = days[_day_of_row(absent, row)]
                tally.stored -= 1
                setattr(tally, outcome, getattr(tally, outcome) + 1)
        ledger.close_batch(_WORKER, days)
        written += receipt.written
        progress(READINGS, pieces.rows + len(whole), contents.rows)
    return written, skipped


def _rows(batch: Batch, mask: NDArray[np.bool_]) -> Batch:
    """The rows of a batch that the mask names, with the same streams."""
    return Batch(
        streams=batch.streams,
        stream=batch.stream[mask],
        time=batch.time[mask],
        value=batch.value[mask],
        received=batch.received[mask],
        quality=batch.quality[mask],
    )


def _present(store: ReadingStore, batch: Batch) -> NDArray[np.bool_]:
    """Of each row whether the store has a reading of its stream and time, of whatever value."""
    present = np.zeros(len(batch), np.bool_)
    if not len(batch):
        return present
    streams = store.streams(Selection(streams=tuple(batch.streams)))
    if not streams:
        return present
    first = {stream: number for number, stream in enumerate(batch.streams)}
    edges = np.searchsorted(batch.stream, np.arange(len(batch.streams) + 1))  # the rows of each stream lie together
    end = int(batch.time.max()) + HOUR  # sums of people whose slot the range cuts are not shown, and none is longer
    query = Query(select=Selection(streams=tuple(streams)), start=int(batch.time.min()), end=end)
    with store.read(query) as reader:
        for piece in reader:
            stored = batch_of(piece)
            stored_edges = np.searchsorted(stored.stream, np.arange(len(stored.streams) + 1))
            for number, stream in enumerate(stored.streams):
                rows = slice(edges[first[stream]], edges[first[stream] + 1])
                times = stored.time[stored_edges[number] : stored_edges[number + 1]]
                present[rows] |= np.isin(batch.time[rows], times)
    return present


def _flag_ranges(batch: Batch, pilot: PilotDefinition) -> Batch:
    """The batch; values outside the valid range of their stream have the flag that ingest gives them."""
    described = {(d.id, s.quantity): s.range for d in pilot.devices for s in d.streams if s.range is not None}
    own_words, quality = vocabulary_of(pilot), batch.quality.copy()
    for number, stream in enumerate(batch.streams):
        words = own_words if stream.pilot == pilot.id else builtin()
        quantity = words.lookup(stream.quantity)
        limits = described.get((stream.device, stream.quantity)) if stream.pilot == pilot.id else None
        limits = limits or (quantity.range if quantity is not None else None)
        if limits is not None:
            outside = (batch.stream == number) & ((batch.value < limits[0]) | (batch.value > limits[1]))
            quality[outside] |= np.uint8(Quality.RANGE)
    return dataclasses.replace(batch, quality=quality)


def _device_days(batch: Batch, present: NDArray[np.bool_]) -> dict[DeviceDay, Tally]:
    """What the rows add up to. In how many messages they once came, nobody knows here."""
    days: dict[DeviceDay, Tally] = {}
    for mask, counted in ((present, "duplicates"), (~present, "stored")):
        keys = np.stack([batch.stream[mask], batch.time[mask] // DAY])
        keys, counts = np.unique(keys, axis=1, return_counts=True)
        for number, day, count in zip(*keys.tolist(), counts.tolist(), strict=True):
            stream = batch.streams[number]
            tally = Tally(received=count, **{counted: count})
            days.setdefault(DeviceDay(stream.pilot, stream.device, day), Tally()).add(tally)
    return days


def _day_of_row(batch: Batch, row: int) -> DeviceDay:
    stream = batch.streams[int(batch.stream[row])]
    return DeviceDay(stream.pilot, stream.device, day_of(int(batch.time[row])))
