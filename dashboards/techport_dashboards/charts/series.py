"""What one chart shows: the readings of a quantity over a range, in about as many points as a screen has columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pyarrow as pa

from techport_dashboards.charts.clock import Clock
from techport_dashboards.charts.lines import (
    PRESENTATIONS,
    STATISTICS,
    Column,
    Line,
    Presentation,
    Values,
    coarser,
    lines_of,
    numbers,
    with_gaps,
)
from techport_dashboards.charts.marks import Mark, marks_in
from techport_dashboards.charts.overlay import Earlier, compared, earlier_range, means
from techport_dashboards.query import times
from techport_dashboards.query.question import Answer, ChartQuestion, QueryContext, Question, answer, instant
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.services import air_quality
from techport_dashboards.services.limit_values import limit_of
from techport_dashboards.viewer import Viewer
from techport_pilots.i18n import N_, Language
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.registry import StreamInfo
from techport_storage import clock
from techport_storage.buckets import format_width
from techport_storage.columns import group_by_stream
from techport_storage.microseconds import HOUR, MINUTE
from techport_storage.model import BucketWidth, Micros, Query, Stream

POINTS = 1_000  # of one line
ALL_POINTS = 4_800  # of all lines together: what a phone still draws at once
RAW_POINTS = 1_500  # up to here a line shows every reading
BANDS = 8  # lines up to which each has its band: there are as many colours
FINE_BANDS = 3  # lines up to which bands have as many points as lines; more share these points
WIDTHS: tuple[BucketWidth, ...] = (
    *(BucketWidth(count, "s") for count in (1, 2, 5, 10, 20, 30)),
    *(BucketWidth(count, "min") for count in (1, 2, 5, 10, 20, 30)),
    *(BucketWidth(count, "h") for count in (1, 2, 3, 6, 12)),
    *(BucketWidth(1, unit) for unit in ("d", "w", "mo")),
)


LIMIT_WORDS = {
    "": N_("pilot target"),
    "hour": N_("limit, hourly mean"),
    "day": N_("limit, daily mean"),
    "8h": N_("limit, 8-hour mean"),
    "year": N_("limit, annual mean"),
    "lden": N_("limit, Lden"),
    "use": N_("guideline"),
}


class ChartLine(msgspec.Struct, frozen=True, kw_only=True):
    """A device's values, ready to draw.

    `x` are wall-clock texts. `colour` is the device's place in its pilot: it has the same colour in every chart.
    `interval` are the ms expected between readings; `summary` is its row of the table behind the chart.
    """

    device: str
    title: str
    colour: int
    x: list[str]
    y: Column
    band: Values | None
    earlier: tuple[list[str], Column] | None
    interval: int | None
    summary: dict[str, str]

    def columns(self) -> list[Column]:
        """All of its values that are drawn."""
        columns = [self.y]
        if self.band is not None:
            columns += [self.band.low, self.band.high]
        if self.earlier is not None:
            columns.append(self.earlier[1])
        return columns


class Flagged(msgspec.Struct, frozen=True):
    """Readings of a device that bear a flag, to be drawn beside its line. In buckets: their lowest and highest."""

    device: str
    title: str
    colour: int
    x: list[str]
    y: Column
    count: int


class ChartLimit(msgspec.Struct, frozen=True):
    """A stroke at `value`, the words beside it with the unit, and who says so."""

    value: float
    text: str
    source: str


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one chart shows, in the reader's language, before anything is drawn.

    Times are wall-clock text in the pilot's zone without an offset, because plotly.js strips offsets and shifts numbers
    to the browser's zone. A range of a few days over a clock change has one fixed `offset` instead: the hour that comes
    twice must not be drawn over itself.
    """

    pilot: str
    heading: str  # what is measured, and by which pilot
    quantity: str
    kind: str  # of the quantity: level, count, direction, ...
    form: str  # line, bar, steps, dots
    unit: str
    decimals: int
    states: list[str]  # of a state: what people read for 0, 1 and so on
    start: str
    end: str
    offset: str | None
    zone: str
    every: str | None  # width of a bucket; None: every reading is shown
    bucket: int | None  # the same in ms
    shown: str
    summary: str
    difference: str
    classes: list[tuple[str, int | None]]  # name and upper edge of each class of what is measured, from the lowest
    limit: ChartLimit | None
    marks: list[Mark]
    query: dict[str, str]  # parameters with which the API gives the same rows
    lines: list[ChartLine]  # without flagged readings
    flagged: list[Flagged]


