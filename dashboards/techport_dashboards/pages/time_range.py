"""The time range of a page with charts: the choices it offers, what was typed, and what it opens on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlencode

from fastapi import Request

from techport_dashboards.charts.overlay import AGAINST
from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.typed_times import parse_typed
from techport_dashboards.web.dependencies import services_of
from techport_dashboards.web.templating import language_of
from techport_pilots.i18n import N_, Language
from techport_pilots.model import PilotDefinition
from techport_pilots.time import micros_of
from techport_storage.microseconds import DAY, SECOND
from techport_storage.model import Micros

QUICK = {
    "-PT1H": N_("1 hour"),
    "-P1D": N_("24 hours"),
    "-P7D": N_("7 days"),
    "-P30D": N_("30 days"),
}
_NAMES = ("start", "end", "from", "to")


class Asked(Protocol):
    """What a page's address says about its range: `start` and `end` as in the API, or what somebody typed."""

    start: str | None
    end: str | None
    typed_from: str | None
    typed_to: str | None
    against: str | None
    device: str | None


@dataclass(frozen=True, slots=True)
class Preset:
    name: str
    start: str
    end: str
    href: str


@dataclass(frozen=True, slots=True)
class TimeChoice:
    """The time line of a page above its charts."""

    path: str
    quick: list[Preset]
    more: list[Preset]
    home: tuple[str, str]
    """What the page opens on when its address says nothing."""
    typed: tuple[str, str]
    """The range as the reader writes it, or what they typed where that was wrong."""
    example: str
    others: list[tuple[str, str]] = field(default_factory=list)
    """Parameters of the address that choose something else; the form keeps them."""
    problem: str = ""
    """What was wrong with what was typed, in the reader's language."""
    wrong: str = ""
    """The field that it is about: from or to."""


def range_values(
    request: Request, pilot: PilotDefinition, newest: Micros | None, asked: Asked, now: Micros
) -> dict[str, Any]:
    """What the templates need: the range that the charts show, and the choices of others. Raises Problem for a start or
    an end of the address that is not a time; a mistake in what was typed keeps the page, with status 400.
    """
    zone = times.zone_named(pilot.timezone)
    language = language_of(request)
    home = opening(pilot, newest, now, closed=pilot.id in services_of(request).registry_cache.current().over)
    start, end, problem, wrong = asked.start, asked.end, "", ""
    if asked.typed_from or asked.typed_to:
        start, end, problem, wrong = _typed(asked, pilot, now, language)
    if start is None:
        start, end = home if end is None else ("-P1D", end)
    end = end or "now"
    for name, text in (("start", start), ("end", end)):
        try:
            times.parse_instant(text, zone, now, wall_clock=True)
        except ValueError as error:
            raise Problem("bad-parameter", f"{error}.", parameter=name, example="-P7D or 2026-11-22T08:00") from error
    others = [(name, value) for name, value in request.query_params.multi_items() if name not in _NAMES]

    def preset(name: str, begin: str, finish: str = "now") -> Preset:
        times_of = [("start", begin)] if finish == "now" else [("start", begin), ("end", finish)]
        return Preset(name, begin, finish, f"{request.url.path}?{urlencode([*others, *times_of])}")

    shown = (_as_typed(start, pilot, now, language), _as_typed(end, pilot, now, language, end=True))
    choice = TimeChoice(
        path=request.url.path,
        quick=[preset(name, code) for code, name in QUICK.items()],
        more=[preset(*named) for named in _named_ranges(pilot, now)],
        home=home,
        typed=(asked.typed_from or "", asked.typed_to or "") if problem else shown,
        example=_written(now - DAY, pilot, language),
        others=others,
        problem=problem,
        wrong=wrong,
    )
    return {
        "start": start,
        "end": end,
        "presets": choice,
        "against": asked.against or "",
        "against_choices": AGAINST,
        "chosen": asked.device.split(",") if asked.device else [],
        **({"status": 400} if problem else {}),
    }


def opening(pilot: PilotDefinition, newest: Micros | None, now: Micros, *, closed: bool = False) -> tuple[str, str]:
    """What a page opens on: the last day; of a pilot that is over or has just begun, its own time.

    Where no reading is of the last day, the last day that has some.
    """
    begins, ends = period(pilot)
    if begins is not None and ends is not None:
        if ends <= now or (closed and begins < now):
            last = min(ends, now) if newest is None or ends <= now else min(ends, newest + SECOND)
            if last > begins:
                return _local(begins, pilot), _local(last, pilot)
        if now - DAY < begins < now and (newest is None or newest >= begins):
            return _local(begins, pilot), "now"
    if newest is not None and newest < now - DAY:
        return _local(newest - DAY, pilot), _local(newest + SECOND, pilot)
    return "-P1D", "now"


