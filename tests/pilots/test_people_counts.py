"""Counts of people leave as sums of a slot or more without the small ones, and no difference of answers tells them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from techport_pilots.definition.load import parse_definition
from techport_pilots.errors import DefinitionError
from techport_pilots.model import PeopleCounts, PilotDefinition, Text
from techport_pilots.quality import people_counts
from techport_pilots.quality.people_counts import PublishedStore
from techport_storage.microseconds import DAY, HOUR, MINUTE
from techport_storage.model import Batch, BucketWidth, Cursor, Query, Reading, Selection, Stream
from techport_storage.store import ReadingStore, open_store

NOON = 20_000 * DAY + 12 * HOUR
QUARTER = 15 * MINUTE
PEOPLE, OTHER = "pedestrian_count", "air_temperature"
PILOT = PilotDefinition(
    id="p", title=Text(en="P"), question=Text(en="?"), devices=[], people_counts=PeopleCounts([PEOPLE], least=5)
)


def minute(number: int, value: float, device: str = "b", quantity: str = PEOPLE, pilot: str = "p") -> Reading:
    return Reading(pilot, device, quantity, NOON + number * MINUTE, value, NOON + number * MINUTE + 1)


@pytest.fixture
def inner() -> Iterator[ReadingStore]:
    """Four quarters of one person a minute, of which the second has three only; the fifth has just begun."""
    store = open_store("duckdb://")
    rows = [minute(n, 1.0) for n in range(62) if n // 15 != 1] + [minute(n, 1.0) for n in (16, 20, 24)]
    rows += [minute(n, 20.5 + n, device, OTHER) for n in (0, 7) for device in "abc"]
    rows += [minute(n, 1.0, "b", f"{PEOPLE}.in") for n in range(15)]
    rows += [minute(n, 1.0, "b", PEOPLE, "other") for n in range(3)]
    store.write(Batch.of(rows))
    yield store
    store.close()


@pytest.fixture
def store(inner: ReadingStore, monkeypatch: pytest.MonkeyPatch) -> PublishedStore:
    monkeypatch.setattr(people_counts, "now", lambda: NOON + 62 * MINUTE)
    other = PilotDefinition(id="other", title=Text(en="O"), question=Text(en="?"), devices=[])
    return PublishedStore(inner, lambda: {"p": PILOT, "other": other})


def rows(store: PublishedStore, **query: Any) -> list[dict[str, Any]]:
    return list(store.read(Query(**query)).read_all().to_pylist())


ONE = Selection(streams=(Stream("p", "b", PEOPLE),))


def shown(found: list[dict[str, Any]], column: str = "value") -> list[tuple[int, float]]:
    """Minute and value."""
    return [(round((one["time"].timestamp() * 1e6 - NOON) / MINUTE), one[column]) for one in found]


def test_readings_are_sums_of_slots_without_small_ones_and_open_ones(store: PublishedStore) -> None:
    assert shown(rows(store, select=ONE)) == [(0, 15), (30, 15), (45, 15)]
    assert {one["quality"] for one in rows(store, select=ONE)} == {0}


@pytest.mark.parametrize(("count", "unit"), [(1, "min"), (5, "min"), (15, "min")])
def test_smaller_buckets_are_slots(store: PublishedStore, count: int, unit: Any) -> None:
    found = rows(store, select=ONE, every=BucketWidth(count, unit), aggregates=("sum", "max"))
    assert shown(found, "sum") == shown(found, "max") == [(0, 15), (30, 15), (45, 15)]


def test_larger_buckets_tell_no_more_than_their_slots(store: PublishedStore) -> None:
    """45 and not 48: else the hour less three quarters would be what was left out."""
    (hour,) = rows(store, select=ONE, every=BucketWidth(1, "h"), aggregates=("sum", "min", "count"))
    assert (hour["sum"], hour["min"], hour["count"]) == (45, 15, 3)


def test_a_range_that_cuts_slots_gives_whole_ones_only(store: PublishedStore) -> None:
    cut = rows(store, select=ONE, start=NOON + MINUTE, end=NOON + 59 * MINUTE)
    assert shown(cut) == [(30, 15)]
    assert rows(store, select=ONE, start=NOON + MINUTE, end=NOON + 14 * MINUTE) == []


def test_other_streams_and_other_pilots_are_as_they_came(store: PublishedStore) -> None:
    found = rows(store)
    keys = [(one["pilot"], one["device"], one["quantity"], one["time"]) for one in found]
    assert keys == sorted(keys), "in the order that every store has"
    assert sum(one["quantity"] == OTHER for one in found) == 6
    assert [one["value"] for one in found if one["pilot"] == "other"] == [1, 1, 1]
    assert [one["value"] for one in found if one["quantity"] == f"{PEOPLE}.in"] == [15], "channels count, too"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_pages_are_the_whole(store: PublishedStore, size: int) -> None:
    whole, pages = rows(store), []
    after = None
    while page := rows(store, limit=size, after=after):
        assert len(page) <= size
        pages += page
        last = page[-1]
        at = round(last["time"].timestamp() * 1e6)
        after = Cursor(Stream(last["pilot"], last["device"], last["quantity"]), at)
    assert pages == whole


def test_the_latest_is_the_last_slot_that_may_be_shown(store: PublishedStore) -> None:
    latest = {(one["pilot"], one["device"], one["quantity"]): one for one in store.latest(Selection()).to_pylist()}
    assert list(latest) == sorted(latest)
    assert shown([latest["p", "b", PEOPLE]]) == [(45, 15)]
    assert latest["p", "a", OTHER]["value"] == 27.5
    assert latest["other", "b", PEOPLE]["value"] == 1


def test_a_counter_that_fell_silent_long_ago_keeps_its_latest_and_makes_no_range_long(
    inner: ReadingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago = -300 * 24 * 60
    inner.write(Batch.of([minute(long_ago + n, 1.0, "a") for n in range(30)]))
    asked: list[Query] = []
    read = inner.read

    def noting(query: Query) -> Any:
        asked.append(query)
        return read(query)

    monkeypatch.setattr(inner, "read", noting)
    table = PublishedStore(inner, lambda: {"p": PILOT}).latest(Selection(pilots=("p",)))
    latest = {(one["device"], one["quantity"]): one for one in table.to_pylist()}
    assert shown([latest["a", PEOPLE], latest["b", PEOPLE]]) == [(long_ago + 15, 15), (45, 15)]
    assert len(asked) == 2
    assert all(query.end is not None and query.end - (query.start or 0) < 3 * DAY for query in asked)


def test_nothing_is_asked_twice_where_nobody_counts_people(inner: ReadingStore) -> None:
    plain = PublishedStore(inner, lambda: {"p": PilotDefinition("p", Text(en="P"), Text(en="?"), [])})
    assert shown(rows(plain, select=ONE))[:2] == [(0, 1), (1, 1)]
    assert plain.extent(ONE) == inner.extent(ONE)


def test_an_answer_gets_another_etag_when_a_slot_is_over(
    store: PublishedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = store.extent(ONE).version_token
    assert store.extent(ONE).version_token == before
    monkeypatch.setattr(people_counts, "now", lambda: NOON + 62 * MINUTE + QUARTER)
    assert store.extent(ONE).version_token != before


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        ({"quantities": []}, "no quantity"),
        ({"quantities": ["pedestrans"]}, "pedestrans"),
        ({"quantities": [PEOPLE], "least": 1}, "between 2 and 1,000"),
        ({"quantities": [PEOPLE], "width": "PT5M"}, "width"),
    ],
)
def test_a_rule_that_protects_nobody_is_told(rule: dict[str, object], wrong: str) -> None:
    pilot = {"id": "p", "title": "P", "question": "Is it?", "devices": [{"id": "d"}], "people_counts": rule}
    with pytest.raises(DefinitionError, match=wrong):
        parse_definition(json.dumps(pilot))
