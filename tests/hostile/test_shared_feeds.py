"""A hostile reader of a share: every route of it, every way to ask, and whatever its answers link to. Nothing that is
finer than the share, outside its period or of another stream, place or name comes out."""

from __future__ import annotations

import io
import itertools
import re
from collections import deque
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import xarray
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.requests import HTTPConnection

from techport_dashboards.problems import Problem
from techport_dashboards.query import live as live_module
from techport_dashboards.query import shared_view
from techport_dashboards.web import access
from techport_pilots.access.shares import Share, Shares, ShareTerms
from techport_storage.microseconds import DAY, HOUR, MINUTE, SECOND
from techport_storage.model import AGGREGATES, BucketWidth, Query, Reading, Selection, Stream
from tests.dashboards.conftest import START, anyio_backend
from tests.dashboards.web import City

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio
PILOT = "kanari-hemmelig"
DEFINITION = f"""
id: {PILOT}
title: {{nb: Kanari, en: Kanari}}
question: {{en: "Kanari?"}}
description: {{en: "Kanari."}}
hypothesis: {{en: "Kanari."}}
data_class: internal
licence: Kanari
attribution: Kanari
organisations: [{{name: Kanari AS, role: owner}}]
contact: {{name: Kari Kanari, email: kari@kanari.example}}
events:
  - time: "2025-10-23T10:00:00Z"
    kind: moved
    device: kanari-1
    text: {{en: Kanari}}
    position: {{lat: 63.4385123, lon: 10.4001234}}
phases:
  - {{name: kanari, kind: baseline, start: "2025-10-21T00:00:00Z", end: "2025-10-25T00:00:00Z"}}
kpis:
  - {{id: kanari, title: {{en: Kanari}}, quantity: pm10, target: 7.654321, target_is: value}}
devices:
  - id: kanari-1
    title: {{en: Kanarigata 1}}
    kind: Kanari 3000
    group: kanari
    aliases: [KANARI00]
    position: {{lat: 63.4385123, lon: 10.4001234, height: 3.217}}
    interval: PT10M
    streams: [{{quantity: pm10, title: {{en: Kanaristøv}}}}, {{quantity: air_temperature}}, {{quantity: no2.kanari}}]
  - id: kanari-2
    position: {{lat: 63.4315987, lon: 10.4215678}}
    interval: PT10M
    streams: [{{quantity: pm10}}]
"""
FIRST, LAST = START + DAY, START + 4 * DAY
"""The period that is shared."""
EXACT = ("63.4385123", "10.4001234", "63.4315987", "10.4215678", "3.217", "7.654321")
SMALL = "POLYGON((10.4 63.438,10.4002 63.438,10.4002 63.439,10.4 63.439,10.4 63.438))"
"""Around the exact position of a device."""
AGGREGATE_LIST = ",".join([*AGGREGATES, "p1", "p50", "p99"])


def readings() -> Iterator[Reading]:
    """Every ten minutes, not on the full second, each value different from all others in its sixth digit."""
    random = np.random.default_rng(11)
    for device, quantity in (
        ("kanari-1", "pm10"),
        ("kanari-1", "air_temperature"),
        ("kanari-1", "no2.kanari"),
        ("kanari-2", "pm10"),
    ):
        for step in range(5 * 24 * 6):
            at = START + step * 10 * MINUTE + 123_457
            yield Reading(PILOT, device, quantity, at, round(float(random.uniform(1, 90)), 6), at + 3 * SECOND)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    city = City.at(tmp_path_factory.mktemp("shared"))
    city.import_text(DEFINITION)
    city.write(*readings())
    yield city
    city.close()


@pytest.fixture(scope="module")
def feed(city: City) -> Share:
    terms = ShareTerms(
        title="Dust",
        audience="link",
        quantities=["pm10"],
        resolution="PT1H",
        precision=1_000,
        start=FIRST,
        end=LAST,
        licence="CC-BY-4.0",
        attribution="The city",
    )
    return Shares(city.registry.database).create(city.registry.pilot(PILOT), terms, "kanari", publish=True)


