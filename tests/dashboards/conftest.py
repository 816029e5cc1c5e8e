"""A small city whose readings are known to the last digit, and clients of its web app."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from techport_storage.microseconds import HOUR, SECOND
from techport_storage.model import Reading
from tests.dashboards.web import City

AIR = """
id: kai-luft
title: {nb: Luft på kaia, en: Air on the quay}
question: {nb: "Hjelper det?", en: "Does it help?"}
timezone: Europe/Oslo
data_class: open
licence: CC-BY-4.0
devices:
  - id: kran
    title: {nb: Krana, en: The crane}
    position: {lat: 63.4385, lon: 10.4}
    interval: PT1H
    streams: [{quantity: pm10}, {quantity: air_temperature}]
  - id: port
    interval: PT1H
    streams: [{quantity: pm10}]
"""
NOISE = """
id: stille
title: {en: Quiet}
question: {en: "Is it quiet?"}
data_class: open
licence: CC-BY-4.0
timezone: Europe/Oslo
devices:
  - id: kran
    interval: PT10M
    streams: [{quantity: laeq}]
"""
START = int(dt.datetime(2025, 10, 21, tzinfo=dt.UTC).timestamp()) * SECOND
HOURS = 240  # over the end of summer time, 26 October 2025 at 01:00 UTC


def hourly(pilot: str, device: str, quantity: str, base: float) -> list[Reading]:
    """A reading an hour, all different, not on the full second, with digits that rounding would lose."""
    times = [START + hour * HOUR + 123_456 for hour in range(HOURS)]
    return [Reading(pilot, device, quantity, t, base + i / 7, t + SECOND) for i, t in enumerate(times)]


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    city = City.at(tmp_path)
    city.import_text(AIR)
    city.import_text(NOISE)
    city.write(
        *hourly("kai-luft", "kran", "pm10", 10),
        *hourly("kai-luft", "kran", "air_temperature", -5),
        *hourly("kai-luft", "port", "pm10", 20),
        *hourly("kai-luft", "port", "=odd", 0),  # nobody has described it, and a spreadsheet would run it
        *hourly("stille", "kran", "laeq", 40),
    )
    yield city
    city.close()


@pytest.fixture
async def client(city: City) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(city.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
