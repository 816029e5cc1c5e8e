"""DCAT-AP-NO, Data Package and RO-Crate, held against the published shapes and validators that are not ours."""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import requests
from frictionless import validate as validate_package
from pyshacl import validate
from rdflib import DCAT, DCTERMS, RDF, SH, Graph, Namespace, URIRef
from rdflib.compare import isomorphic
from rocrate_validator.models import Severity, ValidationSettings
from rocrate_validator.services import validate as validate_crate
from rocrate_validator.utils.http import HttpRequester

from techport_pilots.accounting.ledger import Ledger
from techport_pilots.definition.load import parse_definition
from techport_pilots.handover.closeout import Closure, close_pilot
from techport_pilots.handover.dcat.build import Distribution, Offer, Publisher, Service, catalogue
from techport_pilots.handover.dcat.rdf import Node, json_ld, turtle
from techport_pilots.handover.dcat.terms import HVD_LAW, PREFIXES, Profile
from techport_pilots.model import PilotDefinition, StreamDefinition, Text
from techport_pilots.registry import lifecycle
from techport_pilots.registry.registry import Registry
from techport_storage.model import Batch
from techport_storage.store import open_store
from tests.pilots import trial

pytestmark = pytest.mark.heavy

BASE = "https://techport.example.org"
SHAPES = ("dcat-ap-no-2.00-shapes.ttl", "dcat-ap-3.0.1-shapes.ttl", "dcat-ap-3.0.1-SHACL.ttl")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("package"), trial.YAML, trial.readings())


def packed(folder: Path, definition: str, readings: Batch) -> Path:
    """The package of a pilot that was closed, unpacked."""
    registry, store = Registry.open(f"sqlite:///{folder}/registry.sqlite"), open_store("duckdb://")
    registry.import_pilot(parse_definition(definition), definition, "test")
    store.write(readings)
    (pilot,) = registry.pilots()
    for step in ("running", "ended"):
        lifecycle.transition(registry.database, pilot, step, "test")  # type: ignore[arg-type]
    made = close_pilot(registry, store, Ledger(registry.database), pilot, folder, Closure("test", wait=0))
    store.close()
    registry.close()
    with zipfile.ZipFile(made.path) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def awkward() -> PilotDefinition:
    """Texts and names that would break a careless writer."""
    return msgspec.structs.replace(
        trial.definition(),
        id="x",
        title=Text(nb='Ka\\n "æ"\n'),
        question=Text(en="Tab\there <b>?"),
        licence="NLOD 2.0",
        contact=None,
        organisations=[],
        phases=[],
    )


def statements(pilots: list[PilotDefinition], profile: Profile = "2.2") -> list[Node]:
    publisher = Publisher("Trondheim kommune", "https://www.trondheim.kommune.no", "post@example.org")
    service = Service(
        f"{BASE}/catalog#rest", Text(en="Readings"), f"{BASE}/api", f"{BASE}/api.json", f"{BASE}/standard"
    )
    day = dt.date(2026, 11, 1)
    ways = [
        Distribution(f"{BASE}/all.csv", Text(nb="Alt", en="All"), "text/csv", "CSV", service.address),
        Distribution(f"{BASE}/all.arrow?a='b c'", Text(en="All"), "", service=service.address, file=False),
    ]
    offers = [
        Offer(pilot=pilot, modified=day, period=(dt.date(2026, 10, 1), day if n else None), distributions=ways)
        for n, pilot in enumerate(pilots)
    ]
    return catalogue(offers, [service], BASE, publisher, Text(nb="Piloter", en="Pilots"), profile)


def listed(pilots: list[PilotDefinition], form: str = "turtle", profile: Profile = "2.2") -> Graph:
    nodes = statements(pilots, profile)
    text = turtle(nodes, PREFIXES) if form == "turtle" else json_ld(nodes, PREFIXES)
    return Graph().parse(data=text, format=form)