def canaries() -> list[str]:
    """Names, places, and values of single readings as text; short ones would be found by chance."""
    values = [repr(reading.value) for reading in readings()]
    return ["anari", "ANARI", *EXACT, *(value for value in values if len(value) >= 8)]


CANARIES = canaries()
NUMBER = re.compile(r"-?\d+\.\d{4,}")
RAW = {value for value in CANARIES if NUMBER.fullmatch(value)} - set(EXACT)


def text_of(answer: httpx.Response) -> str:
    """What an answer says, whatever it is packed in, with its headers."""
    media = answer.headers.get("content-type", "")
    body = answer.content
    if "parquet" in media:
        table = pyarrow.parquet.read_table(io.BytesIO(body))
        text = f"{table.to_pylist()} {table.schema.metadata} {table.schema}"
    elif "arrow" in media or body.startswith(b"ARROW1"):
        reader = pa.ipc.open_file if body.startswith(b"ARROW1") else pa.ipc.open_stream
        table = reader(io.BytesIO(body)).read_all()
        text = f"{table.to_pylist()} {table.schema.metadata}"
    elif "netcdf" in media:
        dataset = xarray.open_dataset(io.BytesIO(body), engine="h5netcdf")
        text = f"{dataset.to_dict()}"
    else:
        text = answer.text
    return text + "\n" + "\n".join(f"{name}: {value}" for name, value in answer.headers.items())


def leaks(text: str, asked: str) -> list[str]:
    """What a text says that the share does not show. What was asked comes back in links and errors."""
    found = [name for name in ("anari", "ANARI", *EXACT) if name in text and name not in asked]
    found += sorted(RAW & set(NUMBER.findall(text)))[:3]
    if ":123457" in text or ".123457" in text:
        found.append("time of a reading")
    return found


def odd_times(text: str) -> list[str]:
    """Times in the data that are no hours of the period."""
    found = []
    for stamp in re.findall(r'"(?:time|phenomenonTime)":\s*"([^"]+)"', text):
        at = np.datetime64(re.split("Z|/", stamp)[0], "us").astype(np.int64)
        if at != 0 and (at % HOUR or not FIRST <= at < LAST):
            found.append(stamp)
    return found


def addresses(feed: Share, app: FastAPI) -> list[str]:
    """Every route of the share's app, asked in every way that could bring out more."""
    opened = app.state.opened_shares.app(feed)
    names = {
        "{pilot}": feed.id,
        "{device}": feed.device_name("kanari-1"),
        "{location}": feed.device_name("kanari-1"),
        "{kind}": "not-found",
        "{name}": "start.js",
    }
    found = []
    for context in iter_route_contexts(opened.routes):
        path = str(context.path)
        for part, name in names.items():
            path = path.replace(part, name)
        if path.endswith("/live") or "{path:path}" in path:
            continue
        found.append(path)
    assert len(found) > 25, "the walk no longer sees the routes"
    wide = "start=1970-01-01&end=2100-01-01"
    everywhere = "POLYGON((0 0,0 89,89 89,89 0,0 0))"
    for path in list(found):
        if path.endswith(("/readings", "/latest")):
            found += [f"{path}?{more}" for more in questions(wide)]
        if path.endswith(("figure.json", "figure.html", "/chart")):
            for range_ in (wide, "start=2025-10-22T00:00&end=2025-10-22T03:00", "start=-P5Y&end=now&against=-P1D"):
                found.append(f"{path}?quantity=pm10&{range_}")
            found.append(f"{path}?quantity=air_temperature&{wide}")
        if path.endswith(("/position", "/area")):
            found.append(
                f"{path}?coords={'POINT(10.4001234 63.4385123)' if path.endswith('/position') else everywhere}"
            )
        if path.endswith("/metadata"):
            found.append(f"{path}?{wide}&every=PT1S&aggregate={AGGREGATE_LIST}")
        if "/locations/" in path:
            found.append(f"{path}?datetime=2025-10-22T00:00:00Z/2025-10-22T03:00:00Z")
    return [*found, *sensor_things()]


