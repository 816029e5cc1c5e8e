"""What one chart shows: the readings of a quantity over a range, in about as many points as a screen has columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pyarrow as pa

from techport_dashboards.charts.clock import Clock
from techport_dashboards.charts.lines import (
    PRESENTATIONS,
    STATISTICS,
    Line,
    Presentation,
    envelope,
    lines_of,
    numbers,
    with_gaps,
)
from techport_dashboards.charts.marks import marks_in
from techport_dashboards.charts.overlay import Earlier, compared, earlier, means
from techport_dashboards.query import times
from techport_dashboards.query.question import Answer, QueryContext, Question, answer, instant
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.services import air_quality
from techport_dashboards.services.limit_values import limit_of
from techport_dashboards.viewer import Viewer
from techport_pilots.i18n import N_, Language
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.registry import StreamInfo
from techport_storage import clock
from techport_storage.buckets import format_width
from techport_storage.microseconds import HOUR, MINUTE
from techport_storage.model import BucketWidth, Micros, Query, Stream

POINTS = 1_000  # of one line
ALL_POINTS = 4_800  # of all lines together: what a phone still draws at once
RAW_POINTS = 1_500  # up to here a line shows every reading
BANDS = 3  # lines up to which each has a band of its own; more share one envelope
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


class ChartQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """One chart, in the words of its address. No devices means all; `against` is a duration such as -P7D."""

    pilot: str
    quantity: str
    devices: Sequence[str] = ()
    start: str
    end: str
    against: str | None = None


def chart(context: QueryContext, viewer: Viewer, asked: ChartQuestion, language: Language) -> dict[str, Any]:
    """Lines, bands and a summary, ready to draw. Raises Problem for names and times that are wrong.

    Times are wall-clock text in the pilot's zone without an offset, because plotly.js strips offsets and shifts numbers
    to the browser's zone. A range of a few days over a clock change has one fixed offset instead: the hour that comes
    twice must not be drawn over itself.
    """
    catalogue = context.registry_cache.current()
    pilot = catalogue.pilots[asked.pilot]
    zone = times.zone_named(pilot.timezone)
    views = [
        view for stream, view in catalogue.streams.items()
        if stream.pilot == asked.pilot and stream.quantity == asked.quantity
        and (not asked.devices or stream.device in asked.devices)
    ]  # fmt: skip
    how = PRESENTATIONS.get(views[0].kind if views else "level", PRESENTATIONS["level"])
    question = Question(
        pilots=[asked.pilot], quantities=[asked.quantity], devices=asked.devices,
        start=asked.start, end=asked.end, wall_clock=True,
    )  # fmt: skip
    found = _read(context, viewer, question, how, views, zone)
    query = found.resolved.query
    assert query.start is not None
    assert query.end is not None
    clock = Clock.over(zone, query.start, query.end)
    lines = lines_of(_table(found), catalogue, query.every, how)
    then = None
    if asked.against is not None:
        before = earlier(asked.against, question, query, zone)
        then = Earlier(before, lines_of(_table(answer(context, viewer, before.question)), catalogue, query.every, how))
    any_device = asked.devices[0] if asked.devices else views[0].stream.device if views else ""
    describe = catalogue.stream(Stream(asked.pilot, any_device, asked.quantity))
    body = {
        "quantity": asked.quantity,
        "unit": describe.unit_label,
        "decimals": describe.decimals,
        "start": clock.text(query.start),
        "end": clock.text(query.end),
        "offset": clock.offset_text,
        "zone": clock.label(query.end),
        "every": None if query.every is None else format_width(query.every),
        "bucket": None if query.every is None else times.length(query.every) // 1000,
        "shown": _shown(query.every, how, language) + _against_words(then, zone, language),
        "form": how.form,
        "summary": _in_words(lines, describe, language),
        "difference": means(lines, then, how, describe, language) if how.averaged else "",
        "bands": air_quality.bands(describe, language),
        "limit": _limit(pilot, describe, language),
        "marks": marks_in(pilot, query.start, query.end, clock, language),
        "query": _query_text(query),
        "lines": [
            _line_body(line, catalogue, clock, describe.decimals, language, len(lines), then, how, query.every)
            for line in lines
        ],
    }
    if how.band and query.every is not None and len(lines) > BANDS:
        body["envelope"] = envelope(lines, query.every, clock, describe.decimals)
    return body


def _table(found: Answer) -> pa.Table:
    return found.rows if isinstance(found.rows, pa.Table) else found.rows.read_all()


def _read(
    context: QueryContext,
    viewer: Viewer,
    question: Question,
    how: Presentation,
    views: Sequence[StreamInfo],
    zone: ZoneInfo,
) -> Answer:
    """Every reading where they are few enough to draw, else buckets of the least round width that is coarse enough."""
    now = clock.now()
    start = instant("start", question.start, zone.key, now, wall_clock=True) or now
    end = instant("end", question.end, zone.key, now, wall_clock=True) or now
    span = max(end - start, 1)
    interval = min((view.interval_us for view in views if view.interval_us), default=MINUTE)
    lines = max(len(views), 1)
    if span / interval <= min(RAW_POINTS, ALL_POINTS / lines):
        raw = answer(context, viewer, msgspec.structs.replace(question, limit=4 * ALL_POINTS))
        if raw.next is None:
            return raw
    least = max(span / min(POINTS, ALL_POINTS / lines), interval if how.form != "bar" else span / 120)
    every = next((width for width in WIDTHS if times.length(width) >= least), WIDTHS[-1])
    wanted = [how.statistic, "min", "max"] if how.band else [how.statistic]
    return answer(context, viewer, msgspec.structs.replace(question, every=format_width(every), aggregate=wanted))


def _line_body(
    line: Line,
    catalogue: RegistryView,
    clock: Clock,
    decimals: int,
    language: Language,
    lines: int,
    then: Earlier | None,
    how: Presentation,
    every: BucketWidth | None,
) -> dict[str, Any]:
    time, (value, low, high) = with_gaps(line)
    stream = line.view.stream
    device = catalogue.devices.get(stream[:2])
    before = None if then is None else then.line(stream)
    body: dict[str, Any] = {
        "device": stream.device,
        "title": language.text(device.title) if device else stream.device,
        "x": clock.texts(time),
        "y": numbers(value, decimals),
        "interval": line.expected and line.expected // 1000,
        "summary": _figures(line, then.moved(before) if then and before else None, how, decimals, language)
        | {"air": air_quality.class_name(line.view, _last_hour(line, every), language)},
    }
    if low is not None and high is not None and lines <= BANDS:
        body |= {"low": numbers(low, decimals), "high": numbers(high, decimals)}
    if then is not None and before is not None:
        time, (value, _, _) = with_gaps(before)
        body["earlier"] = {"x": then.texts(time, clock), "y": numbers(value, decimals)}
    return body


def _last_hour(line: Line, every: BucketWidth | None) -> float | None:
    """Mean of the hour that ends with the line's last reading; None where its buckets are longer than that."""
    if every is not None and times.length(every) > HOUR:
        return None
    begun: Micros = int(line.time[-1]) - HOUR
    return float(np.mean(line.value[line.time > begun]))


