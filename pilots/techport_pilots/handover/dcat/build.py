"""Pilots as DCAT-AP-NO 2.2 or 3: a catalogue that a national portal harvests, and the dataset inside a package.

    Offer (a pilot and what is held of it) ─► Node (statements) ─► rdf.turtle, rdf.json_ld

Version 3 adds which data are high-value datasets of the EU (and by which law), how long distributions stay, takes
every term of a vocabulary for a concept, and knows places of its vocabularies only, so the box around the devices is
left out. https://data.norge.no/specification/dcat-ap-no
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from techport_pilots.definition.privacy import licence_of
from techport_pilots.handover.dcat.rdf import Iri, Literal, Node, addresses, texts, turtle
from techport_pilots.handover.dcat.terms import (
    ACCESS,
    HVD,
    HVD_LAW,
    IANA,
    LICENCES,
    PREFIXES,
    THEMES,
    W3C_MEDIA_TYPES,
    Profile,
    described,
    term,
)
from techport_pilots.i18n import Message, in_all_languages
from techport_pilots.model import PilotDefinition, Text
from techport_pilots.quantities import vocabulary_of
from techport_pilots.time import interval_micros

Facts = list[tuple[str, Iri | Literal | Node]]
DESCRIPTION = Text(**in_all_languages(Message("dcat.description")))


class Distribution(msgspec.Struct, frozen=True):
    """One way to get the data. `format` is a code of the EU's list of file types, where that has it."""

    url: str
    title: Text
    media_type: str  # as IANA registers it; empty where it does not
    format: str = ""
    service: str | None = None  # address of the service that gives it
    file: bool = True  # the address gives the data itself, not a service to ask


class Service(msgspec.Struct, frozen=True):
    """An interface that several datasets are had through."""

    address: str  # its name in the catalogue
    title: Text
    endpoint: str
    description: str  # address of what a program reads to use it
    standard: str | None = None


class Publisher(msgspec.Struct, frozen=True):
    """Who publishes the catalogue."""

    name: str
    url: str
    email: str | None = None


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A pilot that may be shown, what is held of it and how it is had."""

    pilot: PilotDefinition
    modified: dt.date  # of the newest reading or version
    period: tuple[dt.date, dt.date | None] | None = None  # first and last day; without an end while it runs
    distributions: Sequence[Distribution] = ()


def shareable(pilot: PilotDefinition) -> bool:
    """May it be in a public catalogue? Only what is declared open and holds no personal data."""
    return pilot.data_class == "open" and not pilot.personal_data


def catalogue(
    offers: Sequence[Offer],
    services: Sequence[Service],
    base: str,
    publisher: Publisher,
    title: Text,
    profile: Profile = "2.2",
) -> list[Node]:
    """The catalogue of those that may be shared. `base` is the address of the platform, without /."""
    shown = [offer for offer in offers if shareable(offer.pilot)]
    address, agent = f"{base}/catalog#catalogue", f"{base}/catalog#publisher"
    contact = ("dcat:contactPoint", _contact(publisher.name, publisher.email, publisher.url))
    facts: Facts = [("dct:identifier", Literal(address)), *texts("dct:title", title)]
    facts += [*texts("dct:description", DESCRIPTION), ("foaf:homepage", Iri(f"{base}/catalogue"))]
    facts += [("dct:modified", _date(max((offer.modified for offer in shown), default=dt.date(2026, 1, 1))))]
    facts += [*_languages(), *_licence("CC-BY-4.0")]
    facts += [("dcat:dataset", Iri(dataset_address(base, offer.pilot))) for offer in shown]
    facts += [("dcat:service", Iri(service.address)) for service in services]
    facts += [contact, ("dct:publisher", Iri(agent))]
    nodes = [Node(["dcat:Catalog"], facts, address), _agent(agent, publisher.name, publisher.url)]
    nodes += [_document(f"{base}/catalogue", title)]
    for service in services:
        serves = [offer for offer in shown if any(way.service == service.address for way in offer.distributions)]
        high_value = [category for offer in serves for category in _high_value(offer.pilot)] if profile == "3" else []
        facts = [contact, ("dct:publisher", Iri(agent)), *_hvd_facts(high_value)]
        if profile == "3":
            facts.append(("foaf:page", Iri(f"{base}/api/v1/docs")))
        nodes += _service(service, [dataset_address(base, offer.pilot) for offer in serves], facts)
    if profile == "3":
        nodes.append(_document(f"{base}/api/v1/docs", title))
    for offer in shown:
        pilot_id = quote(offer.pilot.id)
        page = f"{base}/catalogue#{pilot_id}"
        agent = f"{base}/catalog#agent-{pilot_id}"
        nodes += _dataset(offer, dataset_address(base, offer.pilot), page, agent, profile)
    return _with_terms(nodes, profile)


def package(
    pilot: PilotDefinition,
    distributions: Sequence[Distribution],
    period: tuple[dt.date, dt.date],
    conditions: Text | None = None,
) -> str:
    """The dataset of a package, as Turtle with addresses relative to the file's own place.

    `conditions`, as those of personal data, are added to its description.
    """
    if conditions is not None:
        spoken = {code: f"{pilot.description.get(code)} {conditions.get(code)}".strip() for code in ("nb", "en")}
        pilot = msgspec.structs.replace(pilot, description=Text(**spoken))
    offer = Offer(pilot=pilot, modified=period[1], period=period, distributions=distributions)
    nodes = _dataset(offer, "#dataset", "report-en.html", "#publisher")
    return turtle(_with_terms(nodes), PREFIXES)


def dataset_address(base: str, pilot: PilotDefinition) -> str:
    """The dataset's own name, which stays whatever is done to its pages."""
    return f"{base}/pilots/{quote(pilot.id)}#dataset"