def period(pilot: PilotDefinition) -> tuple[Micros | None, Micros | None]:
    """From the start of a pilot's first phase to the end of its last; None for a pilot without phases."""
    starts = [micros_of(phase.start, pilot.timezone) for phase in pilot.phases]
    ends = [micros_of(phase.end, pilot.timezone) for phase in pilot.phases]
    return min(starts, default=None), max(ends, default=None)


def _named_ranges(pilot: PilotDefinition, now: Micros) -> list[tuple[str, str, str]]:
    """Name, start and end of what people call by a name. Ranges of the pilot that have not begun are left out."""
    zone = times.zone_named(pilot.timezone)
    today = times.moment(now, zone).date()
    days_back = [today.fromordinal(today.toordinal() - back) for back in (1, today.weekday())]
    yesterday, monday = (day.isoformat() for day in days_back)
    ranges = [
        (N_("Today"), today.isoformat(), "now"),
        (N_("Yesterday"), yesterday, today.isoformat()),
        (N_("This week"), monday, "now"),
        (N_("1 year"), "-P1Y", "now"),
    ]
    begins, ends = period(pilot)
    until = "now" if ends is None or ends > now else _local(ends, pilot)
    if begins is not None and begins < now:
        ranges.append((N_("Whole pilot"), _local(begins, pilot), until))
    measures = [micros_of(phase.start, pilot.timezone) for phase in pilot.phases if phase.kind == "intervention"]
    if measures and min(measures) < now:
        ranges.append((N_("Since the measure"), _local(min(measures), pilot), until))
    return ranges


def _typed(
    asked: Asked, pilot: PilotDefinition, now: Micros, language: Language
) -> tuple[str | None, str | None, str, str]:
    """Start and end of what was typed; or neither, what is wrong, and in which field."""
    zone = times.zone_named(pilot.timezone)
    texts: dict[str, str] = {"from": asked.typed_from or "", "to": asked.typed_to or "now"}
    parsed: dict[str, str] = {}
    for name, text in texts.items():
        if not text:
            continue
        try:
            parsed[name] = parse_typed(text, zone, now, end=name == "to")
        except (ValueError, OverflowError):
            problem = language.gettext(
                "“{text}” is not a time. Write a day, or a day and a time, such as {example}.",
                text=text[:40],
                example=_written(now - DAY, pilot, language),
            )
            return None, None, problem, name
    end = times.parse_instant(parsed["to"], zone, now, wall_clock=True)
    start_text = parsed.get("from") or times.iso(end - DAY)
    if times.parse_instant(start_text, zone, now, wall_clock=True) >= end:
        return None, None, language.gettext("The end must be later than the start."), "to"
    return start_text, parsed["to"], "", ""


def _as_typed(text: str, pilot: PilotDefinition, now: Micros, language: Language, *, end: bool = False) -> str:
    """A start or an end of an address as its reader would type it. The end of a day is that day.

    At the ends of the calendar, which not every zone has, it is what the address says.
    """
    if text == "now":
        return language.gettext("now")
    try:
        return _readable(text, pilot, now, language, end=end)
    except (ValueError, OverflowError):
        return text


def _readable(text: str, pilot: PilotDefinition, now: Micros, language: Language, *, end: bool) -> str:
    zone = times.zone_named(pilot.timezone)
    instant = times.parse_instant(text, zone, now, wall_clock=True)
    if text.lstrip("+-").startswith("P"):
        return _written(instant, pilot, language)
    if times.moment(instant, zone).time().isoformat() == "00:00:00":
        return language.date_time(instant - SECOND if end else instant, pilot.timezone, "d. MMM y")
    return _written(instant, pilot, language)


def _written(instant: Micros, pilot: PilotDefinition, language: Language) -> str:
    return language.date_time(instant, pilot.timezone)


def _local(instant: Micros, pilot: PilotDefinition) -> str:
    """As a page's address says it: local time of the pilot."""
    zone = times.zone_named(pilot.timezone)
    return times.moment(instant, zone).replace(tzinfo=None, microsecond=0).isoformat()
