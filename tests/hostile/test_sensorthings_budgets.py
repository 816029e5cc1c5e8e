"""Filters and expansions of SensorThings that ask for far more than an answer is worth."""

from __future__ import annotations

import tracemalloc
from typing import Any

import httpx
import pytest

from techport_dashboards.sta import answers, filters
from tests.dashboards.conftest import anyio_backend, city, client

__all__ = ["anyio_backend", "city", "client"]

pytestmark = pytest.mark.anyio
ROOT = "/sta/v1.1"


def _value(expression: str, **names: Any) -> Any:
    return filters.evaluate(filters.parse(expression), names.__getitem__)


async def _status(client: httpx.AsyncClient, path: str, **options: str) -> int:
    answer = await client.get(f"{ROOT}/{path}", params={f"${name}": text for name, text in options.items()})
    if answer.status_code >= 400:
        problem = answer.json()
        assert problem["detail"]
        assert problem["parameter"].startswith("$")
    return answer.status_code


@pytest.mark.parametrize(
    "expression",
    [
        "length('%300000000d' mod 5) eq 300000000",
        "length('x' mul 300000000) eq 1",
        "length(300000000 mul 'x') eq 1",
        "'a' add 'b' eq 'ab'",
        "true add 1 eq 2",
        "length((1,2,3) mul 100000000) eq 1",
        "phenomenonTime ge 2026-13-45T00:00:00Z",
        "phenomenonTime ge 2026-02-30T00:00:00Z",
        "date(phenomenonTime) eq 2026-02-30",
        "phenomenonTime ge now() sub duration'P99999999999999999D'",
        "result eq " + "9" * 5_000,
    ],
)
async def test_literals_that_are_no_numbers_or_times_are_refused(client: httpx.AsyncClient, expression: str) -> None:
    assert await _status(client, "Datastreams", filter=expression) == 400
    assert await _status(client, "Observations", filter=expression, top="5") == 400


@pytest.mark.parametrize(
    "expression",
    [
        "length(name mod 5) gt 0",
        "length(name mul 300000000) gt 0",
        "length(concat(name, name) mul 300000000) gt 0",
        "length(properties/device mod 300000000) gt 0",
        "length(description add description) gt 0",
        "name mul 3 gt 0",
        "-name eq 'x'",
        "now() mul 3 gt 0",
        "now() add now() gt 0",
        "substring(name, 1, 99999999999999999999) mod 3 eq 1",
    ],
)
async def test_arithmetic_on_texts_of_entities_is_nothing(client: httpx.AsyncClient, expression: str) -> None:
    assert await _status(client, "Datastreams", filter=expression) == 200
    answer = await client.get(f"{ROOT}/Datastreams", params={"$filter": expression})
    assert answer.json()["value"] == []


def test_numbers_do_not_grow_without_end() -> None:
    product = " mul ".join(["9" * 30] * 60)
    tracemalloc.start()
    assert _value(f"{product} gt 1") is True, "more than all floats"
    assert _value("length(name mul 300000000) gt 1", name="x") is False
    assert _value("length(name mod 5) gt 1", name="%300000000d") is False
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000
    assert _value("2 mul 3 eq 6") is True
    assert _value("9007199254740993 mod 2 eq 1") is False, "as floats have it"


def test_arithmetic_of_times_still_works() -> None:
    assert _value("2026-05-04T12:00:00Z sub duration'PT1H' eq 2026-05-04T11:00:00Z") is True
    assert _value("2026-05-04T12:00:00Z sub 2026-05-04T11:00:00Z eq duration'PT1H'") is True
    assert _value("duration'PT1H' mul 2 eq duration'PT2H'") is True
    assert _value("2 mul duration'PT1H' div 4 eq duration'PT30M'") is True
    assert _value("7 mod 4 add 1.5 eq 4.5") is True


@pytest.mark.parametrize(
    "expression",
    ["not " * 900 + "true", "(" * 1_900 + "1" + ")" * 1_900 + " eq 1", "-" * 3_000 + "1 eq 1", "a" * 5_000 + " eq 1",
     " and ".join(["name eq 'x'"] * 150), "name in (" + ",".join(["'a'"] * 900) + ")", "a/" * 1_900 + "b eq 1"],
)  # fmt: skip
async def test_deep_and_long_filters_are_refused(client: httpx.AsyncClient, expression: str) -> None:
    status = await _status(client, "Datastreams", filter=expression)
    assert status == (200 if expression.startswith("((") else 400)


async def test_a_path_in_circles_is_refused(client: httpx.AsyncClient) -> None:
    circle = "/".join(["ObservedProperty", *["Datastreams/ObservedProperty"] * 40, "name"])
    assert await _status(client, "Datastreams", filter=f"{circle} eq 'x'") == 400


async def test_what_filters_look_at_is_limited(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_VISITED", 20)  # of a city with few streams
    expression = "ObservedProperty/Datastreams/ObservedProperty/Datastreams/ObservedProperty/name eq 'x'"
    assert await _status(client, "Datastreams", filter=expression) == 422


async def test_orders_and_expansions_are_limited(client: httpx.AsyncClient) -> None:
    assert await _status(client, "Datastreams", orderby=",".join(["name"] * 5_000)) == 400
    assert await _status(client, "Datastreams", expand=",".join(["Thing"] * 5_000)) == 400


def _nested(*relations: str) -> str:
    first, *deeper = relations
    return f"{first}($top=10000;$expand={_nested(*deeper)})" if deeper else f"{first}($top=10000)"


@pytest.mark.parametrize(
    "expand",
    [
        _nested("ObservedProperty", "Datastreams", "Observations"),
        _nested("Thing", "Datastreams", "Observations", "Datastream", "Sensor"),
        _nested("Sensor", "Datastreams", "ObservedProperty", "Datastreams", "Observations"),
        "Observations($top=10000)",
    ],
)
async def test_expansions_have_a_budget(
    client: httpx.AsyncClient, expand: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MOST_EXPANDED", 500)  # of a city with 240 hours of five streams
    assert await _status(client, "Datastreams", expand=expand, top="10000") == 422


async def test_what_clients_ask_for_is_answered(client: httpx.AsyncClient) -> None:
    newest = "Observations($top=1;$orderby=phenomenonTime desc)"
    expand = f"Locations,Datastreams($expand=ObservedProperty,Sensor,{newest})"
    assert await _status(client, "Things", expand=expand, top="10000") == 200
