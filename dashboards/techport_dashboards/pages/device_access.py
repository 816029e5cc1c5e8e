"""Passwords of devices: one device's, which can be issued, rotated and revoked, and those of many boxes as a file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services.device_changes import described_device, problems_of
from techport_dashboards.services.device_credentials import (
    OVERLAPS,
    Box,
    NewPassword,
    issue_for_many,
    password_file,
)
from techport_dashboards.services.onboarding import broker_for_devices
from techport_dashboards.web.access import NO_STORE, needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep, address_of
from techport_dashboards.web.forms import Form, FormDep
from techport_dashboards.web.paths import device_path
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render, see_other
from techport_pilots.access.credentials import Credentials, Issued
from techport_pilots.devices.onboarding import TAKES_EFFECT
from techport_pilots.errors import DefinitionError, WrongState
from techport_pilots.i18n import N_
from techport_pilots.model import PilotDefinition
from techport_storage import clock

router = APIRouter(route_class=SlotRoute)

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
    action = form.get("what")
    if action == "revoke":
        form.confirmed()
        credentials.revoke(pilot.id, device, form.raw("username"))
        return see_other(request, device_path(pilot.id, device, "/credentials"))
    overlap = OVERLAPS.get(form.get("overlap"))
    if action == "rotate" and overlap is not None:
        issued = credentials.rotate(pilot.id, device, viewer.who, overlap)
    elif action == "issue":
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
        registry, replace = services.registry_cache.registry, form.get("replace") == "yes"
        passwords = issue_for_many(registry, pilot, _boxes(form), viewer, like=form.get("like"), replace=replace)
    except (DefinitionError, WrongState, Problem) as error:
        page = _pilot_page(request, services, pilot, refused=(form, error))
        page.status_code = 422
        return page
    time.sleep(TAKES_EFFECT)
    return _file(request, services, pilot, passwords)


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
        credentials=sorted(Credentials(database).all(pilot.id, device), key=lambda credential: -credential.at),
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
    newest = {credential.device: credential for credential in sorted(credentials, key=lambda issued: issued.at)}
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


def _boxes(form: Form) -> Iterator[Box]:
    """The devices that the lines of the form name, and their titles where they have any."""
    for line in form.raw("devices").splitlines():
        cells = line.replace("\t", ";").replace(",", ";").split(";")
        name, title = cells[0].strip(), ";".join(cells[1:]).strip()[:200]
        if name:
            yield Box(name, title)


def _file(request: Request, services: Services, pilot: PilotDefinition, passwords: Sequence[NewPassword]) -> Response:
    language = language_of(request)
    broker = broker_for_devices(services.settings.broker, request.url.hostname)
    text = password_file(
        passwords,
        [language.gettext(column) for column in COLUMNS],
        title=lambda device: language.text(device.title, device.id) if device.title else "",
        page=lambda device: f"{address_of(request)}{device_path(pilot.id, device)}",
        broker="" if broker is None else str(broker.address),
        # Spreadsheets in Norwegian split at semicolons, as their decimal sign is a comma.
        delimiter=";" if language.code == "nb" else ",",
    )
    name = f"{pilot.id}-passwords-{clock.now_datetime():%Y-%m-%d}.csv"
    headers = {**NO_STORE, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, 200, headers, "text/csv; charset=utf-8")