def conforms(graph: Graph, shapes: Path, inference: str = "none") -> None:
    # Warned of is what is recommended and a pilot may lack, such as a licence of the EU's list.
    rules = Graph().parse(shapes, format="turtle")
    # One of the published files names shapes that it does not hold.
    for statement in list(rules.triples((None, SH.property, None))):
        if (statement[2], None, None) not in rules:
            rules.remove(statement)
    good, _, said = validate(graph, shacl_graph=rules, advanced=True, allow_warnings=True, inference=inference)
    assert good, said


@pytest.mark.parametrize("form", ["turtle", "json-ld"])
@pytest.mark.parametrize("shapes", SHAPES)
def test_the_catalogue_conforms(shared: Path, shapes: str, form: str) -> None:
    conforms(listed([trial.definition(), awkward()], form), shared / "schemas" / "shacl" / shapes)


VERSION_3 = """
@prefix sh: <http://www.w3.org/ns/shacl#> .
@prefix skos: <http://www.w3.org/2004/02/skos/core#> .
@prefix dcat: <http://www.w3.org/ns/dcat#> .
@prefix dct: <http://purl.org/dc/terms/> .
@prefix foaf: <http://xmlns.com/foaf/0.1/> .
@prefix vcard: <http://www.w3.org/2006/vcard/ns#> .
@prefix rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
@prefix dcatap: <http://data.europa.eu/r5r/> .
@prefix eu: <http://publications.europa.eu/resource/authority/> .
@prefix : <https://techport.example.org/shapes#> .

:Described sh:property
  [ sh:path dct:title ; sh:minCount 1 ; sh:datatype rdf:langString ; sh:uniqueLang true ],
  [ sh:path dcat:contactPoint ; sh:minCount 1 ;
    sh:or ( [ sh:class vcard:Organization ] [ sh:class vcard:Individual ] [ sh:class vcard:Group ] ) ],
  [ sh:path dct:publisher ; sh:minCount 1 ; sh:maxCount 1 ; sh:class foaf:Agent ],
  [ sh:path dct:accessRights ; sh:maxCount 1 ; sh:class skos:Concept ; sh:node :AccessRight ],
  [ sh:path dct:license ; sh:maxCount 1 ; sh:class skos:Concept ; sh:node :Licence ],
  [ sh:path dct:language ; sh:class skos:Concept ; sh:node :Language ],
  [ sh:path dct:modified ; sh:maxCount 1 ] .
:Catalog a sh:NodeShape ; sh:targetClass dcat:Catalog ; sh:node :Described ;
  sh:property [ sh:path dct:description ; sh:minCount 1 ; sh:datatype rdf:langString ; sh:uniqueLang true ],
    [ sh:path foaf:homepage ; sh:maxCount 1 ] .
:Dataset a sh:NodeShape ; sh:targetClass dcat:Dataset ; sh:node :Described ;
  sh:property [ sh:path dct:description ; sh:minCount 1 ; sh:datatype rdf:langString ; sh:uniqueLang true ],
    [ sh:path dcat:theme ; sh:minCount 1 ; sh:class skos:Concept ;
      sh:qualifiedValueShape [ sh:path skos:inScheme ; sh:hasValue eu:data-theme ] ; sh:qualifiedMinCount 1 ],
    [ sh:path dct:accrualPeriodicity ; sh:maxCount 1 ; sh:class skos:Concept ; sh:node :Frequency ],
    [ sh:path dcat:temporalResolution ; sh:maxCount 1 ; sh:datatype xsd:duration ] .
:Service a sh:NodeShape ; sh:targetClass dcat:DataService ; sh:node :Described ;
  sh:property [ sh:path dcat:endpointURL ; sh:minCount 1 ; sh:maxCount 1 ; sh:nodeKind sh:IRI ] .
:Distribution a sh:NodeShape ; sh:targetClass dcat:Distribution ;
  sh:property [ sh:path dcat:accessURL ; sh:minCount 1 ; sh:nodeKind sh:IRI ],
    [ sh:path dct:format ; sh:maxCount 1 ; sh:class skos:Concept ; sh:node :FileType ],
    [ sh:path dct:license ; sh:maxCount 1 ; sh:class skos:Concept ; sh:node :Licence ],
    [ sh:path dcatap:availability ; sh:minCount 1 ; sh:maxCount 1 ; sh:class skos:Concept ; sh:node :Availability ],
    [ sh:path dcat:mediaType ; sh:maxCount 1 ; sh:nodeKind sh:IRI ] .
:Contact a sh:NodeShape ; sh:targetClass vcard:Organization ;
  sh:property [ sh:path vcard:fn ; sh:minCount 1 ],
    [ sh:path [ sh:alternativePath ( vcard:hasEmail vcard:hasURL ) ] ; sh:minCount 1 ; sh:nodeKind sh:IRI ] .
:AccessRight sh:property [ sh:path skos:inScheme ; sh:hasValue eu:access-right ] .
:Licence sh:property [ sh:path skos:inScheme ; sh:hasValue eu:licence ] .
:Language sh:property [ sh:path skos:inScheme ; sh:hasValue eu:language ] .
:Frequency sh:property [ sh:path skos:inScheme ; sh:hasValue eu:frequency ] .
:FileType sh:property [ sh:path skos:inScheme ; sh:hasValue eu:file-type ] .
:Availability sh:property [ sh:path skos:inScheme ; sh:hasValue eu:planned-availability ] .
"""
"""What the draft shapes of DCAT-AP-NO 3 (30 January 2025) ask of what a catalogue of ours says, and that distributions
say how long they stay, which is recommended there."""


