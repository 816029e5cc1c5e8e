"""A file that a page sends becomes messages of the pilot's devices, or is refused as a whole with its line."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Future

import httpx
import pytest

from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
PAGE = "/pilots/kai-luft/onboarding"


@pytest.fixture
def published(city: City) -> list[tuple[str, bytes]]:
    return []


async def test_a_file_is_split_and_published(city: City, published: list[tuple[str, bytes]]) -> None:
    def post(topic: str, payload: bytes) -> Future[None]:
        published.append((topic, payload))
        done: Future[None] = Future()
        done.set_result(None)
        return done

    app = city.app()
    services = app.state.services
    app.state.services = dataclasses.replace(services, post=post)
    file = "tid;PM10 (µg/m³)\n04.05.2026 12:00;17,5\n04.05.2026 13:00;16\n".encode("latin-1")
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        headers = {"content-type": "text/csv"}
        answer = await client.post(f"{PAGE}/file", params={"device": "kran"}, content=file, headers=headers)
        assert (answer.status_code, answer.json()) == (202, {"lines": 2, "messages": 1})
        assert published == [("pilots/kai-luft/kran/push/csv", file.decode("latin-1").encode())]
        torn = b"time,pm10\na,1\nb\n"
        wrong = await client.post(f"{PAGE}/file", params={"device": "kran"}, content=torn, headers=headers)
        assert (wrong.status_code, len(published)) == (400, 1)
        assert "3" in wrong.json()["detail"]
        for half in (
            b"\xff\xfe\x00",
            b"time;" + b"c;" * 20_000 + b"c\n",
            b"device;a\n" + b"%d;1\n" * 1_001 % (*range(1_001),),
        ):
            refused = await client.post(f"{PAGE}/file", params={"device": "kran"}, content=half, headers=headers)
            assert (refused.status_code, len(published)) == (400, 1), refused.text
        nobody = await client.post(f"{PAGE}/file", params={"device": "nobody"}, content=file, headers=headers)
        assert nobody.status_code == 404
        assert 'id="upload"' in (await client.get(PAGE)).text


async def test_without_a_broker_nothing_is_taken(city: City, client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{PAGE}/file", params={"device": "kran"}, content=b"time,pm10\na,1\n")
    assert answer.status_code == 503
