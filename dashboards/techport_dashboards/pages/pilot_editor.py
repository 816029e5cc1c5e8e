"""Writing a pilot in the browser: a new one, one that is there, its YAML, and an example to begin with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.pages.device_form import INTERVALS, place_map, quantities
from techport_dashboards.pages.pilot_form import (
    DIFFERS,
    MISSING,
    MOST_SHOWN,
    RETENTION,
    PilotForm,
    Section,
    anchor,
    day_of_intervention,
    document_from,
    form_of,
    form_sent,
    limit_row,
    part_of,
    placed,
    with_stand_ins,
)
from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services import message_formats
from techport_dashboards.services.definitions import create_pilot, free_id, import_pilot, may_create, merged
from techport_dashboards.services.power_estimates import Estimate, estimates
from techport_dashboards.viewer import Viewer
from techport_dashboards.web import audit_trail
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep
from techport_dashboards.web.forms import DefinitionFormDep, Form, FormDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render, see_other
from techport_pilots.definition.checks import slug
from techport_pilots.definition.limits import BuiltIn, built_ins
from techport_pilots.definition.load import check_document, document_of, parse_definition, to_yaml
from techport_pilots.errors import DefinitionError, Finding, UnknownPilot, WrongState
from techport_pilots.i18n import N_, Language, Message
from techport_pilots.model import Event, Exclusion, PilotDefinition, Text
from techport_pilots.quantities import Quantity
from techport_pilots.registry import events, registration
from techport_pilots.registry.events import Added
from techport_pilots.time import interval_micros
from techport_storage import clock

router = APIRouter(route_class=SlotRoute)

NEW = PilotDefinition(id="", title=Text(), question=Text(), devices=[])
"""What the form of a new pilot is empty of."""
FIRST_ROWS: Sequence[tuple[Section, dict[str, Any]]] = (
    ("phases", {"kind": "baseline"}),
    ("phases", {"kind": "intervention"}),
    ("kpis", {}),
    ("devices", {}),
)


LASTINGS = ("PT5M", "PT15M", "PT30M", "PT1H", "PT3H", "PT8H", "P1D")
"""How long a limit can be crossed before people are told."""
RETENTION_YEARS = (1, 2, 3, 5, 10)
STREAM_RETENTIONS = ("P1D", "P7D", "P30D", "P90D", "P180D")
"""How long readings of a quantity are kept while the pilot goes on, in days; years are offered beside them."""
GROUP_NAMES = {
    "air": N_("Air"),
    "noise": N_("Noise"),
    "weather": N_("Weather"),
    "mobility": N_("Mobility"),
    "people": N_("People"),
    "energy": N_("Energy"),
    "water": N_("Water"),
    "indoor": N_("Indoors"),
    "waste": N_("Waste"),
    "device": N_("The device itself"),
    "own": N_("Of this pilot"),
}
"""Groups of the vocabulary."""


class EditorParameters(Parameters):
    saved: int | None = Field(None, ge=0, lt=2**31, description="The version that was saved.")
    version: int | None = Field(None, ge=1, lt=2**31, description="An earlier version of the definition to show.")
    lang: str | None = Field(None, max_length=8)


@dataclass
class Told:
    """What the page says of what was sent: messages by field, and estimates where they were asked for."""

    wrong: dict[str, list[Message]] = field(default_factory=dict)
    conflicts: Sequence[str] = ()
    estimates: Sequence[Estimate] | None = None
    saved: int | None = None
    focus: str = ""
    changed: set[str] = field(default_factory=set)
    """Parts of the form in which something was written that has not been saved."""

    def add(self, name: str, message: Message) -> None:
        if message not in self.wrong.setdefault(name, []):  # the same may be so of many devices
            self.wrong[name].append(message)


@router.get("/new-pilot")
@needs("edit")
def new_pilot(
    request: Request, services: ServicesDep, viewer: ViewerDep, _: Annotated[EditorParameters, Query()]
) -> Response:
    """The form of a new pilot."""
    form = form_of(NEW, new=True)
    _add_first_rows(form)
    return _page(request, services, viewer, None, form, Told())


@router.post("/new-pilot")
@needs("edit")
def create(request: Request, services: ServicesDep, viewer: ViewerDep, form: DefinitionFormDep) -> Response:
    """Make the pilot a draft, or change the form as one of its buttons says."""
    _refuse_who_may_not_create(viewer)
    texts = form_sent(form, None)
    messages = Told()
    if _rows_changed(form, texts, messages):
        return _page(request, services, viewer, None, texts, messages)
    texts.without_blank_rows()
    document, findings = document_from(texts, None)
    registry = services.registry_cache.registry
    if not texts.get("id"):
        document["id"] = free_id(registry, document["id"])
    pilot = _checked(document, findings, texts, messages)
    if pilot is not None and form.get("do") == "estimate":
        messages.estimates = _estimates(services, viewer, pilot)
    elif pilot is not None:
        try:
            audit_trail.note(request, pilots=[pilot.id])
            create_pilot(registry, services.people, viewer, pilot, to_yaml(pilot))
        except DefinitionError as error:
            _place(error.findings, texts, messages)
        except WrongState as error:
            messages.add("id", error.message)
        else:
            services.identities.forget()
            return see_other(request, f"/pilots/{pilot.id}/edit", saved="1")
    _add_first_rows(texts)
    return _page(request, services, viewer, None, texts, messages)


@router.get("/pilots/{pilot}/edit")
@needs("edit")
def edit_page(
    request: Request,
    services: ServicesDep,
    viewer: ViewerDep,
    pilot: PilotDep,
    parameters: Annotated[EditorParameters, Query()],
) -> Response:
    """The form of a pilot, as its newest version has it."""
    registry = services.registry_cache.registry
    version, written = registry.written(pilot.id)
    recorded = _recorded(services, pilot.id)
    form = form_of(_with_recorded(written, recorded), own=written)
    for row, number in _recorded_rows(written, recorded):
        form.texts[f"{row}.recorded"] = str(number)
    form.texts |= {"base": str(version), "seen": str(version), "recorded": _numbers_of(recorded)}
    if pilot.id in services.registry_cache.current().assumed_open:
        form.texts["data_class"] = "open"  # as it is, though nobody has written so
    return _page(request, services, viewer, pilot, form, Told(saved=parameters.saved))


@router.post("/pilots/{pilot}/edit")
@needs("edit")
def save(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: DefinitionFormDep
) -> Response:
    """Make the form a new version of the definition, or change it as one of its buttons says.

    What somebody else changed since the form was made stays, unless both changed the same part: then the page says so
    first.
    """
    registry = services.registry_cache.registry
    current_version, current = registry.written(pilot.id)
    base = _base(services, pilot.id, form)
    texts = form_sent(form, base)
    recorded = [
        entry for entry in events.added(registry.database, pilot.id) if str(entry.id) in form.get("recorded").split(",")
    ]
    _find_recorded(texts, base, recorded)
    own, base = base, _with_recorded(base, recorded)
    texts.texts |= {name: form.get(name) for name in ("base", "why")}
    texts.texts |= {"seen": str(current_version), "recorded": _numbers_of(recorded)}
    messages = Told(changed=texts.differs_from(form_of(base, own=own)))
    if _rows_changed(form, texts, messages):
        return _page(request, services, viewer, pilot, texts, messages)
    texts.without_blank_rows()
    document, findings = document_from(texts, base)
    document, conflicts = merged(document, document_of(base), document_of(_with_recorded(current, recorded)))
    definition = _checked(document, findings, texts, messages)
    if definition is not None and form.get("do") == "estimate":
        messages.estimates = _estimates(services, viewer, definition)
    elif conflicts and form.number("seen") != current_version:
        messages.conflicts = conflicts
    elif definition is not None:
        try:
            written, removed = _without_recorded(definition, recorded)
            version = registry.import_pilot(
                written,
                to_yaml(written),
                viewer.who,
                form.get("why"),
                may_see=viewer.may_see,
                replaces=current_version,
            )
        except DefinitionError as error:
            _place(error.findings, texts, messages)
        except WrongState as error:
            messages.add("why" if error.message.code == "lifecycle.why-plan" else "", error.message)
        else:
            for entry in removed:
                events.take_back(registry.database, pilot, entry.id)
            saved = version > current_version or removed
            return see_other(request, f"/pilots/{pilot.id}/edit", saved=str(version if saved else 0))
    return _page(request, services, viewer, pilot, texts, messages)


@router.get("/pilots/{pilot}/definition")
@needs("edit")
def definition_page(
    request: Request,
    services: ServicesDep,
    viewer: ViewerDep,
    pilot: PilotDep,
    parameters: Annotated[EditorParameters, Query()],
) -> Response:
    """The definition as YAML, to read, copy, change and download, with its versions."""
    registry = services.registry_cache.registry
    try:
        written = pilot if parameters.version is None else registry.written(pilot.id, parameters.version)[1]
    except UnknownPilot:
        raise Problem("not-found", "There is no such version.", parameter="version") from None
    return _yaml_page(request, services, pilot, to_yaml(written), shown=parameters.version, saved=parameters.saved)


@router.get("/pilots/{pilot}/definition.yaml")
@needs("edit")
def download(pilot: PilotDep) -> Response:
    """The definition as a file."""
    headers = {"Content-Disposition": f'attachment; filename="{pilot.id}.yaml"', "Cache-Control": "no-store"}
    return Response(to_yaml(pilot), 200, headers, "application/yaml; charset=utf-8")


@router.post("/pilots/{pilot}/definition")
@needs("edit")
def save_yaml(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: DefinitionFormDep
) -> Response:
    """Make the text a new version of the definition."""
    text, why = _yaml_text(form), form.get("why")
    registry = services.registry_cache.registry
    try:
        definition = parse_definition(text)
        if definition.id != pilot.id:
            raise Problem("bad-parameter", "The id of a pilot stays: {pilot}.", pilot=pilot.id, parameter="id")
        version = registry.import_pilot(definition, text, viewer.who, why, may_see=viewer.may_see)
    except (DefinitionError, WrongState, Problem) as error:
        return _yaml_page(request, services, pilot, text, why=why, wrong=error)
    return see_other(request, f"/pilots/{pilot.id}/definition", saved=str(version))


@router.get("/import-pilot")
@needs("edit")
def import_page(
    request: Request, services: ServicesDep, viewer: ViewerDep, _: Annotated[EditorParameters, Query()]
) -> Response:
    """Where the text of a definition file is given."""
    return _yaml_page(request, services, None, "")


@router.post("/import-pilot")
@needs("edit")
def import_(request: Request, services: ServicesDep, viewer: ViewerDep, form: DefinitionFormDep) -> Response:
    """Make the text a new pilot, or a new version of one that the viewer may edit."""
    _refuse_who_may_not_create(viewer)
    text, why = _yaml_text(form), form.get("why")
    try:
        pilot = parse_definition(text)
        audit_trail.note(request, pilots=[pilot.id])
        import_pilot(services.registry_cache.registry, services.people, viewer, pilot, text, why)
    except (DefinitionError, WrongState) as error:
        return _yaml_page(request, services, None, text, why=why, wrong=error)
    services.identities.forget()
    return see_other(request, f"/pilots/{pilot.id}")


@router.post("/example-pilot")
@needs("edit")
def add_example(request: Request, services: ServicesDep, viewer: ViewerDep, form: FormDep) -> Response:
    """Make one of the examples a draft."""
    _refuse_who_may_not_create(viewer)
    for text in services.settings.examples():
        example = parse_definition(text)
        if example.id == form.get("example"):
            audit_trail.note(request, pilots=[example.id])
            create_pilot(services.registry_cache.registry, services.people, viewer, example, text, "example")
            services.identities.forget()
            return see_other(request, f"/pilots/{example.id}")
    raise Problem("not-found", "There is no such example.", parameter="example")


def _add_first_rows(form: PilotForm) -> None:
    """Rows to begin with, in sections without any."""
    empty = [section for section, count in form.rows.items() if not count]
    for section, values in FIRST_ROWS:
        if section in empty:
            form.add_row(section, values)


def _refuse_who_may_not_create(viewer: Viewer) -> None:
    if not may_create(viewer):
        raise Problem("forbidden", "New pilots are created by administrators, and by people who edit a pilot.")


def _with_recorded(pilot: PilotDefinition, recorded: Sequence[Added]) -> PilotDefinition:
    """The definition with what was recorded while the pilot ran behind its own events and exclusions."""
    return msgspec.structs.replace(
        pilot,
        events=[*pilot.events, *(entry.what for entry in recorded if isinstance(entry.what, Event))],
        exclusions=[*pilot.exclusions, *(entry.what for entry in recorded if isinstance(entry.what, Exclusion))],
    )


def _without_recorded(pilot: PilotDefinition, recorded: Sequence[Added]) -> tuple[PilotDefinition, list[Added]]:
    """The definition without what stays recorded beside it; and what was changed, and so is in the definition now, or
    removed."""
    stays = [entry.what for entry in recorded if entry.what in pilot.events or entry.what in pilot.exclusions]
    written = msgspec.structs.replace(
        pilot,
        events=[event for event in pilot.events if event not in stays],
        exclusions=[exclusion for exclusion in pilot.exclusions if exclusion not in stays],
    )
    return written, [entry for entry in recorded if entry.what not in stays]


def _recorded(services: Services, pilot: str) -> list[Added]:
    """What was recorded while the pilot ran and its form shows: the last events and exclusions."""
    added = events.added(services.registry_cache.registry.database, pilot)
    shown = [[entry for entry in added if isinstance(entry.what, kind)][-MOST_SHOWN:] for kind in (Event, Exclusion)]
    return [entry for several in shown for entry in several]


def _recorded_rows(own: PilotDefinition, recorded: Sequence[Added]) -> Iterator[tuple[str, int]]:
    """The rows of what was recorded, behind those of the definition, each with its number."""
    for section, kind, first in (("events", Event, len(own.events)), ("exclusions", Exclusion, len(own.exclusions))):
        for place, entry in enumerate(entry for entry in recorded if isinstance(entry.what, kind)):
            yield f"{section}[{first + place}]", entry.id


def _find_recorded(texts: PilotForm, own: PilotDefinition, recorded: Sequence[Added]) -> None:
    """Say of each row of something recorded what it was. One that somebody else removed meanwhile is gone here, too."""
    places = {str(number): row for row, number in _recorded_rows(own, recorded)}
    sections: tuple[Section, ...] = ("events", "exclusions")
    for section in sections:
        for index in reversed(texts.indices(section)):
            number = texts.get(f"{section}[{index}].recorded")
            if number in places:
                texts.texts[f"{section}[{index}].was"] = places[number].partition("[")[2].rstrip("]")
            elif number:
                texts.remove_row(f"{section}[{index}]")


def _numbers_of(recorded: Sequence[Added]) -> str:
    return ",".join(str(entry.id) for entry in recorded)


def _base(services: Services, pilot: str, form: Form) -> PilotDefinition:
    """The version that the form was made from. Raises Problem where it names none."""
    number = form.number("base")
    try:
        if number is None:
            raise Problem("bad-parameter", "The form is not complete.", parameter="base")
        return services.registry_cache.registry.written(pilot, number)[1]
    except UnknownPilot:
        raise Problem("bad-parameter", "There is no such version.", parameter="base") from None


def _rows_changed(form: Form, texts: PilotForm, messages: Told) -> bool:
    """Add or remove the row that a button of the form names; whether it was such a button."""
    do, _, target = form.get("do").partition(":")
    if do == "add" and target in texts.rows:
        section: Section = target
        row = texts.add_row(section, limit_row(form.get("limit")) if section == "kpis" else None)
        messages.focus = anchor(row)
        return True
    if do == "remove":
        texts.remove_row(target)
        messages.focus = target.partition("[")[0]
        return True
    return False


def _checked(
    document: dict[str, Any], findings: Sequence[Finding], texts: PilotForm, messages: Told
) -> PilotDefinition | None:
    """The definition, by the check that every file passes; None, and what is wrong is told, where it is none."""
    problems = list(findings)
    definition: PilotDefinition | None = None
    try:
        definition = check_document(document)
    except DefinitionError as error:
        problems += error.findings
        if any(finding.problem.code == MISSING for finding in error.findings):
            problems += _of_the_rest(document, error.findings)
    if not problems:
        return definition
    _place(problems, texts, messages, document)
    return None


def _of_the_rest(document: dict[str, Any], findings: Sequence[Finding]) -> list[Finding]:
    """What else is wrong, beside what is missing."""
    missing = {finding.field for finding in findings if finding.problem.code == MISSING}
    already_told = [(finding.field, finding.problem) for finding in findings]
    try:
        check_document(with_stand_ins(document, findings))
    except DefinitionError as error:
        return [
            finding
            for finding in error.findings
            if finding.field not in missing and (finding.field, finding.problem) not in already_told
        ]
    return []


def _place(
    findings: Sequence[Finding], texts: PilotForm, messages: Told, document: dict[str, Any] | None = None
) -> None:
    for name, several in placed(findings, texts, document).items():
        for finding in several:
            if name == "area" and finding.remedy.code == "definition.area-pairs":  # as the file has it
                finding = msgspec.structs.replace(finding, remedy=Message("definition.area-line.remedy"))
            if finding.problem.code == MISSING and name:
                messages.add(name, Message("definition.missing.in-form"))
            elif name:
                messages.add(name, finding.message)
            else:
                messages.add(name, Message("definition.finding-in", {"field": finding.field, **finding.message.params}))


def _estimates(services: Services, viewer: Viewer, pilot: PilotDefinition) -> list[Estimate]:
    others = [other for other in services.registry_cache.current().pilots.values() if viewer.may_see(other.id)]
    return estimates(services.store, pilot, others, clock.now())


def _page(
    request: Request, services: Services, viewer: Viewer, pilot: PilotDefinition | None, form: PilotForm, told: Told
) -> Response:
    opened = {part_of(name) for name in told.wrong} | ({part_of(told.focus)} if told.focus else set()) | told.changed
    if told.estimates is not None:
        opened.add("kpis")
    if pilot is None:
        opened |= {"question", "phases", "kpis", "devices"}
    audit_trail.note(request, who="")  # nothing was changed: buttons that add rows and estimates come here, too
    registry = services.registry_cache.registry
    database = registry.database
    state = None if pilot is None else registry.state(pilot.id)
    own, others = quantities(pilot or NEW)
    listed = {
        quantity.name: quantity
        for quantity in (*own, *(quantity for several in others.values() for quantity in several))
    }
    own_rows = _quantity_rows(form, own)
    language = language_of(request)
    page = render(
        request,
        "pilot_edit.html",
        language,
        pilot=pilot,
        form=form,
        told=told,
        anchor=anchor,
        state=state,
        registered=None if pilot is None else registration.registration_of(database, pilot.id),
        binding=pilot is not None and registration.is_binding(database, pilot, state != "draft"),
        own_quantities=own,
        other_quantities=others,
        written_quantities=own_rows,
        quantity_names=frozenset(listed) | {name for name, _ in own_rows},
        quantity_titles={name: language.text(quantity.title) for name, quantity in listed.items()},
        group_names=GROUP_NAMES,
        unit_of=lambda name: listed[name].unit_label if name in listed else "",
        limits=_limits(),
        opened=opened,
        wrong_of={part: _wrong_of(told, part) for part in {part_of(name) for name in told.wrong}},
        formats=message_formats.labels(),
        retention_fields={quantity: RETENTION + quantity for quantity in form.measured},
        stream_retentions=[
            ("", language.gettext("not earlier")),
            *((code, _length(code, language)) for code in STREAM_RETENTIONS),
            *((f"P{n}Y", language.ngettext("{n} year", "{n} years", n)) for n in RETENTION_YEARS[:3]),
        ],
        differs=DIFFERS,
        day_of_intervention=day_of_intervention(form),
        intervals=[("", language.gettext("not known")), *((code, _length(code, language)) for code in INTERVALS)],
        lastings=[
            ("", language.gettext("one reading is enough")),
            *((code, _length(code, language)) for code in LASTINGS),
        ],
        ground=place_map(services.settings, NEW if pilot is None else pilot),
        retentions=[
            ("", language.gettext("no date is set")),
            *((f"P{n}Y", language.ngettext("{n} year", "{n} years", n)) for n in RETENTION_YEARS),
        ],
    )
    if told.wrong or told.conflicts:
        page.status_code = 409 if told.conflicts and not told.wrong else 422
    return page


def _wrong_of(told: Told, part: str) -> int:
    return sum(len(messages) for name, messages in told.wrong.items() if part_of(name) == part)


def _quantity_rows(form: PilotForm, own: Sequence[Quantity]) -> list[tuple[str, str]]:
    """Name and title of quantities that the form defines and nothing measures yet, so that KPIs can be of them."""
    listed = {quantity.name for quantity in own}
    rows = []
    for index in form.indices("quantities"):
        row = f"quantities[{index}]"
        title = form.get(f"{row}.title.en") or form.get(f"{row}.title.nb")
        name = form.get(f"{row}.name") or (slug(title, "_") if title else "")
        if name and name not in listed:
            rows.append((name, title or name))
    return rows


def _length(interval: str, language: Language) -> str:
    return language.duration(interval_micros(interval))


def _limits() -> dict[str, list[BuiltIn]]:
    """Limit values and guidelines by the quantity that they are of."""
    by_quantity: dict[str, list[BuiltIn]] = {}
    for limit in built_ins().values():
        by_quantity.setdefault(limit.kpi.quantity, []).append(limit)
    return by_quantity


def _yaml_text(form: Form) -> str:
    return form.raw("text").replace("\r\n", "\n")


def _yaml_page(
    request: Request,
    services: Services,
    pilot: PilotDefinition | None,
    text: str,
    *,
    why: str = "",
    wrong: DefinitionError | WrongState | Problem | None = None,
    shown: int | None = None,
    saved: int | None = None,
) -> Response:
    registry = services.registry_cache.registry
    page = render(
        request,
        "pilot_yaml.html",
        language_of(request),
        pilot=pilot,
        text=text,
        why=why,
        findings=wrong.findings if isinstance(wrong, DefinitionError) else [],
        message=wrong.message if isinstance(wrong, WrongState) else None,
        problem=wrong if isinstance(wrong, Problem) else None,
        history=[] if pilot is None else registry.history(pilot.id),
        shown=shown,
        saved=saved,
        state=None if pilot is None else registry.state(pilot.id),
    )
    if wrong is not None:
        page.status_code = 422
    return page
