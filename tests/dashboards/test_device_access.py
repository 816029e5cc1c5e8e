"""Passwords of devices on their pages: issued, rotated, revoked, and a file for many; budgets on the device page."""

from __future__ import annotations

import csv
import io
import re

import httpx
import pytest

from techport_dashboards import WebSettings
from techport_dashboards.api import device_credentials
from techport_dashboards.pages import device_access
from techport_dashboards.settings import BrokerPlace
from techport_pilots.access.credentials import Credentials
from techport_pilots.accounting.device_budgets import DeviceBudgets, DeviceLimits, Owner, Used
from techport_storage.clock import now
from techport_storage.microseconds import DAY, HOUR
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
PAGE = "/pilots/kai-luft/devices/kran/credentials"
MANY = "/pilots/kai-luft/credentials"
API = "/api/v1/pilots/kai-luft"


@pytest.fixture(autouse=True)
def _no_broker_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (device_access, device_credentials):
        monkeypatch.setattr(module, "TAKES_EFFECT", 0)


def shown(text: str, what: str) -> str:
    found = re.search(rf'id="{what}">([^<]+)<', text)
    assert found is not None, what
    return found[1]


async def test_a_password_is_issued_rotated_and_revoked(city: City, client: httpx.AsyncClient) -> None:
    credentials = Credentials(city.registry.database)
    first = await client.post(PAGE, data={"what": "issue"})
    assert (first.status_code, first.headers["cache-control"]) == (200, "no-store")
    assert credentials.check(shown(first.text, "username"), shown(first.text, "password")) is not None
    rotated = await client.post(PAGE, data={"what": "rotate", "overlap": "P7D"})
    for text in (first.text, rotated.text):
        assert credentials.check(shown(text, "username"), shown(text, "password")) is not None, "both work"
    ends = {one.username: one.until for one in credentials.all()}
    assert abs((ends["kai-luft/kran"] or 0) - now() - 7 * DAY) < HOUR
    assert ends["kai-luft/kran~2"] is None
    assert shown(rotated.text, "password") not in (await client.get(PAGE)).text

    unconfirmed = await client.post(PAGE, data={"what": "revoke", "username": "kai-luft/kran"})
    assert unconfirmed.status_code == 400
    confirmed = {"what": "revoke", "username": "kai-luft/kran", "confirmed": "yes"}
    assert (await client.post(PAGE, data=confirmed)).status_code == 303
    assert [one.username for one in credentials.all()] == ["kai-luft/kran~2"]
    assert (await client.post(PAGE, data={"what": "issue"})).status_code == 400, "it would end what the device uses"
    assert (await client.post(PAGE, data={"what": "issue", "confirmed": "yes"})).status_code == 200


@pytest.mark.parametrize("form", [{}, {"what": "rotate", "overlap": "P9Y"}, {"what": "rotate"}, {"what": "burn"}])
async def test_forms_that_say_nothing_change_nothing(
    city: City, client: httpx.AsyncClient, form: dict[str, str]
) -> None:
    assert (await client.post(PAGE, data=form)).status_code == 400
    assert Credentials(city.registry.database).all() == []


async def test_a_device_that_nobody_described_has_no_such_page(client: httpx.AsyncClient) -> None:
    assert (await client.get("/pilots/kai-luft/devices/nowhere/credentials")).status_code == 404


