"""The past of the demo: written in bulk before the first start, so that its pilots have something to tell.

    pilots as of months ago ─► readings, kept as the pipeline keeps them: intent ─► store ─► ledger
                            ─► the finished pilot is closed ─► messages for the quarantine, by the pipeline

A start that was cut short goes on where it was: readings that are there already are booked as duplicates.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from techport.platform import Stores
from techport.settings import Settings
from techport_dashboards.services.basemap import load_basemap
from techport_ingest.after.booking import count_rows
from techport_ingest.message import Message
from techport_ingest.metrics import Metrics
from techport_ingest.pipeline import Pipeline, PipelineSettings
from techport_pilots.accounting.tally import DeviceDay, Tally
from techport_pilots.definition.load import read_definition
from techport_pilots.handover.closeout import Closure, close_pilot
from techport_pilots.model import PilotDefinition
from techport_pilots.registry import lifecycle
from techport_pilots.registry.registry import Registry
from techport_pilots.time import micros_of
from techport_simulators.demo import demo_faults, strays
from techport_simulators.faults import FaultPlan, no_faults
from techport_simulators.past import Past, past_of
from techport_storage.clock import as_of, now
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import Batch, Micros, Stream

WHO = "demo"
_ROWS = 300_000  # of a batch, about
_WRITTEN, _STARTED = 10 * DAY, 3 * DAY  # before its first phase a pilot was written down, and started
_ENDED, _CLOSED = 9 * HOUR, 4 * DAY + 10 * HOUR  # after its last phase the finished pilot was ended, and closed


class DemoHistory:
    """What a demo writes on its first start, and whether it has."""

    def __init__(self, settings: Settings, definitions: Sequence[Path], finished: Path, seed: int) -> None:
        self._settings = settings
        self._files = definitions
        self._finished = finished
        self._seed = seed
        self._note = settings.data / "demo" / "history.json"
        fresh = not (settings.data / "readings.duckdb").exists()
        self._end: Micros | None = None  # None: there is nothing to write
        if self._note.exists():
            noted = json.loads(self._note.read_text("utf-8"))
            self._end = None if noted["written"] else noted["end"]
        elif fresh:
            self._end = now()
            # Before the store is made, by which a next start would take the demo for an old one.
            self._remember(written=False)

    def write(self, parts: Stores) -> None:
        """Write what is not there yet. Raises what store and registry raise."""
        if self._end is None:
            return
        interrupted = parts.ledger.interrupted(WHO)
        parts.ledger.reconcile(WHO, count_rows(parts.readings, interrupted))
        pilots = [_running(parts.registry, file) for file in self._files]
        faults = demo_faults(pilots)
        for pilot in pilots:
            self._readings(parts, pilot, self._end, faults)
        self._finish(parts)
        _quarantine(parts, self._end)
        self._remember(written=True)

    def _remember(self, *, written: bool) -> None:
        part = self._note.with_suffix(".part")
        part.write_text(json.dumps({"end": self._end, "written": written}), encoding="utf-8")
        part.replace(self._note)

    def _readings(self, parts: Stores, pilot: PilotDefinition, end: Micros, faults: FaultPlan) -> None:
        start = _first_phase(pilot)
        for batch in _batches(past_of(pilot, self._seed, start, end, faults)):
            _keep(parts, batch)

    def _finish(self, parts: Stores) -> None:
        """The pilot that is over: ended as planned, and closed with report and package some days later."""
        pilot = _running(parts.registry, self._finished)
        if parts.registry.state(pilot.id) == "closed":
            return
        over = max(micros_of(phase.end, pilot.timezone) for phase in pilot.phases)
        if parts.registry.state(pilot.id) == "running":
            self._readings(parts, pilot, over, no_faults)
            with as_of(over + _ENDED):
                lifecycle.transition(parts.registry.database, pilot, "ended", WHO)
        with as_of(over + _CLOSED):
            folder, ground = self._settings.data / "packages", load_basemap(self._settings.basemap)
            closure = Closure(WHO, wait=0)
            close_pilot(parts.registry, parts.readings, parts.ledger, pilot, folder, closure, ground=ground)


def _running(registry: Registry, file: Path) -> PilotDefinition:
    """The pilot of the file, written down and started before its first phase."""
    pilot = read_definition(file)
    if pilot.id not in {registered.id for registered in registry.pilots()}:
        start = _first_phase(pilot)
        with as_of(start - _WRITTEN):
            registry.import_pilot(pilot, file.read_text("utf-8"), WHO)
        with as_of(start - _STARTED):
            lifecycle.transition(registry.database, pilot, "running", WHO)
    return registry.pilot(pilot.id)


def _first_phase(pilot: PilotDefinition) -> Micros:
    return min(micros_of(phase.start, pilot.timezone) for phase in pilot.phases)


def _batches(parts: Iterable[Past]) -> Iterator[list[Past]]:
    """Parts in groups of about `_ROWS` readings."""
    group: list[Past] = []
    rows = 0
    for part in parts:
        group.append(part)
        rows += part.values.size
        if rows >= _ROWS:
            yield group
            group, rows = [], 0
    if group:
        yield group


def _keep(parts: Stores, group: Sequence[Past]) -> None:
    """The durable steps of the pipeline: intent, rows, sums. Each instant of a device was one message."""
    batch = _batch(group)
    days = {DeviceDay(p.pilot, p.device, int(day)) for p in group for day in np.unique(p.time // DAY)}
    parts.ledger.open_batch(WHO, days)
    receipt = parts.readings.write(batch)
    again = np.zeros(len(batch), bool)
    again[receipt.duplicate_rows] = True
    tallies: dict[DeviceDay, Tally] = {}
    at = 0
    for part in group:
        size = part.values.size
        duplicate = again[at : at + size].reshape(part.values.shape).sum(axis=0)
        at += size
        of_time = part.time // DAY
        for day in np.unique(of_time):
            rows = of_time == day
            received, duplicates = int(rows.sum()) * len(part.quantities), int(duplicate[rows].sum())
            tally = tallies.setdefault(DeviceDay(part.pilot, part.device, int(day)), Tally())
            tally.add(
                Tally(
                    messages=int(rows.sum()),
                    received=received,
                    stored=received - duplicates,
                    duplicates=duplicates,
                )
            )
    parts.ledger.close_batch(WHO, tallies)


def _batch(group: Sequence[Past]) -> Batch:
    streams = [Stream(part.pilot, part.device, quantity) for part in group for quantity in part.quantities]
    distinct = {stream: number for number, stream in enumerate(dict.fromkeys(streams))}
    lengths = [len(part.time) for part in group for _ in part.quantities]
    numbers = np.array([distinct[stream] for stream in streams], np.int32)
    time = np.concatenate([np.tile(part.time, len(part.quantities)) for part in group])
    return Batch(
        streams=list(distinct),
        stream=np.repeat(numbers, lengths),
        time=time,
        value=np.concatenate([part.values.reshape(-1) for part in group]),
        received=np.concatenate([np.tile(part.received, len(part.quantities)) for part in group]),
        quality=np.zeros(len(time), np.uint8),
    )


class _Letters:
    """A source with so many messages and no more: it stops the pipeline when they are acknowledged."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = list(messages)
        self.pipeline: Pipeline | None = None

    connected = True

    def receive(self, timeout: float) -> list[Message]:
        messages, self._messages = self._messages, []
        return messages

    def ack(self, messages: Sequence[Message]) -> None:
        if self.pipeline is not None:
            self.pipeline.stop()

    def subscribe(self, topics: Sequence[str], described: Collection[str] = ()) -> None:
        pass

    def close(self) -> None:
        pass


def _quarantine(parts: Stores, end: Micros) -> None:
    """Messages of the last day that nobody could read, by the way that all messages take."""
    messages = [Message(stray.topic, stray.payload, stray.received, id=n) for n, stray in enumerate(strays(end))]
    source = _Letters(messages)
    metrics = Metrics(CollectorRegistry())
    settings = PipelineSettings(worker=WHO, linger=0)
    source.pipeline = Pipeline(source, parts.registry, parts.ledger, parts.readings, metrics, settings)
    source.pipeline.run()
