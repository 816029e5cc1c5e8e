"""An earlier period laid under a chart, and how much two periods or two devices differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from techport_dashboards.charts.clock import Clock
from techport_dashboards.charts.lines import Line, Presentation
from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.question import Question
from techport_pilots.i18n import N_, Language
from techport_pilots.registry.registry import StreamInfo
from techport_storage.buckets import format_width
from techport_storage.microseconds import MINUTE
from techport_storage.model import Micros, Query, Stream

AGAINST = {"-P1D": N_("the day before"), "-P7D": N_("a week before"), "-P364D": N_("same week last year")}
"""Choices of the pages; 364 days keep the weekday."""


@dataclass(frozen=True, slots=True)
class Range:
    """The earlier range, the question for it, and what separates the two on the wall."""

    question: Question
    start: Micros
    end: Micros
    clock: Clock
    start_now: Micros


@dataclass(frozen=True, slots=True)
class Earlier:
    range: Range
    lines: Sequence[Line]

    def line(self, stream: Stream) -> Line | None:
        return next((line for line in self.lines if line.view.stream == stream), None)

    def moved(self, line: Line) -> Line:
        """The earlier line as if it were now."""
        return replace(line, time=line.time + (self.range.start_now - self.range.start))

    def texts(self, instants: NDArray[np.int64], clock: Clock) -> list[str]:
        """Where the instants lie on the axis of now: as far from its start, by the clock on the wall."""
        starts = ((clock, self.range.start_now), (self.range.clock, self.range.start))
        current, before = (int(axis.local(np.array([start], np.int64))[0]) for axis, start in starts)
        return self.range.clock.texts(instants, ahead=current - before)


def earlier_range(against: str, question: Question, query: Query, zone: ZoneInfo) -> Range:
    """The same range so much earlier, in the same buckets. Raises Problem for what is not a duration back in time."""
    assert query.start is not None
    assert query.end is not None
    try:
        start, end = (times.parse_instant(against, zone, at) for at in (query.start, query.end))
    except ValueError as error:
        raise Problem("bad-parameter", f"{error}.", parameter="against", example=", ".join(AGAINST)) from error
    if not against.startswith("-P") or start >= query.start:
        raise Problem(
            "bad-parameter",
            "{name} is not a time before the start of the range.",
            name=repr(against[:40]),
            parameter="against",
            example=", ".join(AGAINST),
        )
    every = None if query.every is None else format_width(query.every)
    moved = msgspec.structs.replace(
        question,
        start=times.iso(start),
        end=times.iso(end),
        every=every,
        aggregate=() if every is None else query.aggregates,
    )
    return Range(moved, start, end, Clock.over(zone, start, end), query.start)


def means(
    lines: Sequence[Line],
    earlier: Earlier | None,
    presentation: Presentation,
    info: StreamInfo,
    title: Callable[[Stream], str],
    language: Language,
) -> str:
    """The difference in words, with the names of the devices: of one against itself earlier, or of two."""
    if earlier is not None:
        before = earlier.line(lines[0].view.stream) if len(lines) == 1 else None
        pair = None if before is None else (lines[0], earlier.moved(before))
    else:
        pair = (lines[0], lines[1]) if len(lines) == 2 else None
    if pair is None:
        return ""
    both = compared(*pair, presentation)
    if both is None:
        return language.gettext("no readings at the same times")
    a, b = (language.number(mean, info.decimals) for mean in both)
    first, second = (title(line.view.stream) for line in pair)
    b = f"{b} {info.unit_label}".rstrip()  # a count has no unit
    difference = language.signed(both[0] - both[1], info.decimals)
    if earlier is not None:
        text = N_("{first}: mean {a}, in the earlier period {b}: {difference}")
        return language.gettext(text, first=first, a=a, b=b, difference=difference)
    text = N_("mean: {first} {a}, {second} {b}: {difference}")
    return language.gettext(text, first=first, second=second, a=a, b=b, difference=difference)


def compared(first: Line, second: Line, presentation: Presentation) -> tuple[float, float] | None:
    """Means over the times that both lines have readings of: a gap in one must not make a difference.

    Parameters
    ----------
    first, second : Line
        Values in the same unit; times in µs, those of an earlier line already moved to the present.
    presentation : Presentation
        How the quantity is averaged: decibels by their energies.

    Returns
    -------
    tuple of float, or None
        The mean of each, in their unit; None where they have no time in common.
    """
    width = max(first.expected or 0, second.expected or 0) or MINUTE
    slots = first.time // width, second.time // width
    common = np.intersect1d(*slots)
    if not len(common):
        return None
    a, b = (line.value[np.isin(slot, common)] for line, slot in zip((first, second), slots, strict=True))
    return presentation.mean(a), presentation.mean(b)
