"""DCAT-AP-NO and Data Package, held against the published shapes and a validator that is not ours."""

from __future__ import annotations

import datetime as dt
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from frictionless import validate as validate_package
from pyshacl import validate
from rdflib import DCAT, DCTERMS, RDF, SH, Graph, URIRef
from rdflib.compare import isomorphic

from techport_pilots import lifecycle
from techport_pilots.books import Books
from techport_pilots.closeout import close_pilot
from techport_pilots.dcat import Distribution, Offer, Publisher, Service, catalogue
from techport_pilots.dcat_terms import PREFIXES
from techport_pilots.model import PilotDefinition, Text
from techport_pilots.rdf import Node, json_ld, turtle
from techport_pilots.registry import Registry
from techport_storage.store import open_store
from tests.pilots import trial

BASE = "https://techport.example.org"
SHAPES = ("dcat-ap-no-2.00-shapes.ttl", "dcat-ap-3.0.1-shapes.ttl", "dcat-ap-3.0.1-SHACL.ttl")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("package")
    registry, store = Registry.open(f"sqlite:///{folder}/registry.sqlite"), open_store("duckdb://")
    registry.import_pilot(trial.definition(), trial.YAML, "test")
    store.write(trial.readings())
    pilot = registry.pilot("elgeseter")
    for step in ("running", "ended"):
        lifecycle.transition(registry.engine, pilot, step, "test")  # type: ignore[arg-type]
    made = close_pilot(registry, store, Books(registry.engine), pilot, folder, "test", wait=0)
    with zipfile.ZipFile(made.path) as archive:
        archive.extractall(folder / "unpacked")
    yield folder / "unpacked"
    store.close()
    registry.close()


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


def statements(pilots: list[PilotDefinition]) -> list[Node]:
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
    return catalogue(offers, [service], BASE, publisher, Text(nb="Piloter", en="Pilots"))


def listed(pilots: list[PilotDefinition], form: str = "turtle") -> Graph:
    nodes = statements(pilots)
    text = turtle(nodes, PREFIXES) if form == "turtle" else json_ld(nodes, PREFIXES)
    return Graph().parse(data=text, format=form)


def conforms(graph: Graph, shapes: Path) -> None:
    # Warned of is what is recommended and a pilot may lack, such as a licence of the EU's list.
    rules = Graph().parse(shapes, format="turtle")
    # One of the published files names shapes that it does not hold.
    for statement in list(rules.triples((None, SH.property, None))):
        if (statement[2], None, None) not in rules:
            rules.remove(statement)
    good, _, said = validate(graph, shacl_graph=rules, advanced=True, allow_warnings=True)
    assert good, said


@pytest.mark.parametrize("form", ["turtle", "json-ld"])
@pytest.mark.parametrize("shapes", SHAPES)
def test_the_catalogue_conforms(shared: Path, shapes: str, form: str) -> None:
    conforms(listed([trial.definition(), awkward()], form), shared / "schemas" / "shacl" / shapes)


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


def test_the_data_package_is_valid(package: Path) -> None:
    found = validate_package(str(package / "datapackage.json"))
    assert found.valid, found.flatten(["name", "type", "note"])
    assert {task.name: task.stats["rows"] for task in found.tasks if task.name == "devices"} == {"devices": 2}
