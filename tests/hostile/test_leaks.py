"""What an outsider is answered holds nothing of pilots that are not theirs: bodies, counts, errors, tags, caches, live.

The private pilot's names, titles, units, values, events, devices and payloads bear canaries; the same city without that
pilot has to answer an outsider word for word the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from techport_dashboards import WebSettings
from techport_dashboards.problems import Problem
from techport_dashboards.query import live as live_module
from techport_dashboards.query.live import Live
from techport_pilots.access.accounts import Accounts
from techport_pilots.accounting.quarantine import Quarantine
from techport_pilots.accounting.rejection import Rejection
from techport_pilots.accounting.tally import QuarantineEntry
from techport_storage.clock import now
from techport_storage.microseconds import SECOND
from techport_storage.model import Reading
from tests.dashboards.conftest import AIR, START, anyio_backend, hourly
from tests.dashboards.web import Caller, City

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio
CANARY = "kanari"
SECRET = f"""
id: {CANARY}-pilot
title: {{en: {CANARY} title, nb: {CANARY} tittel}}
question: {{en: "{CANARY} question?"}}
description: {{en: {CANARY} description}}
organisations: [{{name: {CANARY} works}}]
data_class: internal
devices:
  - id: {CANARY}-box
    title: {{en: {CANARY} device}}
    position: {{lat: 63.4123, lon: 10.4123}}
    interval: PT1H
    streams: [{{quantity: pm10}}, {{quantity: laeq}}]
events:
  - {{time: 2025-10-22T10:00:00, kind: other, text: {{en: {CANARY} event}}}}
