"""The catalogue has what version 3 of DCAT-AP-NO asks for.

The facts are those of its draft shapes of 2025 (Informasjonsforvaltning/dcat-ap-no, shacl/dcatapno3-*-shapes.ttl): how
often each property of each class may stand, what its values are, and which vocabularies they are from.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import httpx
import pytest
from rdflib import RDF, RDFS, SKOS, XSD, Graph, Namespace, URIRef
from rdflib.term import BNode, Literal, Node

from tests.dashboards.test_catalog import graph, harvester

__all__ = ["harvester"]
pytestmark = pytest.mark.anyio

EU = "http://publications.europa.eu/resource/authority/"
NAMES = {
    "dcat": Namespace("http://www.w3.org/ns/dcat#"),
    "dcatap": Namespace("http://data.europa.eu/r5r/"),
    "dct": Namespace("http://purl.org/dc/terms/"),
    "eli": Namespace("http://data.europa.eu/eli/ontology#"),
    "foaf": Namespace("http://xmlns.com/foaf/0.1/"),
    "vcard": Namespace("http://www.w3.org/2006/vcard/ns#"),
}
PLACES = (
    *(f"{EU}country/", f"{EU}continent/", f"{EU}place/"),
    "http://sws.geonames.org/",
    "https://data.geonorge.no/administrativeEnheter/",
)


class Rule(NamedTuple):
    """How often a property may stand, and what its values are."""

    least: int
    most: int | None
    kind: str  # iri, literal, words (one in each language), date, duration, agent, contact, period
    begins: tuple[str, ...] = ()  # one of which the address of each value begins with
    scheme: str = ""  # each value is a skos:Concept of this scheme


ACCESS = Rule(0, 1, "iri", (f"{EU}access-right/",), f"{EU}access-right")
AVAILABILITY = Rule(0, 1, "iri", (f"{EU}planned-availability/",), f"{EU}planned-availability")
CONTACT, PUBLISHER = Rule(1, None, "contact"), Rule(1, 1, "agent")
FORMAT = Rule(0, 1, "iri", (f"{EU}file-type/",), f"{EU}file-type")
IDENTIFIER, IRIS, MODIFIED = Rule(0, None, "literal"), Rule(0, None, "iri"), Rule(0, 1, "date")
LANGUAGE = Rule(0, None, "iri", (f"{EU}language/",), f"{EU}language")
LICENCE = Rule(0, 1, "iri", (f"{EU}licence/",), f"{EU}licence")
PLACE, PERIOD = Rule(0, None, "iri", PLACES), Rule(0, None, "period")
THEME = Rule(1, None, "iri", (f"{EU}data-theme/",), f"{EU}data-theme")
WORDS, MAYBE_WORDS = Rule(1, None, "words"), Rule(0, None, "words")

RULES: dict[str, dict[str, Rule]] = {
    "dcat:Catalog": {
        "dct:title": WORDS,
        "dct:description": WORDS,
        "dcat:contactPoint": CONTACT,
        "dct:publisher": PUBLISHER,
        "dcat:dataset": IRIS,
        "dcat:service": IRIS,
        "dct:spatial": PLACE,
        "dct:modified": MODIFIED,
        "foaf:homepage": Rule(0, 1, "iri"),
        "dct:license": LICENCE,
        "dct:language": LANGUAGE,
        "dct:identifier": IDENTIFIER,
        "dcatap:applicableLegislation": IRIS,
        "dct:temporal": PERIOD,
    },
    "dcat:Dataset": {
        "dct:title": WORDS,
        "dct:description": WORDS,
        "dcat:contactPoint": CONTACT,
        "dct:publisher": PUBLISHER,
        "dcat:theme": THEME,
        "dcat:distribution": IRIS,
        "dct:spatial": PLACE,
        "dcat:keyword": Rule(0, None, "text"),
        "dcatap:applicableLegislation": IRIS,
        "dct:temporal": PERIOD,
        "dct:accessRights": ACCESS,
        "dct:modified": MODIFIED,
        "dct:identifier": IDENTIFIER,
        "dcat:landingPage": IRIS,
        "dct:language": LANGUAGE,
        "dct:accrualPeriodicity": Rule(0, 1, "iri", (f"{EU}frequency/",), f"{EU}frequency"),
        "dcat:temporalResolution": Rule(0, 1, "duration"),
        "dcatap:hvdCategory": Rule(
            0, None, "iri", ("http://data.europa.eu/bna/",), "http://data.europa.eu/bna/asd487ae75"
        ),
    },
    "dcat:DataService": {
        "dct:title": WORDS,
        "dcat:contactPoint": CONTACT,
        "dct:publisher": PUBLISHER,
        "dcat:endpointURL": Rule(1, 1, "iri"),
        "dcat:endpointDescription": IRIS,
        "dct:accessRights": ACCESS,
        "dcatap:applicableLegislation": IRIS,
        "dct:conformsTo": IRIS,
        "dcat:servesDataset": IRIS,
        "foaf:page": IRIS,
        "dct:identifier": IDENTIFIER,
        "dct:description": MAYBE_WORDS,
        "dct:license": LICENCE,
        "dcatap:hvdCategory": Rule(
            0, None, "iri", ("http://data.europa.eu/bna/",), "http://data.europa.eu/bna/asd487ae75"
        ),
        "dcatap:availability": AVAILABILITY,
    },
    "dcat:Distribution": {
        "dcat:accessURL": Rule(1, None, "iri"),
        "dct:description": MAYBE_WORDS,
        "dct:title": MAYBE_WORDS,
        "dct:format": FORMAT,
        "dct:license": LICENCE,
        "dcatap:availability": AVAILABILITY,
        "dcatap:applicableLegislation": IRIS,
        "dcat:downloadURL": IRIS,
        "dcat:accessService": IRIS,
        "dcat:mediaType": Rule(0, 1, "iri", ("https://www.w3.org/ns/iana/media-types/application/",)),
    },
    "foaf:Agent": {"foaf:name": Rule(1, None, "literal"), "foaf:homepage": IRIS},
    "vcard:Organization": {
        "vcard:fn": Rule(1, None, "literal"),
        "vcard:hasEmail": IRIS,
        "vcard:hasURL": IRIS,
    },
    "dct:PeriodOfTime": {"dcat:startDate": Rule(0, 1, "date"), "dcat:endDate": Rule(0, 1, "date")},
    "eli:LegalResource": {},
}


def address(name: str) -> URIRef:
    prefix, _, rest = name.partition(":")
    return NAMES[prefix][rest]


def of_kind(found: Graph, value: Node, kind: str) -> bool:
    types = set(found.objects(value, RDF.type))
    match kind:
        case "iri":
            return isinstance(value, URIRef)
        case "agent":
            return isinstance(value, URIRef) and address("foaf:Agent") in types
        case "contact":
            return address("vcard:Organization") in types
        case "period":
            return isinstance(value, URIRef | BNode) and address("dct:PeriodOfTime") in types
        case "words" | "text":
            return isinstance(value, Literal) and bool(value.language)
        case "date":
            return isinstance(value, Literal) and value.datatype in (XSD.date, XSD.dateTime)
        case "duration":
            return isinstance(value, Literal) and value.datatype == XSD.duration
    return isinstance(value, Literal)


def wrong(found: Graph, thing: Node, name: str, rule: Rule) -> list[str]:
    """What is wrong with the values that a thing has of a property."""
    values = list(found.objects(thing, address(name)))
    said = [f"{len(values)} values"] if not rule.least <= len(values) <= (rule.most or len(values)) else []
    for value in values:
        concept = {(SKOS.inScheme, URIRef(rule.scheme)), (RDF.type, SKOS.Concept)}
        if not of_kind(found, value, rule.kind):
            said.append(f"{value!r} is not of the kind {rule.kind}")
        elif rule.begins and not str(value).startswith(rule.begins):
            said.append(f"{value} is of no vocabulary for it")
        elif rule.scheme and not concept <= set(found.predicate_objects(value)):
            said.append(f"{value} is no concept of {rule.scheme}")
    if (
        rule.kind == "words"
        and max(Counter(value.language for value in values if isinstance(value, Literal)).values(), default=0) > 1
    ):
        said.append("two values in one language")
    return [f"{thing} {name}: {one}" for one in said]


@pytest.mark.parametrize("form", ["ttl", "jsonld"])
async def test_it_has_what_version_3_asks_for(harvester: httpx.AsyncClient, form: str) -> None:
    found = await graph(harvester, f"/catalog.{form}?profile=3")
    problems = []
    for class_name, rules in RULES.items():
        things = set(found.subjects(RDF.type, address(class_name)))
        assert things, class_name
        for thing in things:
            for name, rule in rules.items():
                problems += wrong(found, thing, name, rule)
            unknown = set(found.predicates(thing)) - {address(name) for name in rules} - {RDF.type, RDFS.label}
            problems += [f"{thing} has {name}, of which the shapes say nothing" for name in unknown]
    for contact in found.subjects(RDF.type, address("vcard:Organization")):
        if not {address("vcard:hasEmail"), address("vcard:hasURL")} & set(found.predicates(contact)):
            problems.append(f"{contact} has neither an e-mail address nor a page")
    assert not problems, "\n".join(sorted(problems))


async def test_the_rules_would_find_what_is_wrong(harvester: httpx.AsyncClient) -> None:
    """As version 2.2 has it, where a place is a box and media types are IANA's."""
    found = await graph(harvester, "/catalog.ttl")
    said = [
        one
        for class_name in ("dcat:Dataset", "dcat:Distribution")
        for thing in found.subjects(RDF.type, address(class_name))
        for name, rule in RULES[class_name].items()
        for one in wrong(found, thing, name, rule)
    ]
    for name in ("dct:spatial", "dcat:mediaType", "dct:language"):
        assert any(f" {name}: " in one for one in said), name
