"""What happened while a chart's readings were taken: phases that begin, events, and stretches that are left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from techport_dashboards.charts.clock import Clock
from techport_pilots.i18n import Language
from techport_pilots.model import PilotDefinition
from techport_pilots.time import micros_of
from techport_storage.model import Micros

Mark = tuple[str, str, Micros, Micros | None]
"""kind (phase, event, excluded), words, start, and the end of what lasts."""


def marks_in(pilot: PilotDefinition, start: Micros, end: Micros, clock: Clock, language: Language) -> list[Any]:
    """Marks in [start, end) as a chart draws them: a stroke at `from`, or an area to `to`, cut to the range."""
    found = [
        mark for mark in _marks(pilot, language)
        if mark[2] < end and (mark[3] > start if mark[3] is not None else mark[2] >= start)
    ]  # fmt: skip
    return [
        {
            "kind": kind,
            "text": words,
            "from": clock.text(max(begin, start)),
            "to": None if finish is None else clock.text(min(finish, end)),
        }
        for kind, words, begin, finish in sorted(found, key=lambda mark: mark[2])
    ]


def _marks(pilot: PilotDefinition, language: Language) -> Iterator[Mark]:
    zone = pilot.timezone
    for phase in pilot.phases:
        yield "phase", language.text(phase.title, language.gettext(phase.kind)), micros_of(phase.start, zone), None
    for event in pilot.events:
        until = None if event.end is None else micros_of(event.end, zone)
        yield "event", language.text(event.text), micros_of(event.time, zone), until
    for window in pilot.exclusions:
        yield "excluded", language.text(window.reason), micros_of(window.start, zone), micros_of(window.end, zone)