def questions(wide: str) -> Iterator[str]:
    for file_format in ("json", "ndjson", "csv", "parquet", "arrow", "feather", "netcdf"):
        yield f"{wide}&format={file_format}"
        yield f"{wide}&format={file_format}&every=PT1S&aggregate={AGGREGATE_LIST}"
    yield f"{wide}&quality=good"
    yield "start=2025-10-22T00:20:00Z&end=2025-10-22T00:40:00Z"
    yield "start=2025-10-22T00:00:00Z&end=2025-10-22T00:10:00Z&every=PT10M&aggregate=first,last,count"
    yield "every=PT10M&aggregate=time_mean&start=2025-10-22&end=2025-10-23"
    yield "every=PT10M&hold=PT1H&aggregate=time_mean&start=2025-10-22&end=2025-10-23"
    yield "profile=hour&aggregate=max,min,mean&start=2025-10-20&end=2025-10-27"
    yield "profile=weekday-hour&group=device"
    for group in ("quantity", "device", "kind", "pilot", "title"):
        yield f"group={group}&every=PT1S&aggregate={AGGREGATE_LIST}&{wide}"
    yield "order=-time&limit=7"
    yield "order=time&limit=7&value=%3E50"
    yield "rolling=PT2H&every=PT10M&start=2025-10-22&end=2025-10-24"
    yield "shape=wide&format=csv&start=2025-10-22&end=2025-10-24"
    yield "downsample=100&format=csv&start=2025-10-01&end=2025-11-24"
    yield "every=PT10M&fill=previous&start=2025-10-22&end=2025-10-23&format=csv"
    yield "columns=time,value,received&format=csv"
    for name in ("kanari-1", "kanari-2", PILOT, "*anari*", "*"):
        yield f"device={name}"
        yield f"pilot={name}"
    for quantity in ("air_temperature", "no2.kanari", "*", "no2*"):
        yield f"quantity={quantity}"
    yield "near=10.4001234,63.4385123,1"
    yield "bbox=10.40012,63.43851,10.40013,63.43852"
    yield "cursor=WyJhIiwxLDIsImIiLCJjIiwiZCIsMV0"


def sensor_things() -> Iterator[str]:
    sets = ("Things", "Locations", "HistoricalLocations", "Datastreams", "Sensors", "ObservedProperties")
    for name in (*sets, "FeaturesOfInterest", "Observations"):
        yield f"/sta/v1.1/{name}?$count=true&$top=500"
        yield f"/sta/v1.1/{name}?$resultFormat=GeoJSON"
    yield (
        "/sta/v1.1/Things?$expand=Locations/HistoricalLocations,HistoricalLocations,Datastreams($expand=Sensor,"
        "ObservedProperty,Observations($top=300;$orderby=phenomenonTime desc;$expand=FeatureOfInterest))"
    )
    for term in (
        "phenomenonTime lt 2025-10-22T00:00:00Z",
        "phenomenonTime gt 2025-10-22T00:00:00Z and phenomenonTime lt 2025-10-22T01:00:00Z",
        "resultTime ge 2025-10-25T00:00:00Z",
        "result gt 89.5",
        "minute(phenomenonTime) eq 10",
        "fractionalseconds(phenomenonTime) gt 0",
        "Datastream/Thing/name eq 'Kanarigata 1'",
        "startswith(Datastream/properties/device,'kanari')",
        "Datastream/ObservedProperty/name eq 'air_temperature'",
        f"st_within(FeatureOfInterest/feature, geography'{SMALL}')",
    ):
        yield f"/sta/v1.1/Observations?$count=true&$filter={term}"
    yield "/sta/v1.1/Things?$filter=startswith(name,'Kanari')"
    yield "/sta/v1.1/Datastreams?$filter=Observations/any(o:o/result gt 89)"
    for number in range(1, 14):
        yield f"/sta/v1.1/Datastreams({number})?$expand=Observations($top=3)"
        yield f"/sta/v1.1/Observations('{number}{START + 2 * DAY + 123_457}')"


