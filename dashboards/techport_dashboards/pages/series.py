"""What one chart shows: the readings of a quantity over a range, in about as many points as a screen has columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from techport_dashboards import times
from techport_dashboards.access import Viewer
from techport_dashboards.catalogue import Catalogue
from techport_dashboards.i18n import Language
from techport_dashboards.pages.clock import Clock
from techport_dashboards.queries import Answer, Question, answer, instant
from techport_dashboards.services import Services
from techport_pilots.registry import StreamInfo
from techport_storage.every import format_every
from techport_storage.model import Aggregate, Every, Micros, Query, Stream

POINTS = 1_000  # of one line
ALL_POINTS = 4_800  # of all lines together: what a phone still draws at once
RAW_POINTS = 1_500  # up to here a line shows every reading
GAP = 2.5  # expected intervals without a reading that break a line
BANDS = 3  # lines up to which each has a band of its own; more share one envelope
WIDTHS: tuple[Every, ...] = (
    *(Every(count, "s") for count in (1, 2, 5, 10, 20, 30)),
    *(Every(count, "min") for count in (1, 2, 5, 10, 20, 30)),
    *(Every(count, "h") for count in (1, 2, 3, 6, 12)),
    *(Every(1, unit) for unit in ("d", "w", "mo")),
)


@dataclass(frozen=True, slots=True)
class Presentation:
    """How a kind of quantity is drawn: what stands for a bucket, as what, and whether its extremes mean anything."""

    statistic: Aggregate
    form: str  # line, bar, steps, dots
    band: bool


PRESENTATIONS = {
    "level": Presentation("mean", "line", band=True),
    "energy-level": Presentation("median", "line", band=True),  # an arithmetic mean of decibels would be wrong
    "count": Presentation("sum", "bar", band=False),
    "direction": Presentation("last", "dots", band=False),  # a mean of 350° and 10° would be 180°
    "state": Presentation("last", "steps", band=False),
}


def chart(
    services: Services,
    viewer: Viewer,
    pilot: str,
    quantity: str,
    device: str | None,
    start: str,
    end: str,
    language: Language,
) -> dict[str, Any]:
    """Lines, bands and a summary, ready to draw. Raises Problem for names and times that are wrong.

    Times are wall-clock text in the pilot's zone without an offset, because plotly.js strips offsets and shifts numbers
    to the browser's zone. A range of a few days over a clock change has one fixed offset instead: the hour that comes
    twice must not be drawn over itself.
    """
    catalogue = services.catalogues.current()
    zone = times.zone_named(catalogue.pilots[pilot].timezone)
    views = [
        view for stream, view in catalogue.streams.items()
        if stream.pilot == pilot and stream.quantity == quantity and device in (None, stream.device)
    ]  # fmt: skip
    how = PRESENTATIONS.get(views[0].kind if views else "level", PRESENTATIONS["level"])
    question = Question(
        pilots=[pilot], quantities=[quantity], devices=[device] if device else [], start=start, end=end, wall_clock=True
    )
    found = _read(services, viewer, question, how, views, zone)
    query = found.resolved.query
    assert query.start is not None
    assert query.end is not None
    clock = Clock.over(zone, query.start, query.end)
    table = found.rows if isinstance(found.rows, pa.Table) else found.rows.read_all()
    lines = list(_lines(table, catalogue, query.every, how))
    describe = catalogue.stream(Stream(pilot, device or (views[0].stream.device if views else ""), quantity))
    body = {
        "quantity": quantity,
        "unit": describe.unit_label,
        "decimals": describe.decimals,
        "start": clock.text(query.start),
        "end": clock.text(query.end),
        "offset": clock.offset_text,
        "zone": clock.label(query.end),
        "every": None if query.every is None else format_every(query.every),
        "bucket": None if query.every is None else times.length(query.every) // 1000,
        "shown": _shown(query.every, how, language),
        "form": how.form,
        "summary": _in_words(lines, describe, language),
        "query": _query_text(query),
        "lines": [_line_body(line, catalogue, clock, describe.decimals, language, len(lines)) for line in lines],
    }
    if how.band and query.every is not None and len(lines) > BANDS:
        body["envelope"] = _envelope(lines, query.every, clock, describe.decimals)
    return body


def _read(
    services: Services,
    viewer: Viewer,
    question: Question,
    how: Presentation,
    views: Sequence[StreamInfo],
    zone: ZoneInfo,
) -> Answer:
    """Every reading where they are few enough to draw, else buckets of the least round width that is coarse enough."""
    now = times.now()
    start = instant("start", question.start, zone.key, now, wall_clock=True) or now
    end = instant("end", question.end, zone.key, now, wall_clock=True) or now
    span = max(end - start, 1)
    interval = min((view.interval_us for view in views if view.interval_us), default=times.MINUTE)
    lines = max(len(views), 1)
    if span / interval <= min(RAW_POINTS, ALL_POINTS / lines):
        raw = answer(services, viewer, msgspec.structs.replace(question, limit=4 * ALL_POINTS))
        if raw.next is None:
            return raw
    least = max(span / min(POINTS, ALL_POINTS / lines), interval if how.form != "bar" else span / 120)
    every = next((width for width in WIDTHS if times.length(width) >= least), WIDTHS[-1])
    wanted = [how.statistic, "min", "max"] if how.band else [how.statistic]
    return answer(services, viewer, msgspec.structs.replace(question, every=format_every(every), aggregate=wanted))


@dataclass(frozen=True, slots=True)
class Line:
    """One stream's points. `expected` is the usual distance between two."""

    view: StreamInfo
    time: NDArray[np.int64]
    value: NDArray[np.float64]
    low: NDArray[np.float64] | None
    high: NDArray[np.float64] | None
    count: int
    expected: Micros | None


