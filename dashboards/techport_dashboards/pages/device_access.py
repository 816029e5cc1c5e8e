"""Passwords of devices: one device's, which can be issued, rotated and revoked, and those of many boxes as a file."""

from __future__ import annotations

import csv
import io
import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services.device_changes import described_device, problems_of
from techport_dashboards.services.onboarding import broker_for_devices
from techport_dashboards.web.access import NO_STORE, needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep, address_of
from techport_dashboards.web.forms import Form, FormDep
from techport_dashboards.web.paths import device_path
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render, see_other
from techport_pilots.access.credentials import Credentials, Issued
from techport_pilots.devices.onboarding import TAKES_EFFECT, provision_devices
from techport_pilots.errors import DefinitionError, WrongState
from techport_pilots.i18n import N_
from techport_pilots.model import DeviceDefinition, PilotDefinition, Text
from techport_storage import clock
from techport_storage.csv_cells import harmless
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import Micros

router = APIRouter(route_class=SlotRoute)

OVERLAPS: dict[str, Micros] = {"PT1H": HOUR, "P1D": DAY, "P7D": 7 * DAY, "P30D": 30 * DAY}
"""How long the old password goes on beside a new one."""
MOST_AT_ONCE = 1_000
COLUMNS = (
    N_("device"),
    N_("name"),
    N_("username"),
    N_("password"),
    N_("topic"),
    N_("MQTT broker"),
    N_("device page"),
)


class AccessParameters(Parameters):
    lang: str | None = Field(None, max_length=8)


@router.get("/pilots/{pilot}/devices/{device}/credentials")
@needs("devices")
def device_credentials(
    request: Request, services: ServicesDep, pilot: PilotDep, device: str, _: Annotated[AccessParameters, Query()]
) -> Response:
    """The device's passwords, without the passwords themselves."""
    return _page(request, services, pilot, device)


@router.post("/pilots/{pilot}/devices/{device}/credentials")
@needs("devices", about=("what", "overlap", "username"))
def change_credentials(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, device: str, form: FormDep
) -> Response:
    """Issue a password, give the device a second one while the old one goes on for a while, or revoke one."""
    described_device(pilot, device)
    credentials = Credentials(services.registry_cache.registry.database)
    what = form.get("what")
    if what == "revoke":
        form.confirmed()
        credentials.revoke(pilot.id, device, form.raw("username"))
        return see_other(request, device_path(pilot.id, device, "/credentials"))
    overlap = OVERLAPS.get(form.get("overlap"))
    if what == "rotate" and overlap is not None:
        issued = credentials.rotate(pilot.id, device, viewer.who, overlap)
    elif what == "issue":
        if credentials.all(pilot.id, device):
            form.confirmed()  # what the device uses now ends
        issued = credentials.issue(pilot.id, device, viewer.who)
    else:
        raise Problem("bad-parameter", "The form is not complete.", parameter="what")
    time.sleep(TAKES_EFFECT)  # what the page shows must work by the time it is read
    page = _page(request, services, pilot, device, issued)
    page.headers.update(NO_STORE)
    return page


@router.get("/pilots/{pilot}/credentials")
@needs("devices")
def credentials_page(
    request: Request, services: ServicesDep, pilot: PilotDep, _: Annotated[AccessParameters, Query()]
) -> Response:
    """Which devices have a password, and a form for passwords of many."""
    return _pilot_page(request, services, pilot)


@router.post("/pilots/{pilot}/credentials")
@needs("devices", about=("replace",))
def issue_many(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep) -> Response:
    """Give many devices a password each, new ones too. The file is the only place where the passwords are."""
    try:
        devices = _devices_of(form, pilot)
        _refuse_replacing(services, pilot, devices, form)
        registry = services.registry_cache.registry
        issued = provision_devices(registry, pilot.id, devices, viewer.who, may_see=viewer.may_see)
    except (DefinitionError, WrongState, Problem) as error:
        page = _pilot_page(request, services, pilot, refused=(form, error))
        page.status_code = 422
        return page
    time.sleep(TAKES_EFFECT)
    return _file(request, services, pilot, devices, issued)


