"""The catalogue for people: which open data there is, how complete, how to get it, and how to cite it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from techport_dashboards.query import times
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.services.citation import licence_url
from techport_dashboards.services.dataset_stats import DatasetStats
from techport_dashboards.services.datasets import distributions, open_datasets
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import OPEN_DATA, needs
from techport_dashboards.web.dependencies import Services, ServicesDep, ViewerDep, address_of
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render
from techport_pilots.definition.privacy import licence_of
from techport_pilots.handover.dcat.build import DESCRIPTION, Distribution, dataset_address, owner
from techport_pilots.i18n import Language
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.registry import StreamInfo
from techport_storage import clock

router = APIRouter(route_class=SlotRoute)


@dataclass(frozen=True, slots=True)
class DataSet:
    """A pilot as the page shows it."""

    pilot: PilotDefinition
    held: DatasetStats
    quantities: list[StreamInfo]  # one of each
    devices: int
    ways: list[Distribution]
    citation: str
    licence_url: str
    complete: str | None  # rounded down: 100 % is whole
    since: str  # from when that counts


@router.get("/catalogue")
@needs("see", anybody=OPEN_DATA)
def page(request: Request, services: ServicesDep, viewer: ViewerDep) -> Response:
    """Every data set that anybody may use."""
    language, base = language_of(request), address_of(request)
    sets = _data_sets(services, viewer, language, base)
    about = _schema_org(sets, language, base, services.settings.publisher)
    feeds = services.shares.readable(viewer)
    return render(request, "catalogue.html", language, sets=sets, about=about, base=base, feeds=feeds)


def _data_sets(services: Services, viewer: Viewer, language: Language, base: str) -> list[DataSet]:
    registry_view = services.registry_cache.current()
    return [
        _data_set(registry_view, pilot, held, language, base)
        for pilot, held in open_datasets(registry_view, services.dataset_stats, viewer)
    ]


def _data_set(
    registry_view: RegistryView, pilot: PilotDefinition, held: DatasetStats, language: Language, base: str
) -> DataSet:
    return DataSet(
        pilot=pilot,
        held=held,
        quantities=_quantities(registry_view, pilot),
        devices=len(pilot.devices),
        ways=distributions(pilot, registry_view, base),
        citation=citation(pilot, held, language, base),
        complete=None if held.completeness is None else language.share(held.completeness),
        since=language.date_time(held.since, pilot.timezone, "d. MMM y"),
        licence_url=licence_url(licence_of(pilot)),
    )


def described_for_programs(
    services: Services, pilot: PilotDefinition, language: Language, base: str
) -> tuple[dict[str, Any] | None, str]:
    """An open pilot's data set as JSON-LD, without where its devices stand, and the header Link of its page
    (signposting). Nothing before it has measured something."""
    held = services.dataset_stats.of(pilot)
    if held is None:
        return None, ""
    data_set = _data_set(services.registry_cache.current(), pilot, held, language, base)
    page = f"{base}/p/{quote(pilot.id)}"
    of_people = dataset_address(base, pilot).partition("#")[0]  # behind it are pages for those who sign in
    about = {"@context": "https://schema.org/", **_schema_dataset(data_set, language, base)}
    about |= {"@id": page, "url": page, "citation": data_set.citation.replace(of_people, page)}
    about.pop("spatialCoverage", None)
    return about, _links(data_set, page, base)


def _links(data_set: DataSet, page: str, base: str) -> str:
    """https://signposting.org/FAIR/"""
    links = [
        f'<{page}>; rel="cite-as"',
        '<https://schema.org/Dataset>; rel="type"',
        '<https://schema.org/AboutPage>; rel="type"',
        *(
            f'<{way.url}>; rel="item"' + (f'; type="{way.media_type}"' if way.media_type else "")
            for way in data_set.ways
            if way.file
        ),
        f'<{base}/catalog.ttl>; rel="describedby"; type="text/turtle"',
        f'<{base}/catalog.jsonld>; rel="describedby"; type="application/ld+json"',
        *([f'<{data_set.licence_url}>; rel="license"'] if data_set.licence_url else []),
    ]
    return ", ".join(links)


def citation(pilot: PilotDefinition, held: DatasetStats, language: Language, base: str) -> str:
    """Who (year): what, when, version, where, licence; the form that DataCite recommends."""
    first, last = (language.date_time(at, pilot.timezone, "d. MMM y") for at in (held.first, held.last))
    year = times.moment(held.last).year
    where = dataset_address(base, pilot).partition("#")[0]
    kind, read = language.gettext("data set"), language.gettext("read")
    today = language.date_time(clock.now(), pilot.timezone, "d. MMM y")
    return (
        f"{owner(pilot)[0]} ({year}): {language.text(pilot.title, pilot.id)} [{kind}], {first} – {last}. "
        f"{where} ({read} {today}). {licence_of(pilot)}."
    )


def _quantities(registry_view: RegistryView, pilot: PilotDefinition) -> list[StreamInfo]:
    infos = (info for stream, info in registry_view.streams.items() if stream.pilot == pilot.id and info.described)
    return list({info.stream.quantity: info for info in infos}.values())


def _schema_org(sets: list[DataSet], language: Language, base: str, publisher: str) -> dict[str, Any]:
    """The page for search engines of data sets. https://schema.org/DataCatalog"""
    return {
        "@context": "https://schema.org/",
        "@type": "DataCatalog",
        "@id": f"{base}/catalogue",
        "url": f"{base}/catalogue",
        "name": language.gettext("Open data"),
        "description": language.text(DESCRIPTION),
        "publisher": {"@type": "Organization", "name": publisher},
        "dataset": [_schema_dataset(data_set, language, base) for data_set in sets],
    }


def _schema_dataset(data_set: DataSet, language: Language, base: str) -> dict[str, Any]:
    pilot, held = data_set.pilot, data_set.held
    name, url = owner(pilot)
    last = times.iso(held.last)[:10] if held.ended else ".."
    names = ", ".join(language.text(info.title) for info in data_set.quantities)
    title = language.text(pilot.title, pilot.id)
    parts = (f"{title}.", language.text(pilot.question), language.text(pilot.description))
    described: dict[str, Any] = {
        "@type": "Dataset",
        "@id": dataset_address(base, pilot),
        "identifier": pilot.id,
        "name": title,
        "description": " ".join(filter(None, (*parts, language.gettext("Measured") + f": {names}."))),
        "url": f"{base}/catalogue#{pilot.id}",
        "isAccessibleForFree": True,
        "temporalCoverage": f"{times.iso(held.first)[:10]}/{last}",
        "dateModified": times.iso(held.modified),
        "creator": {"@type": "Organization", "name": name} | ({"url": url} if url else {}),
        "variableMeasured": [
            {"@type": "PropertyValue", "name": language.text(info.title), "unitText": info.unit_label}
            for info in data_set.quantities
        ],
        "distribution": [
            {"@type": "DataDownload", "contentUrl": way.url, "encodingFormat": way.media_type or "application/x-ndjson"}
            for way in data_set.ways
            if way.file
        ],
        "citation": data_set.citation,
    }
    points = [device.position for device in pilot.devices if device.position]
    if points:
        south, north = (f(p.lat for p in points) for f in (min, max))
        west, east = (f(p.lon for p in points) for f in (min, max))
        box = {"@type": "GeoShape", "box": f"{south} {west} {north} {east}"}
        described["spatialCoverage"] = {"@type": "Place", "geo": box}
    return described | ({"license": data_set.licence_url} if data_set.licence_url else {})
