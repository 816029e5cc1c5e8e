"""Sets a Report as one HTML file that needs nothing else: styles and pictures are inside, and it prints to A4."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from techport_pilots.definition.kinds import kind_named
from techport_pilots.definition.privacy import licence_of
from techport_pilots.evaluation.messages import adjusted_for
from techport_pilots.i18n import Message
from techport_pilots.model import DeviceDefinition, PilotDefinition
from techport_pilots.quality.completeness import Completeness
from techport_pilots.quantities import vocabulary_of
from techport_pilots.registry.erasures import Erasure
from techport_pilots.reports import plots
from techport_pilots.reports.build import Report, Result, year_of
from techport_pilots.reports.kpi_text import describe_kpi
from techport_pilots.reports.plan_text import with_plan
from techport_pilots.reports.privacy_text import privacy_lines
from techport_pilots.reports.text import Words
from techport_pilots.time import micros_of


class Row(NamedTuple):
    """A line of the table of devices; `number` is also the device's on the map."""

    number: int
    device: DeviceDefinition
    completeness: Completeness | None


MOST_DEVICES = 40  # rows of the quality table; more would bury the rest


def page(report: Report, language: str, ground: plots.Ground | None = None, back: str | None = None) -> str:
    """The report in nb or en; `ground` is what to draw under the map. The same report gives the same bytes.

    `back` is the address of the pilot's page, for a report that is read there; a file that is sent has none.
    """
    words = Words("nb" if language in ("nb", "nn", "no") else "en", report.pilot.timezone)
    interim = report.state in ("draft", "running")
    kind = words("Interim report") if interim else words("Report")
    return _template().render(
        kind=kind,
        interim=interim,
        back=back,
        owner=_owner(report.pilot),
        running_line=" · ".join(
            [words.text(report.pilot.title, report.pilot.id), kind, words.date_time(report.made), _author(report.pilot)]
        ),
        report=report,
        pilot=report.pilot,
        words=words,
        kind_named=kind_named,
        results=[_shown(report, result, words) for result in report.results],
        timeline=Markup(plots.timeline(report, words)) if report.pilot.phases else "",
        map=Markup(plots.chart_map(report.pilot, ground, words)),
        ground=ground,
        devices=_devices(report),
        privacy=privacy_lines(report, words),
        erasure_text=lambda erasure: _erasure(erasure, words),
        licence=licence_of(report.pilot),
        citation=citation(report, words),
        method=words.language.message(Message("report.method")),
        quality=words.language.message(Message("report.quality")),
        micros=lambda time: micros_of(time, report.pilot.timezone),
    )


def _owner(pilot: PilotDefinition) -> str:
    """Whose report it is: the organisations that own the pilot."""
    return ", ".join(organisation.name for organisation in pilot.organisations if organisation.role == "owner")


def _author(pilot: PilotDefinition) -> str:
    """Who answers for it, as the foot of each sheet names them."""
    contact = pilot.contact.name if pilot.contact else ""
    return ", ".join(name for name in (contact, _owner(pilot)) if name) or "techport"


def css_text(text: str) -> Markup:
    """A text as it stands between quotes in a style sheet: whatever is in it, it ends neither the string nor the sheet
    (CSS Syntax Level 3, 4.3.7)."""
    return Markup("".join(c if c.isalnum() or c in " .,:;()·–-" else f"\\{ord(c):x} " for c in text))


def citation(report: Report, words: Words) -> str:
    """Whose data, when, what, under which licence: as a reference list wants it."""
    pilot = report.pilot
    owners = [organisation.name for organisation in pilot.organisations if organisation.role == "owner"] or [
        organisation.name for organisation in pilot.organisations[:1]
    ]
    who = ", ".join(owners) or (pilot.contact.name if pilot.contact else "techport")
    title = words.text(pilot.title, pilot.id)
    span = f"{words.date(report.start)} – {words.last_day(report.end)}"
    edition = f"{words('data set')}, {span}, {words('version')} {report.version}"
    named = licence_of(pilot)
    licence = f" {named}." if named else ""
    return f"{who} ({year_of(report)}): {title} ({pilot.id}), {edition}.{licence}"


@cache
def _template() -> Template:
    templates = Environment(
        loader=PackageLoader("techport_pilots.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["css_text"] = css_text
    return templates.get_template("report.html")


def _shown(report: Report, result: Result, words: Words) -> dict[str, object]:
    """A KPI as the template needs it: in words, in numbers and drawn."""
    answer = with_plan(report.pilot, result.kpi, result.evaluation, report.plan)
    text = describe_kpi(report.pilot, result.kpi, answer, words.language)
    return {
        "title": text.title,
        "answer": answer,
        "verdict": text.verdict,
        "verdict_text": text.verdict_text,
        "text": text,
        "days_after": answer.compared == "days",
        "before": text.before,
        "after": text.after,
        "after_interval": text.after_interval,
        "change": text.change,
        "change_interval": text.change_interval,
        "percent": text.percent,
        "target": text.target or "–",
        "completeness": " / ".join(text.completeness),
        "plot": Markup(plots.days(report, result, words, text.unit, text.scale)),
        "curve": any(day.expected is not None for day in result.days),
        "control": [*result.kpi.control] if any(day.control is not None for day in result.days) else [],
        "effect": Markup(plots.effect(result, words, text.scale)),
        "adjusted_for": adjusted_for(answer.adjusted_for, vocabulary_of(report.pilot), words.language),
    }


def _erasure(erasure: Erasure, words: Words) -> str:
    """When and why readings were erased: no readings are not readings that never came."""
    values = {"date": words.date(erasure.done or erasure.begun), "n": words.count(erasure.rows)}
    if erasure.partial:
        return words("Erased on {date} on request: {n} readings of a device or a period.", **values)
    return words("Erased on {date} by retention: {n} readings. What is shown is what was found before.", **values)


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