LINK = re.compile(
    r'"(?:@iot\.[\w@.]*|[\w]+@iot\.\w+|href|next|url|license)":\s*"([^"]+)"|<(/shared/[^>]+)>|href="([^"]+)"'
)


def linked(text: str, feed: Share) -> Iterator[str]:
    """Addresses of this share that an answer names, as paths below the share's."""
    for match in LINK.finditer(text):
        parts = urlsplit(next(part for part in match.groups() if part is not None).replace("&amp;", "&"))
        root = f"/shared/{feed.key}"
        if parts.netloc in ("", "127.0.0.1") and parts.path.startswith(f"{root}/"):
            yield parts.path.removeprefix(root) + (f"?{parts.query}" if parts.query else "")


OWN_ROWS = ("time_mean", "fill=")
"""What makes rows at times of the question, out of values that are shown: their times tell nothing."""
MOST = 500  # addresses


async def test_nothing_finer_comes_out_of_a_share(city: City, feed: Share) -> None:
    app = city.app(signed_in=False)
    waiting = deque(dict.fromkeys(addresses(feed, app)))
    seen, found, answered, times_seen = set(waiting), [], 0, 0
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for _ in range(MOST):
            if not waiting:
                break
            address = waiting.popleft()
            answer = await client.get(f"/shared/{feed.key}{address}")
            assert answer.status_code != 500, (address, answer.text[:300])
            answered += answer.status_code == 200
            text = text_of(answer)
            described = "openapi" in address or "/docs" in address
            found += [(address, leak) for leak in leaks(text, address)]
            if not described and not any(rows in address for rows in OWN_ROWS):
                times_seen += len(re.findall(r'"(?:time|phenomenonTime)"', text))
                found += [(address, stamp) for stamp in odd_times(text)]
            for link in linked(text, feed):
                if link not in seen and not link.startswith(("/api/v1/docs", "/api/v1/live")):
                    seen.add(link)
                    waiting.append(link)
    assert found == [], f"{len(found)} leaks, such as {found[:10]}"
    assert answered > 200
    assert times_seen > 500


