"""OGC API Features: devices with their latest values, in pages, and as the GDAL of QGIS reads them."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import httpx
import pytest

from tests.conftest import unavailable
from tests.dashboards.conftest import HOURS
from tests.dashboards.web import City, serving

pytestmark = pytest.mark.anyio
PLACED = """
id: plassert
title: {en: Placed}
question: {en: "Where is it?"}
data_class: open
licence: CC-BY-4.0
devices:
  - {id: a, tags: {street: Kirkegata}, kind: sensor, position: {lat: 63.42, lon: 10.39}, streams: [{quantity: pm10}]}
  - {id: b, kind: sensor, position: {lat: 63.43, lon: 10.41}, streams: [{quantity: pm10}]}
  - {id: c, kind: camera, position: {lat: 63.44, lon: 10.45}, streams: [{quantity: pm10}]}
  - {id: nowhere, streams: [{quantity: pm10}]}
"""


async def get(client: httpx.AsyncClient, path: str) -> Any:
    answer = await client.get(path if path.startswith("http") else f"/features{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_links_lead_from_the_landing_page_to_the_devices(client: httpx.AsyncClient) -> None:
    links = {link["rel"]: link["href"] for link in (await get(client, ""))["links"]}
    assert len((await get(client, links["conformance"]))["conformsTo"]) == 3
    assert (await client.get(links["service-desc"])).json()["openapi"].startswith("3.0")
    (pilot,) = (await get(client, links["data"]))["collections"]
    assert pilot["id"] == "kai-luft"
    assert pilot["extent"]["spatial"]["bbox"] == [[10.4, 63.4385, 10.4, 63.4385]]
    items = {link["rel"]: link["href"] for link in pilot["links"]}["items"]
    answer = await client.get(items)
    assert answer.headers["content-type"] == "application/geo+json"
    (crane,) = answer.json()["features"]
    assert crane["geometry"]["coordinates"] == [10.4, 63.4385]
    assert crane["properties"]["pm10"] == 10 + (HOURS - 1) / 7
    assert (await get(client, f"/collections/kai-luft/items/{crane['id']}"))["properties"] == crane["properties"]


async def test_tags_are_properties_here_and_in_sensorthings(city: City, client: httpx.AsyncClient) -> None:
    city.import_text(PLACED)
    first, second = (await get(client, "/collections/plassert/items?limit=2"))["features"]
    assert (first["properties"]["street"], first["properties"]["kind"]) == ("Kirkegata", "sensor")
    assert "street" not in second["properties"]
    query = {"$filter": "properties/tags/street eq 'Kirkegata'"}
    (thing,) = (await client.get("/sta/v1.1/Things", params=query)).json()["value"]
    assert thing["properties"]["device"] == "a"


async def test_pages_boxes_and_properties(city: City, client: httpx.AsyncClient) -> None:
    city.import_text(PLACED)
    here = "/collections/plassert/items"
    found, address = [], here + "?limit=2"
    while address:
        body = await get(client, address)
        assert body["numberMatched"] == 3
        found += [feature["id"] for feature in body["features"]]
        address = next((link["href"] for link in body["links"] if link["rel"] == "next"), "")
    assert found == ["a", "b", "c"]
    for query, devices in (
        ("bbox=10.38,63.41,10.42,63.435", ["a", "b"]),
        ("bbox=10.38,63.41,0,10.40,63.43,100", ["a"]),
        ("kind=camera", ["c"]),
        ("bbox=0,0,1,1", []),
    ):
        body = await get(client, f"{here}?{query}")
        assert [feature["id"] for feature in body["features"]] == devices, query
    for wrong, status in (("limit=0", 400), ("colour=red", 400), ("bbox=1,2", 400)):
        assert (await client.get(f"/features{here}?{wrong}")).status_code == status
    assert (await client.get("/features/collections/stille")).status_code == 404
    assert (await client.get("/features/collections/plassert/items/nowhere")).status_code == 404


async def test_what_is_not_open_is_not_shown(city: City) -> None:
    city.import_text(PLACED.replace("data_class: open\n", "").replace("licence: CC-BY-4.0\n", ""))
    transport = httpx.ASGITransport(city.app(signed_in=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as anybody:
        assert [one["id"] for one in (await get(anybody, "/collections"))["collections"]] == ["kai-luft"]
        assert (await anybody.get("/features/collections/plassert/items")).status_code == 401


@pytest.mark.heavy
def test_gdal_reads_devices_and_places(city: City) -> None:
    ogrinfo = shutil.which("ogrinfo")
    if ogrinfo is None:
        unavailable("ogrinfo (gdal-bin) is not here")
    city.import_text(PLACED)
    with serving(city.app(signed_in=False)) as address:

        def ogr(source: str, *more: str) -> str:
            command = [ogrinfo, "-ro", "-al", *more, source]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        features = ogr(f"OAPIF:{address}/features", "-oo", "PAGE_SIZE=2")
        assert "Layer name: plassert" in features
        assert "Feature Count: 3" in features
        assert "POINT (10.39 63.42)" in features
        assert "pm10 (Real)" in features
        places = ogr(f"{address}/edr/collections/plassert/locations")
        assert "Feature Count: 3" in places
        things = ogr(f"{address}/sta/v1.1/Things?$resultFormat=GeoJSON")
        assert "POINT (10.39 63.42)" in things
        assert json.loads(httpx.get(f"{address}/features/collections/plassert").text)["itemType"] == "feature"
