"""EDR: the readings as CoverageJSON that its schemas accept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import shapely
from covjson_pydantic.coverage import CoverageCollection
from covjson_pydantic.parameter import Parameter as CoverageParameter
from edr_pydantic.capabilities import ConformanceModel, LandingPageModel
from edr_pydantic.collections import Collection, Collections
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from techport_dashboards.edr.coverage import parameter, plain_parameter
from techport_pilots.model import Text
from techport_pilots.registry.registry import StreamInfo
from techport_storage.model import Stream
from tests.dashboards.conftest import HOURS
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
HERE = "/edr/collections/kai-luft"
SQUARE = "POLYGON((10.3 63.4,10.5 63.4,10.5 63.5,10.3 63.5,10.3 63.4))"


async def get(client: httpx.AsyncClient, path: str, **parameters: str) -> Any:
    named = {"parameter-name" if name == "parameter_name" else name: value for name, value in parameters.items()}
    answer = await client.get(path, params=named or None)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_links_lead_on(client: httpx.AsyncClient) -> None:
    body = LandingPageModel.model_validate_json(json.dumps(await get(client, "/edr")))
    assert {link.rel for link in body.links} == {"self", "conformance", "data", "service-desc", "service-doc"}
    for link in body.links:
        assert (await client.get(link.href)).status_code == 200
    found = Collections.model_validate_json(json.dumps(await get(client, "/edr/collections")))
    assert [collection.id for collection in found.collections] == ["kai-luft"]  # the other has no position
    classes = ConformanceModel.model_validate_json(json.dumps(await get(client, "/edr/conformance"))).conformsTo
    assert "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/core" in map(str, classes)


async def test_a_collection_says_where_when_what_and_how(client: httpx.AsyncClient) -> None:
    found = Collection.model_validate_json(json.dumps(await get(client, HERE)))
    assert found.extent.spatial.bbox == [[10.4, 63.4385, 10.4, 63.4385]]
    assert found.extent.temporal is not None
    (interval,) = found.extent.temporal.interval
    assert [moment and moment.isoformat()[:13] for moment in interval] == ["2025-10-21T00", "2025-10-30T23"]
    assert set(found.parameter_names.root) == {"pm10", "air_temperature"}
    assert found.data_queries is not None
    for query in (found.data_queries.locations, found.data_queries.position, found.data_queries.area):
        assert query is not None
        asked = {"coords": "POINT(10.4 63.4386)" if query.link.href.endswith("position") else SQUARE}
        path = query.link.href.replace("{locationId}", "kran")
        answer = await client.get(path, params={} if path.endswith("locations") else asked)
        assert answer.status_code == 200, answer.text


async def test_locations_lead_to_their_readings(client: httpx.AsyncClient) -> None:
    body = await get(client, f"{HERE}/locations")
    assert shapely.from_geojson(json.dumps(body)).geom_type == "GeometryCollection"
    (feature,) = body["features"]
    assert feature["geometry"] == {"type": "Point", "coordinates": [10.4, 63.4385]}
    assert feature["properties"]["parameter-name"] == ["air_temperature", "pm10"]
    assert (await client.get(feature["properties"]["edrqueryendpoint"])).status_code == 200
    assert len((await get(client, f"{HERE}/locations", bbox="10,63,11,64"))["features"]) == 1
    assert (await get(client, f"{HERE}/locations", bbox="11,63,12,64"))["features"] == []


async def test_too_much_is_413(city: City, monkeypatch: pytest.MonkeyPatch, client: httpx.AsyncClient) -> None:
    monkeypatch.setattr("techport_dashboards.edr.coverage.MOST_VALUES", 100)
    answer = await client.get(f"{HERE}/locations/kran")
    assert (answer.status_code, answer.json()["parameter"]) == (413, "datetime")


@pytest.mark.parametrize("text", ["../..", "/2030-01-01T00:00:00Z", "2020-01-01T00:00:00Z/", "2025-10-21/2025-11-02"])
async def test_open_ends(client: httpx.AsyncClient, text: str) -> None:
    body = await get(client, f"{HERE}/locations/kran", datetime=text, parameter_name="pm10")
    assert body["coverages"][0]["ranges"]["pm10"]["shape"] == [HOURS]


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("locations/kran", {}),
        ("position", {"coords": "POINT(10.4 63.4386)"}),
        ("position", {"coords": "POINT Z(10.4 63.4386 2)"}),
        ("position", {"coords": "MULTIPOINT((10.4 63.4386),(10.4001 63.4386),(12 60))"}),
        ("position", {"coords": "POINT(10.4 63.4386)", "crs": "CRS84", "f": "CoverageJSON"}),
        ("area", {"coords": SQUARE}),
        ("area", {"coords": SQUARE, "parameter_names": "pm10"}),
    ],
)
async def test_queries_answer_with_the_readings(
    client: httpx.AsyncClient, path: str, parameters: dict[str, str]
) -> None:
    body = await get(client, f"{HERE}/{path}", **{"parameter_name": "pm10", **parameters})
    CoverageCollection.model_validate_json(json.dumps(body))
    coverage = body["coverages"][0]
    assert coverage["ranges"]["pm10"]["values"] == [10 + i / 7 for i in range(HOURS)]
    assert coverage["domain"]["axes"]["x"]["values"] == [10.4]
    assert len(body["coverages"]) == 1


@pytest.mark.parametrize("path", ["locations/kran", "position?coords=POINT(10.4 63.4386)", f"area?coords={SQUARE}"])
async def test_the_schemas_of_coveragejson_accept_it(client: httpx.AsyncClient, shared: Path, path: str) -> None:
    files = {path.name: json.loads(path.read_text()) for path in (shared / "schemas" / "covjson").glob("*.json")}
    resources = [(schema.get("$id", name), DRAFT202012.create_resource(schema)) for name, schema in files.items()]
    validator = Draft202012Validator(files["coveragejson.json"], registry=Registry().with_resources(resources))
    body = await get(client, f"{HERE}/{path}")
    assert sorted(body["parameters"]) == ["air_temperature", "pm10"]
    validator.validate(body)
    assert not validator.is_valid({**body, "coverages": [{"type": "Coverage", "domain": 1}]})


async def test_datetime_includes_both_ends(client: httpx.AsyncClient) -> None:
    first, third = "2025-10-21T00:00:00.123456Z", "2025-10-21T02:00:00.123456Z"
    for text, number in ((f"{first}/{third}", 3), (first, 1), (f"../{third}", 3), (f"{third}/..", HOURS - 2)):
        body = await get(client, f"{HERE}/locations/kran", datetime=text, parameter_name="pm10")
        assert body["coverages"][0]["ranges"]["pm10"]["shape"] == [number]
    for text, number in (("2025-10-22", 24), ("2025-10-22/2025-10-23", 48), ("../2025-10-21", 24)):  # days in UTC
        body = await get(client, f"{HERE}/locations/kran", datetime=text, parameter_name="pm10")
        assert body["coverages"][0]["ranges"]["pm10"]["shape"] == [number], text
        observed = body["parameters"]["pm10"]["observedProperty"]
        assert observed["id"].startswith("http://vocab.nerc.ac.uk/standard_name/")
    nothing = await get(client, f"{HERE}/locations/kran", datetime="2030-01-01T00:00:00Z/..")
    assert nothing["coverages"] == []


@pytest.mark.parametrize(
    ("path", "parameters", "status"),
    [
        ("locations/nobody", {}, 404),
        ("position", {"coords": "POINT(11 64)"}, 404),
        ("position", {"coords": SQUARE}, 400),
        ("position", {}, 400),
        ("area", {"coords": "POLYGON((0 0,2 2,2 0,0 2,0 0))"}, 400),
        ("area", {"coords": "around"}, 400),
        ("locations/kran", {"datetime": "yesterday"}, 400),
        ("locations/kran", {"datetime": "2025-10-22T00:00:00Z/2025-10-21T00:00:00Z"}, 400),
        ("locations/kran", {"parameter-name": "pm9"}, 400),
        ("locations/kran", {"datetime": "2025-10-22T00:00:00Z/2025-10-23T00:00:00Z/.."}, 400),
        ("locations/kran", {"crs": "EPSG:25832"}, 400),
        ("locations/kran", {"f": "GeoTIFF"}, 400),
        ("locations/kran", {"z": "2"}, 400),
        ("locations", {"bbox": "10,63,11"}, 400),
        ("locations", {"f": "KML"}, 400),
        ("../stille/locations", {}, 404),
        ("../nobody/area", {"coords": SQUARE}, 404),
        ("position", {"coords": "POINT(nan nan)"}, 400),
        ("position", {"coords": "POINT EMPTY"}, 400),
        ("", {"f": "html"}, 400),
    ],
)
async def test_what_cannot_be_asked(
    client: httpx.AsyncClient, path: str, parameters: dict[str, str], status: int
) -> None:
    answer = await client.get(f"{HERE}/{path}".rstrip("/"), params=parameters)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_state_has_its_words_for_categories() -> None:
    stream = Stream("air", "kran", "door_open")
    info = StreamInfo(stream=stream, title=Text(en="Door"), described=True, unit="1", kind="state")
    described = parameter(info)
    CoverageParameter.model_validate(described)
    categories = described["observedProperty"]["categories"]
    assert [category["label"]["en"] for category in categories] == ["no", "yes"]
    assert list(described["categoryEncoding"].values()) == [0, 1]
    assert plain_parameter(info)["unit"]["label"] == "0: no, 1: yes"
    named = msgspec.structs.replace(info, states=(Text(en="closed"), Text(en="half open"), Text(en="open")))
    assert plain_parameter(named)["unit"]["label"] == "0: closed, 1: half open, 2: open"
    level = parameter(msgspec.structs.replace(info, kind="level"))
    assert (level["unit"]["symbol"]["value"], "categories" in level["observedProperty"]) == ("1", False)
