"""Groups, profiles and time-weighted means of /readings, against pandas on the same readings over two clock changes."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from techport_dashboards import WebSettings
from techport_storage.microseconds import HOUR, MINUTE, SECOND
from techport_storage.model import Batch, Stream
from techport_storage.pooling import POOLED_SCHEMA, pooled
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
ZONE = "Europe/Oslo"
PILOT = """
id: gater
title: {en: Streets}
question: {en: "Where is it loud?"}
timezone: Europe/Oslo
data_class: open
licence: CC-BY-4.0
devices:
  - {id: a, tags: {street: Elgeseter gate}, group: g, interval: PT10M, streams: [{quantity: pm10}, {quantity: laeq}]}
  - id: b
    tags: {street: Elgeseter gate}
    interval: PT10M
    streams: [{quantity: pm10}, {quantity: wind_from_direction}]
  - {id: c, tags: {street: Innherredsveien}, interval: PT10M, streams: [{quantity: pm10}, {quantity: bicycle_count}]}
  - {id: d, interval: PT10M, streams: [{quantity: pm10}]}
  - {id: silent, tags: {street: Ilevollen}, position: {lat: 63.43, lon: 10.38}, streams: [{quantity: pm10}]}
  - {id: door, streams: [{quantity: door_open}, {quantity: air_temperature}, {quantity: wind_from_direction}]}
