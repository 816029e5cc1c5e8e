"""What charts show: enough points, holes where readings are missing, the pilot's clock."""

from __future__ import annotations

import re
from typing import Any

import httpx
import plotly.graph_objects as go
import pytest

from techport_dashboards.charts.lines import PRESENTATIONS
from techport_pilots.quantities import builtin
from techport_storage.microseconds import HOUR
from techport_storage.model import Quality, Reading, Selection, Stream
from tests.dashboards.conftest import HOURS, START
from tests.dashboards.web import City

pytestmark = [pytest.mark.anyio, pytest.mark.dates]


async def chart(client: httpx.AsyncClient, **parameters: str) -> dict[str, Any]:
    answer = await client.get("/pilots/kai-luft/chart", params={"quantity": "pm10", "lang": "en", **parameters})
    assert answer.status_code == 200, answer.text
    return with_values(answer.json())


def with_values(data: dict[str, Any]) -> dict[str, Any]:
    """The chart's lines with the values that its figure draws: x and y, low and high, and the earlier period's."""
    go.Figure(data["figure"])  # raises ValueError for what plotly's schema does not know
    for line in data["lines"]:
        traces = {t["meta"]["role"]: t for t in data["figure"]["data"] if t["meta"].get("device") == line["device"]}
        line |= {name: traces["line"][name] for name in ("x", "y")}
        if "earlier" in traces:
            line["earlier"] = {name: traces["earlier"][name] for name in ("x", "y")}
        if "band" in traces:
            outline = traces["band"]["y"][:-1]
            assert None not in outline, "one run without a gap"
            line |= {"high": outline[: len(outline) // 2], "low": outline[: len(outline) // 2 - 1 : -1]}
    return data


async def test_few_readings_are_all_shown(client: httpx.AsyncClient) -> None:
    data = await chart(client, start="2025-10-21", end="2025-11-11")
    assert data["every"] is None
    assert [len([y for y in line["y"] if y is not None]) for line in data["lines"]] == [HOURS, HOURS]
    assert data["lines"][0]["title"] == "The crane"
    assert data["lines"][0]["summary"]["count"] == str(HOURS)


async def test_many_are_shown_in_buckets_with_their_extremes(city: City, client: httpx.AsyncClient) -> None:
    data = await chart(client, start="2016-01-01", end="2025-11-11")
    assert data["every"] == "P1W"
    line = data["lines"][0]
    assert all(low <= y <= high for low, y, high in zip(line["low"], line["y"], line["high"], strict=True))
    assert min(line["low"]) == 10
    assert "per 1 week" in data["shown"]


async def test_the_matching_query_gives_the_same_numbers(client: httpx.AsyncClient) -> None:
    data = await chart(client, start="2016-01-01", end="2025-11-11", device="kran")
    query = {"pilot": "kai-luft", "device": "kran", "quantity": "pm10", **data["query"]}
    items = (await client.get("/api/v1/readings", params=query)).json()["items"]
    assert [round(item["mean"], 3) for item in items] == data["lines"][0]["y"]


async def test_a_hole_is_a_hole(city: City, client: httpx.AsyncClient) -> None:
    crane = Selection(streams=(Stream("kai-luft", "kran", "pm10"),))
    assert city.store.erase(crane, START + 50 * HOUR, START + 60 * HOUR) == 10
    line = (await chart(client, start="2025-10-21", end="2025-11-11", device="kran"))["lines"][0]
    assert line["y"].count(None) == 1
    assert line["y"].index(None) == 50


async def test_a_long_range_shows_the_wall_clock(client: httpx.AsyncClient) -> None:
    data = await chart(client, start="2025-10-21", end="2025-11-11")
    assert data["offset"] is None
    assert data["start"] == "2025-10-21T00:00:00"
    xs = data["lines"][0]["x"]
    assert xs[0] == "2025-10-21T02:00:00.123"  # midnight UTC in summer
    assert xs[-1] == "2025-10-31T00:00:00.123"  # 23 UTC in winter
    assert "Europe/Oslo" in data["zone"]


async def test_a_short_range_over_the_end_of_summer_time_does_not_run_backwards(client: httpx.AsyncClient) -> None:
    data = await chart(client, start="2025-10-25T12:00", end="2025-10-26T12:00", device="kran")
    assert data["offset"] == "+02:00"
    xs = data["lines"][0]["x"]
    assert len(xs) == 25
    assert xs == sorted(set(xs))
    again = await chart(client, start=data["start"] + "+02:00", end=data["end"] + "+02:00", device="kran")
    assert again["lines"] == data["lines"]


def test_a_direction_is_not_averaged() -> None:
    assert {quantity.kind for quantity in builtin()} <= set(PRESENTATIONS)
    assert PRESENTATIONS["direction"].statistic == "vector_mean"


async def test_the_day_before_lies_on_the_same_hours(client: httpx.AsyncClient) -> None:
    data = await chart(client, start="2025-10-23", end="2025-10-24", device="kran", against="-P1D")
    (line,) = data["lines"]
    assert line["earlier"]["x"] == line["x"]
    assert line["summary"]["difference"] == "+3.4"  # 24 hours of a seventh each
    mean, earlier = (line["summary"][name] for name in ("mean", "earlier"))
    assert data["difference"] == f"The crane: mean {mean}, in the earlier period {earlier} µg/m³: +3.4"


async def test_an_earlier_winter_day_lies_on_the_hours_of_summer(client: httpx.AsyncClient) -> None:
    """A week back over the end of summer time: midnight lies over midnight."""
    data = await chart(client, start="2025-10-28", end="2025-10-29", device="kran", against="-P5D")
    (line,) = data["lines"]
    assert line["x"][0] == line["earlier"]["x"][0] == "2025-10-28T00:00:00.123"


async def test_two_devices_differ_by_what_both_have(city: City, client: httpx.AsyncClient) -> None:
    crane = Selection(streams=(Stream("kai-luft", "kran", "pm10"),))
    city.store.erase(crane, START + 10 * HOUR, START + 200 * HOUR)
    data = await chart(client, start="2025-10-21", end="2025-11-11", device="kran,port")
    assert re.fullmatch(r"mean: The crane [\d.]+, .+ [\d.]+ µg/m³: −10.0", data["difference"])


async def test_an_earlier_period_without_readings_says_so(client: httpx.AsyncClient) -> None:
    data = await chart(client, start="2025-10-23", end="2025-10-24", device="kran", against="-P364D")
    assert "no readings in the earlier period: 24 Oct 2024" in data["shown"]


async def test_flagged_readings_are_beside_the_lines(city: City, client: httpx.AsyncClient) -> None:
    at = START + 30 * HOUR + 1
    city.write(Reading("kai-luft", "kran", "pm10", at, 5000.0, at, int(Quality.RANGE)))
    for start, every in (("2025-10-21", None), ("2016-01-01", "P1W")):
        data = await chart(client, start=start, end="2025-11-11", device="kran")
        assert data["every"] == every
        (line,) = data["lines"]
        assert max(y for y in line["y"] if y is not None) < 100
        (flagged,) = (trace for trace in data["figure"]["data"] if trace["meta"]["role"] == "flagged")
        assert flagged["customdata"] == [5000.0]
        assert "1 flagged reading" in data["shown"]
        assert data["figure"]["layout"]["yaxis"]["range"][1] < 100


@pytest.mark.parametrize("against", ["P7D", "yesterday", "PT0S"])
async def test_against_goes_back(client: httpx.AsyncClient, against: str) -> None:
    query = {"quantity": "pm10", "start": "2025-10-21", "against": against}
    assert (await client.get("/pilots/kai-luft/chart", params=query)).status_code == 400


async def test_decibels_are_averaged_as_energy(client: httpx.AsyncClient) -> None:
    query = {"quantity": "laeq", "start": "2025-01-01", "end": "2025-11-11", "lang": "en"}
    data = (await client.get("/pilots/stille/chart", params=query)).json()
    assert data["shown"].startswith("energy mean per")


async def test_an_empty_range_says_so(client: httpx.AsyncClient) -> None:
    data = await chart(client, start="2020-01-01", end="2020-01-02")
    assert data["lines"] == []
    assert data["summary"] == "no readings in this range"


@pytest.mark.parametrize(
    ("parameters", "status"),
    [({"quantity": "nothing"}, 400), ({"start": "then"}, 400), ({"end": "2019-01-01"}, 400), ({"colour": "red"}, 400)],
)
async def test_wrong_questions_are_problems(client: httpx.AsyncClient, parameters: dict[str, str], status: int) -> None:
    answer = await client.get(
        "/pilots/kai-luft/chart", params={"quantity": "pm10", "start": "2020-01-01", **parameters}
    )
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
