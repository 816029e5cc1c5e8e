"""Baseline and intervention of a KPI as one series of days: what is compared, before any statistics of it."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from techport_pilots.evaluation.days import Days, day_levels, paired_devices
from techport_pilots.evaluation.kpi import Plan
from techport_pilots.evaluation.samples import Samples, joined
from techport_pilots.evaluation.statistics import turn
from techport_pilots.model import Event, Phase, PilotDefinition
from techport_pilots.time import micros_of
from techport_storage.model import Micros
from techport_storage.store import ReadingStore

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BASELINE, INTERVENTION = 0, 1


@dataclass(frozen=True, slots=True)
class BaselineVsIntervention:
    """A measure on both sides. `values` are the statistic, None where there is none; `days` one level a day, None where
    the statistic has no pseudo-values; `side` says of each day which it is on."""

    values: tuple[float | None, float | None]
    completeness: tuple[float, float]
    devices: Sequence[str]  # that were compared
    dropped: Sequence[str]  # with data on one side only
    days: Days | None
    side: Ints


def phases_of(pilot: PilotDefinition) -> tuple[list[Phase], list[Phase]]:
    """Phases of the two sides, in order of time."""
    ordered = sorted(pilot.phases, key=lambda phase: phase.start)
    before = [phase for phase in ordered if phase.kind in ("baseline", "control")]
    return before, [phase for phase in ordered if phase.kind == "intervention"]


def so_far(pilot: PilotDefinition, now: Micros) -> PilotDefinition:
    """The pilot with the phases that run cut off at `now`: days to come are not missing ones."""
    moment = dt.datetime.fromtimestamp(now / 1e6, dt.UTC)

    def cut(phase: Phase) -> Phase:
        running = micros_of(phase.start, pilot.timezone) < now < micros_of(phase.end, pilot.timezone)
        return msgspec.structs.replace(phase, end=moment) if running else phase

    return msgspec.structs.replace(pilot, phases=[cut(phase) for phase in pilot.phases])


def overlapping(pilot: PilotDefinition) -> tuple[Phase, Phase] | None:
    """The first two compared phases that share time."""
    before, after = phases_of(pilot)
    ordered = sorted([*before, *after], key=lambda phase: phase.start)
    return next(((a, b) for a, b in itertools.pairwise(ordered) if b.start < a.end), None)


def baseline_vs_intervention(store: ReadingStore, pilot: PilotDefinition, plan: Plan) -> BaselineVsIntervention:
    """Read a measure on both sides and bring it to days. Raises what the store raises."""
    halves = [_read(store, pilot, plan, phases) for phases in phases_of(pilot)]
    completeness = (halves[0].completeness, halves[1].completeness)
    every = joined(halves)
    intervention = np.arange(len(every)) >= len(halves[0])
    kept = np.ones(len(every), bool)
    if all(len(half) for half in halves):
        kept = paired_devices(every, intervention)
    used = [half.keep(kept[intervention == bool(i)]) for i, half in enumerate(halves)]
    names = [every.devices[i] for i in np.unique(every.device[kept])]
    dropped = [every.devices[i] for i in np.unique(every.device[~kept])]
    summaries = [plan.summary(_of_devices(half, names)) for half in used]
    values = (summaries[0].value if summaries[0] else None, summaries[1].value if summaries[1] else None)
    pseudo = [summary.pseudo if summary else None for summary in summaries]
    if any(part is None and len(half) for part, half in zip(pseudo, used, strict=True)):
        return BaselineVsIntervention(values, completeness, names, dropped, None, np.empty(0, np.int64))
    parts = [np.empty(0) if part is None else part for part in pseudo]
    if plan.meaning.scale == "vector" and values[0] is not None and values[1] is not None:
        parts[1] = parts[1] - values[1] + values[0] + turn(values[1] - values[0])
    return BaselineVsIntervention(values, completeness, names, dropped, *_days(used, parts))


def _days(used: list[Samples], parts: list[Floats]) -> tuple[Days, Ints]:
    """One level a day; a day that both sides claim belongs to neither."""
    shared = np.intersect1d(used[0].day, used[1].day)
    kept = [~np.isin(half.day, shared) for half in used]
    both = joined([half.keep(rows) for half, rows in zip(used, kept, strict=True)])
    days = day_levels(both, np.concatenate([part[rows] for part, rows in zip(parts, kept, strict=True)]))
    return days, np.where(np.isin(days.day, used[1].day), INTERVENTION, BASELINE)


def _read(store: ReadingStore, pilot: PilotDefinition, plan: Plan, phases: Sequence[Phase]) -> Samples:
    zone = pilot.timezone
    parts = [plan.slots(store, micros_of(p.start, zone), micros_of(p.end, zone), zone) for p in phases]
    if not parts:
        parts = [plan.slots(store, 0, 0, zone)]
    return _split_where_moved(joined(parts), pilot.events, zone)


def _of_devices(slots: Samples, names: Sequence[str]) -> Samples:
    """The same slots, knowing only the devices that are compared: daily sums are sums over these."""
    return Samples(names, slots.device, slots.start, slots.day, slots.hour, slots.value, slots.expected, slots.per_day)


def _split_where_moved(slots: Samples, events: Sequence[Event], zone: str) -> Samples:
    """A moved device measures another place: from there on it counts as another device."""
    moves: dict[str, list[Micros]] = {}
    for event in events:
        if event.kind == "moved" and event.device is not None and event.device in slots.devices:
            moves.setdefault(event.device, []).append(micros_of(event.time, zone))
    names, device = list(slots.devices), slots.device.copy()
    for name, times in sorted(moves.items()):
        for number, time in enumerate(sorted(times), start=2):
            here = (slots.device == slots.devices.index(name)) & (slots.start >= time)
            device[here] = len(names)
            names.append(f"{name} (position {number})")
    return Samples(names, device, slots.start, slots.day, slots.hour, slots.value, slots.expected, slots.per_day)
