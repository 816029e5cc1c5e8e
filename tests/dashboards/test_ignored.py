"""What was ignored of messages: listed per device, mapped, and reprocessed; and what devices say that they are."""

from __future__ import annotations

import httpx
import pytest

from techport_dashboards.web.paths import device_path
from techport_pilots.accounting.ignored import request_replay, take_replays
from techport_pilots.accounting.tally import BatchAnnotations, DeviceDay, IgnoredMessage, IgnoredValue, Tally
from techport_storage.microseconds import DAY
from tests.dashboards.conftest import START
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio

PILOT = "/api/v1/pilots/kai-luft"
KRAN = DeviceDay("kai-luft", "kran", START // DAY)


@pytest.fixture
def noted(city: City) -> City:
    lines = [IgnoredValue("kai-luft", "kran", "text", "hatch", '"half-way"', START, 1402)]
    said = [IgnoredValue("kai-luft", "kran", "property", "fw", "2.7.1", START)]
    topic, payload = "pilots/kai-luft/kran/readings", b'{"hatch": "half-way"}'
    message = IgnoredMessage("kai-luft", "kran", topic, payload, START, [("text", "hatch", 1402)])
    annotations = BatchAnnotations(
        ignored={(KRAN, "text"): 1402}, ignored_values=lines, ignored_messages=[message], properties=said
    )
    tallies = {KRAN: Tally(messages=1, received=1402, ignored=1402)}
    city.ledger.close_batch("w", tallies, [], annotations)
    return city


async def test_what_was_ignored_is_listed_with_key_value_and_count(noted: City, client: httpx.AsyncClient) -> None:
    [line] = (await client.get(f"{PILOT}/ignored", params={"device": "kran"})).json()
    assert (line["key"], line["value"], line["parts"], line["rule"], line["messages"]) == (
        "hatch",
        '"half-way"',
        1402,
        "text",
        1,
    )
    assert (await client.get(f"{PILOT}/ignored", params={"device": "other"})).json() == []
    [said] = (await client.get(f"{PILOT}/devices/kran/properties")).json()
    assert (said["key"], said["value"]) == ("fw", "2.7.1")


async def test_an_ignored_key_is_mapped_and_its_messages_are_asked_for(noted: City, client: httpx.AsyncClient) -> None:
    meaning = {"device": "kran", "key": "hatch", "quantity": "door_open", "words": {"half-way": 1}}
    changed = await client.post(f"{PILOT}/ignored/mapping", json=meaning)
    assert changed.status_code == 200, changed.text
    (source,) = [each for each in noted.registry.pilot("kai-luft").sources if "hatch" in each.fields]
    assert source.fields["hatch"].words == {"half-way": 1}
    replay = (await client.get(f"{PILOT}/quarantine/replays/{changed.json()['replay']}")).json()
    assert (replay["entries"], replay["waiting"]) == (1, 1)
    assert request_replay(noted.registry.database, "kai-luft").entries == 1


async def test_the_devices_page_says_what_was_ignored_and_what_the_device_is(
    noted: City, client: httpx.AsyncClient
) -> None:
    page = (await client.get("/pilots/kai-luft/devices/kran", params={"lang": "en"})).text
    assert "hatch" in page
    assert "half-way" in page
    assert "1,402 times" in page
    assert "2.7.1" in page


async def test_the_form_of_an_ignored_key_comes_back_to_the_page_in_its_language(
    noted: City, client: httpx.AsyncClient
) -> None:
    page = "/pilots/kai-luft/devices/kran"
    answer = await client.post(f"{page}/ignored?lang=nb", data={"key": "hatch", "quantity": "door_open", "text": "yes"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{page}?lang=nb")


async def test_whole_messages_are_listed_and_reprocessed_without_a_meaning(
    noted: City, client: httpx.AsyncClient
) -> None:
    payload = b'{"lqi": 12}'
    line = IgnoredValue("kai-luft", "kran", "other-message", "", payload.decode(), START, 3)
    message = IgnoredMessage("kai-luft", "kran", "radio/kran/state", payload, START, [("other-message", "", 1)])
    annotations = BatchAnnotations(
        ignored={(KRAN, "other-message"): 3}, ignored_values=[line], ignored_messages=[message]
    )
    tallies = {KRAN: Tally(messages=3, received=3, ignored=3)}
    noted.ledger.close_batch("w", tallies, [], annotations)
    lines = (await client.get(f"{PILOT}/ignored", params={"device": "kran"})).json()
    assert ("other-message", "", '{"lqi": 12}', 3) in [
        (each["rule"], each["key"], each["value"], each["parts"]) for each in lines
    ]
    page = (await client.get("/pilots/kai-luft/devices/kran", params={"lang": "en"})).text
    assert "Whole message" in page
    assert "Reprocess 2 messages" in page
    version = noted.registry.pilot("kai-luft")
    answer = await client.post("/pilots/kai-luft/devices/kran/ignored", data={"key": ""})
    assert answer.status_code == 303
    assert noted.registry.pilot("kai-luft") == version
    assert len(take_replays(noted.registry.database, "w")) == 2
    meaning = {"device": "kran", "key": "", "quantity": "door_open"}
    assert (await client.post(f"{PILOT}/ignored/mapping", json=meaning)).status_code == 400


def test_the_path_of_a_device_has_any_id_in_one_part() -> None:
    assert device_path("kai-luft", "a/b ø", "/visits") == "/pilots/kai-luft/devices/a%2Fb%20%C3%B8/visits"
