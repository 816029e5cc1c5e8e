"""Sets a Report as one HTML file that needs nothing else: styles and pictures are inside, and it prints to A4."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from techport_pilots.definition.kinds import kind_named
from techport_pilots.evaluation import Evaluation, Interval
from techport_pilots.evaluation.messages import adjusted_for
from techport_pilots.model import DeviceDefinition, Kpi
from techport_pilots.quality.completeness import Completeness
from techport_pilots.quantities import vocabulary_of
from techport_pilots.reports import plots
from techport_pilots.reports.build import Report, Result, year_of
from techport_pilots.reports.text import METHOD, QUALITY, Words
from techport_pilots.time import micros_of


class Row(NamedTuple):
    """A line of the table of devices; `number` is also the device's on the map."""

    number: int
    device: DeviceDefinition
    completeness: Completeness | None


MOST_DEVICES = 40  # rows of the quality table; more would bury the rest


def page(report: Report, language: str, ground: plots.Ground | None = None) -> str:
    """The report in nb or en; `ground` is what to draw under the map. The same report gives the same bytes."""
    words = Words("nb" if language in ("nb", "nn", "no") else "en", report.pilot.timezone)
    return _template().render(
        report=report,
        pilot=report.pilot,
        words=words,
        kind_named=kind_named,
        results=[_shown(report, result, words) for result in report.results],
        timeline=Markup(plots.timeline(report, words)) if report.pilot.phases else "",
        map=Markup(plots.chart_map(report.pilot, ground, words)),
        ground=ground,
        devices=_devices(report),
        citation=citation(report, words),
        method=METHOD,
        quality=QUALITY,
        micros=lambda time: micros_of(time, report.pilot.timezone),
    )


def citation(report: Report, words: Words) -> str:
    """Whose data, when, what, under which licence: as a reference list wants it."""
    pilot = report.pilot
    owners = [one.name for one in pilot.organisations if one.role == "owner"] or [
        one.name for one in pilot.organisations[:1]
    ]
    who = ", ".join(owners) or (pilot.contact.name if pilot.contact else "techport")
    title = words.text(pilot.title, pilot.id)
    span = f"{words.date(report.start)} – {words.last_day(report.end)}"
    which = f"{words('data set')}, {span}, {words('version')} {report.version}"
    return f"{who} ({year_of(report)}): {title} ({pilot.id}), {which}. {pilot.licence}."


def headline(kpi: Kpi, answer: Evaluation) -> str:
    """The verdict in words: without a target it is about the effect alone."""
    if kpi.target is not None or answer.verdict == "insufficient data":
        return answer.verdict
    if answer.verdict == "inconclusive":
        return "inconclusive"
    return "effect shown" if answer.verdict == "target met" else "effect in the wrong direction"