def owner(pilot: PilotDefinition) -> tuple[str, str | None]:
    """Whose data it is: name and, where it is known, address."""
    owners = [organisation for organisation in pilot.organisations if organisation.role == "owner"] or list(
        pilot.organisations[:1]
    )
    if owners:
        return owners[0].name, owners[0].url
    return (pilot.contact.name if pilot.contact else "techport"), None


def _dataset(offer: Offer, address: str, page: str, agent: str, profile: Profile = "2.2") -> list[Node]:
    pilot = offer.pilot
    name, url = owner(pilot)
    about = Text(nb=_about(pilot, "nb"), en=_about(pilot, "en"))
    contact = _contact(
        pilot.contact.name if pilot.contact else name, pilot.contact.email if pilot.contact else None, url or page
    )
    facts: Facts = [("dct:identifier", Literal(pilot.id))]
    facts += [*texts("dct:title", pilot.title), *texts("dct:description", about)]
    facts += [("dcat:theme", term("data-theme", theme)) for theme in _themes(pilot)]
    facts += [("dcat:keyword", Literal(word, code)) for code in ("nb", "en") for word in _keywords(pilot, code)]
    facts += [("dct:accessRights", term("access-right", ACCESS[pilot.data_class])), *_languages()]
    facts += [("dcat:landingPage", Iri(page)), ("dct:modified", _date(offer.modified))]
    facts += [("dct:temporal", _period(*span)) for span in [offer.period] if span is not None]
    box = _box(pilot, f"{address}-area") if profile == "2.2" else []
    facts += [("dct:spatial", place) for place in (term("country", "NOR"), *(Iri(b.address or "") for b in box))]
    ended = offer.period is not None and offer.period[1] is not None
    facts += [("dct:accrualPeriodicity", term("frequency", "NEVER" if ended else "UPDATE_CONT"))]
    facts += [("dcat:temporalResolution", Literal(text, type="xsd:duration")) for text in _resolution(pilot)]
    facts += [("dcat:contactPoint", contact)]
    facts += [("dcat:distribution", Iri(_node(way.url))) for way in offer.distributions]
    facts += [("dct:publisher", Iri(agent))]
    more: Facts = []
    if profile == "3":
        high_value = _high_value(pilot)
        facts += _hvd_facts(high_value)
        more = [("dcatap:availability", term("planned-availability", "STABLE" if ended else "AVAILABLE"))]
        more += [("dcatap:applicableLegislation", Iri(HVD_LAW))] if high_value else []
    ways = [_distribution(way, licence_of(pilot), more, profile) for way in offer.distributions]
    return [Node(["dcat:Dataset"], facts, address), *ways, *box, _document(page, pilot.title), _agent(agent, name, url)]


def _high_value(pilot: PilotDefinition) -> list[str]:
    """The categories of high-value datasets that what the pilot measures falls under."""
    words = vocabulary_of(pilot)
    quantities = [words.lookup(stream.quantity) for device in pilot.devices for stream in device.streams]
    return sorted({HVD[quantity.group] for quantity in quantities if quantity is not None and quantity.group in HVD})


def _hvd_facts(categories: Sequence[str]) -> Facts:
    if not categories:
        return []
    law: Facts = [("dcatap:applicableLegislation", Iri(HVD_LAW))]
    return law + [("dcatap:hvdCategory", Iri(category)) for category in sorted(set(categories))]


def _distribution(way: Distribution, licence: str, more: Facts, profile: Profile) -> Node:
    facts: Facts = [*more, *texts("dct:title", way.title), *texts("dct:description", way.title)]
    facts += [("dcat:accessURL", Iri(way.url))]
    facts += [("dcat:downloadURL", Iri(way.url))] if way.file else []
    facts += [("dcat:accessService", Iri(way.service))] if way.service else []
    facts += [("dct:format", term("file-type", way.format))] if way.format else []
    facts += [("dcat:mediaType", Iri(address)) for address in _media_type(way.media_type, profile)]
    return Node(["dcat:Distribution"], [*facts, *_licence(licence)], _node(way.url))


