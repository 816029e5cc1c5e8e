"""EDR: the readings as CoverageJSON that its schemas accept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from covjson_pydantic.coverage import CoverageCollection
from edr_pydantic.collections import Collections
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tests.dashboards.conftest import HOURS

pytestmark = pytest.mark.anyio
HERE = "/edr/collections/kai-luft"
SQUARE = "POLYGON((10.3 63.4,10.5 63.4,10.5 63.5,10.3 63.5,10.3 63.4))"


async def get(client: httpx.AsyncClient, path: str, **parameters: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in parameters.items()}
    answer = await client.get(path, params=named or None)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_links_lead_on(client: httpx.AsyncClient) -> None:
    body = await get(client, "/edr")
    for link in body["links"]:
        assert (await client.get(link["href"])).status_code == 200
    found = Collections.model_validate(await get(client, "/edr/collections"))
    assert [collection.id for collection in found.collections] == ["kai-luft"]  # the other has no position
    assert (
        "http://www.opengis.net/spec/ogcapi-edr-1/1.1/conf/core"
        in (await get(client, "/edr/conformance"))["conformsTo"]
    )


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("locations/kran", {}),
        ("position", {"coords": "POINT(10.4 63.4386)"}),
        ("area", {"coords": SQUARE}),
    ],
)
async def test_queries_answer_with_the_readings(
    client: httpx.AsyncClient, path: str, parameters: dict[str, str]
) -> None:
    body = await get(client, f"{HERE}/{path}", **parameters, parameter_name="pm10")
    CoverageCollection.model_validate_json(json.dumps(body))
    coverage = body["coverages"][0]
    assert coverage["ranges"]["pm10"]["values"] == [10 + i / 7 for i in range(HOURS)]
    assert coverage["domain"]["axes"]["x"]["values"] == [10.4]
    assert len(body["coverages"]) == 1


async def test_the_schemas_of_coveragejson_accept_it(client: httpx.AsyncClient, shared: Path) -> None:
    files = {path.name: json.loads(path.read_text()) for path in (shared / "schemas" / "covjson").glob("*.json")}
    resources = [(schema.get("$id", name), DRAFT202012.create_resource(schema)) for name, schema in files.items()]
    validator = Draft202012Validator(files["coveragejson.json"], registry=Registry().with_resources(resources))
    body = await get(client, f"{HERE}/locations/kran")
    assert sorted(body["parameters"]) == ["air_temperature", "pm10"]
    validator.validate(body)
    assert not validator.is_valid({**body, "coverages": [{"type": "Coverage", "domain": 1}]})


async def test_datetime_includes_both_ends(client: httpx.AsyncClient) -> None:
    first, third = "2026-10-20T00:00:00.123456Z", "2026-10-20T02:00:00.123456Z"
    for text, number in ((f"{first}/{third}", 3), (first, 1), (f"../{third}", 3), (f"{third}/..", HOURS - 2)):
        body = await get(client, f"{HERE}/locations/kran", datetime=text, parameter_name="pm10")
        assert body["coverages"][0]["ranges"]["pm10"]["shape"] == [number]
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
        ("locations/kran", {"datetime": "2026-10-21T00:00:00Z/2026-10-20T00:00:00Z"}, 400),
        ("locations/kran", {"parameter-name": "pm9"}, 400),
        ("locations/kran", {"crs": "EPSG:25832"}, 400),
    ],
)
async def test_what_cannot_be_asked(
    client: httpx.AsyncClient, path: str, parameters: dict[str, str], status: int
) -> None:
    answer = await client.get(f"{HERE}/{path}", params=parameters)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_catalogue_names_the_pilots(client: httpx.AsyncClient) -> None:
    answer = await client.get("/catalog.ttl")
    assert answer.headers["content-type"].startswith("text/turtle")
    assert "Luft på kaia" in answer.text
    assert "http://127.0.0.1/pilots/kai-luft" in answer.text