@pytest.mark.parametrize("form", ["turtle", "json-ld"])
def test_version_3_is_as_its_draft_shapes_ask(tmp_path: Path, form: str) -> None:
    shapes = tmp_path / "version-3.ttl"
    shapes.write_text(VERSION_3)
    graph = listed([trial.definition()], form, "3")
    for some in (graph, listed([awkward()], form, "3")):
        conforms(some, shapes)
    with pytest.raises(AssertionError, match="Concept"):
        conforms(listed([trial.definition()], form), shapes)
    graph.remove((None, DCAT.contactPoint, None))
    with pytest.raises(AssertionError, match="contactPoint"):
        conforms(graph, shapes)


@pytest.mark.parametrize("shapes", [*SHAPES[1:], "hvd-3.0.0-SHACL.ttl"])
def test_version_3_is_as_the_eu_asks(shared: Path, shapes: str) -> None:
    # That each thing is an rdfs:Resource, which one of the files wants said, follows by RDFS.
    graph = listed([trial.definition()], profile="3")
    conforms(graph, shared / "schemas" / "shacl" / shapes, "rdfs" if shapes.startswith("hvd") else "none")


def test_what_is_measured_says_which_high_value_dataset_it_is() -> None:
    dcatap = Namespace("http://data.europa.eu/r5r/")
    inside = trial.definition()
    indoors = [StreamDefinition(quantity="indoor_co2")]
    devices = [msgspec.structs.replace(device, streams=indoors) for device in inside.devices]
    inside = msgspec.structs.replace(inside, id="inside", devices=devices, kpis=[])
    graph = listed([trial.definition(), inside], profile="3")
    outside, indoor = (URIRef(f"{BASE}/pilots/{pilot}#dataset") for pilot in ("elgeseter", "inside"))
    assert set(graph.objects(outside, dcatap.hvdCategory)) >= {URIRef("http://data.europa.eu/bna/c_dd313021")}
    assert set(graph.objects(outside, dcatap.applicableLegislation)) == {URIRef(HVD_LAW)}
    assert not set(graph.objects(indoor, dcatap.hvdCategory))
    assert not set(graph.objects(indoor, dcatap.applicableLegislation))


def test_both_forms_say_the_same() -> None:
    pilots = [trial.definition(), awkward()]
    assert isomorphic(listed(pilots), listed(pilots, "json-ld"))
    assert len(listed(pilots)) > 100


def test_the_shapes_find_what_is_missing(shared: Path) -> None:
    graph = listed([trial.definition()])
    graph.remove((None, DCTERMS.publisher, None))
    with pytest.raises(AssertionError, match="publisher"):
        conforms(graph, shared / "schemas" / "shacl" / SHAPES[0])


