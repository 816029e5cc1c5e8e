"""SensorThings: every link leads somewhere, every option does what it should, and Observations are the readings."""

from __future__ import annotations

import datetime as dt
from typing import Any

import httpx
import pytest

from techport_dashboards.sta.entities import RELATIONS
from techport_storage.microseconds import HOUR
from techport_storage.model import Reading
from tests.dashboards.conftest import HOURS, START
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
ROOT = "/sta/v1.1"


async def get(client: httpx.AsyncClient, path: str, **options: str) -> Any:
    url = path if path.startswith("http") else f"{ROOT}/{path}"
    answer = await client.get(url, params={f"${name}": value for name, value in options.items()} or None)
    assert answer.status_code == 200, (url, answer.text)
    return answer.json()


async def every_page(client: httpx.AsyncClient, path: str, **options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    body = await get(client, path, **options)
    while True:
        found += body["value"]
        if "@iot.nextLink" not in body:
            return found
        body = await get(client, body["@iot.nextLink"])


def iso(hour: int) -> str:
    moment = dt.datetime.fromtimestamp((START + hour * HOUR) / 1e6, dt.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


async def datastream(client: httpx.AsyncClient, device: str, quantity: str, pilot: str = "kai-luft") -> dict[str, Any]:
    where = " and ".join(
        f"properties/{name} eq '{value}'"
        for name, value in (("pilot", pilot), ("device", device), ("quantity", quantity))
    )
    found = (await get(client, "Datastreams", filter=where))["value"]
    assert len(found) == 1
    return dict(found[0])


async def test_the_root_names_all_sets_with_absolute_links(client: httpx.AsyncClient) -> None:
    body = await get(client, "")
    assert {item["name"]: item["url"] for item in body["value"]} == {
        name: f"http://127.0.0.1{ROOT}/{name}" for name in RELATIONS
    }
    assert body["serverSettings"]["conformance"]


@pytest.mark.parametrize("kind", RELATIONS)
async def test_every_link_leads_back(client: httpx.AsyncClient, kind: str) -> None:
    items = (await get(client, kind, top="3"))["value"]
    assert items
    for item in items:
        alone = await get(client, item["@iot.selfLink"])
        assert item.items() <= alone.items()
        for relation in RELATIONS[kind]:
            url = item[f"{relation}@iot.navigationLink"]
            answer = await client.get(url)
            assert answer.status_code == 200, url
            there = answer.json()
            for one in there.get("value", [there])[:2]:
                assert (await client.get(one["@iot.selfLink"])).status_code == 200


async def test_observations_are_the_readings(client: httpx.AsyncClient) -> None:
    stream = await datastream(client, "kran", "pm10")
    found = await every_page(client, f"Datastreams({stream['@iot.id']})/Observations", top="100")
    assert [item["result"] for item in found] == [10 + i / 7 for i in range(HOURS)]
    assert len({item["@iot.id"] for item in found}) == HOURS
    assert found[0]["phenomenonTime"] == "2025-10-21T00:00:00.123456Z"
    one = await get(client, f"Observations('{found[7]['@iot.id']}')")
    assert one["result"] == found[7]["result"]
    assert len(await every_page(client, "Observations", top="500")) == 5 * HOURS


async def test_paging_with_skip_and_top(client: httpx.AsyncClient) -> None:
    whole = [item["@iot.id"] for item in (await get(client, "Datastreams"))["value"]]
    assert len(whole) == 5
    assert [item["@iot.id"] for item in await every_page(client, "Datastreams", top="2")] == whole
    body = await get(client, "Datastreams", skip="3", count="true")
    assert (body["@iot.count"], [item["@iot.id"] for item in body["value"]]) == (5, whole[3:])
    for only in ("Things", "Observations"):
        counted = await get(client, only, top="0", count="true")
        assert counted["@iot.count"] > 0
        assert counted == {"@iot.count": counted["@iot.count"], "value": []}, "no next page, which would be this one"


async def test_newest_and_oldest_first(client: httpx.AsyncClient) -> None:
    newest = (await get(client, "Observations", orderby="phenomenonTime desc", top="7"))["value"]
    assert [item["phenomenonTime"][:13] for item in newest[:5]] == ["2025-10-30T23"] * 5
    assert newest[5]["phenomenonTime"].startswith("2025-10-30T22")
    paged = await every_page(client, "Observations", orderby="phenomenonTime asc", top="400")
    times = [item["phenomenonTime"] for item in paged]
    assert len(times) == 5 * HOURS
    assert times == sorted(times)
    datastream = (await get(client, "Datastreams", top="1"))["value"][0]["@iot.id"]
    one = f"Datastreams({datastream})/Observations"
    back = await every_page(client, one, orderby="phenomenonTime desc", top="100")
    assert back == (await every_page(client, one, orderby="phenomenonTime asc", top="100"))[::-1]
    assert len(back) == HOURS
    since = await get(client, one, orderby="phenomenonTime desc", filter="phenomenonTime ge 2025-10-30T21:00:00Z")
    assert since["value"] == back[:3]
    as_frost_writes = await get(client, "Observations", orderby="result DESC", top="1")
    largest = as_frost_writes["value"][0]
    assert largest["result"] == 40 + (HOURS - 1) / 7


@pytest.mark.parametrize(
    "order", ["phenomenonTime desc", "phenomenonTime asc", "id desc", "id asc", "resultTime desc,id desc"]
)
async def test_pages_hold_each_observation_once_while_new_ones_arrive(
    city: City, client: httpx.AsyncClient, order: str
) -> None:
    before = len(await every_page(client, "Observations", top="500"))
    body = await get(client, "Observations", orderby=order, top="150")
    found, late = list(body["value"]), HOURS
    while "@iot.nextLink" in body:
        city.write(Reading("kai-luft", "kran", "pm10", START + late * HOUR, 1.0, START))
        late += 1
        body = await get(client, body["@iot.nextLink"])
        found += body["value"]
    ids = [item["@iot.id"] for item in found]
    assert len(ids) == len(set(ids))
    assert len(ids) >= before
    key = "@iot.id" if order.startswith("id") else "phenomenonTime"
    values = [item[key] for item in found]
    assert values == sorted(values, reverse="desc" in order)


async def test_latest_of_every_datastream_in_one_request(client: httpx.AsyncClient) -> None:
    expand = "Observations($orderby=phenomenonTime desc;$top=1;$select=result,phenomenonTime)"
    found = (await get(client, "Datastreams", expand=expand, select="name"))["value"]
    assert [list(item) for item in found] == [["name", "Observations"]] * 5
    assert {item["Observations"][0]["phenomenonTime"] for item in found} == {"2025-10-30T23:00:00.123456Z"}


FILTERS = {
    "name eq 'Krana'": set(),
    "name eq 'The crane'": {"kran"},
    "startswith(name,'The') or name eq 'port'": {"kran", "port"},
    "properties/pilot eq 'stille'": {"kran"},
    "not (properties/device eq 'kran')": {"port"},
    "Datastreams/ObservedProperty/name eq 'air_temperature'": {"kran"},
    "geo.intersects(Locations/location, geography'POLYGON((10.3 63.4,10.5 63.4,10.5 63.5,10.3 63.5,10.3 63.4))')": {
        "kran"
    },
    "st_within(Locations/location, geography'POLYGON((11 63.4,12 63.4,12 63.5,11 63.5,11 63.4))')": set(),
    "geo.distance(Locations/location, geography'POINT(10.4 63.4485)') lt 1200": {"kran"},
    "length(name) eq 4": {"port", "kran"},
    "substringof('cran', name)": {"kran"},
    "toupper(concat(name,'x')) eq 'PORTX'": {"port"},
    "properties/group eq null": {"kran", "port"},
    "properties/device in ('port','dock')": {"port"},
    "endswith(name,'rane') or indexof(name,'rt') eq 2": {"kran", "port"},
    "substring(name,4) eq 'crane' and substring(name,0,3) eq 'The'": {"kran"},
    "contains(tolower(name),'crane')": {"kran"},
    "trim(concat(' ',name)) eq 'port'": {"port"},
    "HistoricalLocations/Locations/location/type eq 'Point'": {"kran"},
    "st_disjoint(Locations/location, geography'POINT(0 0)')": {"kran"},
    "st_equals(Locations/location, geography'POINT(10.4 63.4385)')": {"kran"},
    "st_relate(Locations/location, geography'POINT(10.4 63.4385)', 'T********')": {"kran"},
    "geo.length(geography'LINESTRING(0 0,0 2)') eq 2": {"kran", "port"},
    "Datastreams/any(d: d/ObservedProperty/name eq 'air_temperature')": {"kran"},
    "Datastreams/any(d: d/properties/quantity eq 'pm10' and d/properties/pilot eq 'kai-luft')": {"kran", "port"},
    "Datastreams/all(d: d/properties/quantity eq 'laeq')": {"kran"},
    "Locations/any()": {"kran"},
    "Datastreams/Observations/result gt 73": {"kran"},
    "Datastreams/any(d: d/Observations/any(o: o/result gt 53 and o/phenomenonTime lt 2025-10-31))": {"kran", "port"},
    "Datastreams/Observations/resultTime ge 2025-10-21 and Datastreams/Observations/resultTime le 2025-10-22": {
        "kran",
        "port",
    },
    "Datastreams/Observations/resultTime ge 2025-11-01": set(),
    "properties/height gt 'tall'": set(),
}


@pytest.mark.parametrize("text", FILTERS)
async def test_filters_of_things(client: httpx.AsyncClient, text: str) -> None:
    found = (await get(client, "Things", filter=text))["value"]
    assert {item["properties"]["device"] for item in found} == FILTERS[text]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (f"phenomenonTime ge {iso(10)} and phenomenonTime lt {iso(12)}", 10),
        (f"{iso(238)} lt phenomenonTime", 10),
        ("result gt 73", 8),
        ("result mul 2 sub 6 div 3 gt 144 and Datastream/properties/pilot eq 'stille'", 8),
        ("Datastream/ObservedProperty/name eq 'laeq' and hour(phenomenonTime) eq 5", 10),
        ("date(phenomenonTime) eq 2025-10-26", 120),
        ("year(phenomenonTime) eq 2025 and month(phenomenonTime) eq 10 and day(phenomenonTime) eq 22", 120),
        ("minute(phenomenonTime) eq 0 and second(phenomenonTime) eq 0 and result gt 73", 8),
        ("fractionalseconds(phenomenonTime) gt 0.1234 and result gt 73", 8),
        ("phenomenonTime lt now() and result gt 73", 8),
        ("floor(result) eq 73 or ceiling(result) eq 75 or round(result) eq -5", 12),
        ("result add 1 gt 74 and result mod 2 lt 2", 8),
        ("Datastream/Thing/Locations/location/type eq 'Point'", 2 * HOURS),
        ("resultQuality ne 0", 0),
        ("phenomenonTime ge 2025-10-30", 120),
        ("phenomenonTime lt 2025-10-30", 5 * HOURS - 120),
        ("phenomenonTime ge 2025-10-30 and not (result lt 73)", 9),
        ("Datastream/name eq 'nobody'", 0),
    ],
)
async def test_filters_of_observations(client: httpx.AsyncClient, text: str, number: int) -> None:
    body = await get(client, "Observations", filter=text, count="true", top="0")
    assert body["@iot.count"] == number
    assert len(await every_page(client, "Observations", filter=text, top="50")) == number


