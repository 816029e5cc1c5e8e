"""Names and numbers of this platform that the API's description gives as examples, so that every example answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from techport_dashboards.query import times
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.services.snapshots import snapshot_store
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.dependencies import Services
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter
from techport_pilots.devices.onboarding import UNKNOWN_DEVICE, unknown_devices
from techport_pilots.model import PilotDefinition
from techport_pilots.registry import erasures, events
from techport_storage import clock
from techport_storage.microseconds import DAY, SECOND
from techport_storage.model import Selection


@dataclass(frozen=True, slots=True)
class Here:
    """What means something on this platform."""

    values: Mapping[str, Any]  # by the name of the parameter, or by the part of the address that it stands in

    def example(self, parameter: str, address: str) -> Any:
        if parameter == "coords":
            return self.values.get("area" if address.endswith("/area") else "position")
        parts = [part for part in self.values if part.endswith(f"/{{{parameter}}}") and part in address]
        return self.values.get(parts[0] if parts else parameter)


def here(services: Services, viewer: Viewer) -> Here:
    """From the first pilot that has what most examples need. Raises what registry and store raise."""
    registry_view = services.registry_cache.current()
    pilots = [pilot for pilot in registry_view.pilots.values() if viewer.may_see(pilot.id)]
    pilots.sort(key=lambda pilot: (not pilot.kpis, not _placed(registry_view, pilot.id)))
    if not pilots:
        return Here({})
    pilot = pilots[0]
    examples: dict[str, Any] = {"pilot": pilot.id}
    if pilot.kpis:
        examples["kpi"] = pilot.kpis[0].id
    for device, lon, lat in _placed(registry_view, pilot.id)[:1]:
        examples |= {"device": device, "location": device} | _around(lon, lat)
    examples |= _measured(services, pilot.id, examples.get("device"))
    if services.settings.snapshots is not None:
        snapshots = snapshot_store(services.settings).all()
        ids = sorted(snapshot.id for snapshot in snapshots if all(map(viewer.may_see, snapshot.pilots)))
        examples |= {"snapshots/{id}": ids[0]} if ids else {}
    return Here(examples | (_matters(services, viewer, pilot) if viewer.may("see-raw", pilot.id) else {}))


def _around(lon: float, lat: float) -> dict[str, Any]:
    """A place and its surroundings, in the ways in which places are asked for."""
    west, south, east, north = (round(x, 3) for x in (lon - 0.02, lat - 0.01, lon + 0.02, lat + 0.01))
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "near": f"{lon},{lat},500",
        "bbox": f"{west},{south},{east},{north}",
        "position": f"POINT({lon} {lat})",
        "within": msgspec.json.encode({"type": "Polygon", "coordinates": [ring]}).decode(),
        "area": f"POLYGON(({','.join(f'{x} {y}' for x, y in ring)}))",
    }


def _measured(services: Services, pilot: str, device: str | None) -> dict[str, Any]:
    """A stream of the pilot, of that device if it has any, and times at which it has readings."""
    latest = services.store.latest(Selection(pilots=(pilot,)))
    rows = zip(*(latest.column(name).to_pylist() for name in ("device", "quantity", "time")), strict=True)
    row_of_device = next((row for row in rows if row[0] == (device or row[0])), None)
    if row_of_device is None:
        return {}
    device, quantity, at = row_of_device[0], row_of_device[1], times.micros(row_of_device[2])
    return {
        "device": device,
        "quantity": quantity,
        "parameter-name": quantity,
        "parameter_names": quantity,
        "time": times.iso(at),
        "start": times.iso(at - 7 * DAY),
        "end": times.iso(at + SECOND),
        "datetime": f"{times.iso(at - DAY)}/..",
    }


def _matters(services: Services, viewer: Viewer, pilot: PilotDefinition) -> dict[str, Any]:
    """What the pilot's team works with: entries in quarantine, unknown devices, events, packages, jobs."""
    registry, now = services.registry_cache.registry, clock.now()
    due = [planned.pilot for planned in erasures.plan(registry) if planned.at <= now and viewer.may_see(planned.pilot)]
    examples: dict[str, Any] = {"due": sorted(due)}
    groups = Quarantine(registry.database).groups(QuarantineFilter(pilot=pilot.id))
    if refused := [group for group in groups if group.reason != UNKNOWN_DEVICE]:
        examples |= {"entry": refused[0].newest.id, "reason": refused[0].reason}
    if asked := [group.newest.replay_requested for group in groups if group.newest.replay_requested is not None]:
        examples["replay"] = max(asked)
    if unknown := unknown_devices(registry.database, pilot.id):
        examples["unknown_device"] = unknown[0].device
    if viewer.may("share", pilot.id) and (shares := services.shares.shares.of(pilot.id)):
        examples["share"] = shares[0].id
    if added := events.added(registry.database, pilot.id):
        examples["added"] = added[-1].id
    life = services.lifecycle.life(pilot)
    if life.packages:
        examples["sha256"] = life.packages[0].sha256
    if life.job is not None:
        examples["jobs/{id}"] = life.job.id
    return examples


def _placed(registry_view: RegistryView, pilot: str) -> list[tuple[str, float, float]]:
    devices = [(device.device, device.position) for device in registry_view.devices_of(pilot)]
    return [(name, at.lon, at.lat) for name, at in devices if at is not None]
