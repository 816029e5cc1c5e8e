"""Bringing devices in over HTTP: add one, watch its first messages, claim one that nobody knows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from techport_dashboards.api.messages import RawMessage, SeenMessage
from techport_dashboards.api.schema import Body
from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.query.times import iso
from techport_dashboards.services.message_formats import MessageFormat
from techport_dashboards.services.onboarding import (
    broker_for_devices,
    claim_unknown_device,
    last_values,
    provision_device,
)
from techport_dashboards.web.access import NO_STORE, needs
from techport_dashboards.web.dependencies import PilotDep, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.accounting.message_tap import MessageTap
from techport_pilots.devices.explanation import Understood
from techport_pilots.devices.onboarding import (
    TAKES_EFFECT,
    WATCHED_FOR,
    NewDevice,
    UnknownDevice,
    unknown_devices,
)
from techport_pilots.devices.snippets import snippets

router = APIRouter(prefix="/pilots/{pilot}", tags=["onboarding"], route_class=SlotRoute)


class NewDeviceRequest(Body):
    id: str = Field(max_length=64, examples=["box-1"], description="Its name in topics: letters, digits and . _ -")
    title: str = Field("", max_length=200, examples=["The crane on the quay"])
    kind: str = Field("", max_length=200, examples=["ESP32 with SPS30"])
    format: MessageFormat = Field("native", description="What it sends.")
    quantities: list[str] = Field([], max_length=100, examples=[["pm10", "air_temperature"]])
    interval: str = Field("", max_length=32, examples=["PT5M"], description="Expected time between readings.")
    replace: bool = Field(False, description="Replace the credential that it has; the device must learn the new one.")


class CodeToPaste(BaseModel):
    title: str
    text: str


class AddedDevice(BaseModel):
    """The password is in this answer and nowhere else."""

    device: str
    version: int | None = Field(description="Of the pilot's definition; null: the device was known already.")
    username: str
    password: str
    topic: str
    broker: str | None = Field(description="HOST:PORT as this server knows it; null: it knows none.")
    snippets: list[CodeToPaste]


class ClaimDevice(Body):
    name: str = Field(max_length=200, examples=["A8:17:58:FF:FE:04:A1:B2"], description="As its messages call it.")
    device: str | None = Field(None, max_length=64, description="Id, new or in the definition; none: from the name.")


class ClaimedDevice(BaseModel):
    device: str
    version: int
    entries: int = Field(description="Entries of the quarantine that are replayed.")
    replay: int = Field(description="Number of the replay.")


class UnknownDeviceItem(BaseModel):
    """A device that sends and that nobody registered, with its last message."""

    device: str
    messages: int
    first: str
    last: str
    title: str = Field(description="The name that people gave it, where its message says one.")
    kind: str = Field(description="Its model or profile, where its message says one.")
    values: dict[str, float] = Field(description="What its last message would become, by quantity.")
    message: RawMessage

    @classmethod
    def of(cls, unknown_device: UnknownDevice, values: Sequence[Understood]) -> UnknownDeviceItem:
        return cls(
            device=unknown_device.device,
            title=unknown_device.title,
            kind=unknown_device.kind,
            values={value.quantity: value.value for value in values},
            messages=unknown_device.messages,
            first=iso(unknown_device.first),
            last=iso(unknown_device.last),
            message=RawMessage.of(unknown_device.topic, unknown_device.payload),
        )


class MessagesParameters(Parameters):
    after: int = Field(0, ge=0, lt=2**63, description="`id` of the last message that you have.")


@router.post("/devices", status_code=201, response_model=AddedDevice)
@needs("devices")
def add(
    request: Request,
    services: ServicesDep,
    response: Response,
    viewer: ViewerDep,
    pilot: PilotDep,
    asked: NewDeviceRequest,
) -> AddedDevice:
    """Add a device, or give one that is known a credential. Answers when the broker takes it and its messages are
    watched: publish, then look at /messages. The password is shown this once.
    """
    registry = services.registry_cache.registry
    provisioned = provision_device(registry, pilot.id, _device_of(asked), viewer, replace=asked.replace)
    time.sleep(TAKES_EFFECT)
    response.headers.update(NO_STORE)
    issued, broker = provisioned.credential, broker_for_devices(services.settings.broker, request.url.hostname)
    code_snippets = [] if broker is None else snippets(issued, broker.address, provisioned.format, provisioned.quantity)
    return AddedDevice(
        device=provisioned.device,
        version=provisioned.version,
        username=issued.username,
        password=issued.password,
        topic=issued.topic,
        broker=None if broker is None else str(broker.address),
        snippets=[CodeToPaste(title=snippet.title, text=snippet.text) for snippet in code_snippets],
    )


class StreamsParameters(Parameters):
    stream: list[str] = Field(
        [],
        max_length=1000,
        description="Names of streams; none: all that are not described.",
        examples=[["name_17"]],
    )


class ForgottenStreams(BaseModel):
    streams: list[str] = Field(description="Names that were deleted. Their readings stay in the store.")


@router.delete("/devices/{device}/streams", response_model=ForgottenStreams)
@needs("devices")
def forget_streams(
    services: ServicesDep,
    viewer: ViewerDep,
    pilot: PilotDep,
    device: str,
    parameters: Annotated[StreamsParameters, Query()],
) -> ForgottenStreams:
    """Delete streams of the device that the pilot's definition does not describe, so that other names find room. A name
    that is sent again becomes a stream again.
    """
    registry = services.registry_cache.registry
    streams = registry.forget_streams(pilot.id, device, parameters.stream or None)
    if not streams:
        raise Problem("not-found", "{name} has no such stream that is not described.", name=device[:80])
    return ForgottenStreams(streams=[stream.quantity for stream in streams])


@router.post("/devices/{device}/watch", status_code=204)
@needs("devices")
def watch(services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, device: str) -> Response:
    """Keep the device's messages to be looked at, for an hour from now."""
    registry = services.registry_cache.registry
    MessageTap(registry.database).watch(pilot.id, device, WATCHED_FOR)
    return Response(status_code=204)


