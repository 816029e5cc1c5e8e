"""What there is: pilots, devices, streams, quantities."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter

from techport_dashboards.api.schema import DeviceItem, Listed, PilotDetail, PilotItem, QuantityItem, StreamItem
from techport_dashboards.query.areas import area
from techport_dashboards.query.names import devices_inside
from techport_dashboards.query.paging import paged
from techport_dashboards.query.parameters import ChoiceParameters, PageParameters
from techport_dashboards.query.question import select
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.model import PilotDefinition, Text
from techport_pilots.quantities import Quantity, builtin
from techport_pilots.registry.registry import DeviceInfo, StreamInfo
from techport_storage.model import Selection, Stream

router = APIRouter(route_class=SlotRoute)


@router.get("/pilots", tags=["pilots"], response_model=Listed[PilotItem])
def pilots(services: ServicesDep, viewer: ViewerDep, page: PageParameters) -> dict[str, Any]:
    """The pilots, by name."""
    catalogue = services.registry_cache.current()
    visible = [pilot for pilot in catalogue.pilots.values() if viewer.may_see(pilot.id)]
    return _listed([pilot_item(pilot) for pilot in visible], ("id",), page, services)


@router.get("/pilots/{pilot}", tags=["pilots"], response_model=PilotDetail)
def pilot(services: ServicesDep, pilot: PilotDep) -> dict[str, Any]:
    """One pilot: its question, phases, and what it measures."""
    catalogue = services.registry_cache.current()
    return pilot_item(pilot) | {
        "description": title(pilot.description),
        "hypothesis": title(pilot.hypothesis),
        "phases": [
            {"name": p.name, "kind": p.kind, "start": p.start.isoformat(), "end": p.end.isoformat()}
            for p in pilot.phases
        ],
        "quantities": sorted({stream.quantity for stream in catalogue.streams if stream.pilot == pilot.id}),
    }


@router.get("/devices", tags=["devices"], response_model=Listed[DeviceItem])
def devices(services: ServicesDep, viewer: ViewerDep, choice: ChoiceParameters) -> dict[str, Any]:
    """The devices, by pilot and name, with where they are and what they measure."""
    catalogue, chosen, streams = _chosen(services, viewer, choice)
    inside = area(choice.bbox, choice.within, choice.near)
    measures: dict[tuple[str, str], list[str]] = {}
    for stream in streams:
        measures.setdefault(stream[:2], []).append(stream.quantity)
    found = [
        device_item(device, measures.get(key, []))
        for key, device in catalogue.devices.items()
        if device.pilot in (chosen.pilots or ())
        and (chosen.devices is None or device.device in chosen.devices)
        and (chosen.quantities is None or key in measures)
        and (inside is None or (device.position is not None and inside(device.position)))
    ]
    return _listed(found, ("pilot", "id"), choice, services)


@router.get("/streams", tags=["streams"], response_model=Listed[StreamItem])
def streams(services: ServicesDep, viewer: ViewerDep, choice: ChoiceParameters) -> dict[str, Any]:
    """The streams: what each device measures, in which unit, how often. Those not described yet are there too."""
    catalogue, _, found = _chosen(services, viewer, choice)
    return _listed([stream_item(catalogue.stream(s)) for s in found], ("pilot", "device", "quantity"), choice, services)


@router.get("/quantities", tags=["streams"], response_model=Listed[QuantityItem])
def quantities(services: ServicesDep, page: PageParameters) -> dict[str, Any]:
    """The vocabulary that every pilot has: names, titles, units, valid ranges, codes of other vocabularies."""
    items = sorted((quantity_item(quantity) for quantity in builtin()), key=lambda item: str(item["name"]))
    return _listed(items, ("name",), page, services)


def _chosen(services: Services, viewer: Viewer, choice: Any) -> tuple[RegistryView, Selection, list[Stream]]:
    """The streams that the parameters choose, described or only found in the store, sorted."""
    catalogue = services.registry_cache.current()
    chosen = select(choice.question(), viewer, catalogue, services.store)
    inside = area(choice.bbox, choice.within, choice.near)
    here = None if inside is None else devices_inside(catalogue, inside)
    by_name = msgspec.structs.replace(chosen, streams=None)
    described = {info.stream for info in catalogue.chosen(by_name) if here is None or info.stream[:2] in here}
    return catalogue, chosen, sorted(described | set(services.store.streams(chosen)))


def _listed(items: list[dict[str, Any]], keys: tuple[str, ...], page: Any, services: Services) -> dict[str, Any]:
    """A page of items that are sorted by their keys. \\0 sorts before every character of a name."""
    settings = services.settings
    some, following = paged(
        items, lambda item: "\0".join(str(item[key]) for key in keys), page, settings.page_size, settings.max_page_size
    )
    return {"items": some, "next": following}


def title(text: Text) -> dict[str, str]:
    return {"nb": text.get("nb"), "en": text.get("en")}


def pilot_item(pilot: PilotDefinition) -> dict[str, Any]:
    return {
        "id": pilot.id,
        "title": title(pilot.title),
        "question": title(pilot.question),
        "timezone": pilot.timezone,
        "devices": len(pilot.devices),
        "licence": pilot.licence,
        "attribution": pilot.attribution,
        "start": min(phase.start for phase in pilot.phases).isoformat() if pilot.phases else None,
        "end": max(phase.end for phase in pilot.phases).isoformat() if pilot.phases else None,
    }


def device_item(device: DeviceInfo, quantities: list[str]) -> dict[str, Any]:
    at = device.position
    return {
        "pilot": device.pilot,
        "id": device.device,
        "title": title(device.title),
        "described": device.described,
        "kind": device.kind,
        "group": device.group,
        "position": {"lat": at.lat, "lon": at.lon, "height": at.height} if at else None,
        "quantities": quantities,
    }


def stream_item(view: StreamInfo) -> dict[str, Any]:
    return {
        **view.stream._asdict(),
        "title": title(view.title),
        "unit": view.unit or "",
        "interval": None if view.interval_us is None else view.interval_us / 1e6,
        "range": view.range,
        "described": view.described,
        "kind": view.kind,
    }


def quantity_item(quantity: Quantity) -> dict[str, Any]:
    names = ("name", "unit", "unit_label", "kind", "group", "range", "cf_name", "eea_code")
    return {name: getattr(quantity, name) for name in names} | {"title": title(quantity.title)}
