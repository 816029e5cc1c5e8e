"""The lists of what there is, and the routes for those who run it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from techport_dashboards import Health
from techport_pilots.quantities import builtin
from techport_storage.errors import StoreUnavailable
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio


async def items(client: httpx.AsyncClient, path: str, **parameters: Any) -> list[dict[str, Any]]:
    answer = await client.get(f"/api/v1/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    assert answer.json()["next"] is None
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def test_pilots(client: httpx.AsyncClient) -> None:
    assert [pilot["id"] for pilot in await items(client, "pilots")] == ["kai-luft", "stille"]
    one = (await client.get("/api/v1/pilots/kai-luft")).json()
    assert one["title"] == {"nb": "Luft på kaia", "en": "Air on the quay"}
    assert one["quantities"] == ["air_temperature", "pm10"]


async def test_a_pilot_that_is_not_there(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/pilots/nobody")
    assert answer.status_code == 404
    assert answer.json()["type"].endswith("/not-found")


async def test_devices(client: httpx.AsyncClient) -> None:
    found = await items(client, "devices")
    assert [(device["pilot"], device["id"]) for device in found] == [
        ("kai-luft", "kran"),
        ("kai-luft", "port"),
        ("stille", "kran"),
    ]
    assert found[0]["position"] == {"lat": 63.4385, "lon": 10.4, "height": None}
    assert [device["pilot"] for device in await items(client, "devices", quantity="laeq")] == ["stille"]


async def test_streams_include_what_nobody_described(client: httpx.AsyncClient) -> None:
    found = {(s["device"], s["quantity"]): s for s in await items(client, "streams", pilot="kai-luft")}
    assert found["kran", "pm10"]["unit"] == "ug/m3"
    assert found["kran", "pm10"]["interval"] == 3600
    assert found["port", "=odd"]["described"] is False
    assert found["port", "=odd"]["unit"] == ""


async def test_quantities(client: httpx.AsyncClient) -> None:
    assert len(await items(client, "quantities")) == len(builtin())


async def test_lists_page(client: httpx.AsyncClient) -> None:
    seen, cursor = [], None
    while True:
        parameters = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        answer = (await client.get("/api/v1/streams", params=parameters)).json()
        seen += [(s["pilot"], s["device"], s["quantity"]) for s in answer["items"]]
        cursor = answer["next"]
        if cursor is None:
            break
    assert seen == sorted(set(seen))
    assert len(seen) == 5


async def test_alive_and_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).status_code == 200
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["problems"]) == (200, [])


async def test_not_ready_says_why(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(city.store, "probe", broken, raising=True)
    app = city.app(health=lambda: Health(["broker: not connected"], {"lag": 3}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["problems"] == ["broker: not connected", "store: the disk is full"]
        assert (await client.get("/healthz")).status_code == 200


async def test_metrics_count_answers_by_route(client: httpx.AsyncClient) -> None:
    await client.get("/api/v1/pilots/kai-luft")
    text = (await client.get("/metrics")).text
    assert 'route="/api/v1/pilots/{pilot}"' in text
    assert "kai-luft" not in text


async def test_old_names_of_metrics_give_the_same_numbers(client: httpx.AsyncClient) -> None:
    """For one release, as CHANGELOG.md says."""
    await client.get("/api/v1/pilots/kai-luft")
    families = {family.name: family for family in text_string_to_metric_families((await client.get("/metrics")).text)}
    for old, new in (
        ("techport_web_answers", "techport_http_requests"),
        ("techport_web_answer_seconds", "techport_http_request_duration_seconds"),
        ("techport_web_live_viewers", "techport_http_live_viewers"),
        ("techport_web_live_resyncs", "techport_http_live_resyncs"),
    ):
        before, after = (
            [
                (sample.name.removeprefix(name), sample.labels, sample.value)
                for sample in families[name].samples
                if not sample.name.endswith("_created")
            ]
            for name in (old, new)
        )
        assert before == after
        assert before, f"{new} has no sample"


async def test_openapi_describes_the_api_only(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/api/v1/openapi.json")).json()["paths"]
    assert {"/api/v1/readings", "/api/v1/latest", "/api/v1/pilots/{pilot}"} <= set(paths)
    assert all(path.startswith(("/api/v1/", "/edr", "/catalog")) for path in paths), "a page is described as API"


async def test_a_path_that_is_not_there_is_a_problem(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/nothing")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    answer = await client.post("/api/v1/readings")
    assert (answer.status_code, answer.json()["type"]) == (405, "/api/v1/problems/method-not-allowed")
