"""Passwords of devices: which there are, second ones while the old ones go on, and those of many boxes at once."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from techport_dashboards.api.schema import Body, Listed, listed
from techport_dashboards.api.words import Instant, MaybeInstant
from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import PageParameters, Parameters
from techport_dashboards.query.times import iso
from techport_dashboards.services.device_changes import described_device
from techport_dashboards.services.device_credentials import (
    MOST_AT_ONCE,
    OVERLAPS,
    Box,
    issue_for_many,
    password_file,
)
from techport_dashboards.services.onboarding import broker_for_devices
from techport_dashboards.web.access import NO_STORE, needs
from techport_dashboards.web.audit_trail import note
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep, address_of
from techport_dashboards.web.paths import device_path
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.access.credentials import Credential, Credentials, Issued
from techport_pilots.devices.onboarding import TAKES_EFFECT

router = APIRouter(prefix="/pilots/{pilot}", tags=["onboarding"], route_class=SlotRoute)

COLUMNS = ("device", "title", "username", "password", "topic", "broker", "page")
CSV = "text/csv; charset=utf-8"
AS_CSV: dict[int | str, dict[str, Any]] = {201: {"content": {CSV: {"schema": {"type": "string"}}}}}


class CredentialItem(BaseModel):
    """A credential in force. Its password is known to nobody but the device."""

    device: str = Field(description="Whose it is.")
    username: str = Field(description="Name at the broker, and for /push.")
    at: Instant
    who: str = Field(description="Who issued it.")
    until: MaybeInstant


class IssuedCredential(BaseModel):
    """The password is in this answer and nowhere else."""

    device: str = Field(description="Whose it is.")
    username: str = Field(description="Name at the broker, and for /push.")
    password: str = Field(description="Shown this once.")
    topic: str = Field(description="Where readings go.")
    broker: str | None = Field(description="HOST:PORT as this server knows it; null: it knows none.")


class RotatedCredential(IssuedCredential):
    """A second credential of the device. `ends`: when what it had before ends; null where it had none."""

    ends: MaybeInstant


class IssuedCredentials(BaseModel):
    items: list[IssuedCredential] = Field(description="In the order in which the devices were named.")


class Rotation(Body):
    overlap: Literal["PT1H", "P1D", "P7D", "P30D"] = Field(
        "P7D", description="How long the old password goes on.", examples=["P7D"]
    )


class BoxRequest(Body):
    id: str = Field(min_length=1, max_length=200, examples=["box-001"], description="Id of the device, known or new.")
    title: str = Field("", max_length=200, description="What people call a new device.")


class BulkRequest(Body):
    devices: list[BoxRequest] = Field(
        min_length=1, max_length=MOST_AT_ONCE, description="Each gets a password.", examples=[[{"id": "box-001"}]]
    )
    like: str = Field(
        "", max_length=200, description="Device that new ones are described like: kind, interval, streams."
    )
    replace: bool = Field(False, description="Replace passwords that devices have; these must learn the new ones.")


class RevokeParameters(Parameters):
    username: str | None = Field(
        None,
        max_length=500,
        description="Only the credential of this name; none: all of the device.",
        examples=["school-air/ila-skole~2"],
    )


class BulkParameters(Parameters):
    format: Literal["json", "csv"] = Field("json", description="json, or a file for spreadsheets.", examples=["csv"])


@router.get("/credentials", response_model=Listed[CredentialItem])
@needs("devices")
def credentials(services: ServicesDep, pilot: PilotDep, page: PageParameters) -> dict[str, Any]:
    """The credentials of the pilot's devices that are in force, without their passwords. `until`: another one has taken
    its place, and it ends by itself."""
    in_force = Credentials(services.registry_cache.registry.database).all(pilot.id)
    items = sorted((_item(credential) for credential in in_force), key=lambda item: str(item["username"]))
    return listed(items, ("username",), page, services.settings)


@router.post("/credentials", status_code=201, response_model=IssuedCredentials, responses=AS_CSV)
@needs("devices")
def issue_many(
    request: Request,
    services: ServicesDep,
    viewer: ViewerDep,
    pilot: PilotDep,
    asked: BulkRequest,
    parameters: Annotated[BulkParameters, Query()],
) -> Response:
    """Give many devices a password each, all of them or none; new devices are added in one version of the definition.
    Answers when the broker takes them. The passwords are in this answer and nowhere else.
    """
    registry = services.registry_cache.registry
    note(request, about=f"devices={len(asked.devices)}")
    boxes = [Box(box.id.strip(), box.title.strip()) for box in asked.devices]
    passwords = issue_for_many(registry, pilot, boxes, viewer, like=asked.like, replace=asked.replace)
    time.sleep(TAKES_EFFECT)
    broker = _broker(services, request)
    if parameters.format == "csv":
        text = password_file(
            passwords,
            COLUMNS,
            title=lambda device: device.title.get("en") if device.title else "",
            page=lambda device: f"{address_of(request)}{device_path(pilot.id, device)}",
            broker=broker or "",
        )
        return Response(text, 201, NO_STORE, CSV)
    items = [_issued(password.device.id, password.issued, broker) for password in passwords]
    return JSONResponse({"items": items}, 201, NO_STORE)


@router.post("/devices/{device}/credentials", status_code=201, response_model=RotatedCredential)
@needs("devices")
def rotate(
    request: Request,
    services: ServicesDep,
    response: Response,
    viewer: ViewerDep,
    pilot: PilotDep,
    device: str,
    asked: Rotation,
) -> dict[str, Any]:
    """Give a device a second credential, with a user name of its own. What it had goes on until `ends`, then ends by
    itself: no reading is lost while the device learns the new one. The password is shown this once.
    """
    described_device(pilot, device)
    credentials = Credentials(services.registry_cache.registry.database)
    issued = credentials.rotate(pilot.id, device, viewer.who, OVERLAPS[asked.overlap])
    ends = max(
        (credential.until for credential in credentials.all(pilot.id, device) if credential.until is not None),
        default=None,
    )
    time.sleep(TAKES_EFFECT)
    response.headers.update(NO_STORE)
    return {**_issued(device, issued, _broker(services, request)), "ends": None if ends is None else iso(ends)}


@router.delete("/devices/{device}/credential", status_code=204)
@needs("devices")
def revoke(
    services: ServicesDep, pilot: PilotDep, device: str, parameters: Annotated[RevokeParameters, Query()]
) -> Response:
    """Take a device's credentials back, or one of them: their connections end within a second."""
    registry = services.registry_cache.registry
    if not Credentials(registry.database).revoke(pilot.id, device, parameters.username):
        raise Problem("not-found", "{name} has no password.", name=device[:80])
    return Response(status_code=204)


def _broker(services: Services, request: Request) -> str | None:
    place = broker_for_devices(services.settings.broker, request.url.hostname)
    return None if place is None else str(place.address)


def _issued(device: str, issued: Issued, broker: str | None) -> dict[str, Any]:
    return {
        "device": device,
        "username": issued.username,
        "password": issued.password,
        "topic": issued.topic,
        "broker": broker,
    }


def _item(credential: Credential) -> dict[str, Any]:
    return {
        "device": credential.device,
        "username": credential.username,
        "at": iso(credential.at),
        "who": credential.who,
        "until": None if credential.until is None else iso(credential.until),
    }