"""
PATHS = [
    "/api/v1/pilots",
    "/api/v1/devices",
    "/api/v1/streams",
    "/api/v1/quantities",
    "/api/v1/latest",
    "/api/v1/readings?start=2025-10-21T00:00:00Z&end=2025-11-01T00:00:00Z&limit=50000",
    "/api/v1/readings?start=2025-10-21T00:00:00Z&end=2025-11-01T00:00:00Z&format=csv",
    "/api/v1/readings?quantity=laeq&start=2025-10-21T00:00:00Z",
    f"/api/v1/readings?device={CANARY}-box",
    "/api/v1/readings?device=*box*",
    "/api/v1/readings/metadata?start=2025-10-21T00:00:00Z&end=2025-11-01T00:00:00Z",
    "/api/v1/completeness?start=2025-10-21T00:00:00Z&end=2025-10-25T00:00:00Z",
    "/api/v1/gaps?start=2025-10-21T00:00:00Z&end=2025-10-25T00:00:00Z",
    "/api/v1/snapshots",
    "/api/v1/portfolio",
    "/api/v1/retention",
    "/api/v1/openapi.json",
    "/api/v1/audit",
    "/api/v1/jobs/0123456789abcdef",
    "/sta/v1.1",
    "/sta/v1.1/Things?$count=true",
    "/sta/v1.1/Things?$expand=Datastreams($expand=Observations,ObservedProperty,Sensor),Locations,HistoricalLocations",
    "/sta/v1.1/Datastreams?$count=true&$filter=Thing/name ne 'x'",
    "/sta/v1.1/Datastreams?$filter=substringof('kanari',name)",
    "/sta/v1.1/Observations?$count=true",
    "/sta/v1.1/Observations?$filter=result gt 9000",
    "/sta/v1.1/Observations?$expand=Datastream($expand=Thing),FeatureOfInterest",
    "/sta/v1.1/ObservedProperties?$expand=Datastreams",
    "/sta/v1.1/ObservedProperties?$count=true",
    "/sta/v1.1/Sensors?$expand=Datastreams",
    "/sta/v1.1/Locations?$count=true",
    "/sta/v1.1/FeaturesOfInterest?$count=true",
    "/sta/v1.1/HistoricalLocations?$count=true",
    "/edr/collections",
    "/catalog.ttl",
    "/catalog.jsonld",
    "/catalogue",
    "/",
    "/portfolio",
    f"/search?q={CANARY[:-1]}",
    "/search?q=box",
    "/search?q=63.43,10.39",
    "/explore",
    "/decode",
]


def city_in(folder: Path, *, secret: bool) -> City:
    """The open pilot, with or without the private one beside it."""
    city = City.at(folder)
    city.import_text(AIR)
    city.write(*hourly("kai-luft", "kran", "pm10", 10), *hourly("kai-luft", "port", "pm10", 20))
    if secret:
        pilot, device = f"{CANARY}-pilot", f"{CANARY}-box"
        city.import_text(SECRET)
        city.write(*hourly(pilot, device, "pm10", 9_400), *hourly(pilot, device, "laeq", 91))
        city.write(Reading(pilot, device, f"{CANARY}_value", START, 1.0, START + SECOND))
        entry = QuarantineEntry(
            pilot=pilot,
            device=device,
            topic=f"pilots/{pilot}/{device}/readings",
            payload=f"{CANARY} payload".encode(),
            received=now(),
            rejection=Rejection("not-json"),
        )
        city.ledger.open_batch("w", {})
        city.ledger.close_batch("w", {}, [entry])
        assert Quarantine(city.registry.database).entries().items
    return city


@pytest.fixture
def cities(tmp_path: Path) -> Iterator[tuple[City, City]]:
    with_secret, without = (city_in(tmp_path / str(secret), secret=secret) for secret in (True, False))
    yield with_secret, without
    with_secret.close()
    without.close()


def client_of(city: City, caller: Caller | None) -> httpx.AsyncClient:
    settings = WebSettings(language="en", snapshots=city.folder / "snapshots")
    transport = httpx.ASGITransport(city.app(settings, signed_in=False), raise_app_exceptions=False)
    headers = {} if caller is None else {"cookie": city.cookie(caller)}
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers)


CHANGING = re.compile(
    r"class=\"on-paper\">[^<]*<|"
    r"\d{4}-\d\d-\d\dT[\d:.]+Z?|/static/\w+/|/sta/v1\.1/\w+\(\d+\)|\"@iot\.id\": ?\d+|#\d+|\d+ seconds? ago"
)
"""What differs from run to run: the present, and numbers that are given in the order of coming."""


@pytest.mark.parametrize("caller", [None, "outsider"], ids=["nobody", "outsider"])
async def test_the_crawl_finds_no_canary_and_no_difference(cities: tuple[City, City], caller: Caller | None) -> None:
    """Sums, counts and suggestions would differ if they counted what is not shown."""
    with_secret, without = cities
    leaks, differing = [], []
    async with client_of(with_secret, caller) as asked, client_of(without, caller) as compared:
        for path in PATHS:
            answer, other = await asked.get(path), await compared.get(path)
            assert answer.status_code < 500, (path, answer.text[:300])
            told = answer.text.replace(f"{CANARY}-box", "") if f"{CANARY}-box" in path else answer.text
            headers = " ".join(f"{name}: {value}" for name, value in answer.headers.items())
            if CANARY in told.replace("substringof('kanari',name)", "").lower() or CANARY in headers:
                leaks.append(path)
            if answer.status_code != other.status_code or CHANGING.sub("", answer.text) != CHANGING.sub("", other.text):
                differing.append((path, answer.status_code, other.status_code))
    assert leaks == []
    assert differing == []


async def test_every_readable_route_is_free_of_canaries_for_an_outsider(cities: tuple[City, City]) -> None:
    with_secret, _ = cities
    found, asked = [], 0
    async with client_of(with_secret, "outsider") as client:
        names = {"pilot": f"{CANARY}-pilot", "device": f"{CANARY}-box", "location": f"{CANARY}-box", "entry": "1"}
        for context in iter_route_contexts(with_secret.app().routes):
            path = str(context.path)
            if "GET" not in (context.methods or ()) or path == "/api/v1/live" or ":path" in path:
                continue
            address = re.sub(r"{(\w+)}", lambda match: names.get(match[1], "1"), path)
            answer = await client.get(address)
            asked += 1
            told = answer.text.replace(f"{CANARY}-pilot", "").replace(f"{CANARY}-box", "")
            if CANARY in told.lower():
                found.append(address)
    assert found == []
    assert asked > 80


async def test_metrics_and_reasons_of_health_are_for_administrators(cities: tuple[City, City]) -> None:
    with_secret, _ = cities
    async with client_of(with_secret, "outsider") as client:
        assert (await client.get("/metrics")).status_code == 403
        assert set((await client.get("/readyz")).json()) == {"status"}
    async with client_of(with_secret, "administrator") as client:
        assert (await client.get("/metrics")).status_code == 200
        assert "problems" in (await client.get("/readyz")).json()


async def test_tags_and_caches_are_of_who_asks(cities: tuple[City, City]) -> None:
    """A cache between gives nobody another's answer, and the tag of an answer that one may not have matches nothing."""
    city, _ = cities
    path = "/api/v1/readings?start=2025-10-21T00:00:00Z&end=2025-10-22T00:00:00Z"
    async with (
        client_of(city, "administrator") as all_,
        client_of(city, "outsider") as some,
        client_of(city, None) as none,
    ):
        everything = await all_.get(path)
        assert CANARY in everything.text
        assert "private" in everything.headers["cache-control"]
        assert {"Cookie", "Authorization"} <= {part.strip() for part in everything.headers["vary"].split(",")}
        tag = everything.headers["etag"]
        assert (await all_.get(path, headers={"If-None-Match": tag})).status_code == 304
        for other in (some, none):
            answer = await other.get(path, headers={"If-None-Match": tag})
            assert answer.status_code == 200
            assert CANARY not in answer.text
        page = await some.get("/portfolio")
        assert "private" in page.headers["cache-control"]
        for asked in (all_, some, none):
            for address in ("/catalog.ttl", "/sta/v1.1/Things", "/api/v1/pilots", "/p/kai-luft"):
                answer = await asked.get(address)
                assert "public" not in answer.headers.get("cache-control", ""), address
                assert "Cookie" in answer.headers["vary"], address