def chart_of(context: QueryContext, viewer: Viewer, asked: ChartQuestion, language: Language) -> Chart:
    """What to draw. Raises Problem for names and times that are wrong.

    Parameters
    ----------
    context : QueryContext
        The registry's view and the store to read from.
    viewer : Viewer
        Who asks: only what they may see is read.
    asked : ChartQuestion
        Pilot, quantity, devices and range, as text of an address.
    language : Language
        The reader's, for all words and printed numbers.

    Returns
    -------
    Chart
        Values in the stream's unit with two decimals more than are printed; times in the pilot's wall clock.
    """
    registry = context.registry_cache.current()
    pilot = registry.pilots[asked.pilot]
    zone = times.zone_named(pilot.timezone)
    infos = [
        info
        for stream, info in registry.streams.items()
        if stream.pilot == asked.pilot
        and stream.quantity == asked.quantity
        and (not asked.devices or stream.device in asked.devices)
    ]
    kind = infos[0].kind if infos else "level"
    presentation = PRESENTATIONS.get(kind, PRESENTATIONS["level"])
    question = Question(
        pilots=[asked.pilot],
        quantities=[asked.quantity],
        devices=asked.devices,
        start=asked.start,
        end=asked.end,
        wall_clock=True,
        quality="good",
    )
    current = _read(context, viewer, question, presentation, infos, zone)
    query = current.resolved.query
    assert query.start is not None
    assert query.end is not None
    clock = Clock.over(zone, query.start, query.end)
    lines = lines_of(_table(current), registry, query.every, presentation)
    before = None
    if asked.against is not None:
        period = earlier_range(asked.against, question, query, zone)
        table = _table(answer(context, viewer, period.question))
        before = Earlier(period, lines_of(table, registry, query.every, presentation))
    any_device = asked.devices[0] if asked.devices else infos[0].stream.device if infos else ""
    info = registry.stream(Stream(asked.pilot, any_device, asked.quantity))
    drawing = _Drawing(registry, clock, language, presentation, info.decimals, query.every, before)
    flagged = drawing.flagged(_flagged(context, viewer, question, query.every), pilot.id)
    banded = presentation.band and len(lines) <= BANDS
    return Chart(
        pilot=asked.pilot,
        heading=f"{language.text(info.title, asked.quantity)} · {language.text(pilot.title, pilot.id)}",
        quantity=asked.quantity,
        kind=kind,
        form=presentation.form,
        unit=info.unit_label,
        decimals=info.decimals,
        states=[language.text(word) for word in info.states],
        start=clock.text(query.start),
        end=clock.text(query.end),
        offset=clock.offset_text,
        zone=clock.label(query.end),
        every=None if query.every is None else format_width(query.every),
        bucket=None if query.every is None else times.length(query.every) // 1000,
        shown="; ".join(
            [
                _shown(query.every or registry.width, presentation, banded and query.every is not None, language),
                *_flagged_words(flagged, language),
                *_against_words(before, zone, language),
            ]
        ),
        summary=_in_words(lines, info, language),
        difference=means(lines, before, presentation, info, drawing.title, language) if presentation.averaged else "",
        classes=air_quality.bands(info, language),
        limit=_limit(pilot, info, language),
        marks=marks_in(pilot, query.start, query.end, clock, language),
        query=_query_text(query),
        lines=drawing.lines(lines, pilot.id),
        flagged=flagged,
    )


def described(chart: Chart) -> dict[str, Any]:
    """What a page says about the chart besides drawing it: all of it but the values of its lines."""
    left_out = {"pilot", "heading", "kind", "classes", "flagged", "lines"}
    words = {name: getattr(chart, name) for name in chart.__struct_fields__ if name not in left_out}
    lines = [
        {name: getattr(line, name) for name in ("device", "title", "colour", "interval", "summary")}
        for line in chart.lines
    ]
    return words | {"rated": bool(chart.classes), "lines": lines}


def _table(rows: Answer) -> pa.Table:
    return rows.rows if isinstance(rows.rows, pa.Table) else rows.rows.read_all()