async def test_nested_expand(client: httpx.AsyncClient) -> None:
    expand = (
        "Locations($select=location),Datastreams($filter=ObservedProperty/name eq 'pm10';$select=name;"
        "$expand=ObservedProperty($select=name),Observations($top=2;$filter=result gt 12;$count=true))"
    )
    things = (await get(client, "Things", filter="name eq 'The crane'", expand=expand))["value"]
    assert things[0]["Locations"] == [{"location": {"type": "Point", "coordinates": [10.4, 63.4385]}}]
    stream = things[0]["Datastreams"][0]
    assert stream["ObservedProperty"] == {"name": "pm10"}
    assert [item["result"] for item in stream["Observations"]] == [10 + 15 / 7, 10 + 16 / 7]
    assert stream["Observations@iot.count"] == HOURS - 15
    following = await get(client, stream["Observations@iot.nextLink"])
    assert following["value"][0]["result"] == 10 + 17 / 7
    path = (await get(client, "Datastreams", expand="Thing/Locations", top="1"))["value"][0]
    assert "Locations" in path["Thing"]


async def test_properties_values_and_references(client: httpx.AsyncClient) -> None:
    thing = (await get(client, "Things", filter="name eq 'The crane'"))["value"][0]
    here = f"Things({thing['@iot.id']})"
    assert await get(client, f"{here}/name") == {"name": "The crane"}
    assert (await client.get(f"{ROOT}/{here}/name/$value")).text == "The crane"
    assert await get(client, f"{here}/properties/pilot") == {"pilot": "kai-luft"}
    references = (await get(client, f"{here}/Datastreams/$ref"))["value"]
    assert [list(item) for item in references] == [["@iot.selfLink"]] * 2
    assert await get(client, f"{here}/$ref") == {"@iot.selfLink": thing["@iot.selfLink"]}
    stream = await get(client, references[0]["@iot.selfLink"])
    assert await get(client, f"Datastreams({stream['@iot.id']})/Thing") == thing
    assert await get(client, f"{here}/Datastreams({stream['@iot.id']})/Thing/name") == {"name": "The crane"}
    span = await get(client, f"Datastreams({stream['@iot.id']})/phenomenonTime")
    assert span["phenomenonTime"] == "2025-10-21T00:00:00.123456Z/2025-10-30T23:00:00.123456Z"


