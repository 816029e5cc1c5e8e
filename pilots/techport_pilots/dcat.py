"""Pilots as DCAT-AP-NO 2.2: a catalogue that a national portal harvests, and the dataset inside a package.

Turtle is written here and not by a library: these few statements, in one order, so that the same pilots give the same
bytes. https://data.norge.no/specification/dcat-ap-no
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

import msgspec

from techport_pilots.model import PilotDefinition, Text
from techport_pilots.quantities import vocabulary_of

_EU = "http://publications.europa.eu/resource/authority"
_LICENCES = {
    "CC-BY-4.0": f"{_EU}/licence/CC_BY_4_0",
    "CC0-1.0": f"{_EU}/licence/CC0",
    "CC-BY-SA-4.0": f"{_EU}/licence/CC_BYSA_4_0",
    "NLOD-1.0": f"{_EU}/licence/NLOD_1_0",
    "NLOD-2.0": f"{_EU}/licence/NLOD_2_0",
    "ODbL-1.0": f"{_EU}/licence/ODC_BL",
}
_THEMES = {"mobility": "TRAN", "energy": "ENER"}  # the others are about the environment
_THEME_NAMES = {
    "ENVI": Text(nb="Miljø", en="Environment"),
    "TRAN": Text(nb="Transport", en="Transport"),
    "ENER": Text(nb="Energi", en="Energy"),
}
_ACCESS = {"open": "PUBLIC", "internal": "NON_PUBLIC", "personal": "NON_PUBLIC"}
_MEDIA = {
    "PARQUET": "application/vnd.apache.parquet",
    "CSV": "text/csv",
    "JSON": "application/json",
}
_TERMS = {
    "access-right": "dct:RightsStatement",
    "country": "dct:Location",
    "data-theme": "skos:Concept",
    "file-type": "dct:MediaTypeOrExtent",
    "language": "dct:LinguisticSystem",
    "licence": "dct:LicenseDocument",
}
_PREFIXES = """@prefix dcat: <http://www.w3.org/ns/dcat#> .
@prefix dct: <http://purl.org/dc/terms/> .
@prefix foaf: <http://xmlns.com/foaf/0.1/> .
@prefix skos: <http://www.w3.org/2004/02/skos/core#> .
@prefix vcard: <http://www.w3.org/2006/vcard/ns#> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
"""


class Distribution(msgspec.Struct, frozen=True):
    """One way to get the data. `format` is a code of the EU's list of file types: CSV, PARQUET."""

    url: str
    format: str
    title: Text


class Publisher(msgspec.Struct, frozen=True):
    """Who publishes the catalogue."""

    name: str
    url: str
    email: str | None = None


def catalogue(
    pilots: Iterable[PilotDefinition], base: str, publisher: Publisher, title: Text, modified: dt.date
) -> str:
    """The catalogue of the open ones among the pilots, as Turtle. `base` is the address of the platform, without /."""
    shown = [pilot for pilot in pilots if pilot.data_class == "open" and not pilot.personal_data]
    here = f"{base}/catalog.ttl#catalogue"
    description = Text(
        nb="Åpne data fra piloter i byen: måleserier med definisjon, faser og resultater.",
        en="Open data of pilots in the city: series of measurements with definition, phases and results.",
    )
    agent = f"{base}/catalog.ttl#publisher"
    lines = [_PREFIXES, f"{_iri(here)} a dcat:Catalog ;"]
    lines += [f"  dct:identifier {_literal(here)} ;", *_texts("dct:title", title)]
    lines += _texts("dct:description", description)
    lines += [f"  foaf:homepage {_iri(base + '/')} ;", f'  dct:modified "{modified}"^^xsd:date ;']
    lines += [f"  dct:language <{_EU}/language/NOB>, <{_EU}/language/ENG> ;"]
    lines += _licence("CC-BY-4.0")
    lines += [f"  dcat:dataset {_iri(_dataset_of(base, pilot))} ;" for pilot in shown]
    lines += [f"  dcat:contactPoint {_contact(publisher.name, publisher.email, publisher.url)} ;"]
    lines += [f"  dct:publisher {_iri(agent)} .", _agent(agent, publisher.name, publisher.url)]
    for pilot in shown:
        query = f"{base}/api/v1/readings?pilot={quote(pilot.id)}&format="
        ways = [
            Distribution(query + "parquet", "PARQUET", Text(nb="Alle målinger, Parquet", en="All readings, Parquet")),
            Distribution(query + "csv", "CSV", Text(nb="Alle målinger, CSV", en="All readings, CSV")),
        ]
        home = f"{base}/pilots/{quote(pilot.id)}"
        lines += [_dataset(pilot, _dataset_of(base, pilot), home, ways, f"{base}/catalog.ttl#agent-{quote(pilot.id)}")]
    return _with_terms([*lines, _document(f"{base}/", title)])


