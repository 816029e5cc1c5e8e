"""A definition that names another pilot's streams gets nothing of them unless that pilot lends them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from techport_pilots.definition.load import parse_definition, to_yaml
from techport_pilots.definition.neighbours import everybody
from techport_pilots.errors import DefinitionError
from techport_pilots.evaluation import evaluate
from techport_pilots.handover.closeout import write_package
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.registry import Registry
from techport_pilots.reports.build import current_report
from techport_storage import clock
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import Batch, Reading, Stream
from techport_storage.store import ReadingStore, open_store
from tests.registries import registry_in

START = 20_515 * DAY
WIND = Stream("weather", "mast", "wind_speed")
LENDER = """
id: weather
title: W
question: Q?
devices: [{id: mast, streams: [{quantity: wind_speed}]}, {id: roof, streams: [{quantity: wind_speed}]}]
"""
BORROWER = """
id: guest
title: G
question: Q?
phases:
  - {name: before, kind: baseline, start: 2026-03-03, end: 2026-03-17}
  - {name: after, kind: intervention, start: 2026-03-17, end: 2026-03-31}
devices: [{id: box, interval: PT1H, streams: [{quantity: air_temperature}]}]
"""
KPI = "kpis: [{id: k, title: K, quantity: air_temperature, %s}]"
BORROWED = "{quantity: wind_speed, device: mast, pilot: weather}"
ADJUSTED = KPI % f"adjust: [{BORROWED}]"
DAYS_AFTER = KPI % f"after: {BORROWED}"
LENT = "lends: [{to: guest, device: mast, quantity: wind_speed}]"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with closing(Registry.open(registry_in(tmp_path))) as registry:
        yield registry


@pytest.fixture
def store() -> Iterator[ReadingStore]:
    with closing(open_store("duckdb://")) as store:
        rows = [("weather", "mast", "wind_speed", START + i * HOUR, float(i % 5)) for i in range(28 * 24)]
        rows += [("guest", "box", "air_temperature", START + i * HOUR, float(i * i % 7)) for i in range(28 * 24)]
        store.write(Batch.of(Reading(*row, received=row[3]) for row in rows))
        yield store


def brought_in(registry: Registry, *texts: str) -> PilotDefinition:
    for text in texts:
        registry.import_pilot(parse_definition(text), text, "test", may_see=everybody)
    return registry.pilots()[0]


@pytest.mark.parametrize("kpi", [ADJUSTED, DAYS_AFTER])
@pytest.mark.parametrize(
    "entry",
    [
        "",
        "lends: [{to: other, device: mast, quantity: wind_speed}]",
        "lends: [{to: guest, device: roof}]",
        "data_class: open\nlicence: CC0-1.0",
    ],
)
def test_what_is_not_lent_is_refused_at_import(registry: Registry, entry: str, kpi: str) -> None:
    brought_in(registry, LENDER + entry)
    with pytest.raises(DefinitionError, match="lends guest") as caught:
        brought_in(registry, BORROWER + kpi)
    with pytest.raises(DefinitionError) as nowhere:
        brought_in(registry, BORROWER + kpi.replace("weather", "elsewhere"))
    assert str(nowhere.value).replace("elsewhere", "weather") == str(caught.value), "it tells which pilots there are"
    assert [pilot.id for pilot in registry.pilots()] == ["weather"]


@pytest.mark.parametrize("kpi", [ADJUSTED, DAYS_AFTER])
@pytest.mark.parametrize(
    "entry", [LENT, "lends: [{to: guest, device: mast}]", 'lends: [{to: "*", device: mast, quantity: wind_speed}]']
)
def test_what_is_lent_is_used(registry: Registry, store: ReadingStore, entry: str, kpi: str) -> None:
    guest = brought_in(registry, LENDER + entry, BORROWER + kpi)
    assert registry.lent(guest) == {WIND}
    codes = [reason.code for reason in evaluate(store, guest, guest.kpis[0], lent=registry.lent(guest)).reasons]
    assert "evaluation.not-lent" not in codes


@pytest.mark.parametrize("kpi", [ADJUSTED, DAYS_AFTER])
def test_an_entry_that_is_taken_away_ends_the_use(
    registry: Registry, store: ReadingStore, kpi: str, tmp_path: Path
) -> None:
    guest = brought_in(registry, LENDER + LENT, BORROWER + kpi)
    brought_in(registry, LENDER)
    assert registry.lent(guest) == frozenset()
    result = current_report(registry, store, guest, clock.now()).results[0]
    assert [reason.code for reason in result.evaluation.reasons] == ["evaluation.not-lent"]
    assert "wind_speed" in result.evaluation.reasons[0].en
    assert not result.days, "they are days that the borrowed stream tells"
    package = write_package(registry, store, guest, tmp_path)
    with zipfile.ZipFile(package.path) as zipped:
        rows = pq.read_table(io.BytesIO(zipped.read("readings.parquet")))
    assert set(rows["pilot"].to_pylist()) == {"guest"}
    # The definition that names it stays as it is, and may be changed in other ways.
    brought_in(registry, (BORROWER + kpi).replace("title: G", "title: H"))


def test_only_what_is_lent_to_it_is_read(store: ReadingStore) -> None:
    guest = parse_definition(BORROWER + ADJUSTED)
    found = evaluate(store, guest, guest.kpis[0])
    assert [reason.code for reason in found.reasons] == ["evaluation.not-lent"]


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ("lends: [{to: guest, device: kitchen}]", "lends[0].device"),
        ("lends: [{to: guest, device: mast, quantity: wind_sped}]", "lends[0].quantity"),
        ("lends: [{to: 'a/b', device: mast}]", "lends[0].to"),
        ("lends: [{device: mast}]", "lends[0]"),
    ],
)
def test_an_entry_that_lends_nothing_is_named(entry: str, field: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse_definition(LENDER + entry)
    assert field in str(caught.value)


def test_entries_survive_being_written_and_read() -> None:
    lender = parse_definition(LENDER + LENT)
    assert parse_definition(to_yaml(lender)).lends == lender.lends
