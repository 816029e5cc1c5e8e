"""Every route passes the one access function, or is listed with the reason why not."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts

from techport_dashboards import WebSettings
from techport_dashboards.web import access
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
HERE = ("127.0.0.1", 50_000)
REMOTE = ("192.0.2.7", 50_000)


def test_every_route_passes_the_access_function(city: City) -> None:
    assert unguarded(city.app()) == []


def unguarded(app: FastAPI) -> list[str]:
    """Paths of routes without `access.allow` among their dependencies; a mount can have none, so it is one of them."""
    contexts = list(iter_route_contexts(app.routes))
    assert len(contexts) > 15, "the walk no longer sees the routes"
    return [str(c.path) for c in contexts if not passes(getattr(c, "dependant", None), access.allow)]


def passes(dependant: Dependant | None, through: Callable[..., object]) -> bool:
    return dependant is not None and any(d.call is through or passes(d, through) for d in dependant.dependencies)


def test_the_walk_finds_a_route_that_does_not(city: City) -> None:
    app = city.app()
    router = APIRouter()
    router.add_api_route("/inner", lambda: "open")
    app.include_router(router, prefix="/outer")
    assert unguarded(app) == ["/outer/inner"]


def anybody(city: City, settings: WebSettings | None = None, client: tuple[str, int] = HERE) -> httpx.AsyncClient:
    """A client without a credential, on this machine unless told."""
    transport = httpx.ASGITransport(city.app(settings, signed_in=False), client=client)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


async def test_every_other_route_asks_for_a_credential(city: City) -> None:
    """Also from this machine: a proxy, a tunnel and another user's program have its address too."""
    async with anybody(city) as client:
        asked = 0
        for context in iter_route_contexts(city.app().routes):
            for method in set(context.methods or ()) - {"HEAD", "OPTIONS"}:
                path, need = str(context.path), access.declared(context.endpoint)
                if need is None or need.anybody:
                    continue
                answer = await client.request(method, path.replace(":path", ""))
                assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (401, "not-signed-in"), path
                assert answer.headers["www-authenticate"].startswith("Bearer")
                asked += 1
    assert asked > 40, "the walk no longer sees the routes"


@pytest.mark.parametrize("client", [HERE, REMOTE])
async def test_the_token_opens_all_from_anywhere(city: City, client: tuple[str, int]) -> None:
    async with anybody(city, client=client) as visitor:
        token = (city.folder / "token").read_text()
        for path in ("/", "/pilots/kai-luft", "/api/v1/pilots", "/metrics"):
            answer = await visitor.get(path, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 200, path
            wrong = await visitor.get(path, headers={"Authorization": f"Bearer {token[:-1]}"})
            assert (wrong.status_code, wrong.json()["type"].rpartition("/")[2]) == (401, "bad-token")
            assert token not in wrong.text


async def test_a_person_is_told_how_to_sign_in(city: City) -> None:
    async with anybody(city) as client:
        answer = await client.get("/pilots/kai-luft", headers={"Accept": "text/html"})
        assert answer.status_code == 401
        assert "techport operator-link" in answer.text
        assert "Luft på kaia" not in answer.text


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


async def test_who_may_only_look_is_told_which_role_is_missing(city: City) -> None:
    transport = httpx.ASGITransport(city.app(caller="researcher"))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.post(REPLAY, json={"reason": "not-a-number"})
        assert answer.status_code == 403
        assert "editor or owner" in answer.json()["detail"]
        assert (await client.get("/api/v1/pilots")).status_code == 200


async def test_who_has_no_credential_changes_nothing(city: City) -> None:
    async with anybody(city) as client:
        assert (await client.post(REPLAY, json={"reason": "not-a-number"})).status_code == 401
