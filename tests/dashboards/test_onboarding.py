"""Devices come in over HTTP and on their page; the password is shown once and is in no address."""

from __future__ import annotations

import re

import httpx
import pytest

from techport_dashboards import WebSettings
from techport_dashboards.api import onboarding as api
from techport_dashboards.pages import onboarding as page
from techport_dashboards.settings import BrokerPlace
from techport_pilots.access.credentials import Credentials, verify
from techport_pilots.accounting.message_tap import MessageTap, Outcome, TappedMessage, Value
from techport_pilots.accounting.quarantine import Quarantine
from techport_pilots.accounting.rejection import Rejected, Rejection
from techport_pilots.accounting.tally import QuarantineEntry
from techport_pilots.registry.database import name
from techport_storage.microseconds import SECOND
from techport_storage.model import Quality, Reading
from tests.dashboards.conftest import START
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
API = "/api/v1/pilots/kai-luft"
PAGE = "/pilots/kai-luft/onboarding"


@pytest.fixture(autouse=True)
def _no_broker_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (api, page):
        monkeypatch.setattr(module, "TAKES_EFFECT", 0)


def watched(number: int, outcome: Outcome, payload: bytes = b"{}") -> TappedMessage:
    at = START + number * SECOND
    return TappedMessage(
        pilot="kai-luft",
        device="kran",
        topic="t",
        payload=payload,
        received=at,
        worker="w-1",
        committed=at + SECOND // 4,
        outcome=outcome,
    )


async def test_a_device_is_added_over_http(city: City, client: httpx.AsyncClient) -> None:
    device = {"id": "box-1", "title": "Boksen", "quantities": ["pm10"], "interval": "PT5M"}
    answer = await client.post(f"{API}/devices", json=device)
    assert answer.status_code == 201, answer.text
    assert "no-store" in answer.headers["cache-control"]
    came = answer.json()
    assert (came["device"], came["version"], came["topic"]) == ("box-1", 2, "pilots/kai-luft/box-1/readings")
    [kept] = Credentials(city.registry.database).all()
    assert verify(came["password"], kept.password)
    assert came["password"] not in kept.password
    assert ("kai-luft", "box-1") in MessageTap(city.registry.database).current()

    again = await client.post(f"{API}/devices", json=device)
    assert (again.status_code, again.json()["parameter"]) == (409, "replace")
    replaced = await client.post(f"{API}/devices", json={**device, "replace": True})
    assert (replaced.status_code, replaced.json()["version"]) == (201, None)
    assert replaced.json()["password"] != came["password"]
    assert (await client.delete(f"{API}/devices/box-1/credential")).status_code == 204
    assert (await client.delete(f"{API}/devices/box-1/credential")).status_code == 404


@pytest.mark.parametrize(
    ("wrong", "status", "named"),
    [
        ({"id": "has space"}, 422, "id"),
        ({"id": "x", "quantities": ["pm_ten"]}, 422, "pm_ten"),
        ({"id": "x", "format": "morse"}, 400, "format"),
        ({"id": "x", "colour": "red"}, 400, "colour"),
    ],
)
async def test_what_is_wrong_with_a_device_is_said(
    city: City, client: httpx.AsyncClient, wrong: dict[str, object], status: int, named: str
) -> None:
    answer = await client.post(f"{API}/devices", json=wrong)
    assert (answer.status_code, named in answer.text) == (status, True), answer.text
    assert len(city.registry.history("kai-luft")) == 1


