"""/readings and /latest: the same rows in every format, each exactly once, and never fewer in silence."""

from __future__ import annotations

import datetime as dt
import io
from typing import Any

import httpx
import msgspec
import pandas as pd
import pyarrow.parquet as pq
import pytest

from techport_pilots.registry.registry import DeviceInfo
from techport_storage.microseconds import HOUR
from tests.dashboards.conftest import HOURS, START
from tests.dashboards.web import City

LATE = """
id: late
title: {en: Late}
question: {en: "Late?"}
devices: [{id: box, streams: [{quantity: pm10}]}]
"""

pytestmark = pytest.mark.anyio
READINGS = "/api/v1/readings"
ROWS = 5 * HOURS


async def get(client: httpx.AsyncClient, path: str, **parameters: Any) -> httpx.Response:
    answer = await client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer


async def every_page(client: httpx.AsyncClient, path: str, **parameters: Any) -> list[dict[str, Any]]:
    items, cursor = [], None
    while True:
        answer = (await get(client, path, **parameters, **({"cursor": cursor} if cursor else {}))).json()
        assert len(answer["items"]) <= parameters["limit"]
        items += answer["items"]
        cursor = answer["next"]
        if cursor is None:
            return items


async def test_formats_hold_the_same_rows(client: httpx.AsyncClient) -> None:
    json = (await get(client, READINGS, limit=5000)).json()["items"]
    csv = pd.read_csv(io.StringIO((await get(client, READINGS, format="csv")).text))
    ndjson = msgspec.json.Decoder().decode_lines((await get(client, READINGS, format="ndjson")).content)
    parquet = pq.read_table(io.BytesIO((await get(client, READINGS, format="parquet")).content))
    assert len(json) == ROWS
    assert ndjson == json
    assert csv.assign(quantity=csv.quantity.str.removeprefix("'"), unit=csv.unit.fillna("")).to_dict("records") == json
    frame = parquet.to_pandas()
    frame["time"] = frame["time"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    frame["received"] = frame["received"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert frame.to_dict("records") == json


async def test_accept_header_chooses_the_format(client: httpx.AsyncClient) -> None:
    accepted = {"text/csv": "text/csv", "application/vnd.apache.parquet;q=0.9": "parquet", "*/*": "json"}
    for accept, expected in accepted.items():
        answer = await client.get(READINGS, headers={"accept": accept}, params={"limit": 1})
        assert expected in answer.headers["content-type"]
    answer = await client.get(READINGS, headers={"accept": "image/png"})
    assert answer.status_code == 406


async def test_units_and_zone_are_in_the_metadata(client: httpx.AsyncClient) -> None:
    answer = await get(client, READINGS, pilot="kai-luft", every="P1D", format="parquet")
    table = pq.read_table(io.BytesIO(answer.content))
    assert set(table.column("unit").to_pylist()) == {"ug/m3", "Cel", ""}
    about = msgspec.json.decode(table.schema.metadata[b"techport"])
    assert (about["zone"], about["every"]) == ("Europe/Oslo", "P1D")
    assert answer.headers["techport-zone"] == "Europe/Oslo"


async def test_pages_hold_each_row_once(client: httpx.AsyncClient) -> None:
    whole = (await get(client, READINGS, limit=5000)).json()["items"]
    assert await every_page(client, READINGS, limit=97) == whole
    assert await every_page(client, READINGS, limit=240) == whole  # the last page is full


async def test_pages_of_buckets_hold_each_bucket_once(client: httpx.AsyncClient) -> None:
    question = {"every": "PT6H", "aggregate": "mean,max"}
    whole = (await get(client, READINGS, limit=5000, **question)).json()["items"]
    assert len(whole) == 5 * (HOURS / 6 + 1)  # quarters of a local day: the first and the last are halves
    assert await every_page(client, READINGS, limit=7, **question) == whole


async def test_pages_of_a_relative_range_keep_the_range_of_the_first(city: City, client: httpx.AsyncClient) -> None:
    first = (await get(client, READINGS, start="-P9000D", limit=1)).json()
    second = (await get(client, READINGS, start="-P9000D", limit=1, cursor=first["next"])).json()
    assert second["start"] == first["start"]


async def test_a_limited_csv_names_the_next_page(client: httpx.AsyncClient) -> None:
    answer = await get(client, READINGS, format="csv", limit=1000)
    following = answer.links["next"]["url"]
    rest = await client.get(following)
    assert len(answer.text.splitlines()) + len(rest.text.splitlines()) == ROWS + 2
    assert "next" not in rest.links


async def test_local_days_have_25_hours_when_summer_time_ends(client: httpx.AsyncClient) -> None:
    answer = await get(
        client,
        READINGS,
        pilot="kai-luft",
        device="kran",
        quantity="pm10",
        every="P1D",
        aggregate="count,sum",
        start="2025-10-25",
        end="2025-10-28",
    )
    assert answer.json()["zone"] == "Europe/Oslo"
    assert [(item["time"], item["count"]) for item in answer.json()["items"]] == [
        ("2025-10-24T22:00:00.000000Z", 24),
        ("2025-10-25T22:00:00.000000Z", 25),
        ("2025-10-26T23:00:00.000000Z", 24),
    ]


async def test_names_take_lists_and_wildcards(client: httpx.AsyncClient) -> None:
    async def streams(**parameters: str) -> set[tuple[str, str, str]]:
        items = (await get(client, READINGS, limit=5000, **parameters)).json()["items"]
        return {(item["pilot"], item["device"], item["quantity"]) for item in items}

    assert await streams(pilot="kai-luft,stille", device="kran", quantity="pm*,laeq") == {
        ("kai-luft", "kran", "pm10"),
        ("stille", "kran", "laeq"),
    }
    assert len(await streams(pilot="*")) == 5
    assert await streams(quantity="=odd") == {("kai-luft", "port", "=odd")}


async def test_ranges_are_half_open_in_any_form_of_time(client: httpx.AsyncClient) -> None:
    third = dt.datetime.fromtimestamp(START // 1_000_000, dt.UTC) + dt.timedelta(hours=3, microseconds=123_456)
    common = {"pilot": "kai-luft", "device": "kran", "quantity": "pm10"}
    for zone in (dt.UTC, dt.timezone(dt.timedelta(hours=2))):
        local = third.astimezone(zone)
        items = (await get(client, READINGS, **common, start=local.isoformat(), limit=5000)).json()["items"]
        assert len(items) == HOURS - 3
        items = (await get(client, READINGS, **common, end=local.isoformat(), limit=5000)).json()["items"]
        assert len(items) == 3
    unescaped = f"{READINGS}?limit=5000&start=2025-10-21T05:00:00+02:00&pilot=stille"  # the + arrives as a space
    assert len((await client.get(unescaped)).json()["items"]) == HOURS - 3


async def test_a_formula_in_a_name_is_harmless_in_a_spreadsheet(client: httpx.AsyncClient) -> None:
    text = (await get(client, READINGS, quantity="=odd", format="csv")).text
    assert "'=odd" in text
    assert ',"=odd' not in text


@pytest.mark.parametrize(
    ("parameters", "kind", "parameter"),
    [
        ({"pilot": "kai"}, "unknown-name", "pilot"),
        ({"device": "nobody"}, "unknown-name", "device"),
        ({"quantity": "pm9*"}, "unknown-name", "quantity"),
        ({"start": "yesterday"}, "bad-parameter", "start"),
        ({"start": "2025-10-21T00:00:00"}, "bad-parameter", "start"),
        ({"end": "P"}, "bad-parameter", "end"),
        ({"start": "2025-10-22", "end": "2025-10-21"}, "bad-parameter", "end"),
        ({"every": "often"}, "bad-parameter", "every"),
        ({"every": "PT0S"}, "bad-parameter", "every"),
        ({"aggregate": "mean"}, "bad-parameter", "every"),
        ({"every": "PT1H", "aggregate": "mode"}, "bad-parameter", "aggregate"),
        ({"zone": "Europe/Trondheim"}, "bad-parameter", "zone"),
        ({"zone": "../../etc/passwd"}, "bad-parameter", "zone"),
        ({"quality": "best"}, "bad-parameter", "quality"),
        ({"format": "xlsx"}, "bad-parameter", "format"),
        ({"limit": "0"}, "bad-parameter", "limit"),
        ({"limit": "many"}, "bad-parameter", "limit"),
        ({"limit": "1000000"}, "limit-too-large", "limit"),
        ({"cursor": "AAAA"}, "bad-cursor", "cursor"),
        ({"cursor": "é"}, "bad-cursor", "cursor"),
        ({"devices": "kran"}, "unknown-parameter", "devices"),
    ],
)
async def test_errors_point_at_the_parameter(
    client: httpx.AsyncClient, parameters: dict[str, str], kind: str, parameter: str
) -> None:
    answer = await client.get(READINGS, params=parameters)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code == problem["status"] == 400
    assert problem["type"].endswith(f"/{kind}")
    assert problem["parameter"] == parameter
    assert (await client.get(problem["type"])).json()["title"] == problem["title"]


async def test_a_wrong_name_suggests_a_right_one(client: httpx.AsyncClient) -> None:
    problem = (await client.get(READINGS, params={"quantity": "pm01"})).json()
    assert "pm10" in problem["example"]


async def test_a_cursor_belongs_to_its_question(client: httpx.AsyncClient) -> None:
    cursor = (await get(client, READINGS, limit=1)).json()["next"]
    answer = await client.get(READINGS, params={"cursor": cursor, "pilot": "stille"})
    assert answer.json()["type"].endswith("/bad-cursor")


async def test_no_rows_are_an_empty_answer_in_every_format(client: httpx.AsyncClient) -> None:
    question = {"start": "2030-01-01", "every": "PT1H", "aggregate": "mean,min"}
    assert (await get(client, READINGS, **question)).json()["items"] == []
    csv = (await get(client, READINGS, format="csv", **question)).text
    assert csv.strip() == "pilot,device,quantity,time,local,mean,min,count,completeness,unit"
    parquet = (await get(client, READINGS, format="parquet", **question)).content
    assert pq.read_table(io.BytesIO(parquet)).num_rows == 0


async def test_latest_names_everything(client: httpx.AsyncClient) -> None:
    items = (await get(client, "/api/v1/latest")).json()["items"]
    assert len(items) == 5
    last = START + (HOURS - 1) * HOUR + 123_456
    expected = dt.datetime.fromtimestamp(last // 1_000_000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.123456Z")
    assert {item["time"] for item in items} == {expected}
    found = next(item for item in items if (item["device"], item["quantity"]) == ("kran", "air_temperature"))
    assert (found["pilot"], found["value"], found["unit"]) == ("kai-luft", -5 + (HOURS - 1) / 7, "Cel")
    assert await every_page(client, "/api/v1/latest", limit=2) == items


async def test_a_pilot_may_come_while_the_registry_is_read(
    city: City, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = city.registry.devices

    def after_another_came() -> list[DeviceInfo]:
        city.import_text(LATE)
        return devices()

    city.import_text('id: empty\ntitle: {en: E}\nquestion: {en: "E?"}\ndevices: []')
    monkeypatch.setattr(city.registry, "devices", after_another_came)
    for pilot in ("kai-luft", "empty"):
        answer = await client.get("/api/v1/readings", params={"pilot": pilot, "device": "kran", "quantity": "pm10"})
        assert answer.status_code == (200 if pilot == "kai-luft" else 400), answer.text