@cache
def _template() -> Template:
    templates = Environment(
        loader=PackageLoader("techport_pilots.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("report.html")


def _shown(report: Report, result: Result, words: Words) -> dict[str, object]:
    """A KPI as the template needs it: every number a text with its unit."""
    kpi, answer = result.kpi, result.evaluation
    as_share = answer.unit == "1" and (kpi.statistic == "share_above" or (kpi.compare and kpi.compare.kind == "share"))
    quantity = vocabulary_of(report.pilot).lookup(kpi.quantity)
    if quantity is not None and quantity.kind == "state" and quantity.range == (0, 1) and kpi.statistic == "mean":
        as_share = True  # of the time in which it was so
    unit = "%" if as_share else words.unit(vocabulary_of(report.pilot), answer.unit)
    unit = "" if unit == "1" else unit

    before, after = answer.baseline, answer.intervention
    scale = 100.0 if as_share else 1.0
    half = scale * _half(answer.interval or (after.interval if after else None))

    def value(number: float | None) -> str:
        return "–" if number is None else f"{words.as_sure(scale * number, half)} {unit}".rstrip()

    def change(number: float | None) -> str:
        # A change from 6 % to 11 % is one of five percentage points.
        name = words("pp") if as_share else unit
        if number is None:
            return "–"
        return f"{_sign(number)}{words.as_sure(scale * number, half)} {name}".rstrip()

    def plain(number: float) -> str:
        return f"{words.plain(scale * number)} {unit}".rstrip()

    percent = ""
    if answer.percent is not None:
        sure = words.as_sure(answer.percent, _half(answer.percent_interval))
        percent = f" ({_sign(answer.percent)}{sure} %)"
    sentences = []
    if after is not None and after.value is not None:
        both = before is not None and before.value is not None
        form = "{value} with the intervention, {before} without it." if both else "{value} with the intervention."
        if answer.compared == "days":
            form = "{value} on the days after, {before} on other days." if both else "{value} on the days after."
        sentences.append(words(form, value=value(after.value), before=value(before.value if before else None)))
    if answer.effect is not None and answer.interval is not None:
        form = "The change is estimated at {effect}{percent}; 95 % confidence interval from {low} to {high}."
        low, high = change(answer.interval.low), change(answer.interval.high)
        sentences.append(words(form, effect=change(answer.effect), percent=percent, low=low, high=high))
    if answer.shown is not None:
        wanted = (
            "The change is in the desired direction."
            if answer.shown == kpi.direction
            else "The change is in the wrong direction."
        )
        sentences.append(
            words("No change shown: the interval includes zero." if answer.shown == "none shown" else wanted)
        )
    sentences += [reason.text(words.language) for reason in answer.reasons]
    sign = "≤" if kpi.direction == "lower" else "≥"
    target = _target(kpi, words, plain)
    of_after = after.interval if after else None
    if as_share and of_after is not None:  # a share is none below nothing and none above all
        of_after = Interval(max(of_after.low, 0.0), min(of_after.high, 1.0))
    return {
        "title": words.text(kpi.title, kpi.id),
        "answer": answer,
        "verdict": headline(kpi, answer),
        "sentences": sentences,
        "days_after": answer.compared == "days",
        "before": value(before.value if before else None),
        "after": value(after.value if after else None),
        "after_interval": _range(of_after, value),
        "change": change(answer.effect),
        "change_interval": _range(answer.interval, change),
        "percent": percent.strip(" ()"),
        "target": "–" if target is None else f"{sign} {target}",
        "completeness": " / ".join(words.share(side.completeness if side else None) for side in (before, after)),
        "plot": Markup(plots.days(report, result, words, unit, 100 if as_share else 1)),
        "effect": Markup(plots.effect(result, words)),
        "adjusted_for": adjusted_for(answer.adjusted_for, vocabulary_of(report.pilot), words.language),
    }


def _half(interval: Interval | None) -> float:
    return (interval.high - interval.low) / 2 if interval is not None else 0.0


def _sign(number: float) -> str:
    return "+" if number > 0 else ""


def _target(kpi: Kpi, words: Words, value: Callable[[float], str]) -> str | None:
    if kpi.target is None:
        return None
    if kpi.target_is == "percent":
        return f"{words.plain(kpi.target)} %"
    return value(kpi.target)


def _range(interval: Interval | None, value: Callable[[float], str]) -> str:
    return "" if interval is None else f"{value(interval.low)} … {value(interval.high)}"


def _devices(report: Report) -> list[Row]:
    """All devices, or those that matter most where there are very many."""
    rows = [Row(n, device, report.devices.get(device.id)) for n, device in enumerate(report.pilot.devices, start=1)]
    if len(rows) <= MOST_DEVICES:
        return rows
    named = {device for result in report.results for device in result.kpi.devices}
    first = [row for row in rows if row.device.id in named][:MOST_DEVICES]
    rest = sorted(
        (row for row in rows if row not in first),
        key=lambda row: row.completeness.longest_gap if row.completeness else 0,
        reverse=True,
    )
    return sorted([*first, *rest[: MOST_DEVICES - len(first)]], key=lambda row: row.number)
