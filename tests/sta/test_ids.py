"""Ids survive the clients that hold numbers as floating point or as 32 bits, and do not depend on who looks."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from py_mini_racer import MiniRacer

from techport_dashboards.query.registry_cache import RegistryCache
from techport_dashboards.sta.entities import RELATIONS, EntityGraph, entity_graph
from techport_dashboards.sta.old_links import _hash as old_number
from techport_dashboards.viewer import OPERATOR, Viewer
from techport_storage.model import Reading, Selection
from tests.conftest import unavailable
from tests.dashboards.conftest import HOURS, START
from tests.dashboards.web import City
from tests.sta.test_sensorthings import ROOT, every_page, get

pytestmark = pytest.mark.anyio
_R = shutil.which("Rscript")


async def all_ids(client: httpx.AsyncClient) -> dict[str, list[Any]]:
    return {kind: [item["@iot.id"] for item in await every_page(client, kind, top="1000")] for kind in RELATIONS}


async def test_every_id_survives_javascript(client: httpx.AsyncClient) -> None:
    ids = await all_ids(client)
    engine = MiniRacer()
    script = f"JSON.stringify(JSON.parse({json.dumps(json.dumps(ids))}))"
    assert json.loads(str(engine.eval(script))) == ids
    assert all(0 < number < 2**31 for kind in RELATIONS if kind != "Observations" for number in ids[kind])
    through_numbers = f"JSON.parse({json.dumps(json.dumps(ids['Things']))}).map(id => id | 0)"
    assert json.loads(str(engine.eval(f"JSON.stringify({through_numbers})"))) == ids["Things"]


@pytest.mark.heavy
async def test_every_id_survives_r(client: httpx.AsyncClient, tmp_path: Path) -> None:
    if _R is None or subprocess.run([_R, "-e", "library(jsonlite)"], capture_output=True, check=False).returncode:
        unavailable("R or its package jsonlite (r-cran-jsonlite) is not here")
    ids = await all_ids(client)
    (tmp_path / "ids.json").write_text(json.dumps(ids))
    script = (
        f"ids <- jsonlite::fromJSON('{tmp_path}/ids.json');"
        f"for (kind in names(ids)) cat(kind, paste(ids[[kind]], collapse=' '), sep=' ', fill=1e8)"
    )
    printed = subprocess.run([_R, "-e", script], capture_output=True, text=True, check=True).stdout
    lines = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line.split()[0] in ids}
    assert lines == {kind: [str(entity_id) for entity_id in ids[kind]] for kind in ids}


async def test_qgis_keeps_every_observation(city: City, client: httpx.AsyncClient) -> None:
    """QGIS casts integers to 32 bits, keeps texts, and skips an id that it has seen. Readings of several streams at the
    same time, and two of a stream within a millisecond, are the ones that fell out."""
    start = START + HOURS * 3_600_000_000
    city.write(*(Reading("kai-luft", "kran", "pm10", start + i, 1.0 + i, start) for i in range(3)))
    seen = {
        item["@iot.id"] if isinstance(item["@iot.id"], str) else item["@iot.id"] & 0xFFFF_FFFF
        for item in await every_page(client, "Observations", top="1000")
    }
    assert len(seen) == 5 * HOURS + 3
    (row,) = (await get(client, "Observations", filter="result eq 2 and phenomenonTime ge 2025-10-31T00:00:00Z"))[
        "value"
    ]
    assert (await get(client, f"Observations('{row['@iot.id']}')")) == row
    assert (await get(client, "Observations", filter=f"id eq '{row['@iot.id']}'"))["value"] == [row]


async def test_ids_do_not_depend_on_who_looks(city: City) -> None:
    def graph(viewer: Viewer) -> EntityGraph:
        catalogue = RegistryCache(city.registry).current()
        return entity_graph(catalogue, city.store.streams(Selection()), viewer, city.registry.database)

    one = graph(Viewer("anybody", open_pilots=lambda: frozenset({"stille"})))
    everything = graph(OPERATOR)
    assert one.keys.items() < everything.keys.items()
    assert one.datastreams.items() < everything.datastreams.items()
    assert len(set(everything.keys.values())) == len(everything.keys)


async def test_old_links_answer(city: City, client: httpx.AsyncClient) -> None:
    things = await every_page(client, "Things")
    for thing in things:
        names = thing["properties"]["pilot"], thing["properties"]["device"]
        assert await get(client, f"Things({old_number('thing', *names)})") == thing
        for kind, word in (("Locations", "location"), ("FeaturesOfInterest", "feature")):
            answer = await client.get(f"{ROOT}/{kind}({old_number(word, *names)})")
            assert answer.status_code == (200 if kind != "Locations" or names == ("kai-luft", "kran") else 404)
    stream = old_number("stream", "kai-luft", "kran", "pm10")
    datastream = await get(client, f"Datastreams({stream})")
    assert datastream["properties"]["quantity"] == "pm10"
    (first,) = (await get(client, f"Datastreams({stream})/Observations", top="1"))["value"]
    milliseconds = (START + 123_456 - 946_684_800_000_000) // 1000
    assert await get(client, f"Observations({(stream % (1 << 22)) << 41 | milliseconds})") == first
    assert (await get(client, f"ObservedProperties({old_number('quantity', 'pm10')})"))["name"] == "pm10"
