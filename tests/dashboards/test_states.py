"""States are words: on pages, in charts, and in what is exported."""

from __future__ import annotations

import csv
import html
import io
import json
import re

import httpx
import pytest

from techport_pilots.handover.package_metadata import streams_csv
from techport_storage.clock import now
from techport_storage.microseconds import MINUTE
from techport_storage.model import Quality, Reading
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio

DOORS = """
id: porter
title: {nb: Porter, en: Gates}
question: Is it open?
data_class: open
licence: CC-BY-4.0
quantities:
  - {name: gate, title: {nb: Port, en: Gate}, unit: "1", kind: state,
     states: [{nb: stengt, en: shut}, {nb: på gløtt, en: ajar}, {nb: åpen, en: open}]}
devices:
  - {id: nord, interval: PT10M, position: {lat: 63.43, lon: 10.4},
     streams: [{quantity: gate}, {quantity: door_open}, {quantity: air_temperature}]}
"""


@pytest.fixture
def gates(city: City) -> City:
    city.import_text(DOORS)
    at = now() // MINUTE * MINUTE - 30 * MINUTE
    for quantity, values in (
        ("gate", (0.0, 2.0, 1.0)),
        ("door_open", (0.0, 0.0, 1.0)),
        ("air_temperature", (4.0,) * 3),
    ):
        times = (at + n * 10 * MINUTE for n in range(3))
        city.write(*(Reading("porter", "nord", quantity, t, v, t) for t, v in zip(times, values, strict=True)))
    return city


async def test_pages_show_the_word_of_a_state(gates: City, client: httpx.AsyncClient) -> None:
    english = (await client.get("/pilots/porter/devices/nord", params={"lang": "en"})).text
    assert "ajar" in english
    assert "open" in english
    assert "på gløtt" in (await client.get("/pilots/porter/devices/nord", params={"lang": "nb"})).text
    table = (await client.get("/pilots/porter", params={"lang": "nb"})).text
    assert "på gløtt" in table


async def test_a_chart_has_words_at_its_axis_and_where_it_is_pointed_at(gates: City, client: httpx.AsyncClient) -> None:
    query = {"quantity": "gate", "start": "-PT2H", "lang": "en"}
    figure = (await client.get("/api/v1/pilots/porter/figure.json", params=query)).json()
    assert figure["layout"]["yaxis"]["ticktext"] == ["shut", "ajar", "open"]
    (line,) = [trace for trace in figure["data"] if trace["meta"]["role"] == "line"]
    assert line["customdata"] == ["shut", "open", "ajar"]
    query["quantity"] = "air_temperature"
    plain = (await client.get("/api/v1/pilots/porter/figure.json", params=query)).json()
    assert "ticktext" not in plain["layout"]["yaxis"]


async def test_readings_of_a_doubtful_time_are_told_in_plain_sight(gates: City, client: httpx.AsyncClient) -> None:
    pages = ("/pilots/porter/devices/nord", "/pilots/porter")
    before = [(await client.get(page, params={"lang": "en"})).text for page in pages]
    at = now() - MINUTE
    gates.write(Reading("porter", "nord", "air_temperature", at, 5.0, at, int(Quality.CLOCK)))
    for page, text in zip(pages, before, strict=True):
        assert "doubtful" not in text
        assert "doubtful" in (await client.get(page, params={"lang": "en"})).text


async def test_exports_have_the_word_beside_the_number(gates: City, client: httpx.AsyncClient) -> None:
    rows = (await client.get("/api/v1/readings", params={"pilot": "porter", "start": "-PT2H"})).json()["items"]
    words = {(row["quantity"], row["value"]): row["state"] for row in rows}
    assert words == {
        ("gate", 0.0): "shut",
        ("gate", 1.0): "ajar",
        ("gate", 2.0): "open",
        ("door_open", 0.0): "closed",
        ("door_open", 1.0): "open",
        ("air_temperature", 4.0): None,
    }
    table = (await client.get("/api/v1/readings", params={"pilot": "porter", "quantity": "gate", "format": "csv"})).text
    assert ',"ajar",' in table
    plain = (await client.get("/api/v1/readings", params={"pilot": "porter", "quantity": "air_temperature"})).json()
    assert "state" not in plain["items"][0]


async def test_a_map_shows_the_word_and_keeps_to_words_when_values_come(gates: City, client: httpx.AsyncClient) -> None:
    page = (await client.get("/pilots/porter", params={"lang": "en", "map": "gate"})).text
    [(words, shown)] = re.findall(
        r'<text[^>]*data-quantity="gate"[^>]*data-words="([^"]*)"[^>]*><tspan[^>]*>([^<]*)', page
    )
    assert shown == "ajar"
    assert json.loads(html.unescape(words)) == ["shut", "ajar", "open"]
    assert re.search(r'aria-label="[^"]*Gate ajar[^"]*"', page)


def test_a_package_says_what_the_numbers_of_a_state_mean(gates: City) -> None:
    rows = list(csv.DictReader(io.StringIO(streams_csv(gates.registry.pilot("porter")))))
    assert {row["quantity"]: row["states"] for row in rows} == {
        "gate": "0 = shut, 1 = ajar, 2 = open",
        "door_open": "0 = closed, 1 = open",
        "air_temperature": "",
    }
