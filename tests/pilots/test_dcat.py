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
from rdflib import DCAT, RDF, Graph, URIRef

from techport_pilots import lifecycle
from techport_pilots.books import Books
from techport_pilots.closeout import close_pilot
from techport_pilots.dcat import Publisher, catalogue
from techport_pilots.model import PilotDefinition, Text
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


def listed(pilots: list[PilotDefinition]) -> Graph:
    publisher = Publisher("Trondheim kommune", "https://www.trondheim.kommune.no", "post@example.org")
    text = catalogue(pilots, BASE, publisher, Text(nb="Piloter", en="Pilots"), dt.date(2026, 11, 1))
    return Graph().parse(data=text, format="turtle")


def conforms(graph: Graph, shapes: Path) -> None:
    # Warned of is what is recommended and a pilot may lack, such as a licence of the EU's list.
    rules = Graph().parse(shapes, format="turtle")
    good, _, said = validate(graph, shacl_graph=rules, advanced=True, allow_warnings=True)
    assert good, said


@pytest.mark.parametrize("shapes", SHAPES)
def test_the_catalogue_conforms(shared: Path, shapes: str) -> None:
    conforms(listed([trial.definition(), awkward()]), shared / "schemas" / "shacl" / shapes)


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
