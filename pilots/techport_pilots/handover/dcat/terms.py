"""Terms of the vocabularies that DCAT-AP-NO prescribes, and of each what it is, so that a check need not fetch it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from techport_pilots.handover.dcat.rdf import Iri, Node, texts
from techport_pilots.i18n import Message, in_all_languages
from techport_pilots.model import Text

EU = "http://publications.europa.eu/resource/authority"
IANA = "https://www.iana.org/assignments/media-types"
PREFIXES = {
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
_CLASSES = {
    "access-right": "dct:RightsStatement",
    "country": "dct:Location",
    "data-theme": "skos:Concept",
    "file-type": "dct:MediaTypeOrExtent",
    "frequency": "dct:Frequency",
    "language": "dct:LinguisticSystem",
    "licence": "dct:LicenseDocument",
}


def term(scheme: str, code: str) -> Iri:
    """A term of one of the EU's authority tables."""
    return Iri(f"{EU}/{scheme}/{code}")


def _theme_name(code: str) -> Text:
    return Text(**in_all_languages(Message(f"dcat.theme.{code}")))


def described(mentioned: Iterable[str]) -> list[Node]:
    """What each of the terms among the addresses is."""
    nodes = []
    for address in sorted(set(mentioned)):
        if found := re.fullmatch(rf"{re.escape(EU)}/([a-z-]+)/(\w+)", address):
            scheme, code = found.groups()
            names = texts("skos:prefLabel", _theme_name(code)) if scheme == "data-theme" else []
            nodes.append(Node([_CLASSES[scheme]], [("skos:inScheme", Iri(f"{EU}/{scheme}")), *names], address))
        elif address.startswith(IANA):
            nodes.append(Node(["dct:MediaType"], [], address))
    return nodes