def _media_type(name: str, profile: Profile) -> list[str]:
    """Its address, which version 3 has from W3C; its shapes (2025) take none but of application/."""
    if not name or (profile == "3" and not name.startswith("application/")):
        return []
    return [f"{IANA if profile == '2.2' else W3C_MEDIA_TYPES}/{name}"]


def _service(service: Service, serves: Sequence[str], more: Facts) -> list[Node]:
    facts: Facts = [("dct:identifier", Literal(service.address)), *texts("dct:title", service.title)]
    facts += [("dcat:endpointURL", Iri(service.endpoint)), ("dcat:endpointDescription", Iri(service.description))]
    facts += [("dcat:servesDataset", Iri(dataset)) for dataset in serves]
    facts += [("dct:accessRights", term("access-right", "PUBLIC")), *more]
    if service.standard:
        facts.append(("dct:conformsTo", Iri(service.standard)))
    standards = [Node(["dct:Standard"], texts("dct:title", service.title), service.standard)]
    return [Node(["dcat:DataService"], facts, service.address), *(standards if service.standard else [])]


def _with_terms(nodes: list[Node], profile: Profile = "2.2") -> list[Node]:
    terms = described(addresses(nodes), concepts=profile == "3")
    law = Node(["eli:LegalResource"], [], HVD_LAW)
    return [*nodes, *terms, *([law] if HVD_LAW in set(addresses(nodes)) else [])]


def _node(url: str) -> str:
    """A name for the distribution itself, which is not the file."""
    return f"{url}#distribution"


def _licence(spdx: str) -> Facts:
    """The licence where the EU's list has it; portals take no other, and the description of the pilot names it."""
    return [("dct:license", Iri(LICENCES[spdx]))] if spdx in LICENCES else []


def _languages() -> Facts:
    return [("dct:language", term("language", code)) for code in ("NOB", "ENG")]


def _document(page: str, title: Text) -> Node:
    return Node(["foaf:Document"], texts("dct:title", title), page)


def _agent(address: str, name: str, url: str | None) -> Node:
    page: Facts = [("foaf:homepage", Iri(url))] if url else []
    return Node(["foaf:Agent"], [*page, ("foaf:name", Literal(name))], address)


def _contact(name: str, email: str | None, url: str) -> Node:
    how = ("vcard:hasEmail", Iri("mailto:" + email)) if email else ("vcard:hasURL", Iri(url))
    return Node(["vcard:Kind", "vcard:Organization"], [("vcard:fn", Literal(name)), how])


def _period(first: dt.date, last: dt.date | None) -> Node:
    ends = [("dcat:startDate", _date(first)), *([("dcat:endDate", _date(last))] if last else [])]
    return Node(["dct:PeriodOfTime"], ends)


def _date(day: dt.date) -> Literal:
    return Literal(day.isoformat(), type="xsd:date")


def _box(pilot: PilotDefinition, address: str) -> list[Node]:
    """The box around all devices, as GeoSPARQL wants it; none where no device has a position."""
    points = [(device.position.lon, device.position.lat) for device in pilot.devices if device.position]
    if not points:
        return []
    (west, east), (south, north) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    text = f"POLYGON(({','.join(f'{x:.5f} {y:.5f}' for x, y in corners)}))"
    return [Node(["dct:Location"], [("dcat:bbox", Literal(text, type="geo:wktLiteral"))], address)]


def _resolution(pilot: PilotDefinition) -> list[str]:
    """The shortest time between two readings that a stream promises."""
    promised = {stream.interval or device.interval for device in pilot.devices for stream in device.streams} - {None}
    return sorted((text for text in promised if text), key=interval_micros)[:1]


def _themes(pilot: PilotDefinition) -> list[str]:
    words = vocabulary_of(pilot)
    quantities = [words.lookup(stream.quantity) for device in pilot.devices for stream in device.streams]
    return sorted({THEMES.get(quantity.group, "ENVI") for quantity in quantities if quantity is not None}) or ["ENVI"]


def _keywords(pilot: PilotDefinition, language: str) -> list[str]:
    words = vocabulary_of(pilot)
    names = {stream.quantity for device in pilot.devices for stream in device.streams}
    return sorted({quantity.title.get(language) for name in names if (quantity := words.lookup(name)) is not None})


def _about(pilot: PilotDefinition, language: str) -> str:
    parts = (pilot.question.get(language), pilot.description.get(language), pilot.attribution, licence_of(pilot))
    return " ".join(re.sub(r"\s+", " ", text).strip() for text in parts if text)
