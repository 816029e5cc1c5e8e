"""What was ignored of messages, what devices say that they are, and making readings of what was ignored."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from techport_dashboards.api.quarantine import DefinitionChanged, ReplayState
from techport_dashboards.api.schema import Body
from techport_dashboards.api.words import DeviceName, Instant
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.query.times import iso
from techport_dashboards.services.ignored import map_ignored
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.accounting import ignored
from techport_pilots.model import FieldMapping

router = APIRouter(prefix="/pilots/{pilot}", tags=["accounting"], route_class=SlotRoute)


class IgnoredItem(BaseModel):
    """One key of one device, or whole messages of it, that are no reading by a rule."""

    device: DeviceName
    key: str = Field(description="As the messages call it; empty: whole messages that the source does not read.")
    rule: str = Field(description="Why: text, missing, property, ...", examples=["text"])
    parts: int = Field(description="How often it came.")
    value: str | None = Field(description="The last value, in JSON, or how the last message begins; null for none.")
    first: Instant
    last: Instant
    messages: int = Field(
        description="Messages of the device that are kept, to be reprocessed once the definition reads it."
    )

    @classmethod
    def of(cls, line: ignored.IgnoredKey) -> IgnoredItem:
        return cls(
            device=line.device,
            key=line.key,
            rule=line.rule,
            parts=line.parts,
            value=line.value,
            first=iso(line.first),
            last=iso(line.last),
            messages=line.messages,
        )


class PropertyItem(BaseModel):
    """A text that says what a device is."""

    key: str = Field(description="As the messages call it.", examples=["firmware_version"])
    value: str = Field(description="The last one.")
    time: Instant

    @classmethod
    def of(cls, property_: ignored.DeviceProperty) -> PropertyItem:
        return cls(key=property_.key, value=property_.value, time=iso(property_.at))


class IgnoredParameters(Parameters):
    device: str | None = Field(None, max_length=200, description="Only this device.")


class ReprocessedDevice(Body):
    device: str | None = Field(
        None, max_length=200, description="Only this device; all of the pilot unless given.", examples=["ila-skole"]
    )


class IgnoredMeaning(Body):
    """What an ignored key means."""

    device: str = Field(max_length=200, examples=["ila-skole"])
    key: str = Field(min_length=1, max_length=200, description="As the messages call it.", examples=["hatch"])
    quantity: str = Field(
        max_length=200, description="Of the vocabulary, or one of the pilot's own.", examples=["door_open"]
    )
    unit: str | None = Field(None, max_length=40, description="Of the values; as the message says unless given.")
    factor: float = Field(1.0, description="Values are multiplied by it first.")
    text: bool = Field(False, description="Read numbers that are sent as text.")
    words: dict[str, float] = Field({}, description="Of a state: what words mean, beside the common ones.")
    why: str = Field("", max_length=500)


@router.get("/ignored", response_model=list[IgnoredItem])
@needs("see-raw")
def ignored_parts(
    services: ServicesDep, pilot: PilotDep, parameters: Annotated[IgnoredParameters, Query()]
) -> list[IgnoredItem]:
    """What was ignored of messages, by device and key, the most frequent first."""
    database = services.registry_cache.registry.database
    return [IgnoredItem.of(line) for line in ignored.ignored_keys(database, pilot.id, parameters.device)]


@router.post("/ignored/replay", status_code=202, response_model=ReplayState)
@needs("edit")
def reprocess(services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, chosen: ReprocessedDevice) -> ReplayState:
    """Reprocess the kept messages of which something was ignored, after the definition has been changed; an ingest
    worker does it within a second or two. /quarantine/replays gives the result.
    """
    database = services.registry_cache.registry.database
    return ReplayState.of(ignored.request_replay(database, pilot.id, chosen.device, viewer.who))


@router.post("/ignored/mapping", response_model=DefinitionChanged)
@needs("edit")
def map_key(services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, meaning: IgnoredMeaning) -> DefinitionChanged:
    """State in the pilot's definition what an ignored key means, and reprocess the kept messages of the device."""
    mapping = FieldMapping(
        quantity=meaning.quantity, unit=meaning.unit, factor=meaning.factor, text=meaning.text, words=meaning.words
    )
    registry = services.registry_cache.registry
    version, number = map_ignored(registry, pilot.id, meaning.device, meaning.key, mapping, meaning.why, viewer)
    return DefinitionChanged(version=version, replay=number)


@router.get("/devices/{device}/properties", response_model=list[PropertyItem])
@needs("see-raw")
def properties(services: ServicesDep, pilot: PilotDep, device: str) -> list[PropertyItem]:
    """What the device says that it is: firmware, serial number, model."""
    database = services.registry_cache.registry.database
    return [PropertyItem.of(property_) for property_ in ignored.properties_of(database, pilot.id, device)]
