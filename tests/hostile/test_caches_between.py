"""A cache between visitors and the platform gives nobody what another may see."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter
from tests.dashboards.conftest import AIR, NOISE
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio

PATHS = [
    "/",
    "/pilots/kai-luft",
    "/p/kai-luft",
    "/api/v1/pilots",
    "/api/v1/readings?pilot=kai-luft&format=csv",
    "/api/v1/readings?pilot=kai-luft&format=json",
    "/sta/v1.1/Things",
    "/edr/collections",
    "/catalogue",
    "/openapi.json",
    "/nowhere",
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    city = City.at(tmp_path_factory.mktemp("city"))
    city.import_text(AIR)
    city.import_text(NOISE)
    yield city
    city.close()


async def _get(city: City, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(city.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return await client.get(path)


@pytest.mark.parametrize("path", PATHS)
async def test_answers_differ_by_credential(city: City, path: str) -> None:
    answer = await _get(city, path)
    vary = {name.strip().lower() for name in answer.headers["vary"].split(",")}
    assert {"cookie", "authorization"} <= vary
    assert "public" not in answer.headers.get("cache-control", "")


async def test_the_result_of_a_replay_is_told_to_its_pilot(city: City) -> None:
    quarantine = Quarantine(city.registry.database)
    own = quarantine.request_replay(QuarantineFilter(pilot="kai-luft"), "kari").id
    several = quarantine.request_replay(QuarantineFilter(), "operator").id
    statuses = {
        (pilot, number): (await _get(city, f"/api/v1/pilots/{pilot}/quarantine/replays/{number}")).status_code
        for pilot in ("kai-luft", "stille")
        for number in (own, several)
    }
    assert statuses == {
        ("kai-luft", own): 200,
        ("stille", own): 404,
        ("kai-luft", several): 404,
        ("stille", several): 404,
    }
