"""Terms of the vocabularies that DCAT-AP-NO prescribes, and of each what it is, so that a check need not fetch it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from techport_pilots.handover.dcat.rdf import Iri, Node, texts
from techport_pilots.i18n import Message, in_all_languages
from techport_pilots.model import Text

EU = "http://publications.europa.eu/resource/authority"
IANA = "https://www.iana.org/assignments/media-types"
W3C_MEDIA_TYPES = "https://www.w3.org/ns/iana/media-types"
Profile = Literal["2.2", "3"]
"""Versions of DCAT-AP-NO."""
PREFIXES = {
    "dcatap": "http://data.europa.eu/r5r/",
    "eli": "http://data.europa.eu/eli/ontology#",
    "dcat": "http://www.w3.org/ns/dcat#",
    "dct": "http://purl.org/dc/terms/",
    "foaf": "http://xmlns.com/foaf/0.1/",
    "geo": "http://www.opengis.net/ont/geosparql#",
    "skos": "http://www.w3.org/2004/02/skos/core#",
    "vcard": "http://www.w3.org/2006/vcard/ns#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
LICENCES = {
    "CC-BY-4.0": f"{EU}/licence/CC_BY_4_0",
    "CC0-1.0": f"{EU}/licence/CC0",
    "CC-BY-SA-4.0": f"{EU}/licence/CC_BYSA_4_0",
    "NLOD-1.0": f"{EU}/licence/NLOD_1_0",
    "NLOD-2.0": f"{EU}/licence/NLOD_2_0",
    "ODbL-1.0": f"{EU}/licence/ODC_BL",
}
THEMES = {"mobility": "TRAN", "energy": "ENER"}  # the others are about the environment
ACCESS = {"open": "PUBLIC", "internal": "NON_PUBLIC", "personal": "NON_PUBLIC"}
HVD_LAW = "http://data.europa.eu/eli/reg_impl/2023/138/oj"
"""The regulation that lists high-value datasets, (EU) 2023/138."""
_ENVIRONMENT, _WEATHER = "http://data.europa.eu/bna/c_dd313021", "http://data.europa.eu/bna/c_164e0bf5"
HVD = {"air": _ENVIRONMENT, "noise": _ENVIRONMENT, "water": _ENVIRONMENT, "weather": _WEATHER}
"""Its categories, by group of quantities: earth observation and environment, and meteorology. Its mobility is about
networks, not about who uses them."""
_HVD_NAMES = {
    _ENVIRONMENT: Text(nb="Jordobservasjon og miljø", en="Earth observation and environment"),
    _WEATHER: Text(nb="Meteorologi", en="Meteorological"),
}
_NAMES = {
    "PUBLIC": "public",
    "NON_PUBLIC": "non-public",
    "NOR": "Norway",
    "NOB": "Norwegian Bokmål",
    "ENG": "English",
    "UPDATE_CONT": "continuously updated",
    "NEVER": "never",
    "AVAILABLE": "available",
    "STABLE": "stable",
    "CC_BY_4_0": "Creative Commons Attribution 4.0 International",
    "CC0": "Creative Commons CC0 1.0 Universal",
    "CC_BYSA_4_0": "Creative Commons Attribution–ShareAlike 4.0 International",
    "NLOD_1_0": "Norwegian Licence for Open Government Data 1.0",
    "NLOD_2_0": "Norwegian Licence for Open Government Data 2.0",
    "ODC_BL": "Open Data Commons Open Database License 1.0",
}
"""What the EU calls its terms; a file type is called by its code."""
_CLASSES = {
    "access-right": "dct:RightsStatement",
    "country": "dct:Location",
    "data-theme": "skos:Concept",
    "file-type": "dct:MediaTypeOrExtent",
    "frequency": "dct:Frequency",
    "language": "dct:LinguisticSystem",
    "licence": "dct:LicenseDocument",
    "planned-availability": "skos:Concept",
}


def term(scheme: str, code: str) -> Iri:
    """A term of one of the EU's authority tables."""
    return Iri(f"{EU}/{scheme}/{code}")


def _theme_name(code: str) -> Text:
    return Text(**in_all_languages(Message(f"dcat.theme.{code}")))


def described(mentioned: Iterable[str], concepts: bool = False) -> list[Node]:
    """What each of the terms among the addresses is. With `concepts` each is a skos:Concept, too, as version 3 of
    DCAT-AP-NO checks them."""
    nodes = []
    for address in sorted(set(mentioned)):
        if match := re.fullmatch(rf"{re.escape(EU)}/([a-z-]+)/(\w+)", address):
            scheme, code = match.groups()
            if scheme == "data-theme":
                names = texts("skos:prefLabel", _theme_name(code))
            else:
                names = texts("skos:prefLabel", Text(en=_NAMES.get(code, code))) if concepts else []
            types = list(dict.fromkeys([_CLASSES[scheme], *(["skos:Concept"] if concepts else [])]))
            nodes.append(Node(types, [("skos:inScheme", Iri(f"{EU}/{scheme}")), *names], address))
        elif address in _HVD_NAMES:
            scheme_of_categories = ("skos:inScheme", Iri("http://data.europa.eu/bna/asd487ae75"))
            names = texts("skos:prefLabel", _HVD_NAMES[address])
            nodes.append(Node(["skos:Concept"], [scheme_of_categories, *names], address))
        elif address.startswith((IANA, W3C_MEDIA_TYPES)):
            nodes.append(Node(["dct:MediaType"], [], address))
    return nodes
