"""Events over the API: added as on the command line, drawn at once, taken back."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
PATH = "/api/v1/pilots/kai-luft/events"
SWEPT = {"kind": "intervention", "time": "2025-10-26T02:30", "text": {"nb": "Kaia er spylt"}}


async def test_an_event_is_added_and_taken_back(city: City, client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, json=SWEPT | {"device": "kran"})
    assert answer.status_code == 201
    item = answer.json()
    assert (item["kind"], item["device"], item["time"]) == ("intervention", "kran", "2025-10-26T00:30:00.000000Z")
    assert item["text"] == {"nb": "Kaia er spylt", "en": "Kaia er spylt"}
    (event,) = city.registry.pilot("kai-luft").events
    assert event.time.isoformat() == "2025-10-26T02:30:00+02:00", "the first of the two"
    (listed,) = (await client.get(PATH)).json()["items"]
    assert listed["added"] == item["added"]
    address = "/pilots/kai-luft/chart?quantity=pm10&start=2025-10-25T12:00&end=2025-10-26T12:00"
    (mark,) = (await client.get(address)).json()["marks"]
    assert mark["text"] == "Kaia er spylt"
    assert (await client.delete(f"{PATH}/{item['added']}")).status_code == 200
    assert city.registry.pilot("kai-luft").events == []
    assert (await client.delete(f"{PATH}/{item['added']}")).status_code == 404


async def test_a_window_is_left_out_with_its_reason(city: City, client: httpx.AsyncClient) -> None:
    asked = {"kind": "exclusion", "time": "2025-10-23T08:00", "end": "2025-10-23T16:00", "text": {"en": "Fire drill"}}
    assert (await client.post(PATH, json=asked | {"quantity": "pm10"})).status_code == 201
    (window,) = city.registry.pilot("kai-luft").exclusions
    assert (window.quantity, window.reason.en, window.start.isoformat()) == (
        "pm10",
        "Fire drill",
        "2025-10-23T08:00:00+02:00",
    )


@pytest.mark.parametrize(
    ("change", "parameter"),
    [
        ({"text": {"nb": "  "}}, "text"),
        ({"kind": "exclusion"}, "end"),
        ({"kind": "moved"}, "device"),
        ({"quantity": "pm10"}, "quantity"),
        ({"time": "yesterday-ish"}, "time"),
        ({"kind": "party"}, "kind"),
    ],
)
async def test_what_cannot_be_is_refused(client: httpx.AsyncClient, change: dict[str, Any], parameter: str) -> None:
    answer = await client.post(PATH, json=SWEPT | change)
    assert answer.status_code == 400
    assert answer.json()["parameter"] == parameter


async def test_an_event_of_a_device_that_is_not_there_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, json=SWEPT | {"device": "nobody"})
    assert answer.status_code == 422
    assert "nobody" in answer.json()["detail"]


async def test_another_sites_page_adds_nothing(city: City, client: httpx.AsyncClient) -> None:
    answer = await client.post(PATH, json=SWEPT, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert city.registry.pilot("kai-luft").events == []


async def test_who_may_only_look_adds_none(city: City) -> None:
    transport = httpx.ASGITransport(city.app(caller="viewer"))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        assert (await client.post(PATH, json=SWEPT)).status_code == 403
        assert 'id="event"' not in (await client.get("/pilots/kai-luft")).text
