"""What /readings answers where nothing is said: means that fit, local days, the newest, and rows that are wanted."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from techport_storage.microseconds import MINUTE
from techport_storage.model import Batch, Stream
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
START = int(dt.datetime(2023, 12, 31, 23, tzinfo=dt.UTC).timestamp()) * 1_000_000  # 2024-01-01 in Oslo
PILOT = """
id: bru
title: {en: The bridge}
question: {en: "Who crosses it?"}
timezone: Europe/Oslo
data_class: open
licence: CC-BY-4.0
devices:
  - id: mast
    interval: PT10M
    streams: [{quantity: wind_from_direction}, {quantity: laeq}, {quantity: pm10}]
  - id: silent
    interval: PT10M
    streams: [{quantity: pm10}]
"""
DAYS = 3
TIMES = START + np.arange(DAYS * 144) * 10 * MINUTE


def readings() -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    random = np.random.default_rng(1)
    return {
        "wind_from_direction": random.normal(355, 40, len(TIMES)) % 360,
        "laeq": random.normal(52, 9, len(TIMES)),
        "pm10": random.lognormal(3, 1, len(TIMES)),
    }


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    folder: Path = tmp_path_factory.mktemp("bridge")
    city = City.at(folder)
    city.import_text(PILOT)
    for quantity, values in readings().items():
        count = len(TIMES)
        city.store.write(
            Batch(
                [Stream("bru", "mast", quantity)],
                np.zeros(count, np.int32),
                TIMES,
                values,
                TIMES + MINUTE,
                np.zeros(count, np.uint8),
            )
        )
    yield city
    city.close()


@pytest.fixture
async def asked(bridge: City) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(bridge.app(signed_in=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/api/v1/") as client:
        yield client


async def get(client: httpx.AsyncClient, **parameters: Any) -> Any:
    answer = await client.get("readings", params={"pilot": "bru", **parameters})
    assert answer.status_code == 200, answer.text
    return answer.json() if "json" in answer.headers["content-type"] else answer.content


async def test_each_kind_has_the_mean_that_fits(asked: httpx.AsyncClient) -> None:
    body = await get(asked, every="P1D", start="2024-01-01", end="2024-01-02")
    first = {item["quantity"]: item for item in body["items"]}
    values = {quantity: value[:144] for quantity, value in readings().items()}
    angles = np.radians(values["wind_from_direction"])
    direction = np.degrees(np.arctan2(np.sin(angles).mean(), np.cos(angles).mean())) % 360
    assert first["wind_from_direction"]["vector_mean"] == pytest.approx(direction)
    assert first["wind_from_direction"]["mean"] is None
    energy = 10 * np.log10(np.mean(10 ** (values["laeq"] / 10)))
    assert first["laeq"]["energy_mean"] == pytest.approx(energy)
    assert first["pm10"]["mean"] == pytest.approx(values["pm10"].mean())
    assert body["aggregates"] == {"wind_from_direction": "vector_mean", "laeq": "energy_mean", "pm10": "mean"}
    alone = await get(asked, quantity="wind_from_direction", every="P1D", start="2024-01-01", end="2024-01-02")
    assert "mean" not in alone["items"][0]
    named = await get(asked, quantity="wind_from_direction", every="P1D", aggregate="mean", end="2024-01-02")
    assert named["items"][0]["mean"] == pytest.approx(values["wind_from_direction"].mean())
    wide = await get(asked, every="P1D", shape="wide", start="2024-01-01", end="2024-01-02")
    assert wide["items"][0]["bru/mast/wind_from_direction"] == pytest.approx(direction)
    csv = await asked.get("readings", params={"pilot": "bru", "every": "P1D", "format": "csv"})
    assert "laeq=energy_mean" in csv.headers["techport-aggregates"]


async def test_local_days_have_local_dates(asked: httpx.AsyncClient) -> None:
    question = {"quantity": "pm10", "device": "mast", "start": "2024-01-01", "end": "2024-01-04", "every": "P1D"}
    days = ["2024-01-01", "2024-01-02", "2024-01-03"]
    assert [item["date"] for item in (await get(asked, **question))["items"]] == days
    table = pd.read_parquet(io.BytesIO(await get(asked, **question, format="parquet")))
    assert [str(day) for day in table["date"]] == days
    assert list(pd.read_csv(io.BytesIO(await get(asked, **question, format="csv")))["date"]) == days
    wide = await get(asked, **question, shape="wide", fill="null")
    assert [item["date"] for item in wide["items"]] == days
    hours = await get(asked, **{**question, "every": "PT6H"})
    assert [item["local"] for item in hours["items"][:2]] == [
        "2024-01-01T00:00:00.000000+01:00",
        "2024-01-01T06:00:00.000000+01:00",
    ]
    kept = pq.read_table(io.BytesIO(await get(asked, **{**question, "every": "PT6H"}, format="parquet")))
    assert kept.schema.field("local").type == pa.timestamp("us", "Europe/Oslo")


async def test_the_newest_so_many(asked: httpx.AsyncClient) -> None:
    body = await get(asked, quantity="pm10", order="-time", limit=10)
    newest = readings()["pm10"][::-1]
    assert [item["value"] for item in body["items"]] == newest[:10].tolist()
    following = await get(asked, quantity="pm10", order="-time", limit=10, cursor=body["next"])
    assert [item["value"] for item in following["items"]] == newest[10:20].tolist()
    for order in ("-time", "time"):
        paged: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = await get(asked, order=order, limit=400, **cursor)
            paged += page["items"]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
        whole = (await get(asked, order=order))["items"]
        assert paged == whole
        assert len(paged) == 3 * len(TIMES)
    buckets = await get(asked, quantity="pm10", every="P1D", order="-time", limit=2)
    assert [item["date"] for item in buckets["items"]] == ["2024-01-03", "2024-01-02"]
    last = await get(asked, quantity="pm10", every="P1D", order="-time", limit=2, cursor=buckets["next"])
    assert [item["date"] for item in last["items"]] == ["2024-01-01"]
    wrong = await asked.get("readings", params={"pilot": "bru", "order": "time", "limit": 2, "cursor": body["next"]})
    assert wrong.status_code == 400


async def test_only_the_values_and_columns_that_are_wanted(asked: httpx.AsyncClient) -> None:
    values = readings()["pm10"]
    for question, expected in (
        ("value>50", values[values > 50]),
        ("value%3E50", values[values > 50]),
        ("value>=10&value<20", values[(values >= 10) & (values < 20)]),
        ("value=<12.5", values[values < 12.5]),
        ("value!=0&value<=5", values[values <= 5]),
    ):
        answer = await asked.get(f"readings?pilot=bru&quantity=pm10&device=mast&limit=1000&{question}")
        assert [item["value"] for item in answer.json()["items"]] == expected.tolist(), question
    few = (await asked.get("readings?pilot=bru&quantity=pm10&value>50&limit=2")).json()
    assert [item["value"] for item in few["items"]] == values[values > 50][:2].tolist()
    more = (await asked.get(f"readings?pilot=bru&quantity=pm10&value>50&limit=2&cursor={few['next']}")).json()
    assert [item["value"] for item in more["items"]] == values[values > 50][2:4].tolist()
    newest = (await asked.get("readings?pilot=bru&quantity=pm10&value>50&order=-time&limit=3")).json()
    assert [item["value"] for item in newest["items"]] == values[values > 50][::-1][:3].tolist()
    hours = (await asked.get("readings?pilot=bru&quantity=pm10&every=PT1H&value>40&limit=500&format=csv")).text
    assert pd.read_csv(io.StringIO(hours))["mean"].min() > 40
    chosen = await get(asked, quantity="pm10", device="mast", columns="value,time", format="csv")
    assert chosen.decode().splitlines()[0] == "value,time"
    assert list((await get(asked, quantity="pm10", columns="device", limit=1))["items"][0]) == ["device"]


async def test_streams_that_never_sent_are_shown_where_gaps_are(asked: httpx.AsyncClient) -> None:
    question = {"quantity": "pm10", "start": "2024-01-01", "end": "2024-01-02", "every": "PT1H"}
    filled = (await get(asked, **question, fill="null"))["items"]
    silent = [item for item in filled if item["device"] == "silent"]
    assert len(silent) == 24
    assert {(item["count"], item["mean"]) for item in silent} == {(0, None)}
    wide = (await get(asked, **question, shape="wide"))["items"]
    assert {item["bru/silent/pm10"] for item in wide} == {None}


async def test_quarters_of_a_day_follow_the_clock(bridge: City, asked: httpx.AsyncClient) -> None:
    """On 31 March 2024 the night's quarter has five hours in Oslo."""
    body = await get(
        asked, quantity="pm10", device="mast", start="2024-03-31", end="2024-04-01", every="PT6H", fill="null"
    )
    times = [item["time"][11:13] for item in body["items"]]
    assert times == ["23", "04", "10", "16"]
    weeks = [await get(asked, quantity="pm10", every=every) for every in ("P7D", "P1W")]
    assert weeks[0]["items"] == weeks[1]["items"]


