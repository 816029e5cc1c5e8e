"""A device is edited: what it is and measures, where it stands, moved, retired. Each is a version of the definition."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.pages.device_form import INTERVALS, place_map, quantities
from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.query.question import local_moment
from techport_dashboards.services.device_changes import (
    CannotSave,
    described_device,
    digest,
    move_device,
    retire_device,
    save_device,
    streams_of,
    undescribed,
)
from techport_dashboards.services.photos import newest_photo
from techport_dashboards.services.positions import DEGREES, UTM, Written, position_of
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep
from techport_dashboards.web.forms import Form, FormDep
from techport_dashboards.web.paths import device_path
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render, see_other
from techport_pilots.access.credentials import Credentials
from techport_pilots.devices.photos import LONGEST_SIDE
from techport_pilots.model import DeviceDefinition, PilotDefinition, Text
from techport_pilots.quantities import vocabulary_of
from techport_pilots.registry.deployments import deployments
from techport_pilots.time import InvalidDuration, interval_micros
from techport_storage import clock

router = APIRouter(route_class=SlotRoute)


class EditParameters(Parameters):
    saved: int | None = Field(None, ge=1, lt=2**31, description="The version that was saved.")
    lang: str | None = Field(None, max_length=8)


@router.get("/pilots/{pilot}/devices/{device}/edit")
@needs("devices")
def edit_page(
    request: Request,
    services: ServicesDep,
    pilot: PilotDep,
    device: str,
    parameters: Annotated[EditParameters, Query()],
) -> Response:
    """The forms, with what the definition says now."""
    described = described_device(pilot, device)
    return _page(request, services, pilot, described, _filled(described), saved=parameters.saved)


@router.post("/pilots/{pilot}/devices/{device}/edit")
@needs("devices")
def save(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, device: str, form: FormDep
) -> Response:
    """Save what the form says as a new version."""
    described = described_device(pilot, device)
    registry = services.registry_cache.registry
    changed, problems = _device_of(form, described, pilot)
    mapped = form.all("mapped")
    sent = undescribed(pilot, registry.streams(pilot.id, device))
    meanings = [
        key_sent for key_sent in sent if key_sent.key in mapped and key_sent.meaning not in (None, key_sent.key)
    ]
    keys = [*(stream.quantity for stream in changed.streams), *(str(key_sent.meaning) for key_sent in meanings)]
    changed = msgspec.structs.replace(changed, streams=streams_of(described, keys))
    try:
        version = save_device(
            registry, pilot, changed, viewer, was=form.get("was"), meanings=meanings, problems=problems
        )
    except CannotSave as error:
        return _page(request, services, pilot, described, form, wrong=error.problems)
    return see_other(request, device_path(pilot.id, device, "/edit"), saved=str(version))


@router.post("/pilots/{pilot}/devices/{device}/move")
@needs("devices")
def move(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, device: str, form: FormDep
) -> Response:
    """Say that the device stands elsewhere since some time: an event, at which its series are split."""
    described = described_device(pilot, device)
    problems: list[Problem] = []
    position, time = None, None
    try:
        position = position_of(_written(form))
        if position is None:
            problems.append(Problem("bad-parameter", "Where is it now?", parameter="north", example="63.4305, 10.3951"))
    except Problem as error:
        problems.append(error)
    try:
        time = local_moment("time", form.get("time"), pilot.timezone)
    except Problem as error:
        problems.append(error)
    try:
        if position is None or time is None:
            raise CannotSave(problems)
        moved = (time, position, form.get("text")[:1000])
        move_device(services.registry_cache.registry, pilot, device, moved, viewer)
    except CannotSave as error:
        return _page(request, services, pilot, described, _filled(described), wrong=error.problems, moving=form)
    return see_other(request, device_path(pilot.id, device))


@router.post("/pilots/{pilot}/devices/{device}/retire")
@needs("devices")
def retire(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, device: str, form: FormDep
) -> Response:
    """Expect nothing of the device any more, or expect it again."""
    described = described_device(pilot, device)
    registry = services.registry_cache.registry
    try:
        since = None
        if form.get("what") != "again":
            since = _time("time", form.get("time"), pilot.timezone)
        revoke = form.get("revoke") == "yes"
        version = retire_device(registry, pilot, device, since, viewer, revoke=revoke)
    except CannotSave as error:
        return _page(request, services, pilot, described, _filled(described), wrong=error.problems)
    return see_other(request, device_path(pilot.id, device, "/edit"), saved=str(version))


def _time(parameter: str, text: str, zone: str) -> dt.datetime:
    try:
        return local_moment(parameter, text, zone)
    except Problem as error:
        raise CannotSave([error]) from error


def _written(form: Form) -> Written:
    return Written(form.get("system") or DEGREES, form.get("north"), form.get("east"), form.get("height"))


def _device_of(form: Form, device: DeviceDefinition, pilot: PilotDefinition) -> tuple[DeviceDefinition, list[Problem]]:
    """The device that the form describes, and what in the form cannot be read."""
    words, problems = vocabulary_of(pilot), []
    position = device.position
    try:
        position = position_of(_written(form))
    except Problem as error:
        problems.append(error)
    tags = device.tags
    if form.get("tags") != _tags_text(device.tags):
        try:
            tags = _tags_of(form.get("tags"))
        except Problem as error:
            problems.append(error)
    more = [key.strip() for key in form.get("more").replace(";", ",").split(",") if key.strip()]
    keys = [*form.all("quantity"), *(words.meaning(key) or key for key in more)]
    changed = msgspec.structs.replace(
        device,
        title=_text(form.get("nb"), form.get("en"), 200),
        kind=form.get("kind")[:200] or None,
        group=form.get("group")[:100] or None,
        tags=tags,
        note=_text(form.get("note"), form.get("note"), 2000),
        interval=form.get("interval") or None,
        position=position,
        streams=streams_of(device, keys),
    )
    if device.note is not None and form.get("note") == _note(device.note):
        changed = msgspec.structs.replace(changed, note=device.note)  # as it is, in both languages
    return changed, problems


def _text(nb: str, en: str, most: int) -> Text | None:
    """One language is enough; it stands in for the other."""
    nb, en = nb[:most], en[:most]
    return Text(nb=nb, en=en) if nb or en else None


def _tags_text(tags: Mapping[str, str]) -> str:
    """As the form shows them: "street: Elgeseter gate; side: east"."""
    return "; ".join(f"{name}: {value}" for name, value in tags.items())


def _tags_of(text: str) -> dict[str, str]:
    """What was written. Raises Problem for a part that has no name or no value."""
    tags: dict[str, str] = {}
    for part in text.split(";"):
        name, _, value = (word.strip() for word in part.partition(":"))
        if name and value:
            tags[name] = value
        elif part.strip():
            raise Problem(
                "bad-parameter",
                "{text} is not a tag: write a name, a colon and a value.",
                text=repr(part.strip()[:80]),
                parameter="tags",
                example="street: Elgeseter gate",
            )
    return tags


def _note(note: Text | None) -> str:
    return "" if note is None else note.nb or note.en


def _filled(device: DeviceDefinition) -> Form:
    """The form as the definition fills it in."""
    title, position = device.title or Text(), device.position
    fields = {
        "nb": title.nb,
        "en": title.en,
        "kind": device.kind or "",
        "group": device.group or "",
        "note": _note(device.note),
        "tags": _tags_text(device.tags),
        "interval": device.interval or "",
        "system": DEGREES,
        "north": "" if position is None else f"{position.lat:.10g}",
        "east": "" if position is None else f"{position.lon:.10g}",
        "height": "" if position is None or position.height is None else f"{position.height:.10g}",
    }
    listed = [stream.quantity for stream in device.streams]
    return Form({**{name: [value] for name, value in fields.items()}, "quantity": listed})


def _page(
    request: Request,
    services: Services,
    pilot: PilotDefinition,
    device: DeviceDefinition,
    filled: Form,
    *,
    wrong: Sequence[Problem] = (),
    moving: Form | None = None,
    saved: int | None = None,
) -> Response:
    registry = services.registry_cache.registry
    own, others = quantities(pilot)
    words = vocabulary_of(pilot)
    sent = undescribed(pilot, registry.streams(pilot.id, device.id))
    listed = [stream.quantity for stream in device.streams]
    ticked = filled.all("quantity")
    offered = [quantity.name for group in (own, *others.values()) for quantity in group]
    shown = list(dict.fromkeys([*listed, *(key for key in ticked if key not in offered)]))
    choices = [code for code in INTERVALS if code != device.interval]
    places = deployments(pilot, device)
    now = times.moment(clock.now(), times.zone_named(pilot.timezone)).replace(tzinfo=None, second=0, microsecond=0)
    page = render(
        request,
        "device_edit.html",
        language_of(request),
        pilot=pilot,
        device=device,
        filled=filled,
        moving=moving or Form({"time": [now.isoformat(timespec="minutes")], "system": [DEGREES]}),
        wrong=wrong,
        saved=saved,
        was=digest(device),
        shown=[(key, words.lookup(key)) for key in shown],
        ticked=ticked,
        sent=[(key_sent, words.lookup(key_sent.meaning) if key_sent.meaning else None) for key_sent in sent],
        own_quantities=[quantity for quantity in own if quantity.name not in shown],
        other_quantities=others,
        intervals=[(code, interval_micros(code)) for code in choices],
        own_interval=_length(device.interval),
        systems=(DEGREES, *UTM),
        moved=places[1:],
        passwords=len(Credentials(registry.database).all(pilot.id, device.id)),
        now=now.isoformat(timespec="minutes"),
        takes_photos=services.settings.photos is not None,
        picture=newest_photo(services.settings, registry.database, pilot.id, device.id),
        longest_side=LONGEST_SIDE,
        ground=place_map(services.settings, pilot),
    )
    page.status_code = 422 if wrong else 200
    return page


def _length(interval: str | None) -> int | None:
    try:
        return None if interval is None else interval_micros(interval)
    except InvalidDuration:
        return None
