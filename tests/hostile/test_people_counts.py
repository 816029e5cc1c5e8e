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
from techport_pilots.handover.closeout import write_package
from techport_pilots.handover.open import open_package
from techport_pilots.registry import lifecycle
from techport_pilots.registry.lifecycle import State
from techport_storage.clock import now
from techport_storage.microseconds import MINUTE
from techport_storage.model import Query, Reading
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