def _read(
    context: QueryContext,
    viewer: Viewer,
    question: Question,
    presentation: Presentation,
    infos: Sequence[StreamInfo],
    zone: ZoneInfo,
) -> Answer:
    """Every reading where they are few enough to draw, else buckets of the least round width that is coarse enough."""
    now = clock.now()
    start = instant("start", question.start, zone.key, now, wall_clock=True) or now
    end = instant("end", question.end, zone.key, now, wall_clock=True) or now
    span = max(end - start, 1)
    interval = min((info.interval_us for info in infos if info.interval_us), default=MINUTE)
    lines = max(len(infos), 1)
    bars = presentation.form == "bar"  # one a slot, also of few readings: bars of devices stand on each other
    if not bars and span / interval <= min(RAW_POINTS, ALL_POINTS / lines):
        raw = answer(context, viewer, msgspec.structs.replace(question, limit=4 * ALL_POINTS))
        if raw.next is None:
            return raw
    least = max(span / min(POINTS, ALL_POINTS / lines), interval, span / 120 if bars else 0)
    every = next((width for width in WIDTHS if times.length(width) >= least), WIDTHS[-1])
    statistics = [presentation.statistic, "min", "max"] if presentation.band else [presentation.statistic]
    return answer(context, viewer, msgspec.structs.replace(question, every=format_width(every), aggregate=statistics))


def _flagged(context: QueryContext, viewer: Viewer, question: Question, every: BucketWidth | None) -> pa.Table:
    """Flagged readings as rows of stream, time and value; the lowest and the highest of each of the chart's buckets."""
    asked = msgspec.structs.replace(question, quality="flagged")
    if every is None:
        return _table(answer(context, viewer, msgspec.structs.replace(asked, limit=4 * ALL_POINTS)))
    asked = msgspec.structs.replace(asked, every=format_width(every), aggregate=("min", "max"))
    return _table(answer(context, viewer, asked))