@router.get("/devices/{device}/messages", response_model=list[SeenMessage])
@needs("see-raw")
def messages(
    services: ServicesDep, pilot: PilotDep, device: str, parameters: Annotated[MessagesParameters, Query()]
) -> list[SeenMessage]:
    """The last messages of a watched device, the oldest first: raw, what was understood, and what became of it."""
    registry = services.registry_cache.registry
    tapped = MessageTap(registry.database).messages(pilot.id, device, parameters.after)
    return [SeenMessage.of(message) for message in tapped]


@router.get("/unknown-devices", response_model=list[UnknownDeviceItem])
@needs("see-raw")
def unknown(services: ServicesDep, pilot: PilotDep) -> list[UnknownDeviceItem]:
    """Devices that send to the pilot and that its definition does not know, with their last message."""
    registry = services.registry_cache.registry
    unknown = unknown_devices(registry.database, pilot.id)
    values = last_values(services.explain, pilot, unknown)
    return [UnknownDeviceItem.of(unknown_device, values.get(unknown_device.device, ())) for unknown_device in unknown]


@router.post("/unknown-devices/claim", status_code=202, response_model=ClaimedDevice)
@needs("devices")
def make_known(services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, asked: ClaimDevice) -> ClaimedDevice:
    """Make an unknown device known, and have replayed what it sent before."""
    registry = services.registry_cache.registry
    claimed = claim_unknown_device(registry, pilot.id, asked.name, viewer, asked.device or None)
    return ClaimedDevice(device=claimed.device, version=claimed.version, entries=claimed.entries, replay=claimed.replay)


def _device_of(asked: NewDeviceRequest) -> NewDevice:
    return NewDevice(
        id=asked.id,
        title=asked.title,
        kind=asked.kind,
        format=asked.format,
        quantities=asked.quantities,
        interval=asked.interval,
    )
