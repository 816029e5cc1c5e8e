"""The open data sets: which pilots anybody may know of, and every way to their readings."""

from __future__ import annotations

from urllib.parse import quote

from techport_dashboards.query.formats import ARROW, PARQUET
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.services.dataset_stats import DatasetStats, DatasetStatsCache
from techport_dashboards.texts import in_all_languages
from techport_dashboards.viewer import Viewer
from techport_pilots.handover.dcat.build import Distribution, shareable
from techport_pilots.i18n import N_
from techport_pilots.model import PilotDefinition


def open_datasets(
    registry: RegistryView, dataset_stats: DatasetStatsCache, viewer: Viewer
) -> list[tuple[PilotDefinition, DatasetStats]]:
    """The pilots that anybody may know of and that have measured something, by name, with what the store holds."""
    shown = [pilot for pilot in registry.pilots.values() if viewer.may_see(pilot.id) and shareable(pilot)]
    return [(pilot, stats) for pilot in shown if (stats := dataset_stats.of(pilot)) is not None]


def distributions(pilot: PilotDefinition, registry: RegistryView, base: str) -> list[Distribution]:
    """Every format and service that the pilot's readings are had through."""
    pilot_id, rest = quote(pilot.id), f"{base}/catalog#rest"
    query = f"{base}/api/v1/readings?pilot={pilot_id}&format="
    whole = [
        Distribution(query + name, in_all_languages(N_("All readings, {label}"), label=label), *kind, service=rest)
        for name, label, kind in (
            ("parquet", "Parquet", (PARQUET, "PARQUET")),
            ("csv", "CSV", ("text/csv", "CSV")),
            ("ndjson", "NDJSON", ("", "JSON")),
            ("arrow", "Arrow", (ARROW, "")),
        )
    ]

    def service(address: str, title: str, of: str) -> Distribution:
        return Distribution(address, in_all_languages(title), "application/json", "JSON", of, file=False)

    chosen = quote(f"properties/pilot eq '{pilot.id}'", safe="")
    things_address = f"{base}/sta/v1.1/Things?$filter={chosen}"
    services = [
        service(query + "json", N_("Readings page by page, JSON"), rest),
        service(things_address, N_("Devices in SensorThings"), f"{base}/catalog#sensorthings"),
    ]
    if any(device.position for device in registry.devices_of(pilot.id)):
        collection = f"{base}/edr/collections/{pilot_id}"
        services.append(service(collection, N_("Collection in OGC API EDR"), f"{base}/catalog#edr"))
    return [*whole, *services]