@dataclass(frozen=True, slots=True)
class _Drawing:
    """What all lines of a chart have in common."""

    registry: RegistryView
    clock: Clock
    language: Language
    presentation: Presentation
    decimals: int
    every: BucketWidth | None
    earlier: Earlier | None

    def lines(self, lines: Sequence[Line], pilot: str) -> list[ChartLine]:
        colours = self._colours(pilot, [line.view.stream.device for line in lines])
        coarse = -(-len(lines) // FINE_BANDS) if len(lines) <= BANDS else 0
        return [self._line(line, colours[line.view.stream.device], coarse) for line in lines]

    def flagged(self, table: pa.Table, pilot: str) -> list[Flagged]:
        """Flagged readings by device, with its colour."""
        if not table.num_rows:
            return []
        table = table.combine_chunks()
        time = table.column("time").cast(pa.int64()).to_numpy()
        columns = [table.column(name).to_numpy() for name in (("value",) if self.every is None else ("min", "max"))]
        counts = None if self.every is None else table.column("count").to_numpy()
        parts = list(group_by_stream(table))
        colours = self._colours(pilot, [stream.device for stream, _ in parts])
        flagged = []
        for stream, part in parts:
            low, high = columns[0][part], columns[-1][part]
            both = low != high
            at, values = np.concatenate([time[part], time[part][both]]), np.concatenate([low, high[both]])
            order = np.argsort(at, kind="stable")
            count = len(low) if counts is None else int(counts[part].sum())
            x, y = self.clock.texts(at[order]), numbers(values[order], self.decimals)
            flagged.append(Flagged(stream.device, self.title(stream), colours[stream.device], x, y, count))
        return flagged

    def _colours(self, pilot: str, shown: Sequence[str]) -> dict[str, int]:
        """The place of each device in its pilot; those that nobody described come last."""
        devices = [device.device for device in self.registry.devices_of(pilot)]
        devices += [device for device in dict.fromkeys(shown) if device not in devices]
        return {device: place for place, device in enumerate(devices)}

    def title(self, stream: Stream) -> str:
        device = self.registry.devices.get(stream[:2])
        return self.language.text(device.title) if device else stream.device

    def _band(self, line: Line, coarse: int) -> Values | None:
        """From lowest to highest, of so many buckets together; None for no band."""
        if line.low is None or self.every is None or not coarse:
            return None
        time, (_, low, high) = with_gaps(coarser(line, coarse, times.length(self.every)))
        decimals = self.decimals if coarse == 1 else self.decimals - 2  # nobody reads the numbers of a band off
        return Values(self.clock.texts(time), numbers(low, decimals), numbers(high, decimals))

    def _line(self, line: Line, colour: int, coarse: int) -> ChartLine:
        time, (value, _, _) = with_gaps(line)
        stream = line.view.stream
        before = None if self.earlier is None else self.earlier.line(stream)
        moved = self.earlier.moved(before) if self.earlier is not None and before is not None else None
        x = self.clock.texts(time)
        return ChartLine(
            device=stream.device,
            title=self.title(stream),
            colour=colour,
            x=x,
            y=numbers(value, self.decimals),
            band=self._band(line, coarse),
            earlier=None if before is None else self._earlier(before),
            interval=None if line.expected is None else line.expected // 1000,
            summary=_figures(line, moved, self.presentation, self.decimals, self.language)
            | {"air": air_quality.class_name(line.view, _last_hour(line, self.every), self.language)},
        )

    def _earlier(self, line: Line) -> tuple[list[str], Column]:
        assert self.earlier is not None
        time, (value, _, _) = with_gaps(line)
        return self.earlier.texts(time, self.clock), numbers(value, self.decimals)


def _last_hour(line: Line, every: BucketWidth | None) -> float | None:
    """Mean of the hour that ends with the line's last reading; None where its buckets are longer than that."""
    if every is not None and times.length(every) > HOUR:
        return None
    begun: Micros = int(line.time[-1]) - HOUR
    return float(np.mean(line.value[line.time > begun]))


def _figures(
    line: Line, before: Line | None, presentation: Presentation, decimals: int, language: Language
) -> dict[str, str]:
    """A row of the table behind the chart."""
    mean = presentation.mean(line.value)
    figures = {
        "last": language.number(line.value[-1], decimals),
        "lowest": language.number(line.lowest, decimals),
        "mean": language.number(mean, decimals) if presentation.averaged else "–",
        "highest": language.number(line.highest, decimals),
        "count": language.number(line.count, 0),
    }
    means_of_both = compared(line, before, presentation) if before is not None and presentation.averaged else None
    if means_of_both is None:
        return figures
    mean, earlier = means_of_both
    return figures | {
        "mean": language.number(mean, decimals),
        "earlier": language.number(earlier, decimals),
        "difference": language.signed(mean - earlier, decimals),
    }


def _in_words(lines: Sequence[Line], info: StreamInfo, language: Language) -> str:
    """The chart for those who do not see it."""
    if not lines:
        return language.gettext("no readings in this range")
    return language.ngettext(
        "{n} device from {lowest} to {highest} {unit}",
        "{n} devices from {lowest} to {highest} {unit}",
        len(lines),
        lowest=language.number(min(line.lowest for line in lines), info.decimals),
        highest=language.number(max(line.highest for line in lines), info.decimals),
        unit=info.unit_label,
    ).strip()


def _limit(pilot: PilotDefinition, info: StreamInfo, language: Language) -> ChartLimit | None:
    """The pilot's own target, else what a directive says."""
    limit = limit_of(pilot, info.stream.quantity)
    if limit is None:
        return None
    number = language.number(limit.value, 0 if limit.value == round(limit.value) else 1)
    text = f"{language.gettext(LIMIT_WORDS[limit.span])} {number} {info.unit_label}".strip()
    if limit.applies_from is not None:
        text += f" ({language.gettext('from {year}', year=limit.applies_from[:4])})"
    return ChartLimit(limit.value, text, limit.source or language.text(limit.title))


def _query_text(query: Query) -> dict[str, str]:
    """The parameters with which the API gives the same rows."""
    assert query.start is not None
    assert query.end is not None
    texts = {"start": times.iso(query.start), "end": times.iso(query.end)}
    if query.every is not None:  # rows have their flags beside them, buckets do not
        texts |= {"every": format_width(query.every), "aggregate": ",".join(query.aggregates), "quality": query.quality}
    return texts


def _shown(width: BucketWidth | None, presentation: Presentation, banded: bool, language: Language) -> str:
    if width is None:
        return language.gettext("every reading")
    text = N_("{statistic} per {width}, band: min–max") if banded else N_("{statistic} per {width}")
    per = language.width(times.length(width))
    return language.gettext(text, statistic=language.gettext(STATISTICS[presentation.statistic]), width=per)


def _flagged_words(flagged: Sequence[Flagged], language: Language) -> list[str]:
    count = sum(series.count for series in flagged)
    return [language.ngettext("{n} flagged reading", "{n} flagged readings", count)] if count else []


def _against_words(earlier: Earlier | None, zone: ZoneInfo, language: Language) -> list[str]:
    if earlier is None:
        return []
    start = language.date_time(earlier.range.start, zone.key)
    end = language.date_time(earlier.range.end, zone.key)
    text = (
        N_("faint line: {start} – {end}") if earlier.lines else N_("no readings in the earlier period: {start} – {end}")
    )
    return [language.gettext(text, start=start, end=end)]
