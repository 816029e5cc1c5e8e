"""A pilot's devices in the order that is asked for, and the page of one that is in trouble."""

from __future__ import annotations

import re

import httpx
import pytest

from techport_pilots.accounting.ledger import DeviceDay, QuarantineEntry, Tally
from techport_pilots.accounting.rejection import RecordedText, Rejection
from techport_pilots.i18n import Language
from techport_storage.clock import now
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import Reading, Stream
from tests.dashboards.web import City

pytestmark = [pytest.mark.anyio, pytest.mark.dates]

BATTERIES = """
id: gater
title: {nb: Gater, en: Streets}
question: {nb: "Er det stille?", en: "Is it quiet?"}
timezone: Europe/Oslo
data_class: internal
events:
  - {time: 2025-11-02T12:00:00+01:00, kind: moved, device: b, text: {nb: Flyttet}, position: {lat: 63.43, lon: 10.39}}
devices:
  - id: a
    title: {nb: Ålgata}
    interval: PT1M
    streams: [{quantity: pm10}, {quantity: battery_level}, {quantity: rssi}]
  - {id: b, title: {nb: Øvregata}, interval: PT1M, streams: [{quantity: pm10}, {quantity: battery_level}]}
  - {id: c, title: {nb: Bygata}, interval: PT1M, streams: [{quantity: pm10}]}
  - {id: d, title: {nb: Ærfuglgata}, interval: PT1M, streams: [{quantity: pm10}]}
"""


@pytest.fixture
def streets(city: City) -> City:
    """`a` is heard now, `b` fell silent two hours ago with an empty battery, `c` is late, `d` never came."""
    city.import_text(BATTERIES)
    for device, age, battery in (("a", 0, 90.0), ("b", 2 * HOUR, 12.0), ("c", HOUR // 10, None)):
        at = now() - age
        city.write(Reading("gater", device, "pm10", at, 50.0 - age / HOUR, at))
        if battery is not None:
            city.write(Reading("gater", device, "battery_level", at, battery, at))
    at = now()
    city.write(Reading("gater", "a", "rssi", at, -90.0, at))
    return city


def order(text: str) -> str:
    return "".join(re.findall(r'<tr data-device="gater/(\w)"', text))


@pytest.mark.parametrize(
    ("sort", "devices"),
    [
        ("", "dbca"),
        ("name", "cdba"),
        ("-name", "abdc"),
        ("seen", "dbca"),
        ("-seen", "acbd"),
        ("overdue", "bcda"),
        ("battery", "badc"),
        ("-battery", "abdc"),
        ("signal", "adbc"),
        ("pm10", "bcad"),
        ("-pm10", "acbd"),
    ],
)
async def test_devices_come_in_the_order_that_is_asked_for(
    streets: City, client: httpx.AsyncClient, sort: str, devices: str
) -> None:
    """Æ, ø and å are the last letters; devices without a value come after those with one, whichever way round."""
    text = (await client.get("/pilots/gater", params={"sort": sort} if sort else {})).text
    assert order(text) == devices
    shown = re.findall(r'aria-sort="(ascending|descending)"', text)
    assert shown == ["descending" if sort.startswith("-") else "ascending"]


async def test_a_heading_sorts_and_turns_round(streets: City, client: httpx.AsyncClient) -> None:
    text = (await client.get("/pilots/gater?sort=battery&start=-P7D")).text
    assert 'href="/pilots/gater?start=-P7D&amp;sort=-battery#devices-title"' in text
    wrong = await client.get("/pilots/gater?sort=colour")
    assert wrong.status_code == 400
    assert "battery" in wrong.json()["example"]


async def test_the_overview_has_the_most_troubled_pilot_first(streets: City, client: httpx.AsyncClient) -> None:
    text = (await client.get("/?lang=en")).text
    pilots = re.findall(r'<li data-pilot="([\w-]+)"', text)
    assert pilots[-1] == "gater"  # three of four; all devices of the others are silent
    assert "3 need attention" in text


async def test_a_silent_device_says_since_when_and_what_to_do(streets: City, client: httpx.AsyncClient) -> None:
    text = (await client.get("/pilots/gater/devices/b?lang=en")).text
    assert "Offline: no data since" in text
    assert "overdue since" in text
    assert "The battery was low" in text
    assert text.index("The battery was low") < text.index("Check the network")
    assert "limit, daily mean 50" in text.replace("&nbsp;", " ")
    assert "Locations" in text
    assert "2 Nov 2025 12:00" in text
    assert "63.43000° N" in text
    fine = (await client.get("/pilots/gater/devices/a?lang=en")).text
    assert "What to do" not in fine
    assert "<details open><summary>What to do" in text
    late = (await client.get("/pilots/gater/devices/c?lang=en")).text
    assert "<details><summary>What to do" in late, (
        "one message that is missing leaves a phone's first screen to the chart"
    )
    never = (await client.get("/pilots/gater/devices/d?lang=en")).text
    assert "techport device add gater d" in never


async def test_rejected_messages_of_a_device_come_first(streets: City, client: httpx.AsyncClient) -> None:
    entry = QuarantineEntry(
        pilot="gater",
        device="b",
        topic="pilots/gater/b/readings",
        payload=b'{"pm10": "<b>21,5</b>"}',
        received=now(),
        rejection=Rejection("not-a-number", recorded=RecordedText("pm10 is text", "send a number")),
    )
    tally = Tally(messages=3, received=6, stored=3, duplicates=1, corrections=1, quarantined=1)
    streets.ledger.close_batch("w", {DeviceDay("gater", "b", now() // DAY): tally}, [entry])
    text = (await client.get("/pilots/gater/devices/b?lang=en")).text
    assert text.index("but its messages are rejected") < text.index("The battery was low")
    assert "&lt;b&gt;21,5&lt;/b&gt;" in text
    sums = re.sub(r"<[^>]+>|\s+", " ", text[text.index('class="equation"') :]).replace("  ", " ")
    assert "6 received = 3 stored + 1 duplicates + 1 corrections + 1 quarantined + 0 ignored by rule" in re.sub(
        " +", " ", sums
    )
    assert "the account balances" in text


async def test_a_device_that_lost_a_sensor_names_it(streets: City, client: httpx.AsyncClient) -> None:
    at = now()
    streets.write(Reading("gater", "b", "pm10", at, 1.0, at))
    text = (await client.get("/pilots/gater/devices/b?lang=en")).text
    assert "Some quantities are missing" in text
    assert re.search(r"Missing:\s+Battery level", text)


async def test_devices_that_do_well_keep_their_places(streets: City, client: httpx.AsyncClient) -> None:
    """Not the one that was heard last goes to the end: rows would change places with every load."""
    at = now()
    streets.write(*(Reading("gater", device, "pm10", at - k, 1.0, at - k) for k, device in enumerate("cd")))
    assert order((await client.get("/pilots/gater")).text) == "bacd"


async def test_a_name_that_was_only_ever_refused_is_no_stream_of_its(streets: City, client: httpx.AsyncClient) -> None:
    streets.registry.note_streams([Stream("gater", "a", "temp"), Stream("gater", "a", "odd")])
    at = now()
    streets.write(Reading("gater", "a", "odd", at, 1.0, at))
    text = (await client.get("/pilots/gater/devices/a")).text
    assert 'data-quantity="odd"' in text
    assert 'data-quantity="temp"' not in text


def test_a_zero_has_no_sign() -> None:
    assert [Language("nb").number(value, 1) for value in (-0.04, -0.0, 0.04, -0.06)] == ["0,0", "0,0", "0,0", "−0,1"]
