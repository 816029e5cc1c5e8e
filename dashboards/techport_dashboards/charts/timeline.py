"""A pilot's phases and events on a line from its first day to its last, in hundredths of its length."""

from __future__ import annotations

from dataclasses import dataclass

from techport_dashboards.query import times
from techport_pilots.model import Event, Phase, PilotDefinition
from techport_pilots.svg import Scale, lanes
from techport_storage.microseconds import DAY
from techport_storage.model import Micros


@dataclass(frozen=True, slots=True)
class Bar:
    phase: Phase
    left: float
    width: float
    lane: int
    running: bool


@dataclass(frozen=True, slots=True)
class Tick:
    event: Event
    at: float


@dataclass(frozen=True, slots=True)
class Timeline:
    bars: list[Bar]
    ticks: list[Tick]  # events between the first day and the last
    lanes: int
    start: Micros
    end: Micros
    now: float | None  # None before the start and after the end
    day: int  # of `days`, counted from 1
    days: int


def timeline(pilot: PilotDefinition, now: Micros) -> Timeline | None:
    """None for a pilot without phases. Phases that overlap, such as a control group's, lie in lanes of their own."""
    if not pilot.phases:
        return None
    spans = [(times.micros(phase.start), times.micros(phase.end), phase) for phase in pilot.phases]
    start, end = min(s for s, _, _ in spans), max(e for _, e, _ in spans)
    length = max(end - start, 1)
    across = Scale(start, start + length, 0, 100)
    spans.sort(key=lambda span: span[0])
    chosen, count = lanes([(begin, finish) for begin, finish, _ in spans])
    bars = [
        Bar(phase, round(across(begin), 2), round(across(finish) - across(begin), 2), lane, begin <= now < finish)
        for (begin, finish, phase), lane in zip(spans, chosen, strict=True)
    ]
    position = across(now) if start <= now < end else None
    day, days = (now - start) // DAY + 1, -(-length // DAY)
    moments = [(times.micros(event.time), event) for event in pilot.events]
    ticks = [Tick(event, round(across(at), 2)) for at, event in moments if start <= at < end]
    return Timeline(bars, ticks, count, start, end, position, min(max(day, 0), days), days)
