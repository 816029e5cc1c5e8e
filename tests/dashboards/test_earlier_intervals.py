"""/readings of a device that sends more often than it did: each time is judged by what was promised then."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from techport_storage.microseconds import HOUR, MINUTE, SECOND
from techport_storage.model import Reading
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
PILOT = """
id: faster
title: {en: Faster}
question: {en: "Is it warmer in the street?"}
timezone: UTC
data_class: open
licence: CC-BY-4.0
devices:
  - id: changed
    interval: PT10S
    previous: [{until: 2025-10-22T00:00:00Z, interval: PT1H}]
    streams: [{quantity: air_temperature}]
  - {id: steady, interval: PT10M, streams: [{quantity: air_temperature}]}
"""
BEGIN = int(dt.datetime(2025, 10, 21, tzinfo=dt.UTC).timestamp()) * SECOND
CHANGE = BEGIN + 24 * HOUR
RANGE = {"pilot": "faster", "start": "2025-10-21T00:00:00Z", "end": "2025-10-22T02:00:00Z", "zone": "UTC"}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Of the fast device the last hour is missing."""
    fast = [*range(BEGIN, CHANGE, HOUR), *range(CHANGE, CHANGE + HOUR, 10 * SECOND)]
    steady = range(BEGIN, CHANGE + 2 * HOUR, 10 * MINUTE)
    city = City.at(tmp_path)
    city.import_text(PILOT)
    city.write(
        *(
            Reading("faster", device, "air_temperature", at, 10.0 if at < CHANGE else 20.0, at)
            for device, times in (("changed", fast), ("steady", steady))
            for at in times
        )
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(city.app(signed_in=False)), base_url="http://127.0.0.1"
    ) as client:
        yield client
    city.close()


async def items(client: httpx.AsyncClient, **parameters: Any) -> list[dict[str, Any]]:
    answer = await client.get("/api/v1/readings", params={**RANGE, **parameters})
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["items"]
    return rows


async def test_buckets(client: httpx.AsyncClient) -> None:
    hours = await items(client, device="changed", every="PT1H")
    assert [(row["count"], row["completeness"]) for row in hours] == [(1, 1.0)] * 24 + [(360, 1.0)]
    days = await items(client, device="changed", every="P1D")
    assert [(row["count"], row["completeness"]) for row in days] == [(24, 1.0), (360, 0.5)]


async def test_a_bucket_that_the_change_is_in(client: httpx.AsyncClient) -> None:
    inside = {"start": "2025-10-21T23:00:00Z", "end": "2025-10-22T01:00:00Z"}
    rows = await items(client, device="changed", every="P1W", **inside)
    assert [(row["count"], row["completeness"]) for row in rows] == [(361, 1.0)]


async def test_groups(client: httpx.AsyncClient) -> None:
    hours = await items(client, group="quantity", every="PT1H")
    assert [(row["count"], row["completeness"]) for row in hours[:2]] == [(7, 1.0)] * 2
    assert [(row["count"], row["completeness"]) for row in hours[24:]] == [(366, 1.0), (6, round(6 / 366, 4))]
    (whole,) = await items(client, group="quantity", device="changed")
    assert (whole["count"], whole["completeness"]) == (384, round(384 / (24 + 720), 4))


async def test_a_profile(client: httpx.AsyncClient) -> None:
    hours = await items(client, group="quantity", device="changed", profile="hour")
    shares = {row["hour"]: row["completeness"] for row in hours}
    assert shares == {0: 1.0, 1: round(1 / 361, 4), **dict.fromkeys(range(2, 24), 1.0)}


async def test_a_value_holds_for_three_intervals_of_its_time(client: httpx.AsyncClient) -> None:
    (whole,) = await items(client, group="quantity", device="changed", aggregate="time_mean", every="P1W")
    seconds = 24 * 3600, 3600 + 20  # the last value holds for 30 s, of which 10 are in the hour
    assert whole["time_mean"] == pytest.approx((10 * seconds[0] + 20 * seconds[1]) / sum(seconds))
