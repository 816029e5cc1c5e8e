"""A stream's channel ("air_temperature.ds18b20") is part of its name wherever a stream is asked for or shown."""

from __future__ import annotations

import httpx
import pytest

from tests.dashboards.conftest import hourly
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
KEY = "air_temperature.ds18b20"
PLACE = {"pilot": "kai-luft", "device": "kran", "quantity": KEY, "start": "2025-10-01", "end": "2025-12-01"}


@pytest.fixture
def probes(city: City) -> City:
    """A crane with a probe beside its own thermometer."""
    city.write(*hourly("kai-luft", "kran", KEY, 41.5))
    return city


@pytest.mark.parametrize("form", ["json", "csv", "ndjson"])
async def test_readings_of_a_channel_are_its_own(probes: City, client: httpx.AsyncClient, form: str) -> None:
    answer = await client.get("/api/v1/readings", params={**PLACE, "format": form})
    assert answer.status_code == 200, answer.text
    assert KEY in answer.text
    assert "41.5" in answer.text
    other = await client.get("/api/v1/readings", params={**PLACE, "quantity": "air_temperature", "format": form})
    assert "41.5" not in other.text


async def test_aggregates_and_streams_name_the_channel(probes: City, client: httpx.AsyncClient) -> None:
    answer = await client.get(
        "/api/v1/readings", params={**PLACE, "every": "P1D", "pivot": "quantity", "format": "csv"}
    )
    assert answer.status_code in (200, 400)
    streams = (await client.get("/api/v1/streams", params={"pilot": "kai-luft", "device": "kran"})).json()["items"]
    [own] = [stream for stream in streams if stream["quantity"] == KEY]
    assert own["device"] == "kran"


async def test_completeness_of_a_channel(probes: City, client: httpx.AsyncClient) -> None:
    items = (await client.get("/api/v1/completeness", params=PLACE)).json()["items"]
    assert {item["quantity"] for item in items} == {KEY}


async def test_sensorthings_has_a_datastream_for_the_channel(probes: City, client: httpx.AsyncClient) -> None:
    found = (await client.get("/sta/v1.1/Datastreams?$top=200")).json()["value"]
    [own] = [stream for stream in found if "ds18b20" in stream["name"]]
    observations = (await client.get(own["Observations@iot.navigationLink"])).json()["value"]
    assert min(observation["result"] for observation in observations) >= 41.5


async def test_edr_answers_for_the_channel(probes: City, client: httpx.AsyncClient) -> None:
    answer = await client.get(
        "/edr/collections/kai-luft/locations/kran",
        params={"parameter-name": KEY, "datetime": "2025-10-01T00:00:00Z/2025-12-01T00:00:00Z"},
    )
    assert answer.status_code == 200, answer.text
    assert KEY in answer.text
    assert "41.5" in answer.text


@pytest.mark.parametrize("path", ["/pilots/kai-luft/devices/kran", f"/explore?pilot=kai-luft&quantity={KEY}"])
async def test_pages_show_the_channel(probes: City, client: httpx.AsyncClient, path: str) -> None:
    page = await client.get(path)
    assert page.status_code == 200
    assert "ds18b20" in page.text