"""
STREETS = {"a": "Elgeseter gate", "b": "Elgeseter gate", "c": "Innherredsveien", "d": None}
AUTUMN = dt.datetime(2025, 10, 23, 22, tzinfo=dt.UTC)  # a Friday in Oslo; summer time ends on the 26th
SPRING = dt.datetime(2026, 3, 26, 23, tzinfo=dt.UTC)  # the same of spring
REGULAR = [
    ("a", "pm10"),
    ("a", "laeq"),
    ("b", "pm10"),
    ("b", "wind_from_direction"),
    ("c", "pm10"),
    ("c", "bicycle_count"),
    ("d", "pm10"),
]
CHANGING = [("door", "door_open"), ("door", "air_temperature"), ("door", "wind_from_direction")]


def made() -> pd.DataFrame:
    """Five days at each clock change: regular streams with holes, and changes at any time."""
    random = np.random.default_rng(7)
    frames = []
    for begin in (AUTUMN, SPRING):
        first = int(begin.timestamp()) * 1_000_000
        for device, quantity in (*REGULAR, *CHANGING):
            if device == "door":
                times = np.unique(first + random.integers(0, 5 * 24 * HOUR // SECOND, 90) * SECOND)
            else:
                times = first + np.flatnonzero(random.random(720) < 0.9) * 10 * MINUTE
            values = {
                "laeq": random.normal(55, 8, len(times)),
                "wind_from_direction": random.normal(350, 30, len(times)) % 360,
                "bicycle_count": random.poisson(4, len(times)).astype(float),
                "door_open": (np.arange(len(times)) % 2).astype(float),
            }.get(quantity, random.lognormal(3, 1, len(times)))
            frames.append(pd.DataFrame({"device": device, "quantity": quantity, "us": times, "value": values}))
    frame = pd.concat(frames, ignore_index=True)
    frame["time"] = pd.to_datetime(frame["us"], unit="us", utc=True)
    frame["local"] = frame["time"].dt.tz_convert(ZONE)
    frame["street"] = frame["device"].map(STREETS)
    return frame


FRAME = made()


def fill(city: City) -> None:
    for (device, quantity), part in FRAME.groupby(["device", "quantity"]):
        time, count = part["us"].to_numpy(), len(part)
        quality = np.zeros(count, np.uint8)
        stream = Stream("gater", str(device), str(quantity))
        city.store.write(Batch([stream], np.zeros(count, np.int32), time, part["value"].to_numpy(), time, quality))


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    city = City.at(tmp_path_factory.mktemp("streets"))
    city.import_text(PILOT)
    fill(city)
    yield city
    city.close()


@pytest.fixture
async def asked(streets: City) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(streets.app(signed_in=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/api/v1/") as client:
        yield client


async def items(asked: httpx.AsyncClient, **parameters: str) -> list[dict[str, Any]]:
    answer = await asked.get("readings", params={"pilot": "gater", "limit": "50000", **parameters})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


RANGES = [("2025-10-24", "2025-10-29"), ("2026-03-27", "2026-04-01")]


def within(start: str, end: str) -> pd.DataFrame:
    first, last = (pd.Timestamp(day, tz=ZONE) for day in (start, end))
    return FRAME[(FRAME["time"] >= first) & (FRAME["time"] < last)]


@pytest.mark.dates
@pytest.mark.parametrize(("start", "end"), RANGES)
async def test_groups_by_a_tag_in_local_days(asked: httpx.AsyncClient, start: str, end: str) -> None:
    rows = await items(
        asked,
        group="quantity,street",
        every="P1D",
        quantity="pm10",
        device="a,b,c,d",
        start=start,
        end=end,
        aggregate="mean,max,p90,sum,first",
    )
    assert list(rows[0])[:4] == ["quantity", "street", "time", "date"]
    frame = within(start, end)
    frame = frame[frame["quantity"] == "pm10"].sort_values("time", kind="stable")
    day = frame["local"].dt.strftime("%Y-%m-%d")
    expected = frame.groupby([frame["street"].fillna(""), day])["value"]
    truth = expected.agg(["mean", "max", "sum", "count"]).assign(p90=expected.quantile(0.9))
    assert len(rows) == len(truth) == 15
    for row in rows:
        right = truth.loc[(row["street"] or "", row["date"])]
        for name in ("mean", "max", "sum", "p90", "count"):
            assert row[name] == pytest.approx(right[name], rel=1e-14), (row, name)
        assert row["unit"] == "ug/m3"
    of_two = next(row for row in rows if row["street"] == "Elgeseter gate" and row["date"][-2:] in ("26", "29"))
    hours = 25 if start.startswith("2025") else 23
    assert of_two["completeness"] == pytest.approx(of_two["count"] / (2 * hours * 6), abs=1e-4)


async def test_groups_over_the_whole_range_and_by_hours(asked: httpx.AsyncClient) -> None:
    start, end = RANGES[0]
    rows = await items(asked, group="street", quantity="pm10", device="a,b,c,d", start=start, end=end)
    frame = within(start, end)
    frame = frame[frame["quantity"] == "pm10"]
    truth = frame.groupby(frame["street"].fillna(""))["value"].agg(["mean", "count"])
    assert {(row["street"] or "", row["count"]) for row in rows} == set(truth["count"].items())
    assert [row["mean"] for row in rows] == pytest.approx(truth["mean"].tolist(), rel=1e-14)
    assert set(rows[0]) == {"street", "quantity", "mean", "count", "completeness", "unit"}
    hours = await items(asked, group="pilot", every="PT1H", quantity="laeq,wind_from_direction", start=start, end=end)
    loud = [row for row in hours if row["quantity"] == "laeq"]
    level = within(start, end).query("quantity == 'laeq'")
    power = (10 ** (level["value"] / 10)).groupby(level["time"].dt.floor("h")).mean()
    assert [row["energy_mean"] for row in loud] == pytest.approx((10 * np.log10(power)).tolist(), rel=1e-13)
    assert {row["vector_mean"] for row in loud} == {None}


@pytest.mark.dates
@pytest.mark.parametrize("profile", ["hour", "weekday", "month"])
async def test_profiles_by_the_local_clock(asked: httpx.AsyncClient, profile: str) -> None:
    start, end = "2025-10-24", "2026-04-01"
    rows = await items(
        asked, profile=profile, quantity="pm10", device="a", start=start, end=end, aggregate="mean,p25,count"
    )
    frame = within(start, end).query("device == 'a' and quantity == 'pm10'")
    freq = frame["time"].dt.floor("h") if profile == "hour" else frame["local"].dt.strftime("%Y-%m-%d")
    means = frame.groupby(freq)["value"].mean()
    stamps = pd.DatetimeIndex(means.index)
    stamps = stamps.tz_convert(ZONE) if profile == "hour" else stamps
    number = {"hour": stamps.hour, "weekday": stamps.day_of_week + 1, "month": stamps.month}[profile]
    grouped = means.groupby(number)
    assert [row[profile] for row in rows] == sorted(set(number))
    assert [row["count"] for row in rows] == grouped.size().tolist()
    assert [row["mean"] for row in rows] == pytest.approx(grouped.mean().tolist(), rel=1e-13)
    assert [row["p25"] for row in rows] == pytest.approx(grouped.quantile(0.25).tolist(), rel=1e-13)
    assert "time" not in rows[0]


async def test_a_profile_of_counts_is_of_sums_and_of_all_kinds_at_once(asked: httpx.AsyncClient) -> None:
    start, end = RANGES[0]
    rows = await items(asked, profile="hour", start=start, end=end, device="a,b,c,d")
    frame = within(start, end).query("quantity == 'bicycle_count'")
    sums = frame.groupby(frame["time"].dt.floor("h"))["value"].sum()
    truth = sums.groupby(pd.DatetimeIndex(sums.index).tz_convert(ZONE).hour).mean()
    bikes = [row["mean"] for row in rows if row["quantity"] == "bicycle_count"]
    assert bikes == pytest.approx(truth.tolist(), rel=1e-14)
    wind = [row for row in rows if row["quantity"] == "wind_from_direction"]
    assert all(row["mean"] is None and 0 <= row["vector_mean"] < 360 for row in wind)
    about = (await asked.get("readings/metadata", params={"profile": "hour", "pilot": "gater"})).json()
    assert about["aggregates"]["bicycle_count"] == "mean"
    assert (about["profile"], about["every"], about["group"]) == ("hour", "PT1H", [])


def stepped(part: pd.DataFrame, start: int, end: int, hold: int, width: int) -> list[float | None]:
    """Second by second: what held, averaged in buckets. Times of the readings are whole seconds."""
    seconds = np.arange(start, end, SECOND)
    place = np.searchsorted(part["us"].to_numpy(), seconds, "right") - 1
    last = np.where(place >= 0, part["us"].to_numpy()[place], np.iinfo(np.int64).min // 2)
    value = np.where(seconds - last < hold, part["value"].to_numpy()[place], np.nan)
    return [None if np.isnan(v) else v for v in pd.Series(value).groupby((seconds - start) // width).mean()]


@pytest.mark.dates
@pytest.mark.parametrize(
    ("quantity", "hold"), [("air_temperature", None), ("door_open", "PT2H"), ("air_temperature", "PT40M")]
)
async def test_means_weighted_by_how_long_values_held(
    asked: httpx.AsyncClient, quantity: str, hold: str | None
) -> None:
    more = {} if hold is None else {"hold": hold}
    rows = await items(
        asked,
        device="door",
        quantity=quantity,
        every="PT6H",
        zone="UTC",
        start="2025-10-25T00:00:00Z",
        end="2025-10-28T00:00:00Z",
        aggregate="time_mean",
        fill="null",
        **more,
    )
    part = FRAME[(FRAME["device"] == "door") & (FRAME["quantity"] == quantity)].sort_values("us")
    start = int(dt.datetime(2025, 10, 25, tzinfo=dt.UTC).timestamp()) * SECOND
    longest = {None: 24 * HOUR, "PT2H": 2 * HOUR, "PT40M": 40 * MINUTE}[hold]
    expected = stepped(part, start, start + 72 * HOUR, longest, 6 * HOUR)
    got = [row["time_mean"] for row in rows]
    assert [value is None for value in got] == [value is None for value in expected]
    assert [v for v in got if v is not None] == pytest.approx([v for v in expected if v is not None], rel=1e-12)
    inside = part[(part["us"] >= start) & (part["us"] < start + 72 * HOUR)]
    assert sum(row["count"] for row in rows) == len(inside)


@pytest.mark.dates
@pytest.mark.parametrize("profile", ["hour", "weekday", "month"])
async def test_a_profile_of_time_weighted_means_is_of_all_time_of_a_class(
    asked: httpx.AsyncClient, profile: str
) -> None:
    first, last = "2025-10-25T00:00:00+02:00", "2025-10-29T00:00:00+01:00"  # with the night of 25 hours
    rows = await items(
        asked, device="door", quantity="air_temperature", start=first, end=last, profile=profile, aggregate="time_mean"
    )
    part = FRAME[(FRAME["device"] == "door") & (FRAME["quantity"] == "air_temperature")].sort_values("us")
    start, end = (int(dt.datetime.fromisoformat(text).timestamp()) * SECOND for text in (first, last))
    seconds = np.arange(start, end, SECOND)
    place = np.searchsorted(part["us"].to_numpy(), seconds, "right") - 1
    held = np.where((place >= 0) & (seconds - part["us"].to_numpy()[place] < 24 * HOUR), place, -1)
    value = np.where(held >= 0, part["value"].to_numpy()[held], np.nan)
    local = pd.to_datetime(seconds, unit="us", utc=True).tz_convert(ZONE)
    number = {"hour": local.hour, "weekday": local.day_of_week + 1, "month": local.month}[profile]
    truth = pd.Series(value).groupby(number).mean()
    assert {row[profile]: row["time_mean"] for row in rows} == pytest.approx(truth.dropna().to_dict(), rel=1e-9)
    assert sum(row["count"] for row in rows) == int(((part["us"] >= start) & (part["us"] < end)).sum())


@pytest.mark.dates
@pytest.mark.parametrize("profile", ["hour", "weekday", "month", None])
async def test_profiles_and_whole_ranges_say_how_complete_they_are(
    asked: httpx.AsyncClient, profile: str | None
) -> None:
    start, end = RANGES[0]
    more = {"profile": profile} if profile else {}
    rows = await items(asked, device="a,b", quantity="pm10", start=start, end=end, group="quantity", **more)
    frame = within(start, end).query("device in ('a', 'b') and quantity == 'pm10'")
    bounds = [pd.Timestamp(day, tz=ZONE) for day in (start, end)]
    slots = pd.date_range(*bounds, freq="10min", inclusive="left")  # of each device one reading each

    def classes(times: Any) -> Any:
        index = pd.DatetimeIndex(times)
        return {"hour": index.hour, "weekday": index.day_of_week + 1, "month": index.month, None: index.year * 0}[
            profile
        ]

    due = pd.Series(2, slots).groupby(classes(slots)).sum()
    got = frame.groupby(classes(frame["local"]))["value"].size()
    shares = {row.get(profile, 0): row["completeness"] for row in rows}
    assert shares == pytest.approx((got / due).dropna().round(4).to_dict(), abs=1e-4)
    assert all(0.5 < share <= 1 for share in shares.values())


@pytest.mark.dates
async def test_a_local_day_of_25_hours_is_weighted_with_25(asked: httpx.AsyncClient) -> None:
    (row,) = await items(
        asked,
        device="door",
        quantity="door_open",
        every="P1D",
        start="2025-10-26",
        end="2025-10-27",
        aggregate="time_mean",
    )
    part = FRAME[FRAME["quantity"] == "door_open"].sort_values("us")
    start = int(dt.datetime(2025, 10, 26, tzinfo=ZoneInfo(ZONE)).timestamp()) * SECOND
    (expected,) = stepped(part, start, start + 25 * HOUR, 24 * HOUR, 25 * HOUR)
    assert row["time_mean"] == pytest.approx(expected, rel=1e-12)
    wind = (
        await items(
            asked,
            device="door",
            quantity="wind_from_direction",
            every="P1D",
            start="2025-10-26",
            end="2025-10-27",
            aggregate="time_mean",
        )
    )[0]
    assert min(wind["time_mean"], 360 - wind["time_mean"]) < 40, "directions are averaged as vectors"


async def test_pages_and_files_of_groups_hold_the_same_rows(asked: httpx.AsyncClient) -> None:
    question = {"group": "street,quantity", "every": "P1D", "start": "2025-10-24", "end": "2025-10-29"}
    whole = await items(asked, **question)
    pages: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = (await asked.get("readings", params={"pilot": "gater", "limit": "7", **question, **cursor})).json()
        pages += answer["items"]
        if answer["next"] is None:
            break
        cursor = {"cursor": answer["next"]}
    assert pages == whole
    parquet = await asked.get("readings", params={"pilot": "gater", "format": "parquet", **question})
    frame = pd.read_parquet(io.BytesIO(parquet.content))
    assert frame["street"].isna().sum() == sum(row["street"] is None for row in whole)
    assert frame["count"].tolist() == [row["count"] for row in whole]
    wide = await asked.get(
        "readings", params={"pilot": "gater", "format": "csv", "shape": "wide", "quantity": "pm10", **question}
    )
    columns = pd.read_csv(io.StringIO(wide.text)).columns.tolist()
    assert columns == ["time", "date", "/pm10", "Elgeseter gate/pm10", "Ilevollen/pm10", "Innherredsveien/pm10"]
    usual = {"profile": "hour", "fill": "null", "quantity": "pm10", "device": "a,silent", "shape": "wide"}
    hours = (await asked.get("readings", params={"pilot": "gater", **usual})).json()["items"]
    assert [row["hour"] for row in hours] == list(range(24))
    assert {row["gater/silent/pm10"] for row in hours} == {None}


async def test_described_streams_of_an_area_that_never_sent_are_there(asked: httpx.AsyncClient) -> None:
    rows = await items(
        asked, bbox="10.3,63.4,10.4,63.5", every="P1D", start="2025-10-24", end="2025-10-26", fill="null"
    )
    assert [(row["device"], row["count"]) for row in rows] == [("silent", 0)] * 2


@pytest.mark.parametrize(
    ("parameters", "status", "parameter"),
    [
        ({"group": "colour"}, 400, "group"),
        ({"group": "pilot,device,kind,group,street,quantity,house"}, 400, "group"),
        ({"profile": "day"}, 400, "profile"),
        ({"profile": "hour", "every": "P1D"}, 400, "every"),
        ({"profile": "hour", "fill": "linear"}, 400, "fill"),
        ({"profile": "hour", "rolling": "PT8H", "every": "PT1H"}, 400, "profile"),
        ({"profile": "hour", "aggregate": "time_mean"}, 400, "start"),
        ({"group": "street", "downsample": "lttb"}, 400, "downsample"),
        ({"group": "street", "shape": "wide"}, 400, "every"),
        ({"aggregate": "time_mean,mean", "every": "PT1H", "start": "-P1D"}, 400, "aggregate"),
        ({"aggregate": "time_mean", "every": "PT1H"}, 400, "start"),
        ({"aggregate": "time_mean", "start": "-P1D"}, 400, "every"),
        ({"aggregate": "time_mean", "start": "-P1D", "every": "PT1H", "quantity": "bicycle_count"}, 400, "aggregate"),
        ({"aggregate": "time_mean", "start": "-P1Y", "every": "PT1S"}, 422, None),
        ({"hold": "PT1H", "every": "PT1H"}, 400, "aggregate"),
        ({"hold": "long", "every": "PT1H"}, 400, "hold"),
        ({"rolling": "PT8H", "every": "PT1H", "aggregate": "mean,max"}, 400, "aggregate"),
        ({"rolling": "PT8H", "every": "PT1H", "shape": "wide"}, 400, "shape"),
    ],
)
async def test_questions_that_cannot_be(
    asked: httpx.AsyncClient, parameters: dict[str, str], status: int, parameter: str | None
) -> None:
    answer = await asked.get("readings", params={"pilot": "gater", **parameters})
    problem = answer.json()
    assert (answer.status_code, problem.get("parameter")) == (status, parameter), answer.text
    example = problem.get("example") or ""
    assert f"{parameter}={example}" not in [f"{name}={value}" for name, value in parameters.items()]


async def test_remedies_do_not_name_what_was_asked_already(streets: City, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("techport_dashboards.query.shaping.MOST_CELLS", 10)
    transport = httpx.ASGITransport(streets.app(WebSettings(max_scan=100), signed_in=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/api/v1/") as client:
        base = {"pilot": "gater", "quantity": "pm10"}
        for parameters, absent in (
            ({"order": "time", "format": "csv"}, ("fill", "shape")),
            ({"shape": "wide"}, ("fill",)),
            ({"every": "PT1H", "format": "parquet", "limit": "5"}, ("parquet",)),
            ({"every": "PT1H", "group": "street", "format": "parquet"}, ("parquet", "shape", "fill")),
        ):
            answer = await client.get("readings", params=base | parameters)
            assert answer.status_code == 422, answer.text[:300]
            assert not [word for word in absent if word in answer.json()["example"]], answer.text


@pytest.mark.parametrize("question", [{"group": "street"}, {"profile": "hour"}, {"aggregate": "time_mean"}])
async def test_a_slow_question_is_stopped(streets: City, question: dict[str, str]) -> None:
    transport = httpx.ASGITransport(streets.app(WebSettings(query_seconds=0.0), signed_in=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/api/v1/") as client:
        base = {"pilot": "gater", "every": "PT1H", "start": "2025-10-24", "quantity": "pm10"}
        stopped = await client.get("readings", params=base | question)
        assert stopped.json()["type"].endswith("too-costly"), stopped.text[:300]


def test_what_goes_wrong_while_rows_come_is_told() -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist([{"place": 0, "bucket": 0, "time": 0, "value": 1.0}], POOLED_SCHEMA)
        raise LookupError("the store went away")

    with pytest.raises(LookupError, match="went away"):
        pooled(broken(), ["mean"])
