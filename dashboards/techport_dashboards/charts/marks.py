"""What happened while a chart's readings were taken: phases that begin, events, and stretches that are left out."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from techport_dashboards.charts.clock import Clock
from techport_pilots.i18n import Language
from techport_pilots.model import PilotDefinition
from techport_pilots.time import micros_of
from techport_storage.model import Micros


class Mark(msgspec.Struct, frozen=True):
    """A stroke at `start`, or an area to `end`, cut to the chart's range. Times are wall-clock text."""

    kind: str  # phase, event, excluded
    text: str
    start: str
    end: str | None


_Period = tuple[str, str, Micros, Micros | None]
"""Kind, words, start, and the end of what lasts."""


def marks_in(pilot: PilotDefinition, start: Micros, end: Micros, clock: Clock, language: Language) -> list[Mark]:
    """Marks in [start, end), in order of time."""
    periods = sorted(_periods(pilot, language), key=lambda period: period[2])
    return [
        Mark(kind, words, clock.text(max(begin, start)), None if finish is None else clock.text(min(finish, end)))
        for kind, words, begin, finish in periods
        if begin < end and (begin >= start if finish is None else finish > start)
    ]


def _periods(pilot: PilotDefinition, language: Language) -> Iterator[_Period]:
    zone = pilot.timezone
    for phase in pilot.phases:
        yield "phase", language.text(phase.title, language.gettext(phase.kind)), micros_of(phase.start, zone), None
    for event in pilot.events:
        until = None if event.end is None else micros_of(event.end, zone)
        yield "event", language.text(event.text), micros_of(event.time, zone), until
    for window in pilot.exclusions:
        yield "excluded", language.text(window.reason), micros_of(window.start, zone), micros_of(window.end, zone)