async def test_data_arrays_and_geojson(client: httpx.AsyncClient) -> None:
    stream = await datastream(client, "kran", "pm10")
    body = await get(client, f"Datastreams({stream['@iot.id']})/Observations", resultFormat="dataArray", top="3")
    group = body["value"][0]
    assert group["Datastream@iot.navigationLink"] == stream["@iot.selfLink"]
    column = group["components"].index("result")
    assert [row[column] for row in group["dataArray"]] == [10, 10 + 1 / 7, 10 + 2 / 7]
    places = await get(client, "Locations", resultFormat="GeoJSON")
    assert places["type"] == "FeatureCollection"
    assert places["features"][0]["geometry"] == {"type": "Point", "coordinates": [10.4, 63.4385]}
    things = await get(client, "Things", resultFormat="GeoJSON")
    assert {feature["geometry"] is None for feature in things["features"]} == {True, False}


QGIS = [
    (
        "Locations",
        {"top": "0", "count": "true", "filter": "location/type eq 'Point' or location/geometry/type eq 'Point'"},
    ),
    (
        "Locations",
        {
            "top": "200",
            "count": "false",
            "filter": "(location/type eq 'Point' or location/geometry/type eq 'Point') and "
            "geo.intersects(location, geography'POLYGON((10.3 63.4,10.5 63.4,10.5 63.5,10.3 63.5,10.3 63.4))')",
        },
    ),
    ("Things", {"expand": "Locations($orderby=id desc;$top=3;$expand=HistoricalLocations($orderby=time desc))"}),
    ("Datastreams", {"filter": "observedArea/type eq 'Point'", "orderby": "id asc", "select": "id,name,observedArea"}),
    (
        "Locations",
        {"top": "1", "orderby": "id desc", "expand": "Things($expand=Datastreams($expand=ObservedProperty))"},
    ),
]