@pytest.mark.parametrize("shapes", SHAPES)
def test_the_dataset_of_a_package_conforms(shared: Path, package: Path, shapes: str) -> None:
    graph = Graph().parse(package / "dcat.ttl", format="turtle", publicID="https://example.org/package/dcat.ttl")
    conforms(graph, shared / "schemas" / "shacl" / shapes)


def test_only_open_pilots_are_in_the_catalogue() -> None:
    shut = msgspec.structs.replace(trial.definition(), id="shut", data_class="internal")
    personal = msgspec.structs.replace(trial.definition(), id="personal", data_class="personal", personal_data=True)
    graph = listed([trial.definition(), shut, personal])
    assert list(graph.subjects(RDF.type, DCAT.Dataset)) == [URIRef(f"{BASE}/pilots/elgeseter#dataset")]
    assert "shut" not in graph.serialize()


@pytest.mark.slow
def test_the_data_package_is_valid(package: Path) -> None:
    found = validate_package(str(package / "datapackage.json"))
    assert found.valid, found.flatten(["name", "type", "note"])
    assert {task.name: task.stats["rows"] for task in found.tasks if task.name == "devices"} == {"devices": 2}


@pytest.fixture
def remarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], set[tuple[str, str]]]:
    """What a validator of RO-Crates says of a folder: (severity, message). It asks the network for one document, the
    context, which the Python package of the crates' community carries."""
    module = importlib.util.find_spec("rocrate")
    assert module is not None
    assert module.origin is not None
    document = requests.Response()
    document.status_code = 200
    document.headers["Content-Type"] = "application/ld+json"
    document._content = (Path(module.origin).parent / "data" / "ro-crate.jsonld").read_bytes()

    def get(_requester: HttpRequester, url: str, **_options: object) -> requests.Response:
        assert url == "https://w3id.org/ro/crate/1.1/context", "the network is asked for something else"
        return document

    monkeypatch.setattr(HttpRequester, "get", get, raising=False)

    def ask(folder: Path) -> set[tuple[str, str]]:
        settings = ValidationSettings(
            rocrate_uri=str(folder),
            profile_identifier="ro-crate-1.1",
            requirement_severity=Severity.RECOMMENDED,
            offline=True,
            cache_path=tmp_path / "cache",
        )
        return {(one.severity.name, str(one.message)) for one in validate_crate(settings).get_issues()}

    return ask


def test_the_crate_is_as_required_and_as_recommended(
    package: Path, remarks: Callable[[Path], set[tuple[str, str]]]
) -> None:
    assert remarks(package) == set()


def test_the_crate_of_a_pilot_with_odd_organisations(
    tmp_path: Path, remarks: Callable[[Path], set[tuple[str, str]]]
) -> None:
    one = '{name: Trondheim kommune, role: owner, url: "https://www.trondheim.kommune.no"}'
    others = one.replace("owner", "data-processor") + ", {name: Nabolaget}"
    package = packed(tmp_path, trial.YAML.replace(one, f"{one}, {others}"), Batch.of([]))
    assert remarks(package) == {("RECOMMENDED", "The organization SHOULD have a URL.")}
    graph = json.loads((package / "ro-crate-metadata.json").read_text("utf-8"))["@graph"]
    names = [node["@id"] for node in graph]
    assert len(names) == len(set(names))
    assert names.count("#organisation-3") == 1


def test_the_validator_finds_what_is_missing(
    package: Path, tmp_path: Path, remarks: Callable[[Path], set[tuple[str, str]]]
) -> None:
    broken = shutil.copytree(package, tmp_path / "broken")
    file = broken / "ro-crate-metadata.json"
    crate = json.loads(file.read_text("utf-8"))
    (root,) = (node for node in crate["@graph"] if node["@id"] == "./")
    del root["license"], root["datePublished"]
    file.write_text(json.dumps(crate), "utf-8")
    (broken / "readings.csv").unlink()
    found = " ".join(message for severity, message in remarks(broken) if severity == "REQUIRED")
    assert "license" in found
    assert "datePublished" in found