async def test_the_crawl_would_notice(city: City, feed: Share) -> None:
    """The same look at the pilot itself, and at a share that shows each reading."""
    app = city.app(caller="owner", pilot=PILOT)
    raw = Shares(city.registry.database).create(
        city.registry.pilot(PILOT),
        ShareTerms(title="All", audience="public", quantities=["pm10"], resolution=None, precision=0, names=True),
        "test",
        publish=True,
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        for prefix in ("", f"/shared/{raw.key}"):
            for file_format in ("json", "csv", "parquet", "arrow"):
                answer = await client.get(f"{prefix}/api/v1/readings?format={file_format}")
                said = leaks(text_of(answer), "")
                assert "anari" in said
                assert set(said) & RAW, (prefix, file_format)
            assert "63.4385123" in leaks((await client.get(f"{prefix}/api/v1/devices")).text, "")
            assert odd_times((await client.get(f"{prefix}/api/v1/readings")).text)


async def test_the_share_does_show_its_hours(city: City, feed: Share) -> None:
    app = city.app(signed_in=False)
    with city.store.read(
        Query(
            select=Selection(streams=(Stream(PILOT, "kanari-1", "pm10"),)),
            start=FIRST,
            end=LAST,
            every=BucketWidth(1, "h"),
        )
    ) as reader:
        wanted = reader.read_all().column("mean").to_pylist()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        address = f"/shared/{feed.key}/api/v1/readings?device={feed.device_name('kanari-1')}"
        assert [row["value"] for row in (await client.get(address)).json()["items"]] == wanted
        assert len(wanted) == 72


async def test_a_share_has_routes_that_read_and_no_others(city: City, feed: Share) -> None:
    app = city.app(signed_in=False)
    contexts = list(iter_route_contexts(app.state.opened_shares.app(feed).routes))
    for context in contexts:
        need = access.declared(context.endpoint)
        assert need is not None
        assert need.anybody, context.path
        assert need.action in ("see", "nothing"), context.path
        assert set(context.methods or ()) <= {"GET", "HEAD"}, context.path
    paths = {str(context.path) for context in contexts}
    # An address that is only written to there may be read here, as Observations of a Datastream are.
    everything = {str(context.path) for context in iter_route_contexts(app.routes)}
    read = {str(context.path) for context in iter_route_contexts(app.routes) if "GET" in (context.methods or ())}
    owner = {"cookie": city.cookie("owner", PILOT)}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        for path in sorted(everything - paths):
            address = re.sub(r"{(\w+)(?::\w+)?}", lambda m: feed.id if m[1] == "pilot" else "1", path)
            methods = ("GET", "POST", "DELETE") if path in read else ("POST", "DELETE")
            for method, headers in itertools.product(methods, ({}, owner)):
                answer = await client.request(method, f"/shared/{feed.key}{address}", headers=headers)
                assert answer.status_code in (401, 404, 405), (method, path, answer.status_code)


def test_services_of_a_share_are_withheld(city: City, feed: Share) -> None:
    services = city.app(signed_in=False).state.opened_shares.app(feed).state.services
    for name in ("evaluations", "jobs", "lifecycle", "reports", "people"):
        with pytest.raises(RuntimeError):
            _ = getattr(services, name).anything
    with pytest.raises(RuntimeError):
        _ = services.registry_cache.registry
    assert services.ledger is None
    assert set(services.registry_cache.current().pilots) == {feed.id}
    assert shared_view.shared_view(
        city.app(signed_in=False).state.services.registry_cache.current(), feed
    ).view.quantity_names == {feed.id: {"pm10"}}


async def test_answers_that_change_with_each_reading_have_no_tag_of_it(city: City, feed: Share) -> None:
    """An ETag of the source's version would tell when a reading came."""
    app = city.app(signed_in=False)
    address = f"/shared/{feed.key}/api/v1/readings?format=csv&start=2025-10-22&end=2025-10-23"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        before = await client.get(address)
        at = START + 2 * DAY + 5
        city.write(Reading(PILOT, "kanari-1", "air_temperature", at, 1.5, at))
        after = await client.get(address)
    assert before.headers.get("etag") == after.headers.get("etag")


async def test_live_pages_of_a_share_end_when_it_is_revoked(
    city: City, feed: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the check at every beat; in earnest it is made every twenty seconds, of what is known for five."""
    monkeypatch.setattr(live_module, "CHECK_RIGHTS_S", 0.0)
    shares = Shares(city.registry.database)
    terms = ShareTerms(title="Dust", audience="public", quantities=["pm10"])
    short = shares.create(city.registry.pilot(PILOT), terms, "test", publish=True)
    app = city.app(signed_in=False)
    opened = app.state.opened_shares.app(short)
    live = opened.state.services.live
    live._heartbeat = 0.01
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "path": f"/shared/{short.key}/api/v1/live",
        "root_path": f"/shared/{short.key}",
        "techport.share_key": short.key,
        "headers": [],
        "query_string": b"",
        "app": opened,
    }

    async def still() -> frozenset[str] | None:
        return (await access.identify(HTTPConnection(scope))).pilots

    events = []
    async for event in live.watch(frozenset({short.id}), "client", still):
        events.append(event)
        if len(events) == 3:
            shares.revoke(PILOT, short.id)
            app.state.services.shares.forget()
        assert len(events) < 20, "it goes on"
    assert b"hello" in events[0]
    with pytest.raises(Problem):
        await still()
    assert live_module.CHECK_RIGHTS_S == 0.0
