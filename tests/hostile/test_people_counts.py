"""No way out of the platform shows how many people passed in a minute."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import httpx
import pytest

from techport_dashboards import WebSettings
from techport_dashboards.query.registry_cache import RegistryCache
from techport_dashboards.services.alerts import Watch
from techport_dashboards.services.device_status import State as DeviceState
from techport_dashboards.services.device_status import device_statuses
from techport_pilots.evaluation.kpi import kpi_value
from techport_pilots.handover.closeout import write_package
from techport_pilots.handover.open import open_package
from techport_pilots.quality.people_counts import PublishedStore
from techport_pilots.registry import lifecycle
from techport_pilots.registry.lifecycle import State
from techport_storage.clock import now
from techport_storage.microseconds import DAY, HOUR, MINUTE
from techport_storage.model import Query, Reading, Selection
from tests.dashboards.conftest import anyio_backend
from tests.dashboards.web import City
from tests.hostile.test_access_matrix import ENDLESS, SIGNS_OUT, routes_of

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio
PILOT = "gate"
DEFINITION = """
id: gate
title: {en: The street, nb: Gata}
question: {en: "How many?"}
data_class: internal
timezone: Europe/Oslo
people_counts: {quantities: [pedestrian_count], least: 5}
devices:
  - {id: kran, position: {lat: 63.43, lon: 10.4}, interval: PT1M, streams: [{quantity: pedestrian_count}]}
kpis:
  - id: k
    title: {en: People}
    quantity: pedestrian_count
    statistic: sum
"""
MINUTELY, SMALL = 1.734375, 0.140625  # sums of which are exact: 26.015625 in a quarter, and 2.109375
CANARY = re.compile(r"(?<![\d.,])(1[.,]734|1[.,]73\b|0[.,]1406|0[.,]14\b|2[.,]109|2[.,]11\b)")
SHOWN = re.compile(r"26[.,]01|26[.,]02")
QUERIES = [
    "/api/v1/readings",
    "/api/v1/readings?format=csv",
    "/api/v1/readings?format=ndjson&every=PT1M&aggregate=sum,mean,min,max,first,last,median,p95",
    "/api/v1/readings?every=PT5M",
    "/api/v1/readings?every=PT1H&aggregate=min,sum",
    "/api/v1/readings?every=PT1M&shape=wide",
    "/api/v1/readings?order=-time&limit=50",
    "/api/v1/readings?downsample=minmax&points=100&quantity=pedestrian_count&device=kran",
    "/api/v1/latest",
    "/sta/v1.1/Observations?$top=1000",
    "/sta/v1.1/Observations?$resultFormat=dataArray",
    "/sta/v1.1/Datastreams?$expand=Observations($top=500)",
    "/sta/v1.1/Things?$expand=Datastreams/Observations",
    f"/edr/collections/{PILOT}/locations/kran?datetime=..",
    f"/edr/collections/{PILOT}/position?coords=POINT(10.4 63.43)",
    f"/features/collections/{PILOT}/items",
    f"/api/v1/pilots/{PILOT}/figure.json?quantity=pedestrian_count&start=-P1D",
    f"/pilots/{PILOT}/chart?quantity=pedestrian_count&start=-PT1H",
    f"/pilots/{PILOT}",
    f"/pilots/{PILOT}/devices/kran",
    f"/explore?pilot={PILOT}&quantity=pedestrian_count",
    f"/pilots/{PILOT}/report?lang=en",
    f"/api/v1/pilots/{PILOT}/kpis?start=-P2D",
    "/",
    "/portfolio",
]
"""What is asked beside every route as it is."""


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    """A minute's count like no other number for a day, and a few at night."""
    city = City.at(tmp_path)
    city.import_text(DEFINITION)
    newest = now() // (15 * MINUTE) * 15 * MINUTE
    rows = []
    for number in range(1, 26 * 60):
        time = newest - number * MINUTE
        value = SMALL if number // 60 % 8 == 3 else MINUTELY
        rows.append(Reading(PILOT, "kran", "pedestrian_count", time, value, time + 1))
    rows.append(Reading(PILOT, "kran", "pedestrian_count", newest, MINUTELY, newest + 1))
    city.write(*rows)
    yield city
    city.close()


async def test_no_answer_holds_the_count_of_a_minute_or_a_small_sum(city: City) -> None:
    app = city.app(WebSettings(snapshots=city.folder / "snapshots"), caller="viewer", pilot=PILOT)
    walked = [
        route.address(PILOT)
        for route in routes_of(app)
        if route.method == "GET" and route.path not in (ENDLESS, SIGNS_OUT) and route.need
    ]
    leaks, seen, answered = [], [], 0
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app, False), base_url="http://127.0.0.1") as client:
        for address in [*walked, *QUERIES]:
            answer = await client.get(address)
            answered += answer.status_code == 200
            if address in QUERIES:
                assert answer.status_code == 200, (address, answer.text[:300])
                seen += [address] if SHOWN.search(answer.text) else []
            if match := CANARY.search(answer.text):
                leaks.append((address, answer.text[max(0, match.start() - 60) : match.end() + 20]))
    assert leaks == []
    assert answered > 60
    assert len(seen) > 12, "the sums themselves are there"