def _lines(table: pa.Table, catalogue: Catalogue, every: Every | None, how: Presentation) -> Iterator[Line]:
    """The table's rows as one line a stream; rows of a stream lie together."""
    if table.num_rows == 0:
        return
    names = [table.column(name).to_pylist() for name in ("pilot", "device", "quantity")]
    streams = [Stream(*name) for name in zip(*names, strict=True)]
    starts = [0, *(row for row in range(1, len(streams)) if streams[row] != streams[row - 1]), len(streams)]
    time = table.column("time").cast(pa.int64()).to_numpy()
    value = table.column("value" if every is None else how.statistic).to_numpy()
    low, high = (table.column(n).to_numpy() for n in ("min", "max")) if every and how.band else (None, None)
    counts = table.column("count").to_numpy() if every else None
    for first, behind in pairwise(starts):
        view = catalogue.stream(streams[first])
        part = slice(first, behind)
        expected = max(view.interval_us or 0, times.length(every)) if every else view.interval_us
        if expected is None and behind - first > 2:  # nobody said how often it comes: see how often it does
            expected = int(np.median(np.diff(time[part])))
        yield Line(
            view,
            time[part],
            value[part],
            None if low is None else low[part],
            None if high is None else high[part],
            behind - first if counts is None else int(counts[part].sum()),
            expected,
        )


def with_gaps(line: Line) -> tuple[NDArray[np.int64], list[NDArray[np.float64] | None]]:
    """The line's columns with a NaN wherever readings are missing, so that no stroke is drawn over a hole."""
    columns = [line.value, line.low, line.high]
    if line.expected is None:
        return line.time, columns
    holes = np.flatnonzero(np.diff(line.time) > GAP * line.expected) + 1
    time = np.insert(line.time, holes, line.time[holes - 1] + line.expected)
    return time, [None if column is None else np.insert(column, holes, np.nan) for column in columns]


def _line_body(
    line: Line, catalogue: Catalogue, clock: Clock, decimals: int, language: Language, lines: int
) -> dict[str, Any]:
    time, (value, low, high) = with_gaps(line)
    stream = line.view.stream
    device = catalogue.devices.get(stream[:2])
    lowest = line.value.min() if line.low is None else line.low.min()
    highest = line.value.max() if line.high is None else line.high.max()
    body = {
        "device": stream.device,
        "title": language.text(device.title) if device else stream.device,
        "x": clock.texts(time),
        "y": _numbers(value, decimals),
        "interval": line.expected and line.expected // 1000,
        "summary": {
            "lowest": language.number(lowest, decimals),
            "middle": language.number(float(np.median(line.value)), decimals),
            "highest": language.number(highest, decimals),
            "last": language.number(line.value[-1], decimals),
            "count": language.number(line.count, 0),
        },
    }
    if low is not None and high is not None and lines <= BANDS:
        body |= {"low": _numbers(low, decimals), "high": _numbers(high, decimals)}
    return body


def _envelope(lines: Sequence[Line], every: Every, clock: Clock, decimals: int) -> dict[str, Any]:
    """Lowest and highest of all lines in each bucket."""
    bands = [line for line in lines if line.low is not None and line.high is not None]
    if not bands:
        return {"x": [], "low": [], "high": []}
    times_all = np.concatenate([line.time for line in bands])
    order = np.argsort(times_all, kind="stable")
    time, first = np.unique(times_all[order], return_index=True)
    low = np.minimum.reduceat(np.concatenate([line.low for line in bands if line.low is not None])[order], first)
    high = np.maximum.reduceat(np.concatenate([line.high for line in bands if line.high is not None])[order], first)
    expected = max([times.length(every), *(line.expected or 0 for line in bands)])
    spaced, (_, lows, highs) = with_gaps(Line(bands[0].view, time, low, low, high, 0, expected))
    return {"x": clock.texts(spaced), "low": _numbers(lows, decimals), "high": _numbers(highs, decimals)}


def _numbers(column: NDArray[np.float64] | None, decimals: int) -> list[float | None]:
    """With two digits more than are printed; NaN, a hole, as null."""
    if column is None:
        return []
    return [None if number != number else number for number in np.round(column, decimals + 2).tolist()]


def _in_words(lines: Sequence[Line], info: StreamInfo, language: Language) -> str:
    """The chart for those who do not see it."""
    if not lines:
        return language.gettext("no readings in this range")
    lowest = min(float((line.value if line.low is None else line.low).min()) for line in lines)
    highest = max(float((line.value if line.high is None else line.high).max()) for line in lines)
    return language.ngettext(
        "{n} device from {lowest} to {highest} {unit}",
        "{n} devices from {lowest} to {highest} {unit}",
        len(lines),
        lowest=language.number(lowest, info.decimals),
        highest=language.number(highest, info.decimals),
        unit=info.unit_label,
    ).strip()


def _query_text(query: Query) -> dict[str, str]:
    """The parameters with which the API gives the same rows."""
    assert query.start is not None
    assert query.end is not None
    texts = {"start": times.iso(query.start), "end": times.iso(query.end)}
    if query.every is not None:
        texts |= {"every": format_every(query.every), "aggregate": ",".join(query.aggregates)}
    return texts


def _shown(every: Every | None, how: Presentation, language: Language) -> str:
    if every is None:
        return language.gettext("every reading")
    text = "{statistic} per {width}, band min–max" if how.band else "{statistic} per {width}"
    width = language.duration(times.length(every))
    return language.gettext(text, statistic=language.gettext(how.statistic), width=width)
