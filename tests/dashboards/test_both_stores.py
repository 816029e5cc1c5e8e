"""The API's answers do not depend on the store: DuckDB and real servers over the same readings, for every endpoint.

Raw values, times and names are equal to the bit, aggregates to 1e-12 of their size.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from techport_storage.model import AGGREGATES, Batch, Query
from techport_storage.store import open_store
from tests.dashboards.web import City
from tests.servers.influxd import Influxd, influxd
from tests.servers.iotdb import Tables, iotdb

__all__ = ["influxd", "iotdb"]

RANGE = "start=2025-10-21T00:00:00Z&end=2025-10-31T00:00:00Z"
QUESTIONS = [
    "/latest",
    "/latest?pilot=kai-luft&device=port",
    "/streams",
    "/devices",
    "/pilots",
    f"/readings?pilot=kai-luft&{RANGE}",
    f"/readings?pilot=*&{RANGE}&limit=7",
    f"/readings?pilot=kai-luft&quantity=pm10&{RANGE}&quality=good",
    f"/readings?pilot=kai-luft&quantity=pm10&{RANGE}&shape=wide",
    f"/readings?pilot=kai-luft&quantity=pm10&{RANGE}&every=P1D&aggregate=mean",
    f"/readings?pilot=kai-luft&quantity=pm10&{RANGE}&every=PT6H&aggregate=min,max,mean&fill=null",
    f"/readings?pilot=kai-luft&{RANGE}&group=device,quantity&every=P1D",
    f"/readings?pilot=kai-luft&quantity=pm10&{RANGE}&group=quantity&aggregate=mean,p95,std,count",
    f"/readings?pilot=kai-luft&quantity=pm10&{RANGE}&profile=hour&aggregate=p5,median,p95",
    f"/readings?pilot=kai-luft&quantity=air_temperature&{RANGE}&profile=weekday&fill=null",
    f"/readings?pilot=kai-luft&quantity=air_temperature&{RANGE}&every=PT6H&aggregate=time_mean",
    f"/readings?pilot=kai-luft&quantity=pm10&{RANGE}&every=PT1H&rolling=PT8H&value>12",
    f"/readings?pilot=kai-luft&{RANGE}&order=-time&limit=10",
    "/gaps?pilot=kai-luft&start=2025-10-16T00:00:00Z&end=2025-11-03T00:00:00Z",
    f"/completeness?pilot=kai-luft&{RANGE}",
    *[f"/readings?pilot=kai-luft&{RANGE}&every=PT1H&aggregate={name}" for name in AGGREGATES],
]


OTHER_STANDARDS = [
    "/sta/v1.1/Things?$expand=Datastreams($expand=Observations($top=3;$orderby=phenomenonTime desc))",
    "/sta/v1.1/Observations?$top=20&$filter=result gt 12&$orderby=phenomenonTime",
    "/edr/collections",
    "/edr/collections/kai-luft/locations/kran?datetime=2025-10-21T00:00:00Z/2025-10-22T00:00:00Z",
    "/api/v1/pilots/kai-luft/events",
    "/api/v1/pilots/kai-luft/kpis",
]


@pytest.fixture(params=["influxdb", pytest.param("iotdb", marks=pytest.mark.cluster)])
async def other(city: City, request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    if request.param == "iotdb":
        tables: Tables = request.getfixturevalue("iotdb")
        url = tables.url()
    else:
        server: Influxd = request.getfixturevalue("influxd")
        url = server.url(server.new_bucket())
    store = open_store(url)
    with city.store.read(Query()) as reader:
        for rows in reader:
            store.write(Batch.of(_readings(rows)))
    app = dataclasses.replace(city, store=store).app()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        yield client
    store.close()


@pytest.mark.anyio
@pytest.mark.parametrize("question", QUESTIONS)
async def test_the_answer_is_the_same(client: httpx.AsyncClient, other: httpx.AsyncClient, question: str) -> None:
    one, two = await client.get(f"/api/v1{question}"), await other.get(f"/api/v1{question}")
    assert one.status_code == two.status_code == 200, (one.text, two.text)
    items = one.json()["items"]
    assert items, "a comparison of nothing"
    exact = "every=" not in question and "profile=" not in question  # means of means
    _assert_same(one.json(), two.json(), exact=exact, at=question)


@pytest.mark.anyio
@pytest.mark.parametrize("path", OTHER_STANDARDS)
async def test_other_standards_are_the_same(client: httpx.AsyncClient, other: httpx.AsyncClient, path: str) -> None:
    one, two = await client.get(path), await other.get(path)
    assert one.status_code == two.status_code == 200, (one.text, two.text)
    _assert_same(one.json(), two.json(), exact=True, at=path)


def _assert_same(one: Any, two: Any, exact: bool, at: str) -> None:
    assert type(one) is type(two), at
    if isinstance(one, dict):
        assert one.keys() == two.keys(), at
        for key in one:
            if key != "next":  # a cursor belongs to the one who gave it
                _assert_same(one[key], two[key], exact, f"{at} {key}")
    elif isinstance(one, list):
        assert len(one) == len(two), at
        for index, (left, right) in enumerate(zip(one, two, strict=True)):
            _assert_same(left, right, exact, f"{at} [{index}]")
    elif isinstance(one, float) and not exact:
        assert math.isclose(one, two, rel_tol=1e-12, abs_tol=1e-12), at
    else:
        assert one == two, at


def _readings(rows: Any) -> Any:
    from techport_storage.model import Reading

    for row in rows.to_pylist():
        time, received = (_micros(row[name]) for name in ("time", "received"))
        yield Reading(row["pilot"], row["device"], row["quantity"], time, row["value"], received, row["quality"])


def _micros(when: Any) -> int:
    return round(when.timestamp() * 1_000_000)