async def test_snapshots_and_packages_hold_sums(city: City, tmp_path: Path) -> None:
    app = city.app(WebSettings(snapshots=city.folder / "snapshots"), caller="owner", pilot=PILOT)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        made = await client.post("/api/v1/snapshots", json={"pilot": [PILOT], "start": "-P3D"})
        assert made.status_code == 201, made.text
        assert 0 < made.json()["rows"] < 110
    pilot = city.registry.pilot(PILOT)
    package = write_package(city.registry, city.store, pilot, tmp_path)
    with zipfile.ZipFile(package.path) as files:
        text = files.read("readings.csv").decode()
        assert SHOWN.search(text)
        for name in files.namelist():
            if name.endswith((".csv", ".json", ".html", ".md")):
                assert not CANARY.search(files.read(name).decode()), name
    assert 0 < package.rows < 110


def test_a_closed_pilot_takes_its_own_package_back(city: City, tmp_path: Path) -> None:
    """It holds sums, and the store single counts: nothing is written, and nothing comes out otherwise."""
    registry, store = city.registry, city.store
    pilot = registry.pilot(PILOT)
    for state in get_args(State)[1:]:
        lifecycle.transition(registry.database, pilot, state, "test")
    package = write_package(registry, store, pilot, tmp_path)
    before = store.read(Query()).read_all()
    opened = open_package(Path(package.path), registry, store, city.ledger, "test")
    assert (opened.rows, opened.written, opened.differing) == (package.rows, 0, [])
    assert store.read(Query()).read_all().equals(before)


async def test_a_counter_that_sends_each_minute_is_online_and_complete(city: City) -> None:
    """Sums come later and less often than messages: that is no reason to call the device late, or data missing."""
    cache = RegistryCache(city.registry)
    store = PublishedStore(city.store, lambda: cache.current().pilots)
    newest = max(city.store.latest(Selection()).column("received").cast("int64").to_pylist())
    states = {2: DeviceState.LIVE, 8: DeviceState.LATE, 20: DeviceState.SILENT}
    for minutes, state in states.items():
        pilots = list(cache.current().pilots.values())
        (found,) = device_statuses(cache.current(), store.latest(Selection()), pilots, newest + minutes * MINUTE)
        assert found.devices[0].state is state
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(city.app(WebSettings(language="en"))), base_url="http://127.0.0.1"
    ) as client:
        every_hour = {"pilot": PILOT, "every": "PT1H", "start": "-PT20H", "end": "-PT2H"}
        hours = (await client.get("/api/v1/readings", params=every_hour)).json()["items"]
        assert hours
        shares = [item["completeness"] for item in hours]
        assert max(shares) == 1.0
        assert sum(share == 1.0 for share in shares) > len(shares) / 2, "of the others small sums are left out"
        period = {"pilot": PILOT, "start": "-PT20H", "end": "-PT2H"}
        (stream,) = (await client.get("/api/v1/completeness", params=period)).json()["items"]
        assert stream["completeness"] > 0.99
        gaps = (await client.get("/api/v1/gaps", params=period)).json()["items"]
        assert gaps == []
        quality = (await client.get(f"/pilots/{PILOT}/quality")).text
        assert re.search('<td class="(full|most|some)">', quality), "messages are counted, not sums"
    pilot = city.registry.pilot(PILOT)
    value = kpi_value(store, pilot, pilot.kpis[0], newest - 20 * HOUR, newest - 2 * HOUR)
    assert value.value is not None
    assert value.completeness > 0.5, "hours in which all was small have no sum"


def test_a_street_that_is_quiet_for_days_is_still_heard_of(city: City) -> None:
    cache = RegistryCache(city.registry)
    store = PublishedStore(city.store, lambda: cache.current().pilots)
    before = store.latest(Selection()).column("time").to_pylist()
    at = now() + 3 * DAY
    city.write(
        *(Reading(PILOT, "kran", "pedestrian_count", at - n * MINUTE, SMALL, at) for n in range(3 * 24 * 60 - 60))
    )
    latest = store.latest(Selection())
    assert latest.num_rows == len(before) == 1
    assert latest.column("received").cast("int64").to_pylist() == [at // MINUTE * MINUTE]


def test_an_alert_tells_a_sum_and_no_minute(city: City) -> None:
    city.import_text(DEFINITION + "alerts: [{quantity: pedestrian_count, above: 1}]\n")
    lifecycle.transition(city.registry.database, city.registry.pilot(PILOT), "running", "test")
    change = Watch(RegistryCache(city.registry), city.store, "https://port.example").look()
    (limit,) = [one for one in change.began if one.rule == "limit"]
    assert limit.params["value"] == 26.0156