def _page(
    request: Request, services: Services, pilot: PilotDefinition, device: str, issued: Issued | None = None
) -> Response:
    database = services.registry_cache.registry.database
    return render(
        request,
        "device_credentials.html",
        language_of(request),
        pilot=pilot,
        device=described_device(pilot, device),
        credentials=sorted(Credentials(database).all(pilot.id, device), key=lambda one: -one.at),
        issued=issued,
        overlaps=OVERLAPS,
        broker=broker_for_devices(services.settings.broker, request.url.hostname),
    )


def _pilot_page(
    request: Request,
    services: Services,
    pilot: PilotDefinition,
    *,
    refused: tuple[Form, DefinitionError | WrongState | Problem] | None = None,
) -> Response:
    filled, wrong = refused or (None, None)
    credentials = Credentials(services.registry_cache.registry.database).all(pilot.id)
    newest = {credential.device: credential for credential in sorted(credentials, key=lambda one: one.at)}
    without = [device for device in pilot.devices if device.id not in newest]
    return render(
        request,
        "credentials.html",
        language_of(request),
        pilot=pilot,
        newest=newest,
        filled=filled or Form({"devices": ["\n".join(device.id for device in without)]}),
        wrong=[] if wrong is None else problems_of(wrong),
        must_replace=isinstance(wrong, Problem) and wrong.parameter == "replace",
        broker=broker_for_devices(services.settings.broker, request.url.hostname),
    )


def _devices_of(form: Form, pilot: PilotDefinition) -> list[DeviceDefinition]:
    """The devices that the lines of the form name, each once; new ones described like the one that was chosen."""
    known = {device.id: device for device in pilot.devices}
    like = known.get(form.get("like"))
    devices: dict[str, DeviceDefinition] = {}
    for line in form.raw("devices").splitlines():
        cells = line.replace("\t", ";").replace(",", ";").split(";")
        name, title = cells[0].strip(), ";".join(cells[1:]).strip()[:200]
        if name:
            new = DeviceDefinition(
                id=name[:200],
                title=Text(nb=title, en=title) if title else None,
                kind=None if like is None else like.kind,
                interval=None if like is None else like.interval,
                streams=[] if like is None else like.streams,
            )
            devices[name] = known.get(name, new)
    if not devices:
        raise Problem("bad-parameter", "Write the id of a device on each line.", parameter="devices", example="box-001")
    if len(devices) > MOST_AT_ONCE:
        raise Problem("bad-parameter", "At most {n} devices at once.", n=MOST_AT_ONCE, parameter="devices")
    return list(devices.values())


def _refuse_replacing(services: Services, pilot: PilotDefinition, devices: list[DeviceDefinition], form: Form) -> None:
    """Raise Problem where a device has a password that nobody said shall be replaced."""
    if form.get("replace") == "yes":
        return
    credentials = Credentials(services.registry_cache.registry.database).all(pilot.id)
    having = {credential.device for credential in credentials}
    replaced = [device.id for device in devices if device.id in having]
    if replaced:
        names = ", ".join(replaced[:20]) + (" …" if len(replaced) > 20 else "")
        raise Problem(
            "wrong-state", "These devices already have a password: {names}.", names=names, parameter="replace"
        )


def _file(
    request: Request,
    services: Services,
    pilot: PilotDefinition,
    devices: list[DeviceDefinition],
    issued: list[Issued],
) -> Response:
    language = language_of(request)
    broker = broker_for_devices(services.settings.broker, request.url.hostname)
    text = io.StringIO()
    # Spreadsheets in Norwegian split at semicolons, as their decimal sign is a comma.
    writer = csv.writer(text, delimiter=";" if language.code == "nb" else ",", lineterminator="\r\n")
    writer.writerow([language.gettext(column) for column in COLUMNS])
    for device, credential in zip(devices, issued, strict=True):
        title = language.text(device.title, device.id) if device.title else ""
        page = f"{address_of(request)}{device_path(pilot.id, device.id)}"
        where = "" if broker is None else str(broker.address)
        cells = (device.id, title, credential.username, credential.password, credential.topic, where, page)
        writer.writerow([harmless(cell) for cell in cells])
    name = f"{pilot.id}-passwords-{clock.now_datetime():%Y-%m-%d}.csv"
    headers = {**NO_STORE, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response("\ufeff" + text.getvalue(), 200, headers, "text/csv; charset=utf-8")
