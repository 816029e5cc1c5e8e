"""What /readings makes of rows: areas, averages that fit, filled gaps, wide tables, fewer points, metadata."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import itertools
import math
import time
from contextlib import AsyncExitStack
from typing import Any

import httpx
import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from techport_dashboards import WebSettings
from techport_storage.microseconds import HOUR, SECOND
from techport_storage.model import Reading
from tests.dashboards.conftest import HOURS, START
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
READINGS = "/api/v1/readings"
ONE = {"pilot": "kai-luft", "device": "kran", "quantity": "pm10"}
DAY = {"start": "2025-10-22T00:00:00Z", "end": "2025-10-23T00:00:00Z"}


async def get(client: httpx.AsyncClient, path: str = READINGS, **parameters: Any) -> httpx.Response:
    answer = await client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer


async def items(client: httpx.AsyncClient, **parameters: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await get(client, **parameters)).json()["items"]
    return found


SQUARE = '{"type":"Polygon","coordinates":[[[10.3,63.4],[10.5,63.4],[10.5,63.5],[10.3,63.5],[10.3,63.4]]]}'
ELSEWHERE = '{"type":"Polygon","coordinates":[[[11.3,63.4],[11.5,63.4],[11.5,63.5],[11.3,63.4]]]}'


@pytest.mark.parametrize(
    ("area", "devices"),
    [
        ({"bbox": "10.3,63.4,10.5,63.5"}, {"kran"}),
        ({"bbox": "10.41,63.4,10.5,63.5"}, set()),
        ({"within": SQUARE}, {"kran"}),
        ({"within": ELSEWHERE}, set()),
        ({"near": "10.4,63.4385,1"}, {"kran"}),
        ({"near": "10.4,63.4485,1000"}, set()),
        ({"near": "10.4,63.4485,1200"}, {"kran"}),
        ({"within": SQUARE, "near": "10.4,63.4485,1000"}, set()),
    ],
)
async def test_areas_choose_devices(client: httpx.AsyncClient, area: dict[str, str], devices: set[str]) -> None:
    assert {item["device"] for item in await items(client, limit=5000, **area)} == devices
    for path, key in (("devices", "id"), ("streams", "device"), ("latest", "device")):
        listed = (await get(client, f"/api/v1/{path}", **area)).json()["items"]
        assert {item[key] for item in listed} == devices
        assert {item["pilot"] for item in listed} <= {"kai-luft"}  # the other crane has no position


@pytest.mark.parametrize(
    "area",
    [
        {"bbox": "1,2,3"},
        {"bbox": "10,64,11,63"},
        {"bbox": "nan,0,1,1"},
        {"near": "10.4,63.4,-1"},
        {"near": "10.4,963,5"},
        {"within": "round here"},
        {"within": '{"type":"Point","coordinates":[1,2]}'},
        {"within": '{"type":"Polygon","coordinates":[[[0,0],[2,2],[2,0],[0,2],[0,0]]]}'},
    ],
)
async def test_wrong_areas_show_a_right_one(client: httpx.AsyncClient, area: dict[str, str]) -> None:
    answer = await client.get(READINGS, params=area)
    problem = answer.json()
    assert (answer.status_code, problem["parameter"]) == (400, next(iter(area)))
    assert problem["example"]


async def test_percentiles_energy_and_vector_means(city: City, client: httpx.AsyncClient) -> None:
    row = (await items(client, **ONE, **DAY, every="P1D", zone="UTC", aggregate="p95,median,energy_mean"))[0]
    values = 10 + np.arange(24, 48) / 7
    assert row["p95"] == pytest.approx(np.percentile(values, 95))
    assert row["median"] == pytest.approx(np.median(values))
    assert row["energy_mean"] == pytest.approx(10 * math.log10(np.mean(10 ** (values / 10))))


@pytest.mark.dates
async def test_buckets_say_how_complete_they_are(city: City, client: httpx.AsyncClient) -> None:
    city.store.erase(city.store_selection("kran", "pm10"), START + 30 * HOUR, START + 36 * HOUR)
    rows = await items(client, **ONE, **DAY, every="PT12H", zone="UTC")
    assert [(row["count"], row["completeness"]) for row in rows] == [(6, 0.5), (12, 1.0)]
    undescribed = await items(client, quantity="=odd", **DAY, every="PT12H", zone="UTC")
    assert [row["completeness"] for row in undescribed] == [None, None]


async def test_fill(city: City, client: httpx.AsyncClient) -> None:
    city.store.erase(city.store_selection("kran", "pm10"), START + 30 * HOUR, START + 32 * HOUR)
    city.store.erase(city.store_selection("kran", "pm10"), START + 40 * HOUR, START + 46 * HOUR)
    question = {**ONE, **DAY, "every": "PT1H", "zone": "UTC"}
    assert len(await items(client, **question)) == 16
    filled = {fill: await items(client, **question, fill=fill) for fill in ("null", "previous", "linear")}
    for rows in filled.values():
        assert [row["count"] for row in rows] == [1] * 6 + [0, 0] + [1] * 8 + [0] * 6 + [1, 1]
    value = {fill: [row["mean"] for row in rows] for fill, rows in filled.items()}
    true = [10 + i / 7 for i in range(24, 48)]
    assert value["null"][6:8] == [None, None]
    assert value["previous"][6:8] == pytest.approx([true[5], true[5]])
    assert value["linear"][6:8] == pytest.approx(true[6:8])
    assert value["linear"][16:22] == [None] * 6  # six hours: longer than three buckets
    assert value["previous"][16:22] == [None] * 6  # max_gap means the same for both: how long the gap is
    longer = await items(client, **question, fill="linear", max_gap="PT6H")
    assert [row["mean"] for row in longer] == pytest.approx(true)


@pytest.mark.dates
async def test_filled_local_days_follow_the_calendar(client: httpx.AsyncClient) -> None:
    rows = await items(client, **ONE, start="2025-10-25", end="2025-11-06", every="P1D", fill="null", aggregate="count")
    starts = [dt.datetime.fromisoformat(row["time"]) for row in rows]
    assert len(rows) == 12
    lengths = {b - a for a, b in itertools.pairwise(starts)}
    assert lengths == {dt.timedelta(hours=24), dt.timedelta(hours=25)}
    assert rows[-1]["count"] == 0


async def test_wide_has_a_column_for_each_stream(client: httpx.AsyncClient) -> None:
    question = {"pilot": "kai-luft", "quantity": "pm10", **DAY}
    long = pd.DataFrame(await items(client, **question, limit=500))
    csv = pd.read_csv(io.StringIO((await get(client, **question, shape="wide", format="csv")).text))
    assert list(csv.columns) == ["time", "kai-luft/kran/pm10", "kai-luft/port/pm10"]
    expected = long.pivot(index="time", columns="device", values="value")
    assert csv["kai-luft/kran/pm10"].tolist() == expected["kran"].tolist()
    several = await items(client, **question, shape="wide", every="PT6H", aggregate="mean,max")
    assert set(several[0]) == {
        "time",
        "local",
        *(f"kai-luft/{d}/pm10:{a}" for d in ("kran", "port") for a in ("mean", "max")),
    }


async def test_rows_of_all_streams_in_the_order_of_time(client: httpx.AsyncClient) -> None:
    question = {"pilot": "kai-luft", "quantity": "pm10", **DAY}
    usual = await items(client, **question, limit=500)
    assert [row["device"] for row in usual] == ["kran"] * 24 + ["port"] * 24
    oldest = await items(client, **question, order="time")
    assert oldest == sorted(usual, key=lambda row: row["time"]), "of the same time the first stream first"
    newest = await items(client, **question, order="-time")
    assert newest == sorted(usual, key=lambda row: row["time"], reverse=True)
    hours = await items(client, **question, order="-time", every="PT6H", shape="wide")
    assert [row["time"] for row in hours] == sorted((row["time"] for row in hours), reverse=True)
    csv = pd.read_csv(io.StringIO((await get(client, **question, order="-time", format="csv")).text))
    assert csv["value"].tolist() == [row["value"] for row in newest]


@pytest.mark.parametrize("how", ["minmax", "lttb"])
async def test_downsampled_points_are_readings(city: City, client: httpx.AsyncClient, how: str) -> None:
    wild = [
        Reading("stille", "kran", "laeq", START + i * SECOND, 50 + 30 * math.sin(i) ** 9, 0) for i in range(1, 5000)
    ]
    city.write(*wild)
    rows = await items(client, pilot="stille", downsample=how, points=200, format="json")
    assert 150 < len(rows) <= 200
    known = {reading.value for reading in wild} | {40 + i / 7 for i in range(HOURS)}
    assert {row["value"] for row in rows} <= known
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    if how == "minmax":
        assert max(row["value"] for row in rows) == max(known)


@pytest.mark.dates
async def test_spreadsheets_in_norwegian(client: httpx.AsyncClient) -> None:
    answer = await get(client, **ONE, start="2025-10-26T00:00:00Z", end="2025-10-26T02:00:00Z", format="csv-nb")
    frame = pd.read_csv(io.BytesIO(answer.content), sep=";", decimal=",", encoding="utf-8-sig")
    assert frame["value"].tolist() == [10 + i / 7 for i in (120, 121)]
    assert frame["time"].tolist() == ["2025-10-26 02:00:00", "2025-10-26 02:00:00"]  # the hour that comes twice
    assert frame["offset"].tolist() == [200, 100]
    cold = (await get(client, quantity="air_temperature", format="csv-nb")).text
    assert "'-" not in cold  # a negative number is no formula


async def test_arrow_is_the_same_table(client: httpx.AsyncClient) -> None:
    parquet = pq.read_table(io.BytesIO((await get(client, format="parquet")).content))
    answer = await get(client, format="arrow")
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.to_pylist() == parquet.to_pylist()
    empty = await get(client, format="arrow", start="2030-01-01")
    assert pa.ipc.open_stream(empty.content).read_all().num_rows == 0


@pytest.mark.parametrize("file_format", ["csv", "ndjson"])
async def test_zstd_for_those_who_take_it(client: httpx.AsyncClient, file_format: str) -> None:
    plain = await client.get(READINGS, params={"format": file_format}, headers={"accept-encoding": "identity"})
    request = client.build_request(
        "GET", READINGS, params={"format": file_format}, headers={"accept-encoding": "gzip, zstd"}
    )
    answer = await client.send(request, stream=True)
    raw = b"".join([piece async for piece in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "zstd"
    assert len(raw) < len(plain.content) / 3
    assert pa.input_stream(pa.BufferReader(raw), compression="zstd").read() == plain.content


async def test_every_format_says_unit_zone_licence_and_attribution(client: httpx.AsyncClient) -> None:
    json = (await get(client, **ONE, limit=1)).json()
    parquet = pq.read_table(io.BytesIO((await get(client, **ONE, format="parquet")).content))
    arrow = pa.ipc.open_stream((await get(client, **ONE, format="arrow")).content).schema
    csv = await get(client, **ONE, format="csv")
    beside = (await client.get(csv.links["describedby"]["url"])).json()
    carried = [msgspec.json.decode(schema.metadata[b"techport"]) for schema in (parquet.schema, arrow)]
    for about in (json, beside, *carried):
        assert about["units"]["pm10"]["ucum"] == "ug/m3"
        assert about["zone"] == "Europe/Oslo"
        assert about["sources"][0]["licence"] == "CC-BY-4.0"
        assert "attribution" in about["sources"][0]
    assert "CC-BY-4.0" in csv.links["license"]["url"]


async def test_what_was_not_changed_is_not_sent_again(city: City, client: httpx.AsyncClient) -> None:
    for path in ("/api/v1/pilots", "/api/v1/latest", f"{READINGS}?limit=5"):
        first = await client.get(path)
        again = await client.get(path, headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    city.write(Reading("stille", "kran", "laeq", START + 9999 * HOUR, 1.0, 0))
    changed = await client.get("/api/v1/latest", headers={"if-none-match": "W/x, " + first.headers["etag"]})
    assert changed.status_code == 200


async def test_fair_shares(city: City) -> None:
    transport = httpx.ASGITransport(city.app(WebSettings(rate_limit=3)))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answers = [await client.get("/api/v1/pilots") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
        assert int(answers[-1].headers["retry-after"]) == 20
        assert answers[-1].json()["type"].endswith("too-many-requests")
        assert (await client.get("/healthz")).status_code == 200


async def test_processes_share_a_limit(city: City) -> None:
    """Two apps over one registry, asked in turn as behind a proxy."""
    apps = [city.app(WebSettings(rate_limit=60)) for _ in range(2)]
    answered, begun = 0, time.monotonic()
    async with AsyncExitStack() as opened:
        clients = [
            await opened.enter_async_context(
                httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")
            )
            for app in apps
        ]
        for number in range(140):
            answered += (await clients[number % 2].get("/api/v1/pilots")).status_code == 200
            await asyncio.sleep(0.01)  # as long as a proxy takes: they hear of each other meanwhile
    # Alone each would answer 60. They are portions of three ahead of each other, and one becomes due every second.
    assert 60 <= answered <= 90 + time.monotonic() - begun


@pytest.mark.parametrize(
    ("parameters", "status", "parameter"),
    [
        ({"every": "1us", "start": "-P1Y", "fill": "null"}, 422, None),
        ({"every": "PT1H", "fill": "null"}, 400, "start"),
        ({"fill": "null", "start": "-P1D"}, 400, "every"),
        ({"downsample": "lttb", "every": "PT1H"}, 400, "every"),
        ({"shape": "wide", "limit": "5"}, 400, "limit"),
        ({"value": "much"}, 400, "value"),
        ({"columns": "time,colour"}, 400, "columns"),
        ({"every": "PT1H", "aggregate": "mean,max", "value": ">5"}, 400, "aggregate"),
        ({"every": "PT1H", "start": "-P1D", "fill": "null", "value": ">5"}, 400, "value"),
        ({"order": "value"}, 400, "order"),
        ({"max_gap": "soon"}, 400, "max_gap"),
        ({"points": "1"}, 400, "points"),
        ({"every": "PT1H", "aggregate": "p100"}, 400, "aggregate"),
        ({"device": ",".join(map(str, range(3_000)))}, 400, "device"),
    ],
)
async def test_shapes_that_cannot_be(
    client: httpx.AsyncClient, parameters: dict[str, str], status: int, parameter: str | None
) -> None:
    answer = await client.get(READINGS, params=parameters)
    assert (answer.status_code, answer.json().get("parameter")) == (status, parameter), answer.text


async def test_a_costly_question_is_refused_with_the_way_to_ask_it(city: City) -> None:
    transport = httpx.ASGITransport(city.app(WebSettings(max_scan=500)))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        question = {"every": "P1D", "start": "2025-10-21", "end": "2025-11-21", "pilot": "kai-luft"}
        refused = await client.get(READINGS, params=question)
        assert refused.status_code == 422
        assert "parquet" in refused.json()["example"]
        assert (await client.get(READINGS, params={**question, "format": "parquet"})).status_code == 200


async def test_a_table_that_would_be_too_large_is_refused_before_anything_is_read(
    city: City, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(city.store), "read", None)
    question = {"pilot": "kai-luft", "every": "PT1S", "fill": "null", "start": "2024-10-21", "end": "2025-10-21"}
    refused = await client.get(READINGS, params=question)
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (422, "too-costly")


async def test_a_slow_question_is_stopped(city: City) -> None:
    transport = httpx.ASGITransport(city.app(WebSettings(query_seconds=0.0)))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        stopped = await client.get(READINGS)
        assert stopped.json()["type"].endswith("too-costly")
        assert (await client.get(READINGS, params={"format": "csv"})).status_code == 200
