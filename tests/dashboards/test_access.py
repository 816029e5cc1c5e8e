"""Every route passes the one access function, or is listed with the reason why not."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts

from techport_dashboards import WebSettings
from techport_dashboards.web import access
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
REMOTE = ("192.0.2.7", 50_000)


def unguarded(app: FastAPI) -> list[str]:
    """Paths of routes without `access.allow` among their dependencies; a mount can have none, so it is one of them."""

    contexts = list(iter_route_contexts(app.routes))
    assert len(contexts) > 15, "the walk no longer sees the routes"
    return [str(c.path) for c in contexts if not passes(getattr(c, "dependant", None), access.allow)]


def unguarded_changes(app: FastAPI) -> list[str]:
    """Paths of routes that take another method than GET without `access.allow_change`."""
    changing = [c for c in iter_route_contexts(app.routes) if set(c.methods or ()) - {"GET", "HEAD", "OPTIONS"}]
    assert len(changing) >= 2, "the walk no longer sees the routes"
    return [str(c.path) for c in changing if not passes(getattr(c, "dependant", None), access.allow_change)]


def passes(dependant: Dependant | None, through: Callable[..., object]) -> bool:
    return dependant is not None and any(d.call is through or passes(d, through) for d in dependant.dependencies)


def test_every_route_passes_the_access_function(city: City) -> None:
    assert set(unguarded(city.app())) == set(access.PUBLIC)


def test_the_walk_finds_a_route_that_does_not(city: City) -> None:
    app = city.app()
    router = APIRouter()
    router.add_api_route("/inner", lambda: "open")
    app.include_router(router, prefix="/outer")
    assert set(unguarded(app)) == {*access.PUBLIC, "/outer/inner"}


@pytest.mark.parametrize(
    "path", ["/", "/pilots/kai-luft", "/api/v1/pilots", "/api/v1/live", "/readyz", "/metrics", "/static/0/css/base.css"]
)
async def test_clients_elsewhere_are_refused_with_the_reason(city: City, path: str) -> None:
    transport = httpx.ASGITransport(city.app(), client=REMOTE)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.get(path)
        assert answer.status_code == 403
        assert "192.0.2.7" in answer.json()["detail"]
        assert "allow_remote" in answer.json()["detail"]
        assert (await client.get("/healthz")).status_code == 200


async def test_another_host_name_is_refused(city: City) -> None:
    """A page of another site whose name resolves to this machine must not read us through a visitor's browser."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(city.app()), base_url="http://evil.example") as client:
        answer = await client.get("/api/v1/pilots")
        assert answer.status_code == 403
        assert "evil.example" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "127.3.2.1"])
async def test_names_of_this_machine_are_let_in(city: City, host: str) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(city.app()), base_url=f"http://{host}:8000") as client:
        assert (await client.get("/api/v1/pilots")).status_code == 200


async def test_settings_open_the_door(city: City) -> None:
    transport = httpx.ASGITransport(city.app(WebSettings(allow_remote=True)), client=REMOTE)
    async with httpx.AsyncClient(transport=transport, base_url="http://city.example") as client:
        assert (await client.get("/api/v1/pilots")).status_code == 200


def test_every_change_passes_the_access_function_for_changes(city: City) -> None:
    assert set(unguarded_changes(city.app())) == set(access.UNCHANGING)


def test_the_walk_finds_a_change_that_does_not(city: City) -> None:
    app = city.app()
    app.add_api_route("/wipe", lambda: "gone", methods=["DELETE"], dependencies=[Depends(access.allow)])
    assert set(unguarded_changes(app)) == {*access.UNCHANGING, "/wipe"}


REPLAY = "/api/v1/pilots/kai-luft/quarantine/replay"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),  # a program
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1"}, 202),
        ({"Sec-Fetch-Site": "none"}, 202),
        ({"Origin": "http://127.0.0.1"}, 202),  # a browser before 2023
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:3000"}, 403),  # another server of this machine
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:3000"}, 403),
    ],
)
async def test_changes_come_from_our_own_pages_or_from_no_page(
    client: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    answer = await client.post(REPLAY, json={"reason": "not-a-number"}, headers=headers)
    assert answer.status_code == status, answer.text


async def test_a_server_that_only_shows_refuses_with_the_setting_that_opens_it(city: City) -> None:
    transport = httpx.ASGITransport(city.app(WebSettings(changes=False)))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.post(REPLAY, json={"reason": "not-a-number"})
        assert answer.status_code == 403
        assert "web_changes" in answer.json()["detail"]
        assert (await client.get("/api/v1/pilots")).status_code == 200


async def test_who_may_not_read_may_not_change(city: City) -> None:
    transport = httpx.ASGITransport(city.app(), client=REMOTE)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        assert (await client.post(REPLAY, json={"reason": "not-a-number"})).status_code == 403
