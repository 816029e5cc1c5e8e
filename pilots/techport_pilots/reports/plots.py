"""The report's pictures as inline SVG: time line, days of a KPI, map. Plain shapes, so that they print as they look.

Coordinates are in CSS pixels and rounded to a tenth: the same data draws the same picture, byte for byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray

from techport_pilots.model import Phase, PilotDefinition
from techport_pilots.reports.build import Day, Report, Result
from techport_pilots.reports.text import Words
from techport_pilots.svg import Projection, Ring, Scale, band, dots, free_place, lanes, polyline, round_step, ticks
from techport_pilots.time import day_starts, local, micros_of, month_starts
from techport_storage.model import Micros

WIDTH = 680.0
LEFT, RIGHT = 46.0, 4.0
DIFFERENCE = 110.0  # height of the difference below a curve
_NOON: Micros = 43_200_000_000
HEADROOM = 0.1  # least share of a plot that is free above what it shows

MOST_STEPS = 6  # between the ticks of an axis
MAP_MARGIN = 30.0
LEAST_DEGREES = (0.008, 0.006)  # that a map shows across and down
APART = 18.0  # between the numbers of two devices


class Ground(Protocol):
    """Outlines to draw under the devices, (lon, lat)."""

    @property
    def land(self) -> Sequence[Ring]: ...
    @property
    def rivers(self) -> Sequence[Ring]: ...
    @property
    def attribution(self) -> str: ...


def timeline(report: Report, words: Words) -> str:
    """Phases as bars, events as numbered marks below them."""
    pilot, across = report.pilot, _across(report)
    phases = sorted(pilot.phases, key=lambda phase: phase.start)
    spans = [_span(phase, pilot.timezone) for phase in phases]
    chosen, count = lanes(spans)
    parts = []
    for phase, (start, end), lane in zip(phases, spans, chosen, strict=True):
        x, width = across(start), max(across(end) - across(start), 1.0)
        name = words.text(phase.title, phase.name)
        label = _fitting(name, width)
        bar = f'x="{x:.1f}" y="{lane * 28}" width="{width:.1f}" height="24" rx="2"'
        parts.append(
            f'<g><title>{escape(name)}</title><rect class="{phase.kind}" {bar}/>'
            f'<text class="in" x="{x + 6:.1f}" y="{lane * 28 + 16}">{escape(label)}</text></g>'
        )
    bottom = max(count, 1) * 28
    parts += _months(report, words, across, bottom)
    last = -math.inf
    for number, event in enumerate(pilot.events, start=1):
        x = min(max(across(micros_of(event.time, pilot.timezone)), LEFT + 8), WIDTH - RIGHT - 8)
        x = max(x, last + 17)
        last = x
        parts.append(
            f'<circle class="event" cx="{x:.1f}" cy="{bottom + 36}" r="8"/>'
            f'<text class="nr" x="{x:.1f}" y="{bottom + 39.5}">{number}</text>'
        )
    height = bottom + (48 if pilot.events else 24)
    return _svg(height, parts, words("When"))


def days(report: Report, result: Result, words: Words, unit: str, scale: float = 1.0) -> str:
    """Each day's level, with what the evaluation expected: the curve with its band, the control group, and below them
    the difference. Where it expects nothing, the two means. The target where it speaks of the value, the intervention
    as a band."""
    if not result.days:
        return ""
    curve = _Curve.of(result)
    height, bottom, top = 190.0, 168.0, 8.0
    across = _across(report)
    low, high = _limits(result, curve)
    if scale == 100:  # a share is none below nothing, though a day's level, fair to gaps, can come out there
        low = max(low, 0.0)
    step = round_step(high - low, MOST_STEPS)
    greatest = high
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    if high - greatest < (high - low) * HEADROOM:  # the unit stands at the top, and a target's name above its line
        high += step
    down = Scale(low, high, bottom, top)
    parts = [] if result.kpi.after else list(_bands(report, across, top, bottom))
    for tick in ticks(low, high, step):
        y = down(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="y" x="{LEFT - 6}" y="{y + 3.5:.1f}">{words.plain(round(tick * scale, 9))}</text>')
    parts.append(f'<text class="unit" x="{LEFT + 4}" y="{top + 8}">{escape(unit)}</text>')
    if curve is not None:
        parts += curve.draw(across, down)
    for intervention in (False, True):
        side = [day for day in result.days if day.intervention == intervention]
        x = across.each([day.start + _NOON for day in side])
        y_of_days = np.array([down.within(day.value) for day in side])
        parts.append(f'<path class="dot {"intervention" if intervention else "baseline"}" d="{dots(x, y_of_days)}"/>')
    if curve is None:
        parts += _means(report, result, across, down)
    if result.kpi.target is not None and result.kpi.target_is == "value" and low <= result.kpi.target <= high:
        y = down(result.kpi.target)
        parts.append(f'<path class="target" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="target" x="{WIDTH - RIGHT - 3}" y="{y - 4:.1f}">{words("target")}</text>')
    parts += _months(report, words, across, bottom)
    if curve is not None:
        parts += curve.difference(result, across, words, unit, scale)
        height += DIFFERENCE + 22
    return _svg(height, parts, words.text(result.kpi.title, result.kpi.id))


class _Curve:
    """Measured and expected days as columns, with gaps where days are missing."""

    def __init__(self, days: Sequence[Day]) -> None:
        self._time: list[Micros] = []
        columns: dict[str, list[float]] = {"measured": [], "expected": [], "low": [], "high": [], "control": []}
        for day in days:
            if self._time and day.start - self._time[-1] > 2 * _NOON + _NOON:  # a day is missing: break the line
                self._time.append(self._time[-1] + 2 * _NOON)
                for values in columns.values():
                    values.append(math.nan)
            self._time.append(day.start + _NOON)
            numbers = {"measured": day.value, "expected": day.expected, "low": day.low, "high": day.high}
            for name, number in (numbers | {"control": day.control}).items():
                columns[name].append(math.nan if number is None else number)
        self.columns = {name: np.array(values, np.float64) for name, values in columns.items()}

    @classmethod
    def of(cls, result: Result) -> _Curve | None:
        return cls(result.days) if any(day.expected is not None for day in result.days) else None

    @property
    def has_control(self) -> bool:
        return bool(np.isfinite(self.columns["control"]).any())

    def draw(self, across: Scale, down: Scale) -> Iterator[str]:
        x = across.each(self._time)
        y = {name: down.each(np.clip(values, down.low, down.high)) for name, values in self.columns.items()}
        yield f'<path class="expected-band" d="{band(x, y["low"], y["high"])}"/>'
        if self.has_control:
            yield f'<path class="control-line" d="{polyline(x, y["control"])}"/>'
        yield f'<path class="expected-line" d="{polyline(x, y["expected"])}"/>'
        yield f'<path class="measured-line" d="{polyline(x, y["measured"])}"/>'

    def difference(self, result: Result, across: Scale, words: Words, unit: str, scale: float) -> Iterator[str]:
        """Measured minus expected of each day, with zero, and the estimated difference with its interval."""
        answer = result.evaluation
        top, bottom = 206.0, 206.0 + DIFFERENCE - 18
        values = self.columns["measured"] - self.columns["expected"]
        ends = [0.0, *values[np.isfinite(values)].tolist()]
        if answer.interval is not None:
            ends += [answer.interval.low, answer.interval.high]
        step = round_step((max(ends) - min(ends)) or 1.0, 4)
        down = Scale(math.floor(min(ends) / step) * step, math.ceil(max(ends) / step) * step or step, bottom, top)
        heading = escape(words("difference: measured minus expected"))
        yield f'<text class="unit" x="{LEFT + 4}" y="{top - 4}">{heading}</text>'
        during = [day.start for day in result.days if day.intervention]
        if answer.interval is not None and answer.effect is not None and during:
            left, right = across(min(during)), across(max(during) + 2 * _NOON)
            high, low = down(answer.interval.high), down(answer.interval.low)
            box = f'x="{left:.1f}" y="{high:.1f}" width="{right - left:.1f}" height="{low - high:.1f}"'
            yield f'<rect class="interval-band" {box}/>'
            yield f'<path class="mean intervention" d="M{left:.1f} {down(answer.effect):.1f}H{right:.1f}"/>'
        for tick in ticks(down.low, down.high, step):
            y = down(tick)
            kind = "zero" if abs(tick) < step / 2 else "grid"
            yield f'<path class="{kind}" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
            yield f'<text class="y" x="{LEFT - 6}" y="{y + 3.5:.1f}">{words.plain(round(tick * scale, 9))}</text>'
        x, y_of_days = across.each(self._time), down.each(values)
        finite = np.isfinite(y_of_days)
        yield f'<path class="dot difference" d="{dots(x[finite], y_of_days[finite])}"/>'


def effect(result: Result, words: Words, scale: float = 1.0) -> str:
    """The estimated change and its interval on a line through zero, and the target where it speaks of the change."""
    answer, kpi = result.evaluation, result.kpi
    if answer.effect is None or answer.interval is None:
        return ""
    marks = [answer.interval.low, answer.interval.high, 0.0]
    if kpi.target is not None and kpi.target_is == "change":
        marks.append(kpi.target)
    reach = max(abs(mark) for mark in marks) * 1.15 or 1.0

    x = Scale(-reach, reach, 60, 160)
    step = round_step(2 * reach, 2)
    parts = [
        '<path class="axis" d="M60 21H160"/>',
        *(f'<path class="grid" d="M{x(tick):.1f} 18V21"/>' for tick in ticks(-reach, reach, step)),
        *(
            f'<text class="tick" x="{x(tick):.1f}" y="30">{words.plain(round(tick * scale, 9))}</text>'
            for tick in ticks(-reach, reach, step)
        ),
        f'<path class="zero" d="M{x(0):.1f} 2V21"/>',
        f'<path class="interval" d="M{x(answer.interval.low):.1f} 11H{x(answer.interval.high):.1f}"/>',
        f'<circle class="estimate" cx="{x(answer.effect):.1f}" cy="11" r="4"/>',
    ]
    if len(marks) == 4:
        parts.append(f'<path class="target" d="M{x(marks[3]):.1f} 2V20"/>')
    return f'<svg class="effect" viewBox="50 0 120 32" role="img" aria-label="{words("Change")}">{"".join(parts)}</svg>'


def chart_map(pilot: PilotDefinition, ground: Ground | None, words: Words) -> str:
    """Devices as the numbers of the table, on the ground; empty where nothing has a position."""
    placed = [(n, d.position, d.group) for n, d in enumerate(pilot.devices, start=1) if d.position is not None]
    if not placed:
        return ""
    height = 340.0
    places = [(place.lon, place.lat) for _, place, _ in placed]
    at = Projection.fitting(places, WIDTH, height, MAP_MARGIN, LEAST_DEGREES)
    parts = [f'<rect class="water" width="{WIDTH:.0f}" height="{height:.0f}"/>']
    if ground is None:
        parts = [f'<rect class="land" width="{WIDTH:.0f}" height="{height:.0f}"/>']
    else:
        parts += [f'<path class="land" d="{at.path(ring, closed=True)}"/>' for ring in ground.land]
        parts += [f'<path class="river" d="{at.curve(line)}"/>' for line in ground.rivers]
    if pilot.area:
        parts.append(f'<path class="area" d="{at.path(pilot.area, closed=True)}"/>')
    groups = sorted({group or "" for _, _, group in placed})
    taken: list[tuple[float, float]] = []
    for number, place, group in placed:
        x, y = free_place(at(place.lon, place.lat), taken, APART)
        taken.append((x, y))
        parts.append(
            f'<circle class="place g{groups.index(group or "") % 6}" cx="{x:.1f}" cy="{y:.1f}" r="9"/>'
            f'<text class="nr" x="{x:.1f}" y="{y + 3.5:.1f}">{number}</text>'
        )
    length, name = at.scale_bar(WIDTH / 5)
    parts.append(
        f'<path class="scale" d="M16 {height - 20}v5h{length}v-5"/><text x="20" y="{height - 20}">{name}</text>'
    )
    return _svg(height, parts, words("Where"), "map")


def _across(report: Report) -> Scale:
    return Scale(report.start, max(report.end, report.start + 1), LEFT, WIDTH - RIGHT)


def _span(phase: Phase, zone: str) -> tuple[Micros, Micros]:
    return micros_of(phase.start, zone), micros_of(phase.end, zone)


def _bands(report: Report, across: Scale, top: float, bottom: float) -> Iterator[str]:
    """The intervention phases, and over them what was left out of the whole pilot."""
    zone = report.pilot.timezone
    spans = [("band", *_span(phase, zone)) for phase in report.pilot.phases if phase.kind == "intervention"]
    spans += [
        ("excluded", micros_of(window.start, zone), micros_of(window.end, zone))
        for window in report.pilot.exclusions
        if window.device is None
    ]
    for kind, start, end in spans:
        x, right = max(across(start), LEFT), min(across(end), WIDTH - RIGHT)
        if right > x:
            yield f'<rect class="{kind}" x="{x:.1f}" y="{top}" width="{right - x:.1f}" height="{bottom - top}"/>'


def _means(report: Report, result: Result, across: Scale, down: Scale) -> Iterator[str]:
    """The mean of each side's days over each of its phases."""
    for kinds, side in ((("baseline", "control"), False), (("intervention",), True)):
        values = [day.value for day in result.days if day.intervention == side]
        if not values:
            continue
        y = down.within(math.fsum(values) / len(values))
        if result.kpi.after:
            yield f'<path class="mean {kinds[0]}" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
            continue
        for phase in report.pilot.phases:
            if phase.kind in kinds:
                start, end = _span(phase, report.pilot.timezone)
                x, right = max(across(start), LEFT), min(across(end), WIDTH - RIGHT)
                if right > x:
                    yield f'<path class="mean {kinds[0]}" d="M{x:.1f} {y:.1f}H{right:.1f}"/>'


