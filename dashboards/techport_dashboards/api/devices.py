"""Devices, their streams, and the quantities that every pilot can measure."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, Field

from techport_dashboards.api.schema import Listed, Title, listed, title
from techport_dashboards.api.words import (
    DeviceName,
    PilotName,
    QuantityName,
    Unit,
)
from techport_dashboards.query.areas import area
from techport_dashboards.query.names import devices_inside
from techport_dashboards.query.parameters import ChoiceParameters, PageParameters
from techport_dashboards.query.question import select
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import OPEN_DATA, needs
from techport_dashboards.web.dependencies import Services, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.quantities import Quantity, builtin
from techport_pilots.registry.registry import DeviceInfo, StreamInfo
from techport_storage.model import Selection, Stream

router = APIRouter(route_class=SlotRoute)


class Position(BaseModel):
    lat: float = Field(description="Degrees north (WGS 84).")
    lon: float = Field(description="Degrees east (WGS 84).")
    height: float | None = Field(None, description="Metres above the ground.")


class DeviceItem(BaseModel):
    pilot: PilotName
    id: DeviceName
    title: Title
    described: bool = Field(description="Named by the pilot's definition; otherwise only seen.")
    kind: str | None = Field(description="Maker's model, or what it is.")
    group: str | None = Field(description="Group within the pilot, for KPIs and controls.")
    tags: dict[str, str] = Field({}, description="What else readings are grouped by, such as a street.")
    position: Position | None = Field(description="Where it stands now; null where nobody has said.")
    quantities: list[str] = Field(description="What it measures.")


class StreamItem(BaseModel):
    pilot: PilotName
    device: DeviceName
    quantity: QuantityName
    title: Title
    unit: Unit
    interval: float | None = Field(description="Expected seconds between readings.")
    learned_interval: float | None = Field(
        None, description="Seconds between readings as messages show it, where the definition says none."
    )
    range: tuple[float, float] | None = Field(description="Valid values, in the unit.")
    described: bool = Field(description="Named by the pilot's definition; otherwise only seen.")
    kind: str = Field(description="level, count, direction, state or energy-level (decibels): how it is averaged.")


class QuantityItem(BaseModel):
    name: QuantityName
    title: Title
    unit: Unit
    unit_label: str = Field(description="The unit as people read it.")
    kind: str = Field(description="level, count, direction, state or energy-level (decibels): how it is averaged.")
    group: str = Field(description="The field it belongs to: air, noise, water, mobility, ...")
    range: tuple[float, float] | None = Field(description="Valid values, in the unit.")
    cf_name: str | None = Field(description="Standard name of the CF conventions.")
    eea_code: int | None = Field(description="Code in the vocabulary of the European Environment Agency.")


@router.get("/devices", tags=["devices"], response_model=Listed[DeviceItem])
@needs("see", anybody=OPEN_DATA)
def devices(services: ServicesDep, viewer: ViewerDep, choice: ChoiceParameters) -> dict[str, Any]:
    """The devices, by pilot and name, with where they are and what they measure."""
    catalogue, chosen, streams = _chosen(services, viewer, choice)
    inside = area(choice.bbox, choice.within, choice.near)
    measures: dict[tuple[str, str], list[str]] = {}
    for stream in streams:
        measures.setdefault(stream[:2], []).append(stream.quantity)
    items = [
        device_item(device, measures.get(key, []))
        for key, device in catalogue.devices.items()
        if device.pilot in (chosen.pilots or ())
        and (chosen.devices is None or device.device in chosen.devices)
        and (chosen.quantities is None or key in measures)
        and (inside is None or (device.position is not None and inside(device.position)))
    ]
    return listed(items, ("pilot", "id"), choice, services.settings)


@router.get("/streams", tags=["streams"], response_model=Listed[StreamItem])
@needs("see", anybody=OPEN_DATA)
def streams(services: ServicesDep, viewer: ViewerDep, choice: ChoiceParameters) -> dict[str, Any]:
    """The streams: what each device measures, in which unit, how often. Those not described yet are there too."""
    catalogue, _, chosen = _chosen(services, viewer, choice)
    items = [stream_item(catalogue.stream(stream)) for stream in chosen]
    return listed(items, ("pilot", "device", "quantity"), choice, services.settings)


@router.get("/quantities", tags=["streams"], response_model=Listed[QuantityItem])
@needs("see", anybody=OPEN_DATA)
def quantities(services: ServicesDep, page: PageParameters) -> dict[str, Any]:
    """The vocabulary that every pilot has: names, titles, units, valid ranges, codes of other vocabularies."""
    items = sorted((quantity_item(quantity) for quantity in builtin()), key=lambda item: str(item["name"]))
    return listed(items, ("name",), page, services.settings)


def _chosen(services: Services, viewer: Viewer, choice: Any) -> tuple[RegistryView, Selection, list[Stream]]:
    """The streams that the parameters choose, described or only found in the store, sorted."""
    catalogue = services.registry_cache.current()
    chosen = select(choice.question(), viewer, catalogue, services.store)
    inside = area(choice.bbox, choice.within, choice.near)
    inside_devices = None if inside is None else devices_inside(catalogue, inside)
    by_name = msgspec.structs.replace(chosen, streams=None)
    described = {
        info.stream for info in catalogue.chosen(by_name) if inside_devices is None or info.stream[:2] in inside_devices
    }
    return catalogue, chosen, sorted(described | set(services.store.streams(chosen)))


def device_item(device: DeviceInfo, quantities: list[str]) -> dict[str, Any]:
    at = device.position
    return {
        "pilot": device.pilot,
        "id": device.device,
        "title": title(device.title),
        "described": device.described,
        "kind": device.kind,
        "group": device.group,
        "tags": device.tags,
        "position": {"lat": at.lat, "lon": at.lon, "height": at.height} if at else None,
        "quantities": quantities,
    }


def stream_item(view: StreamInfo) -> dict[str, Any]:
    return {
        **view.stream._asdict(),
        "title": title(view.title),
        "unit": view.unit or "",
        "interval": None if view.interval_us is None else view.interval_us / 1e6,
        "learned_interval": None if view.learned_interval_us is None else view.learned_interval_us / 1e6,
        "range": view.range,
        "described": view.described,
        "kind": view.kind,
    }


def quantity_item(quantity: Quantity) -> dict[str, Any]:
    names = ("name", "unit", "unit_label", "kind", "group", "range", "cf_name", "eea_code")
    return {name: getattr(quantity, name) for name in names} | {"title": title(quantity.title)}