@pytest.mark.parametrize(("kind", "options"), QGIS)
async def test_requests_of_qgis(client: httpx.AsyncClient, kind: str, options: dict[str, str]) -> None:
    body = await get(client, kind, **options)
    assert body["value"] or body["@iot.count"] == 1


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("Thing", {}, 404),
        ("Things(1000)", {}, 404),
        ("Things(99999999999999999999999)", {}, 404),
        ("Things('x')", {}, 404),
        ("Things/name", {}, 404),
        ("Observations(-5)", {}, 404),
        ("Observations('1000-5')", {}, 404),
        ("Observations('10001761004800123456')", {}, 404),
        ("Observations('x')", {}, 404),
        ("Observations(5)", {}, 404),
        ("Things/../../etc/passwd", {}, 404),
        ("Things", {"top": "-1"}, 400),
        ("Things", {"filter": "name eq"}, 400),
        ("Things", {"filter": "name like 'x'"}, 400),
        ("Things", {"filter": "nobody eq 1"}, 400),
        ("Observations", {"filter": "result gt 'much'"}, 400),
        ("Observations", {"filter": "phenomenonTime ge 5"}, 400),
        ("Observations", {"filter": "phenomenonTime ge 'soon'"}, 400),
        ("Observations", {"filter": "result in (1,'2')"}, 400),
        ("Things", {"filter": "id eq 'x'"}, 400),
        ("Things", {"filter": "name gt 5"}, 400),
        ("Things", {"filter": "Datastreams/Observations/result gt 'much'"}, 400),
        ("Things", {"filter": "(" * 3000}, 400),
        ("Things", {"filter": " or ".join(["name eq 'x'"] * 200)}, 400),
        ("Things", {"filter": "matchesPattern(name,'(a+)+$')"}, 400),
        ("Things", {"filter": "geo.intersects(Locations/location, geography'ROUND')"}, 400),
        ("Things", {"expand": "Nothing"}, 400),
        ("Things", {"expand": "Locations($top=1"}, 400),
        ("Things", {"expand": "Datastreams($expand=Thing(" * 6 + "))" * 6}, 400),
        ("Things", {"select": "password"}, 400),
        ("Things", {"orderby": "name sideways"}, 400),
        ("Things", {"expnad": "Locations"}, 400),
        ("Observations", {"skiptoken": "AAAA"}, 400),
    ],
)
async def test_wrong_requests_say_why(
    client: httpx.AsyncClient, path: str, options: dict[str, str], status: int
) -> None:
    answer = await client.get(f"{ROOT}/{path}", params={f"${name}": value for name, value in options.items()})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    refused = (401,) if path == "Observations" else (404, 405)  # devices post those, with their credential
    assert (await client.post(f"{ROOT}/{path}")).status_code in refused


async def test_ids_are_the_same_in_another_process(city: City, client: httpx.AsyncClient) -> None:
    again = httpx.AsyncClient(transport=httpx.ASGITransport(city.app()), base_url="http://127.0.0.1")
    async with again:
        for kind in RELATIONS:
            ids = [[item["@iot.id"] for item in (await get(one, kind, top="5"))["value"]] for one in (client, again)]
            assert ids[0] == ids[1]