def _months(report: Report, words: Words, across: Scale, y: float) -> Iterator[str]:
    """Ticks at the firsts of months (or days), as many as there is room for; years where they begin."""
    zone = report.pilot.timezone
    first, last = local(np.array([report.start, report.end - 1], np.int64), zone).day
    every = np.arange(first, last + 1, dtype=np.int64)
    fine = len(every) < 100
    if fine:
        starts = day_starts(every[:: max(1, len(every) // 8)], zone)
    else:
        starts = np.array(month_starts(int(day_starts(every[:1], zone)[0]), report.end, zone), np.int64)
        starts = starts[_months_since_1970(starts, zone) % _stride(len(every)) == 0]
    months = _months_since_1970(starts, zone)
    for number, (start, month) in enumerate(zip(starts.tolist(), months.tolist(), strict=True)):
        x = across(start)
        if not LEFT - 1 <= x <= WIDTH - 30:
            continue
        label = words.date(start).rsplit(" ", 1)[0] if fine else words.month(start)
        if (month % 12 == 0 and not fine) or number == 0:
            label += f" {1970 + month // 12}"
        yield f'<path class="grid" d="M{x:.1f} {y}v4"/><text class="x" x="{x:.1f}" y="{y + 15}">{escape(label)}</text>'


def _months_since_1970(times: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    return local(times, zone).day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _stride(days: int) -> int:
    """Months between ticks."""
    return next((n for n in (1, 2, 3, 4, 6, 12) if days / 30.4 / n <= 10), 12)


def _limits(result: Result, curve: _Curve | None) -> tuple[float, float]:
    """The least and greatest value to show: from zero where that costs less than half of the height."""
    values = [day.value for day in result.days]
    if curve is not None:
        curve_values = np.concatenate([curve.columns[name] for name in ("expected", "low", "high", "control")])
        values += curve_values[np.isfinite(curve_values)].tolist()
    if result.kpi.target is not None and result.kpi.target_is == "value":
        values.append(result.kpi.target)
    low, high = min(values), max(values)
    if 0 < low < high / 2 or math.isclose(low, high, rel_tol=1e-9):  # the last digits of a vane that is stuck are none
        low, high = min(0.0, low), max(0.0, high)
    return (low, high) if high > low else (-1.0, 1.0)


def _fitting(name: str, width: float) -> str:
    room = int((width - 8) / 5.5)
    return name if len(name) <= room else (name[: room - 1] + "…" if room > 3 else "")


def _svg(height: float, parts: Sequence[str], label: str, kind: str = "plot") -> str:
    size = f"0 0 {WIDTH:.0f} {height:.0f}"
    return f'<svg class="{kind}" viewBox="{size}" role="img" aria-label={quoteattr(label)}>{"".join(parts)}</svg>'