async def test_a_snapshot_of_private_readings_is_kept_by_no_shared_cache(cities: tuple[City, City]) -> None:
    city, _ = cities
    async with client_of(city, "administrator") as client, client_of(city, "outsider") as outsider:
        question = {"pilot": [f"{CANARY}-pilot"], "start": "2025-10-21T00:00:00Z", "end": "2025-10-22T00:00:00Z"}
        made = await client.post("/api/v1/snapshots", json=question)
        assert made.status_code == 201, made.text
        address = f"/api/v1/snapshots/{made.json()['id']}"
        file = await client.get(f"{address}/readings.parquet")
        assert "private" in file.headers["cache-control"]
        assert "public" not in file.headers["cache-control"]
        gone, none = await outsider.get(address), await outsider.get("/api/v1/snapshots/0123456789abcdef")
        assert gone.status_code == none.status_code == 404
        assert (await outsider.get("/api/v1/snapshots")).json()["items"] == []


async def test_live_pages_end_when_the_right_is_gone(
    cities: tuple[City, City], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the check at every beat; in earnest it is made every twenty seconds."""
    assert live_module.CHECK_RIGHTS_S <= 30
    monkeypatch.setattr(live_module, "CHECK_RIGHTS_S", 0.0)
    city, _ = cities
    app = city.app(signed_in=False)
    live: Live = app.state.services.live
    live._heartbeat = 0.01
    visible: list[frozenset[str] | None] = [None, frozenset({"kai-luft"})]

    async def still() -> frozenset[str] | None:
        if not visible:
            raise Problem("not-signed-in", "gone")
        return visible.pop(0)

    stream = live.watch(None, "client", still)
    events = [event async for event in stream]
    assert b"resync" in b"".join(events), "the page asks anew for what it may see now"
    assert len(events) == 3
    assert not live._viewings


async def test_a_session_that_ends_is_gone_for_live_pages(cities: tuple[City, City]) -> None:
    """What the live route asks: who the cookie is now."""
    from starlette.requests import HTTPConnection

    from techport_dashboards.web import access

    city, _ = cities
    app = city.app(signed_in=False)
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "path": "/api/v1/live",
        "headers": [(b"cookie", city.cookie("viewer").encode())],
        "query_string": b"",
        "app": app,
    }
    assert (await access.identify(HTTPConnection(scope))).signed_in
    user = Accounts(city.registry.database).by_email("viewer@example.org")
    assert user is not None
    app.state.services.people.sessions.end_all(user.id)
    app.state.services.identities.forget()
    assert not (await access.identify(HTTPConnection(scope))).signed_in