def dataset(pilot: PilotDefinition, distributions: Sequence[Distribution], period: tuple[dt.date, dt.date]) -> str:
    """The dataset of a package, as Turtle with addresses relative to the file's own place."""
    return _with_terms([_PREFIXES, _dataset(pilot, "#dataset", "report-en.html", distributions, "#publisher", period)])


def _dataset(
    pilot: PilotDefinition,
    here: str,
    page: str,
    distributions: Sequence[Distribution],
    agent: str,
    period: tuple[dt.date, dt.date] | None = None,
) -> str:
    about = Text(nb=_about(pilot, "nb"), en=_about(pilot, "en"))
    owners = [one for one in pilot.organisations if one.role == "owner"] or list(pilot.organisations[:1])
    name = owners[0].name if owners else (pilot.contact.name if pilot.contact else "techport")
    url = owners[0].url if owners else None
    email = pilot.contact.email if pilot.contact else None
    lines = [f"{_iri(here)} a dcat:Dataset ;", f"  dct:identifier {_literal(pilot.id)} ;"]
    lines += [*_texts("dct:title", pilot.title), *_texts("dct:description", about)]
    lines += [f"  dcat:theme <{_EU}/data-theme/{theme}> ;" for theme in _themes(pilot)]
    lines += [f"  dcat:keyword {_literal(word, 'en')} ;" for word in _keywords(pilot)]
    lines += [f"  dct:accessRights <{_EU}/access-right/{_ACCESS[pilot.data_class]}> ;"]
    lines += [f"  dct:language <{_EU}/language/NOB>, <{_EU}/language/ENG> ;"]
    lines += [f"  dcat:landingPage {_iri(page)} ;"]
    lines += [f"  dct:temporal {_period(*span)} ;" for span in [period or _phases(pilot)] if span is not None]
    lines += [f"  dct:spatial <{_EU}/country/NOR> ;"]
    lines += [f"  dcat:contactPoint {_contact(pilot.contact.name if pilot.contact else name, email, url or page)} ;"]
    lines += [f"  dcat:distribution {_iri(_node(way.url))} ;" for way in distributions]
    lines += [f"  dct:publisher {_iri(agent)} ."]
    lines += [_distribution(way, pilot.licence) for way in distributions]
    return "\n".join([*lines, _document(page, pilot.title), _agent(agent, name, url)])


def _distribution(way: Distribution, licence: str) -> str:
    return "\n".join(
        [
            f"{_iri(_node(way.url))} a dcat:Distribution ;",
            *_texts("dct:title", way.title),
            *_texts("dct:description", way.title),
            f"  dcat:accessURL {_iri(way.url)} ;",
            f"  dcat:downloadURL {_iri(way.url)} ;",
            f"  dct:format <{_EU}/file-type/{way.format}> ;",
            *_licence(licence),
            f"  dcat:mediaType <https://www.iana.org/assignments/media-types/{_MEDIA[way.format]}> .",
        ]
    )


def _node(url: str) -> str:
    """A name for the distribution itself, which is not the file."""
    return f"{url}#distribution"