async def test_snippets_name_the_broker_as_a_device_reaches_it(city: City) -> None:
    settings = WebSettings(broker=BrokerPlace("0.0.0.0", 1884), host_names=("techport.example",))
    transport = httpx.ASGITransport(city.app(settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://techport.example") as client:
        text = (await client.post(PAGE, data={"id": "box-1", "format": "tasmota"})).text
    assert "MqttHost techport.example; MqttPort 1884" in text
    assert "FullTopic pilots/kai-luft/box-1/%prefix%/" in text
    assert [source.format for source in city.registry.pilot("kai-luft").sources] == ["tasmota"]


async def test_the_page_shows_the_password_once_and_in_no_address(city: City, client: httpx.AsyncClient) -> None:
    answer = await client.post(PAGE, data={"id": "box-1", "quantity": ["pm10", "air_temperature"]})
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    found = re.search(r'id="password">([0-9a-f]{32})<', answer.text)
    assert found is not None
    password = found[1]
    [kept] = Credentials(city.registry.database).all()
    assert verify(password, kept.password)
    assert not re.search(rf'(href|action|data-address|src)="[^"]*{password}', answer.text)
    assert password not in (await client.get(PAGE, params={"device": "box-1"})).text
    again = await client.post(PAGE, data={"id": "box-1"})  # as reloading the page does
    assert (again.status_code, 'name="replace"' in again.text) == (422, True)
    assert Credentials(city.registry.database).all() == [kept]


async def test_devices_of_the_definition_get_their_password_where_devices_are_connected(
    city: City, client: httpx.AsyncClient
) -> None:
    city.import_text(
        "id: quay\ntitle: {en: Quay}\nquestion: {en: Is it?}\ndevices:\n"
        "  - {id: a, title: {en: Box A}, streams: [{quantity: pm10}]}\n  - {id: b, retired: 2026-01-01}\n  - {id: c}\n"
    )
    city.write(Reading("quay", "c", "pm10", 1_700_000_000_000_000, 1.0, 1_700_000_000_000_000))
    page = (await client.get("/pilots/quay/onboarding?lang=en")).text
    assert re.findall(r'<input type="hidden" name="id" value="(.*?)">', page) == ["a"]
    answer = await client.post(
        "/pilots/quay/onboarding?lang=en", data={"id": "a"}, headers={"origin": "http://127.0.0.1"}
    )
    assert answer.status_code == 200
    assert "quay/a" in answer.text
    assert city.registry.written("quay")[0] == 1, "the definition has it already"
    page = (await client.get("/pilots/quay/onboarding?lang=en")).text
    assert "Password issued" in page


async def test_messages_are_shown_with_what_became_of_them(city: City, client: httpx.AsyncClient) -> None:
    good = Outcome(
        values=[Value("pm10", START, 12.5, "stored"), Value("pm10", START, 9e9, "stored", int(Quality.RANGE))]
    )
    text = Rejection("not-a-number.quoted", {"key": "temp", "given": "21.5", "number": "21.5"})
    bad = Outcome(rejected=[Rejected(text, "temp")])
    MessageTap(city.registry.database).record([watched(1, good), watched(2, bad, b'{"temp": "<b>21,5"}')])
    assert (await client.post(f"{API}/devices/kran/watch")).status_code == 204

    seen = (await client.get(f"{API}/devices/kran/messages")).json()
    assert [one["worker"] for one in seen] == ["w-1", "w-1"]
    assert seen[0]["values"][0]["fate"] == "stored"
    assert seen[1]["rejected"][0]["hint"] == "Send 21.5 without quotes."
    assert seen[1]["rejected"][0]["params"] == {"key": "temp", "given": "21.5", "number": "21.5"}
    assert seen[1]["refused"] == seen[1]["rejected"], "its name for one release more"
    [later] = (await client.get(f"{API}/devices/kran/messages", params={"after": seen[0]["id"]})).json()
    assert later["id"] == seen[1]["id"]

    text = (await client.get(PAGE, params={"device": "kran", "lang": "en"})).text
    assert text.index("Received but not stored") < text.index("Received and stored"), "the newest first"
    assert "&lt;b&gt;21,5" in text
    assert "outside the valid range" in text
    piece = await client.get(f"{PAGE}/arrivals", params={"device": "kran", "after": seen[0]["id"], "lang": "en"})
    assert ("<html" in piece.text, piece.text.count('class="arrival')) == (False, 1)


async def test_a_stranger_is_listed_and_claimed(city: City, client: httpx.AsyncClient) -> None:
    topic = "pilots/kai-luft/ny boks/readings"
    aside = QuarantineEntry(
        pilot="kai-luft",
        device="ny boks",
        topic=topic,
        payload=b'{"pm10": 1}',
        received=START,
        rejection=Rejection("unknown-device"),
    )
    city.ledger.close_batch("w", {}, [aside])
    [unknown] = (await client.get(f"{API}/unknown-devices")).json()
    assert (unknown["device"], unknown["message"]["text"]) == ("ny boks", '{"pm10": 1}')
    assert "ny boks" in (await client.get("/pilots/kai-luft")).text
    assert (await client.post(f"{API}/unknown-devices/claim", json={"name": "nobody"})).status_code == 404
    claimed = (await client.post(f"{API}/unknown-devices/claim", json={"name": "ny boks"})).json()
    assert (claimed["device"], claimed["entries"]) == ("ny-boks", 1)
    assert (await client.get(f"{API}/unknown-devices")).json() == []
    view = city.registry.snapshot().pilot("kai-luft")
    assert view is not None
    assert view.device("ny boks") is not None


@pytest.mark.parametrize("device", ["new\nline", "tab\there", "\x1b[2J", "\u202ebox", "<b>box</b>", "x" * 300])
async def test_a_device_of_any_name_is_claimed_from_the_page(
    city: City, client: httpx.AsyncClient, device: str
) -> None:
    """By the number of its last message: a browser changes line ends and control characters of names in forms."""
    unknown = Rejection("unknown-device", {"pilot": "kai-luft", "device": device})
    aside = QuarantineEntry(
        pilot="kai-luft", device=device, topic="t", payload=b"{}", received=START, rejection=unknown
    )
    city.ledger.close_batch("w", {}, [aside])
    for address in (PAGE, "/pilots/kai-luft/quarantine"):
        [entry] = re.findall(r'name="entry" value="(\d+)"', (await client.get(address)).text)
    answer = await client.post(f"{PAGE}/claim", data={"entry": entry, "device": "box-7"})
    assert answer.status_code == 303, answer.text
    view = city.registry.snapshot().pilot("kai-luft")
    assert view is not None
    claimed = view.device(name(device))
    assert claimed is not None
    assert claimed.id == "box-7"
    assert (await client.get(f"{API}/unknown-devices")).json() == []
    gone = await client.post(f"{PAGE}/claim", data={"entry": "9" * 30})
    assert gone.status_code == 400


async def test_a_range_is_widened_from_the_page(city: City, client: httpx.AsyncClient) -> None:
    form = {"device": "kran", "quantity": "pm10", "low": "0", "high": "1500,5", "why": "beside a quarry"}
    assert (await client.post(f"{PAGE}/range", data=form)).status_code == 303
    ranges = {info.stream.quantity: info.range for info in city.registry.streams("kai-luft", "kran")}
    assert ranges["pm10"] == (0, 1500.5)
    assert city.registry.history("kai-luft")[0].why == "beside a quarry"
    for low in ("low", "nan", "-1e999"):
        assert (await client.post(f"{PAGE}/range", data={**form, "low": low})).status_code == 400, low


async def test_a_message_is_explained_and_not_kept(city: City, client: httpx.AsyncClient) -> None:
    said = (await client.post("/api/v1/decode", json={"text": '{"temp": "21,5", "pm10": 3}'})).json()
    assert (said["ok"], [one["quantity"] for one in said["readings"]]) == (False, ["pm10"])
    assert "21.5 without quotes" in said["rejected"][0]["hint"]
    lpp = {"format": "cayenne-lpp", "hex": "01 67 00 d7", "topic": "box"}
    assert (await client.post("/api/v1/decode", json=lpp)).json()["readings"][0]["value"] == 21.5
    for wrong in ({"hex": "0"}, {"text": "x", "format": "morse"}, {"text": "x", "pilot": "nobody"}):
        assert (await client.post("/api/v1/decode", json=wrong)).status_code in (400, 404)
    for payload, status in (("\ud7ff", 422), ("\x00\ud7ff", 400)):
        form = {"payload": payload, "as": "hex", "topic": "t", "format": "native"}
        assert (await client.post("/decode", data=form)).status_code == status
    of_pilot = {"text": '{"pm10": 1}', "topic": "pilots/kai-luft/nobody/readings", "pilot": "kai-luft"}
    assert (await client.post("/api/v1/decode", json=of_pilot)).json()["rejected"][0]["reason"] == "unknown-device"
    assert Quarantine(city.registry.database).entries().items == []


async def test_where_is_my_message_answers_on_its_page(city: City, client: httpx.AsyncClient) -> None:
    where = "/pilots/kai-luft/trace"
    asked = await client.get(where, params={"device": "kran", "time": "2025-10-21T03:00", "lang": "en"})
    assert "Found" in asked.text  # 01:00 UTC, in the pilot's local time
    nothing = await client.get(where, params={"device": "kran", "time": "2020-01-01T03:00", "lang": "en"})
    assert "Nothing was received from it at that time" in nothing.text
    assert (await client.get(where, params={"device": "kran", "time": "soon"})).status_code == 400


async def test_a_source_is_proposed_and_accepted_with_one_click(city: City, client: httpx.AsyncClient) -> None:
    """Nested JSON that was rejected: the page shows the lines that would read it, and they become part of the pilot."""
    payload = b'{"fw": "1.2", "data": {"temperature": 8.5, "humidity": 71, "flow": 4.2}}'
    entries = [
        QuarantineEntry(
            pilot="kai-luft",
            device="kran",
            topic="pilots/kai-luft/kran/readings",
            payload=payload,
            received=START + number,
            rejection=Rejection("not-a-number.nested", {"key": "data"}),
            field="data",
        )
        for number in range(3)
    ]
    city.ledger.close_batch("w", {}, entries)
    newest = Quarantine(city.registry.database).entries().items[0].id
    assert f"propose={newest}" in (await client.get("/pilots/kai-luft/quarantine")).text
    page_text = (await client.get(PAGE, params={"propose": newest, "lang": "en"})).text
    assert "Proposed source" in page_text
    assert "format: json" in page_text
    assert "data.flow: {quantity: water_flow, unit: ...}" in page_text
    assert (await client.post(f"{PAGE}/source", data={"entry": str(newest)})).status_code == 303
    [source] = [one for one in city.registry.pilot("kai-luft").sources if one.format == "json"]
    assert source.topic == "pilots/kai-luft/+/readings"
    waiting = Quarantine(city.registry.database).entries().items
    assert all(entry.replay_requested is not None for entry in waiting if entry.field == "data")
    assert (await client.get(PAGE, params={"propose": 10**9})).status_code == 404
