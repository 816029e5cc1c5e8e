"""Baseline and intervention of a KPI as one table of days: what is compared, before any statistics of it."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
import pandas as pd

from techport_pilots.evaluation.days import day_levels
from techport_pilots.evaluation.kpi import Plan
from techport_pilots.evaluation.samples import PeriodDetail, completeness_of, device_codes, exact_per_day
from techport_pilots.evaluation.statistics import turn
from techport_pilots.evaluation.values import adjusted_value
from techport_pilots.model import Event, Phase, PilotDefinition
from techport_pilots.time import micros_of
from techport_storage.model import Micros
from techport_storage.store import ReadingStore

BASELINE, INTERVENTION = 0, 1


class Sparse(NamedTuple):
    """Hours (or other samples) that hold readings, but too few of those promised."""

    samples: int
    received: float  # readings that one of them holds, in the mean
    promised: float  # readings that one of them should hold


@dataclass(frozen=True, slots=True)
class BaselineVsIntervention:
    """A measure on both sides of the comparison.

    `days` has a row for each local day that is compared: index `day` (datetime64[s]), columns `level` (unit of the KPI)
    and `intervention` (bool). It is None where the statistic has no value for a single day.
    """

    values: tuple[float | None, float | None]  # the statistic over each side, None where there is none
    completeness: tuple[float, float]  # 0..1
    devices: Sequence[str]  # that were compared
    dropped: Sequence[str]  # with data on one side only
    days: pd.DataFrame | None
    frame: pd.DataFrame | None = None  # the samples, with `intervention` and, where there are days, `pseudo_value`
    sparse: tuple[Sparse, Sparse] | None = None  # what arrived too seldom to count
    one_sided: bool = False  # there are samples on both sides, but of no device on both

    def day_count(self, side: int) -> int:
        """Days of the baseline or the intervention."""
        return 0 if self.days is None else int((self.days["intervention"].to_numpy() == bool(side)).sum())

    @property
    def two_sided(self) -> bool:
        return self.day_count(BASELINE) > 0 and self.day_count(INTERVENTION) > 0


def phases_of(pilot: PilotDefinition) -> tuple[list[Phase], list[Phase]]:
    """Phases of the two sides, in order of time."""
    ordered = sorted(pilot.phases, key=lambda phase: phase.start)
    before = [phase for phase in ordered if phase.kind in ("baseline", "control")]
    return before, [phase for phase in ordered if phase.kind == "intervention"]


def so_far(pilot: PilotDefinition, now: Micros) -> PilotDefinition:
    """The pilot with the phases that run cut off at `now`: days to come are not missing ones.

    Phases that have not begun are left out where another one of their kind has.
    """
    moment = dt.datetime.fromtimestamp(now / 1e6, dt.UTC)

    def cut(phase: Phase) -> Phase:
        running = micros_of(phase.start, pilot.timezone) < now < micros_of(phase.end, pilot.timezone)
        return msgspec.structs.replace(phase, end=moment) if running else phase

    begun = {phase.kind for phase in pilot.phases if micros_of(phase.start, pilot.timezone) < now}
    phases = [
        cut(phase) for phase in pilot.phases if phase.kind not in begun or micros_of(phase.start, pilot.timezone) < now
    ]
    return msgspec.structs.replace(pilot, phases=phases)


def overlapping(pilot: PilotDefinition) -> tuple[Phase, Phase] | None:
    """The first two compared phases that share time."""
    before, after = phases_of(pilot)
    ordered = sorted([*before, *after], key=lambda phase: phase.start)
    return next(((a, b) for a, b in itertools.pairwise(ordered) if b.start < a.end), None)


def baseline_vs_intervention(store: ReadingStore, pilot: PilotDefinition, plan: Plan) -> BaselineVsIntervention:
    """Read a measure on both sides and bring it to days.

    Devices without enough days on both sides are left out where both sides have some: they cannot tell a change from a
    different place. A device that was moved counts as another one from there on. Values are adjusted for what is
    missing (values.adjusted_value).

    Parameters
    ----------
    store : ReadingStore
    pilot : PilotDefinition
        With its phases and events.
    plan : Plan
        A measure applied to the pilot's devices.

    Returns
    -------
    BaselineVsIntervention

    Raises
    ------
    StoreError
        What the store raises.
    """
    zone = pilot.timezone
    phases = phases_of(pilot)
    spans = [(micros_of(phase.start, zone), micros_of(phase.end, zone)) for side in phases for phase in side]
    samples = plan.read(store, spans, zone)
    before_periods = samples.periods[: len(phases[BASELINE])]
    sides = before_periods, samples.periods[len(before_periods) :]
    details = samples.details[: len(before_periods)], samples.details[len(before_periods) :]
    completeness = (completeness_of(sides[BASELINE]), completeness_of(sides[INTERVENTION]))
    in_intervention = np.arange(len(samples)) >= sum(period.samples for period in before_periods)
    frame = samples.frame.assign(intervention=in_intervention)
    _split_moved_devices(frame, pilot.events, zone)
    dropped: Sequence[str] = ()
    both = bool(in_intervention.any() and not in_intervention.all())
    if in_intervention.any() and not in_intervention.all():
        frame, dropped = _paired(frame)
        in_intervention = frame["intervention"].to_numpy()
    names = [frame["device"].cat.categories[code] for code in np.unique(device_codes(frame)).tolist()]
    value = frame["value"].to_numpy()
    parts = [value[~in_intervention], value[in_intervention]]
    summaries = [
        plan.summary(part, exact_per_day(detail, max((period.per_day for period in side), default=0.0)), len(names))
        for part, side, detail in zip(parts, sides, details, strict=True)
    ]
    before, after = (summary.value if summary else None for summary in summaries)
    pseudo = [summary.pseudo if summary else None for summary in summaries]
    days = None
    if not any(values is None and len(part) for values, part in zip(pseudo, parts, strict=True)):
        pseudo_values = [np.empty(0) if values is None else values for values in pseudo]
        if plan.resolved.scale == "vector" and before is not None and after is not None:
            pseudo_values[INTERVENTION] = pseudo_values[INTERVENTION] - after + before + turn(after - before)
        frame["pseudo_value"] = np.concatenate(pseudo_values)
        days = _days(frame, samples.per_day)
        if plan.resolved.scale != "vector":
            before, after = (
                None if value is None else adjusted_value(frame[rows], value, samples.per_day, _slots(detail))
                for value, rows, detail in zip(
                    (before, after), (~in_intervention, in_intervention), details, strict=True
                )
            )
    return BaselineVsIntervention(
        (before, after),
        completeness,
        names,
        dropped,
        days,
        frame,
        (_sparse(details[0]), _sparse(details[1])),
        both and not names,
    )


def _slots(details: Sequence[PeriodDetail]) -> int:
    return sum(detail.slots for detail in details)


def _sparse(details: Sequence[PeriodDetail]) -> Sparse:
    samples, readings = sum(detail.sparse for detail in details), sum(detail.readings for detail in details)
    promised = max((detail.promised for detail in details), default=0.0)
    return Sparse(samples, readings / samples if samples else 0.0, promised)


def _days(frame: pd.DataFrame, per_day: float) -> pd.DataFrame:
    """One level a day; a day that both sides claim belongs to neither."""
    day, in_intervention = frame["day"].to_numpy().astype(np.int64), frame["intervention"].to_numpy()
    of_intervention = np.unique(day[in_intervention])
    shared = np.intersect1d(day[~in_intervention], of_intervention)
    if len(shared):
        frame = frame[~np.isin(day, shared)]
    levels = day_levels(frame, "pseudo_value", per_day).to_frame()
    levels["intervention"] = np.isin(levels.index.to_numpy().astype(np.int64), of_intervention)
    return levels


def _paired(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The samples of devices that have enough days on both sides, and the names of the other devices that have samples.

    Enough is a quarter of the days of the device that has most on that side: a device with a single reading before
    says nothing about a change.
    """
    devices = frame["device"].cat.categories
    code, in_intervention = device_codes(frame), frame["intervention"].to_numpy()
    day = frame["day"].to_numpy().astype(np.int64)
    enough, some = np.ones(len(devices), bool), np.zeros(len(devices), bool)
    for rows in (~in_intervention, in_intervention):
        days = np.bincount(np.unique(np.stack([code[rows], day[rows]]), axis=1)[0], minlength=len(devices))
        enough &= days >= max(1.0, _ENOUGH_DAYS * days.max(initial=0))
        some |= days > 0
    left_out = some & ~enough
    if not left_out.any():
        return frame, []
    return frame[enough[code]], [devices[number] for number in np.flatnonzero(left_out).tolist()]


_ENOUGH_DAYS = 0.25  # of the days that the other devices have


def _split_moved_devices(frame: pd.DataFrame, events: Sequence[Event], zone: str) -> None:
    """A moved device measures another place: from there on it counts as another device."""
    devices = list(frame["device"].cat.categories)
    moves: dict[str, list[Micros]] = {}
    for event in events:
        if event.kind == "moved" and event.device is not None and event.device in devices:
            moves.setdefault(event.device, []).append(micros_of(event.time, zone))
    if not moves:
        return
    names, code = list(devices), device_codes(frame)
    of_device = code.copy()
    start = pd.DatetimeIndex(frame.index).asi8
    for name, times in sorted(moves.items()):
        for number, time in enumerate(sorted(times), start=2):
            code[(of_device == devices.index(name)) & (start >= time)] = len(names)
            names.append(f"{name} (position {number})")
    frame["device"] = pd.Categorical.from_codes(code, categories=pd.Index(names, dtype=object))