def _dataset_of(base: str, pilot: PilotDefinition) -> str:
    return f"{base}/pilots/{quote(pilot.id)}#dataset"


def _licence(spdx: str) -> list[str]:
    """The licence where the EU's list has it; portals take no other, and the description of the pilot names it."""
    return [f"  dct:license {_iri(_LICENCES[spdx])} ;"] if spdx in _LICENCES else []


def _with_terms(lines: Iterable[str]) -> str:
    """The statements, and of every term of a controlled vocabulary what it is, so that a check need not fetch it."""
    text = "\n".join(lines)
    terms = sorted(set(re.findall(rf"<({re.escape(_EU)}/([a-z-]+)/\w+)>", text)))
    media = sorted(set(re.findall(r"<https://www\.iana\.org/assignments/media-types/[^>]+>", text)))
    said = [f"<{term}> a {_TERMS[scheme]} ; skos:inScheme <{_EU}/{scheme}>{_labels(term)} ." for term, scheme in terms]
    return "\n".join([text, *said, *(f"{one} a dct:MediaType ." for one in media)]) + "\n"


def _labels(term: str) -> str:
    names = _THEME_NAMES.get(term.rsplit("/", 1)[1])
    return f' ; skos:prefLabel "{names.nb}"@nb, "{names.en}"@en' if names else ""


def _document(page: str, title: Text) -> str:
    return f"{_iri(page)} a foaf:Document ;\n" + "\n".join(_texts("dct:title", title))[:-2] + " ."


def _agent(here: str, name: str, url: str | None) -> str:
    page = f"  foaf:homepage {_iri(url)} ;\n" if url else ""
    return f"{_iri(here)} a foaf:Agent ;\n{page}  foaf:name {_literal(name)} ."


def _contact(name: str, email: str | None, url: str) -> str:
    how = f"vcard:hasEmail {_iri('mailto:' + email)}" if email else f"vcard:hasURL {_iri(url)}"
    return f"[ a vcard:Kind, vcard:Organization ; vcard:fn {_literal(name)} ; {how} ]"


def _period(first: dt.date, last: dt.date) -> str:
    return f'[ a dct:PeriodOfTime ; dcat:startDate "{first}"^^xsd:date ; dcat:endDate "{last}"^^xsd:date ]'


def _phases(pilot: PilotDefinition) -> tuple[dt.date, dt.date] | None:
    if not pilot.phases:
        return None
    return min(phase.start for phase in pilot.phases).date(), max(phase.end for phase in pilot.phases).date()


def _themes(pilot: PilotDefinition) -> list[str]:
    words = vocabulary_of(pilot)
    quantities = [words.lookup(stream.quantity) for device in pilot.devices for stream in device.streams]
    return sorted({_THEMES.get(quantity.group, "ENVI") for quantity in quantities if quantity is not None}) or ["ENVI"]


def _keywords(pilot: PilotDefinition) -> list[str]:
    words = vocabulary_of(pilot)
    names = {stream.quantity for device in pilot.devices for stream in device.streams}
    return sorted({quantity.title.get("en") for name in names if (quantity := words.lookup(name)) is not None})


def _about(pilot: PilotDefinition, language: str) -> str:
    texts = (pilot.question.get(language), pilot.description.get(language), pilot.attribution, pilot.licence)
    return " ".join(" ".join(text.split()) for text in texts if text)


def _texts(property: str, text: Text) -> list[str]:
    return [f"  {property} {_literal(value, code)} ;" for code, value in (("nb", text.nb), ("en", text.en)) if value]


def _literal(text: str, language: str = "") -> str:
    escaped = (
        text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    )
    return f'"{escaped}"' + (f"@{language}" if language else "")


def _iri(address: str) -> str:
    """In angle brackets, with what Turtle forbids there percent-encoded."""
    return "<" + re.sub(r'[\x00-\x20<>"{}|^`\\]', lambda match: quote(match[0]), address) + ">"
