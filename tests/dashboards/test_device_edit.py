"""A device is edited on its page: every mistake at once, the form kept, and each change a version of the definition."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import httpx
import msgspec
import pytest

from techport_dashboards.problems import Problem
from techport_dashboards.query.registry_cache import RegistryCache
from techport_dashboards.services.device_status import DeviceNow, State, device_statuses
from techport_dashboards.services.positions import Written, position_of
from techport_pilots.access.credentials import Credentials
from techport_pilots.model import DeviceDefinition, Position
from techport_pilots.quality.completeness import since_start
from techport_storage.clock import now
from techport_storage.microseconds import HOUR, SECOND
from techport_storage.model import Micros, Reading, Selection, Stream
from tests.dashboards.conftest import START
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
DEVICE = "/pilots/kai-luft/devices/kran"
FORM: dict[str, Any] = {
    "nb": "Krana",
    "en": "The crane",
    "interval": "PT1H",
    "system": "degrees",
    "north": "63.4385",
    "east": "10.4",
    "quantity": ["pm10", "air_temperature"],
}


def kran(city: City) -> DeviceDefinition:
    return city.registry.pilot("kai-luft").devices[0]


async def edited(client: httpx.AsyncClient, **changes: Any) -> httpx.Response:
    page = (await client.get(f"{DEVICE}/edit?lang=en")).text
    was = re.search(r'name="was" value="(\w+)"', page)
    assert was is not None
    return await client.post(f"{DEVICE}/edit?lang=en", data={"was": was[1], **FORM, **changes})


@pytest.mark.parametrize(
    ("written", "position"),
    [
        (Written("degrees", "63.4305", "10.3951"), Position(63.4305, 10.3951)),
        (Written("degrees", "63,4305", " 10,3951 ", "2,5"), Position(63.4305, 10.3951, 2.5)),
        (Written("degrees", "63.4305, 10.3951", ""), Position(63.4305, 10.3951)),
        (Written("degrees", "63.4305° N, 10.3951° Ø", ""), Position(63.4305, 10.3951)),
        (Written("degrees", "63,4305; 10,3951", ""), Position(63.4305, 10.3951)),
        (Written("degrees", "", ""), None),
        (Written("utm32", "7 034 310", "569400"), Position(63.4305081, 10.3907187)),
        (Written("utm33", "7041000", "270 000,0"), Position(63.4229785, 10.3894846)),
    ],
)
async def test_positions_as_people_write_them(written: Written, position: Position | None) -> None:
    assert position_of(written) == position


def test_degrees_are_not_taken_for_metres() -> None:
    """They would lie in the sea off Africa."""
    with pytest.raises(Problem, match="not metres"):
        position_of(Written("utm32", "63.4305", "10.3951"))


@pytest.mark.parametrize("north", ["63,43", "63.43", f"63.43{' ' * 100_000}x"])
def test_one_number_is_no_position(north: str) -> None:
    """Not 63° north and 43° east; and long spaces are not tried in every way."""
    with pytest.raises(Problem):
        position_of(Written("degrees", north, ""))


async def test_a_device_gets_another_name_place_and_quantities(city: City, client: httpx.AsyncClient) -> None:
    north_east = {"system": "utm32", "north": "7 034 310", "east": "569 400"}
    answer = await edited(
        client,
        en="The tall crane",
        note="Key at the harbour office",
        interval="PT5M",
        more="battery, air_temperature.inlet",
        **north_east,
    )
    assert (answer.status_code, answer.headers["location"]) == (303, f"{DEVICE}/edit?lang=en&saved=2")
    device = kran(city)
    assert device.title is not None
    assert (device.title.nb, device.title.en, device.interval) == ("Krana", "The tall crane", "PT5M")
    assert [stream.quantity for stream in device.streams] == [
        "pm10",
        "air_temperature",
        "battery_level",
        "air_temperature.inlet",
    ]
    assert device.position is not None
    assert (round(device.position.lat, 2), round(device.position.lon, 2)) == (63.43, 10.39)
    version, *_ = city.registry.history("kai-luft")
    assert (version.version, version.who, version.why) == (2, "operator", "edited kran")
    page = (await client.get(answer.headers["location"])).text
    assert "Saved as version 2" in page
    assert "Key at the harbour office" in (await client.get(f"{DEVICE}?lang=en")).text


async def test_tags_are_names_and_values(city: City, client: httpx.AsyncClient) -> None:
    assert (await edited(client, tags="street: Elgeseter gate; side : east")).status_code == 303
    assert kran(city).tags == {"street": "Elgeseter gate", "side": "east"}
    page = (await client.get(f"{DEVICE}/edit?lang=en")).text
    assert 'value="street: Elgeseter gate; side: east"' in page
    answer = await edited(client, tags="street")
    assert answer.status_code == 422
    assert "is not a tag" in answer.text
    assert (await edited(client, tags="")).status_code == 303
    assert kran(city).tags == {}


async def test_saving_what_is_there_changes_nothing(city: City, client: httpx.AsyncClient) -> None:
    before = kran(city)
    assert (await edited(client)).status_code == 303
    assert kran(city) == before
    assert len(city.registry.history("kai-luft")) == 1


async def test_all_mistakes_are_said_at_once_and_the_form_is_kept(city: City, client: httpx.AsyncClient) -> None:
    wrong = {"north": "sixty", "group": "no/slash", "interval": "PT1X", "more": "pm_ten", "note": "<b>kept"}
    answer = await edited(client, **wrong)
    assert answer.status_code == 422
    for part in ("&#39;sixty&#39; is not a number", "no/slash", "PT1X", "pm_ten"):
        assert part in answer.text
    assert answer.text.count('class="shape silent"') == 4
    assert 'value="sixty"' in answer.text
    assert "&lt;b&gt;kept</textarea>" in answer.text
    assert len(city.registry.history("kai-luft")) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"north": "10.4", "east": "63.4385"}, "63.4385"),
        ({"system": "utm33", "north": "569400", "east": "7034310"}, "metres in UTM zone 33"),
        ({"system": "utm32", "north": "7034310", "east": ""}, "is not a number"),
        ({"north": "", "east": "", "height": "3"}, "A height needs a position"),
        ({"was": "0"}, "Somebody else has changed this device meanwhile"),
    ],
)
async def test_mistakes_are_said(city: City, client: httpx.AsyncClient, changes: dict[str, str], said: str) -> None:
    answer = await edited(client, **changes)
    assert (answer.status_code, said in answer.text) == (422, True), answer.text
    assert len(city.registry.history("kai-luft")) == 1


async def test_what_a_device_sends_is_described_at_once(city: City, client: httpx.AsyncClient) -> None:
    """`co2` is in the vocabulary, `battery` is a usual name, `blob` is neither."""
    city.registry.note_streams(Stream("kai-luft", "kran", key) for key in ("co2", "battery", "blob"))
    page = (await client.get(f"{DEVICE}/edit?lang=en")).text
    assert re.search(r'name="quantity" value="co2" checked', page)
    assert "battery means Battery level" in page
    answer = await edited(client, quantity=["pm10", "co2"], mapped="battery")
    assert answer.status_code == 303, answer.text
    assert [stream.quantity for stream in kran(city).streams] == ["pm10", "co2", "battery_level"]
    [source] = city.registry.pilot("kai-luft").sources
    assert source.fields["battery"].quantity == "battery_level"


async def test_a_moved_device_starts_another_deployment(city: City, client: httpx.AsyncClient) -> None:
    where = {"system": "degrees", "north": "63.43", "east": "10.39"}
    refused = await client.post(f"{DEVICE}/move?lang=en", data={"time": "soon", "north": "x", "text": "To the pier"})
    assert refused.status_code == 422
    assert refused.text.count('class="shape silent"') == 2
    assert 'value="To the pier"' in refused.text
    answer = await client.post(f"{DEVICE}/move", data={"time": "2026-03-01T12:00", **where})
    assert answer.status_code == 303
    [event] = city.registry.pilot("kai-luft").events
    assert (event.kind, event.device, event.position) == ("moved", "kran", Position(63.43, 10.39))
    assert event.time == dt.datetime.fromisoformat("2026-03-01T12:00:00+01:00")
    assert (event.text.nb, event.text.en) == ("Flyttet", "Moved")
    assert "First position" in (await client.get(f"{DEVICE}/edit?lang=en")).text


async def test_a_retired_device_needs_nobody(city: City, client: httpx.AsyncClient) -> None:
    credentials = Credentials(city.registry.database)
    issued = credentials.issue("kai-luft", "kran", "test")
    answer = await client.post(f"{DEVICE}/retire", data={"time": "2026-02-01T00:00", "revoke": "yes"})
    assert answer.status_code == 303
    assert kran(city).retired == dt.datetime.fromisoformat("2026-02-01T00:00:00+01:00")
    assert credentials.check(issued.username, issued.password) is None
    page = (await client.get(f"{DEVICE}?lang=en")).text
    assert "Out of use since" in page
    assert "overdue since" not in page
    assert (await client.post(f"{DEVICE}/retire", data={"what": "again"})).status_code == 303
    assert kran(city).retired is None
    assert "Out of use since" not in (await client.get(f"{DEVICE}?lang=en")).text


async def test_a_retired_device_that_sends_again_is_online(city: City, client: httpx.AsyncClient) -> None:
    await client.post(f"{DEVICE}/retire", data={"time": "2026-02-01T00:00"})
    at = now()
    city.write(Reading("kai-luft", "kran", "pm10", at, 12.0, at))
    [status] = [one for one in statuses(city, at) if one.device.device == "kran"]
    assert status.state is State.LIVE


async def test_nothing_is_expected_of_a_device_after_it_is_retired(city: City, client: httpx.AsyncClient) -> None:
    """It is retired after five of the ten days that the readings cover."""
    pilot = city.registry.pilot("kai-luft")
    until = START + 239 * HOUR
    before = since_start(city.store, pilot, until)
    retired = dt.datetime.fromtimestamp((START + 120 * HOUR) // SECOND, dt.UTC)
    devices = [msgspec.structs.replace(pilot.devices[0], retired=retired), *pilot.devices[1:]]
    after = since_start(city.store, msgspec.structs.replace(pilot, devices=devices), until)
    stream, other = Stream("kai-luft", "kran", "pm10"), Stream("kai-luft", "port", "pm10")
    assert (before.streams[stream].expected, after.streams[stream].expected) == (239, 120)
    assert after.streams[stream].share == 1.0
    assert after.streams[other] == before.streams[other]
    await client.post(f"{DEVICE}/retire", data={"time": "2026-02-01T00:00"})
    states = {one.device.device: (one.state, one.needs_attention) for one in statuses(city, now())}
    assert states == {"kran": (State.ENDED, False), "port": (State.SILENT, True)}


def statuses(city: City, at: Micros) -> list[DeviceNow]:
    pilot = city.registry.pilot("kai-luft")
    catalogue = RegistryCache(city.registry).current()
    [here] = device_statuses(catalogue, city.store.latest(Selection(pilots=("kai-luft",))), [pilot], at)
    return here.devices