async def test_files_say_what_is_in_them(asked: httpx.AsyncClient) -> None:
    question = {"quantity": "pm10", "device": "mast"}
    parquet = pq.ParquetFile(io.BytesIO(await get(asked, **question, format="parquet")))
    field = parquet.schema_arrow.field("value")
    assert field.metadata[b"units"] == b"ug/m3"
    assert field.metadata[b"standard_name"].startswith(b"mass_concentration_of_pm10")
    place = parquet.schema_arrow.get_field_index("time")
    assert "DELTA_BINARY_PACKED" in parquet.metadata.row_group(0).column(place).encodings
    table = pyarrow.feather.read_table(io.BytesIO(await get(asked, **question, format="feather")))
    assert table["value"].to_pylist() == parquet.read()["value"].to_pylist()


async def test_running_means_as_limit_values_want_them(bridge: City, asked: httpx.AsyncClient) -> None:
    hourly = readings()["pm10"].reshape(-1, 6).mean(axis=1)
    question: dict[str, Any] = {"quantity": "pm10", "device": "mast", "every": "PT1H", "rolling": "PT8H", "limit": 500}
    rows = (await get(asked, **question))["items"]
    expected = pd.Series(hourly).rolling(8, min_periods=6).mean()
    assert [row["rolling"] for row in rows[:5]] == [None] * 5, "fewer than six of eight hours"
    assert [row["rolling"] for row in rows[5:]] == pytest.approx(expected[5:].tolist())
    later = (await get(asked, **question, start="2024-01-02", end="2024-01-03"))["items"]
    assert [row["rolling"] for row in later] == pytest.approx(expected[24:48].tolist()), "hours before the start count"
    angles = np.radians(readings()["wind_from_direction"].reshape(-1, 6))
    hours = np.arctan2(np.sin(angles).mean(axis=1), np.cos(angles).mean(axis=1))
    last = np.degrees(np.arctan2(np.sin(hours[-8:]).mean(), np.cos(hours[-8:]).mean())) % 360
    wind = (await get(asked, **{**question, "quantity": "wind_from_direction"}))["items"]
    assert wind[-1]["rolling"] == pytest.approx(last)
    sound = (await get(asked, **{**question, "quantity": "laeq"}))["items"]
    energies = [10 ** (row["energy_mean"] / 10) for row in sound[-8:]]
    assert sound[-1]["rolling"] == pytest.approx(10 * np.log10(np.mean(energies)))
    wrongs: list[dict[str, Any]] = [{"rolling": "PT90M"}, {"rolling": "PT1H"}, {"every": None}, {"rolling": "soon"}]
    for wrong in wrongs:
        parameters = {name: value for name, value in {**question, **wrong}.items() if value is not None}
        assert (await asked.get("readings", params=parameters)).status_code == 400, wrong
