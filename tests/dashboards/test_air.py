"""How good the air is: classes of the last hour's mean beside latest values, and of KPIs that are means."""

from __future__ import annotations

import html
import re

import httpx
import pytest

from techport_dashboards.services.air_quality import Rated, rate
from techport_dashboards.services.last_hour import LastHour
from techport_dashboards.texts import FOLDER
from techport_pilots.i18n import Language
from techport_storage.clock import now
from techport_storage.microseconds import HOUR
from techport_storage.model import Batch, Quality, Reading, Stream
from techport_storage.store import open_store
from tests.dashboards.web import City

pytestmark = [pytest.mark.anyio, pytest.mark.dates]

AIR = """
id: street
title: {nb: Gata, en: Street}
question: {nb: "Er lufta god?", en: "Is the air good?"}
timezone: Europe/Oslo
data_class: open
licence: CC-BY-4.0
devices:
  - id: box
    title: {nb: Boksen}
    interval: PT1M
    position: {lat: 63.43, lon: 10.4}
    streams: [{quantity: no2}, {quantity: air_temperature}]
"""


@pytest.fixture
def street(city: City) -> City:
    """NO2 was 40 for an hour and is 200 in the latest reading: the hour counts, not the moment."""
    city.import_text(AIR)
    at = now()
    city.write(*(Reading("street", "box", "no2", at - k * HOUR // 60, 40.0, at) for k in range(1, 60)))
    city.write(Reading("street", "box", "no2", at, 200.0, at), Reading("street", "box", "air_temperature", at, 4.0, at))
    return city


def words(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


@pytest.mark.parametrize("path", ["/?map=no2", "/pilots/street?map=no2", "/pilots/street/devices/box?"])
async def test_the_class_of_the_last_hour_stands_beside_the_value(
    street: City, client: httpx.AsyncClient, path: str
) -> None:
    text = (await client.get(f"{path}&lang=nb")).text
    assert "air-3" in text
    assert "luftkvalitet siste time: moderat" in html.unescape(text)
    assert "200,0" in words(text)
    assert "moderat" in words(text), "not only in a tooltip"
    assert text.count("air quality, last hour") == 0


async def test_what_is_no_air_is_not_rated(city: City, client: httpx.AsyncClient) -> None:
    assert "air quality, last hour" not in (await client.get("/pilots/kai-luft/devices/kran?lang=en")).text


def test_an_hour_across_the_clock_is_one_mean_without_flagged_readings() -> None:
    store = open_store("duckdb://")
    stream = Stream("street", "box", "no2")
    half_past = 500_000 * HOUR + HOUR // 2
    values = [(-50, 10.0, 0), (-40, 10.0, 0), (-10, 40.0, 0), (-5, 900.0, int(Quality.RANGE)), (-70, 700.0, 0)]
    store.write(Batch.of([Reading(*stream, half_past + k * HOUR // 60, v, half_past, q) for k, v, q in values]))
    means = LastHour(store).means((stream,), half_past)
    assert means == {stream: pytest.approx(20.0)}
    assert LastHour(store).means((stream,), half_past + 2 * HOUR) == {}
    store.close()


def test_only_what_the_index_knows_is_rated() -> None:
    assert rate("no2", "ug/m3", 25.4, Language("en")) == Rated(1, "fair")
    assert rate("no2.2", "ug/m3", 25.6, Language("nb", FOLDER)) == Rated(2, "moderat")
    assert rate("no2", "[ppb]", 25.0, Language("en")) is None
    assert rate("air_temperature", "Cel", 25.0, Language("en")) is None
