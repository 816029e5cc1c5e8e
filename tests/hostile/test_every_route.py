"""Each route of the table is asked what nobody should ask: it answers in bounded memory, and never with a 5xx."""

from __future__ import annotations

import json
import re
import resource
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from techport_dashboards import WebSettings
from techport_dashboards.web.request_bounds import largest_body
from techport_storage.model import Reading, Stream
from tests.dashboards.conftest import START, anyio_backend, city
from tests.dashboards.web import City

__all__ = ["anyio_backend", "city"]

pytestmark = pytest.mark.anyio
ENDLESS = {"/api/v1/live"}
NAMES = {"pilot": "kai-luft", "device": "kran", "version": "1", "form": "native", "kpi": "k", "kind": "not-found"}
ALLOWED_GROWTH_KB = 400_000

DEEP = "[" * 50_000
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
BODIES = {
    "huge": (JSON, b'{"text": "' + b"x" * 5_000_000 + b'"}'),
    "deep": (JSON, DEEP.encode()),
    "nul": (JSON, b'{"text": "a\x00b"}'),
    "escaped nul": (JSON, b'{"text": "a\\u0000b", "title": "\\u0000"}'),
    "nul in a form": (FORM, b"text=a%00b&title=%00"),
    "no JSON": (JSON, b"\xff\xfe{"),
    "another type": (JSON, b"[1]"),
    "many fields": (FORM, b"&".join(b"a%d=1" % i for i in range(5_000))),
}
QUERIES = {
    "long": "start=" + "9" * 30_000,
    "too long": "start=" + "9" * 60_000,
    "many": "&".join(f"pilot=p{i}" for i in range(1_000)),
    "nul": "pilot=a%00b&start=%00",
    "impossible dates": "start=2026-02-30&end=9999-99-99T99:99:99Z&time=2026-13-01&from=0000-00-00&to=99999-01-01",
    "impossible numbers": "limit=" + "9" * 400 + "&page=-1&offset=1e400&every=P999999999Y&n=NaN",
    "not UTF-8": "pilot=%ff%fe&device=%c3%28",
}


def _routes(city: City) -> Iterator[tuple[str, str]]:
    for context in iter_route_contexts(city.app().routes):
        path = str(context.path)
        if path not in ENDLESS:
            for method in sorted(set(context.methods or ()) - {"HEAD", "OPTIONS"}):
                yield method, path


def _address(path: str) -> str:
    return re.sub(r"{(\w+)(?::\w+)?}", lambda match: NAMES.get(match[1], "1"), path)


@pytest.mark.slow
async def test_no_route_breaks_or_swells(city: City) -> None:
    routes = list(_routes(city))
    assert len(routes) > 90, "the walk no longer sees the routes"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    broken: list[str] = []
    transport = httpx.ASGITransport(city.app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:

        async def ask(what: str, method: str, address: str, must_be: int | None = None, **more: object) -> None:
            answer = await client.request(method, address, **more)  # type: ignore[arg-type]
            allowed = answer.status_code < 500 or (answer.status_code in (503, 507) and "push" in address)
            if not allowed or (must_be is not None and answer.status_code != must_be):
                broken.append(f"{what}: {method} {address[:80]} -> {answer.status_code} {answer.text[:200]}")

        for method, path in routes:
            address = _address(path)
            for what, query in QUERIES.items():
                must_be = 400 if what in ("too long", "many", "nul") else None
                await ask(what, method, f"{address}?{query}", must_be)
            if "{" in path:
                await ask("nul in the path", method, re.sub(r"{\w+(?::\w+)?}", "a%00b", path), 400)
                await ask("a long name", method, re.sub(r"{\w+(?::\w+)?}", "n" * 3_000, path))
                await ask("an odd name", method, re.sub(r"{\w+(?::\w+)?}", "%ff..%2f%5c'%22", path))
            if method != "GET":
                for what, (media_type, body) in BODIES.items():
                    await ask(what, method, address, content=body, headers={"content-type": media_type})
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert broken == [], "\n" + "\n".join(broken[:60])
    assert growth < ALLOWED_GROWTH_KB


TYPES = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", ""]


@pytest.mark.slow
async def test_every_route_refuses_a_body_beyond_its_bound(city: City, tmp_path: Path) -> None:
    """Announced or in chunks, of any type, whether the route reads bodies of that type or not."""
    transport = httpx.ASGITransport(
        city.app(WebSettings(package_bytes=50_000, packages=tmp_path)), raise_app_exceptions=False
    )
    broken: list[str] = []
    taken = 0

    async def chunks(size: int) -> AsyncIterator[bytes]:
        nonlocal taken
        while taken < 3 * size:
            taken += 65_536
            yield b"1" * 65_536

    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for method, path in _routes(city):
            address = _address(path)
            bound = largest_body(address)
            for media_type in TYPES:
                headers = {"content-type": media_type} if media_type else {}
                announced = headers | {"content-length": str((bound or 50_000) + 1)}
                answer = await client.request(method, address, headers=announced, content=b"")
                if answer.status_code != (413 if bound else answer.status_code) or answer.status_code == 500:
                    broken.append(f"announced {media_type}: {method} {path} -> {answer.status_code}")
            if method == "GET":
                continue
            for media_type in ("application/json", "text/plain"):
                size, taken = bound or 50_000, 0
                answer = await client.request(
                    method, address, headers={"content-type": media_type}, content=chunks(size)
                )
                # A route that refuses before it reads, or reads nothing, takes nothing.
                read = answer.status_code == 413 or answer.status_code in (400, 401, 403, 404, 409, 415, 422)
                if (not read and answer.status_code >= 400) or taken > size + 200_000:
                    broken.append(f"in chunks {media_type}: {method} {path} -> {answer.status_code}, {taken} bytes")
    assert broken == [], "\n" + "\n".join(broken[:60])


@pytest.mark.parametrize("text", ["a\0b", "\0"])
async def test_nul_bytes_are_refused(city: City, text: str) -> None:
    transport = httpx.ASGITransport(city.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.post("/api/v1/decode", json={"text": text})
        assert answer.status_code == 400, answer.text
        kept = await client.post("/api/v1/decode", json={"text": json.dumps({"text": "\\u0000"})})
        assert kept.status_code == 200, "a backslash and digits are a text like another"


async def test_the_page_of_a_device_with_very_many_streams_is_short(city: City) -> None:
    names = [f"invented_{number}" for number in range(3_000)]
    city.registry.note_streams(Stream("kai-luft", "kai-1", name) for name in names)
    city.write(*(Reading("kai-luft", "kai-1", name, START, 1.5, 0) for name in names))
    transport = httpx.ASGITransport(city.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.get("/pilots/kai-luft/devices/kai-1?lang=en")
        assert answer.status_code == 200
        assert answer.text.count("<dt>invented_") <= 60
        assert "more streams are in the API" in answer.text