def lines(answer: httpx.Response, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff")), delimiter=delimiter))


async def test_a_hundred_boxes_get_their_passwords_as_a_file(city: City) -> None:
    settings = WebSettings(broker=BrokerPlace("mqtt.example.org", 8883), host_names=("techport.example",))
    transport = httpx.ASGITransport(city.app(settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://techport.example") as client:
        boxes = "\n".join(["kran", *(f"box-{n:03}; =cmd|'/c calc'!A{n}" for n in range(100))])
        answer = await client.post(f"{MANY}?lang=en", data={"devices": boxes, "like": "kran"})
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-disposition"].startswith('attachment; filename="kai-luft-passwords-')
        heading, kran, *rows = lines(answer)
        assert heading == ["device", "name", "username", "password", "topic", "MQTT broker", "device page"]
        assert kran[:3] == ["kran", "The crane", "kai-luft/kran"]
        assert len(rows) == 100
        assert rows[7][1] == "'=cmd|'/c calc'!A7", "no spreadsheet runs it"
        assert rows[7][4:6] == ["pilots/kai-luft/box-007/readings", "mqtt.example.org:8883"]
        assert rows[7][6] == "http://techport.example/pilots/kai-luft/devices/box-007"
        credentials = Credentials(city.registry.database)
        assert all(credentials.check(row[2], row[3]) for row in (kran, rows[0], rows[99]))
        pilot = city.registry.pilot("kai-luft")
        assert [device.id for device in pilot.devices][-1] == "box-099"
        assert [stream.quantity for stream in pilot.devices[-1].streams] == ["pm10", "air_temperature"]
        assert len(city.registry.history("kai-luft")) == 2, "one version for all"

        again = await client.post(f"{MANY}?lang=en", data={"devices": "kran\nport"})
        assert (again.status_code, "already have a password: kran." in again.text) == (422, True)
        assert "kran\nport</textarea>" in again.text, "the form is kept"
        assert [one.device for one in credentials.all() if one.device == "port"] == []
        norwegian = await client.post(f"{MANY}?lang=nb", data={"devices": "kran\nport", "replace": "yes"})
        assert [row[0] for row in lines(norwegian, ";")] == ["enhet", "kran", "port"]
        assert credentials.check(kran[2], kran[3]) is None


async def test_everything_that_is_wrong_with_new_devices_is_said_at_once(city: City, client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{MANY}?lang=en", data={"devices": "has space\nfine\n<b>x"})
    assert answer.status_code == 422
    assert answer.text.count('class="shape silent"') == 2
    assert "has space\nfine\n&lt;b&gt;x</textarea>" in answer.text
    assert (await client.post(MANY, data={"devices": " \n"})).status_code == 422
    assert Credentials(city.registry.database).all() == []
    assert len(city.registry.history("kai-luft")) == 1


async def test_the_page_shows_what_a_device_has_used_of_its_budgets(city: City) -> None:
    app = city.app(WebSettings(device_limits=DeviceLimits(hourly_values=1_000)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        page = "/pilots/kai-luft/devices/kran?lang=en"
        assert "under 1 % of 1,000" in (await client.get(page)).text
        budgets = DeviceBudgets(city.registry.database)
        budgets.share(now() // HOUR, {Owner("kai-luft", "kran"): Used(values=640, bytes=90_000)})
        if budgets.used(Owner("kai-luft", "kran"), now() // HOUR) is None:  # the hour has just ended
            budgets.share(now() // HOUR, {Owner("kai-luft", "kran"): Used(values=640, bytes=90_000)})
        text = (await client.get(page)).text
        assert "640 of 1,000" in text
        assert "64 % used" in text
        assert budgets.used(Owner("kai-luft", "port"), now() // HOUR) is None
    viewer = httpx.ASGITransport(city.app(caller="viewer"))
    async with httpx.AsyncClient(transport=viewer, base_url="http://127.0.0.1") as client:
        assert "Budgets of this hour" not in (await client.get(page)).text


async def test_programs_rotate_list_and_revoke_passwords(city: City, client: httpx.AsyncClient) -> None:
    credentials = Credentials(city.registry.database)
    first = credentials.issue("kai-luft", "kran", "test")
    answer = await client.post(f"{API}/devices/kran/credentials", json={"overlap": "P1D"})
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    second = answer.json()
    assert second["topic"] == "pilots/kai-luft/kran/readings"
    assert credentials.check(first.username, first.password) is not None
    assert credentials.check(second["username"], second["password"]) is not None
    listed = (await client.get(f"{API}/credentials")).json()["items"]
    assert [(one["username"], one["until"]) for one in listed] == [
        ("kai-luft/kran", second["ends"]),
        ("kai-luft/kran~2", None),
    ]
    assert second["password"] not in str(listed)
    one_of_them = await client.delete(f"{API}/devices/kran/credential", params={"username": "kai-luft/kran"})
    assert one_of_them.status_code == 204
    assert [one.username for one in credentials.all()] == ["kai-luft/kran~2"]
    assert (await client.post(f"{API}/devices/kran/credentials", json={"overlap": "P9Y"})).status_code == 400
    assert (await client.post(f"{API}/devices/nowhere/credentials", json={})).status_code == 404


async def test_programs_get_the_passwords_of_many_boxes(city: City, client: httpx.AsyncClient) -> None:
    credentials = Credentials(city.registry.database)
    boxes = [{"id": f"box-{number:03}", "title": "=1+1"} for number in range(100)]
    answer = await client.post(f"{API}/credentials", json={"devices": boxes, "like": "kran"})
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    items = answer.json()["items"]
    assert [one["device"] for one in items] == [box["id"] for box in boxes]
    assert all(credentials.check(one["username"], one["password"]) for one in (items[0], items[99]))
    assert len(city.registry.history("kai-luft")) == 2, "one version for all"

    again = await client.post(f"{API}/credentials", json={"devices": [{"id": "box-007"}, {"id": "box-100"}]})
    assert (again.status_code, again.json()["parameter"]) == (409, "replace")
    assert len(credentials.all()) == 100, "none of them"
    asked = {"devices": boxes[7:8], "replace": True}
    as_file = await client.post(f"{API}/credentials", params={"format": "csv"}, json=asked)
    heading, row = lines(as_file)
    assert heading == ["device", "title", "username", "password", "topic", "broker", "page"]
    assert row[:2] == ["box-007", "'=1+1"]
    assert credentials.check(row[2], row[3]) is not None
    assert credentials.check(items[7]["username"], items[7]["password"]) is None
    assert (await client.post(f"{API}/credentials", json={"devices": []})).status_code == 400