def _figures(line: Line, before: Line | None, how: Presentation, decimals: int, language: Language) -> dict[str, str]:
    """A row of the table behind the chart."""
    mean = how.mean(line.value)
    figures = {
        "last": language.number(line.value[-1], decimals),
        "lowest": language.number(line.lowest, decimals),
        "mean": language.number(mean, decimals) if how.averaged else "–",
        "highest": language.number(line.highest, decimals),
        "count": language.number(line.count, 0),
    }
    found = compared(line, before, how) if before is not None and how.averaged else None
    if found is None:
        return figures
    mean, earlier = found
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


def _limit(pilot: PilotDefinition, info: StreamInfo, language: Language) -> dict[str, Any] | None:
    """The pilot's own target, else what a directive says: a stroke, and the words beside it with the unit."""
    found = limit_of(pilot, info.stream.quantity)
    if found is None:
        return None
    number = language.number(found.value, 0 if found.value == round(found.value) else 1)
    return {
        "value": found.value,
        "text": f"{language.gettext(LIMIT_WORDS[found.span])} {number} {info.unit_label}".strip(),
        "source": found.source or language.text(found.title),
    }


def _query_text(query: Query) -> dict[str, str]:
    """The parameters with which the API gives the same rows."""
    assert query.start is not None
    assert query.end is not None
    texts = {"start": times.iso(query.start), "end": times.iso(query.end)}
    if query.every is not None:
        texts |= {"every": format_width(query.every), "aggregate": ",".join(query.aggregates)}
    return texts


def _shown(every: BucketWidth | None, how: Presentation, language: Language) -> str:
    if every is None:
        return language.gettext("every reading")
    text = N_("{statistic} per {width}, band: min–max") if how.band else N_("{statistic} per {width}")
    width = language.duration(times.length(every))
    return language.gettext(text, statistic=language.gettext(STATISTICS[how.statistic]), width=width)


def _against_words(then: Earlier | None, zone: ZoneInfo, language: Language) -> str:
    if then is None:
        return ""
    start = language.date_time(then.range.start, zone.key)
    end = language.date_time(then.range.end, zone.key)
    return "; " + language.gettext("faint line: {start} – {end}", start=start, end=end)
