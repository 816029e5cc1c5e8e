"""Figures that the server draws, the pages they are on, and the calendar of completeness."""

from __future__ import annotations

import html
import math
import re

import httpx
import numpy as np
import pytest

from techport_dashboards.charts import figures
from techport_dashboards.charts import rose as roses
from techport_pilots.i18n import Language
from techport_storage.clock import now
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import Reading, Selection, Stream
from tests.dashboards.conftest import START
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
MONDAY = 4 * DAY  # 5 January 1970, as a wall clock


def test_every_value_is_in_one_bin() -> None:
    value = np.random.default_rng(1).normal(size=1000)
    bins = figures.distribution(value)
    assert sum(b.count for b in bins) == 1000
    assert (bins[0].low, bins[-1].high) == (value.min(), value.max())
    assert max(b.height for b in bins) == 1
    assert [b.count for b in figures.distribution(np.array([3.0, 3.0]))] == [2]


@pytest.mark.dates
def test_the_week_begins_on_monday() -> None:
    cells = figures.week(np.array([MONDAY, MONDAY + 25 * HOUR, MONDAY + 8 * DAY + HOUR]), np.array([1.0, 2.0, 4.0]))
    assert (cells[0][0].mean, cells[0][0].depth) == (1.0, 0.0)
    assert (cells[1][1].mean, cells[1][1].count, cells[1][1].depth) == (3.0, 2, 1.0)
    assert cells[6][23].mean is None


def test_north_is_one_sector() -> None:
    sectors = figures.rose(np.array([355.0, 5.0, 90.0, 360.0]), np.array([1.0, 3.0, 8.0, 2.0]))
    assert (sectors[0].value, sectors[0].count, sectors[0].share) == (2.0, 3, 0.75)
    assert sectors[4].value == 8.0
    assert sectors[8].value is None


def test_a_scatter_keeps_its_corners() -> None:
    found = figures.scatter(np.array([0.0, 5.0, 10.0]), np.array([0.0, 1.0, 2.0]))
    assert found is not None
    assert found.points == [(0, 60), (50, 30), (100, 0)]
    assert found.correlation == pytest.approx(1)
    assert figures.scatter(np.empty(0), np.empty(0)) is None


@pytest.mark.parametrize("view", ["line", "distribution", "week", "rose", "scatter"])
@pytest.mark.dates
async def test_every_view_and_its_download_answer(client: httpx.AsyncClient, view: str) -> None:
    query = {"pilot": "kai-luft", "quantity": "pm10", "view": view, "start": "2025-10-21", "end": "2025-10-31T12:00"}
    answer = await client.get("/explore", params=query)
    assert answer.status_code == 200
    link = html.unescape(re.search(r'<a href="(/api/v1/readings[^"]*)">JSON', answer.text)[1])  # type: ignore[index]
    assert (await client.get(link)).status_code == 200


async def test_exploring_another_pilot_keeps_no_names_of_the_first(client: httpx.AsyncClient) -> None:
    answer = await client.get("/explore", params={"pilot": "stille", "quantity": "pm10", "device": "port"})
    assert answer.status_code == 200
    assert '<option value="laeq" selected>' in answer.text


@pytest.mark.dates
async def test_gaps_are_listed_with_what_is_missing(city: City, client: httpx.AsyncClient) -> None:
    begin = now() // HOUR * HOUR - 20 * DAY  # the page looks back from now
    city.store.erase(Selection(streams=(Stream("kai-luft", "kran", "pm10"),)), START - DAY, now() + 60 * DAY)
    city.write(
        *(
            Reading("kai-luft", "kran", "pm10", time=at, value=10.0, received=at)
            for hour in range(200)
            if not 50 <= hour < 60
            for at in [begin + hour * HOUR]
        )
    )
    answer = await client.get("/pilots/kai-luft/quality", params={"days": "90", "device": "kran", "lang": "en"})
    assert answer.status_code == 200
    last_before = Language("en").date_time(begin + 49 * HOUR, "Europe/Oslo", "d. MMM y HH:mm:ss")
    (row,) = re.findall(rf"{re.escape(last_before)}.*?</tr>", answer.text, re.DOTALL)
    assert ">10<" in row
    assert (await client.get("/pilots/kai-luft/quality", params={"device": "nobody"})).status_code == 404


def test_petals_are_parted_by_class() -> None:
    """Three of four from the north, one of them strong; the petal of the east is a third as long and of one class."""
    rose = roses.stacked(np.array([0.0, 2.0, 359.0, 90.0]), np.array([1.0, 1.0, 9.0, 3.4]), roses.WIND_CLASSES)
    assert rose is not None
    assert [(s.degrees, s.level, s.share) for s in rose.slices] == [(0, 0, 0.5), (0, 4, 0.25), (90, 2, 0.25)]
    assert sum(share for _, _, share in rose.classes) == 1
    assert rose.classes[0][:2] == (None, 1.6)
    assert rose.classes[-1][:2] == (10.8, None)
    assert rose.rings[0] == (roses.RADIUS, 0.75)
    ends = [(float(x), float(y)) for s in rose.slices for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", s.path)]
    assert max(math.dist(end, (50, 50)) for end in ends) == pytest.approx(roses.RADIUS, abs=0.02)
    assert roses.stacked(np.empty(0), np.empty(0), roses.WIND_CLASSES) is None


def test_classes_part_the_values_by_how_many_lie_below() -> None:
    assert roses.classes_of(np.arange(101.0)) == [25, 50, 75, 90]
    assert roses.classes_of(np.full(9, 3.0)) == [3]


@pytest.mark.dates
async def test_flags_are_counted_by_kind_and_good_readings_apart(city: City, client: httpx.AsyncClient) -> None:
    """Ten of the last hours are flagged as spikes, two of them as out of range too."""
    at = now() // HOUR * HOUR - 48 * HOUR
    city.write(*(Reading("kai-luft", "kran", "pm10", at + i * HOUR, 5.0, at, 3 if i < 2 else 2) for i in range(10)))
    path = "/pilots/kai-luft/quality?days=7&device=kran&lang=en"
    text = (await client.get(path)).text
    table = re.sub(r"<[^>]+>", " ", text[text.index('id="flags"') : text.index('id="gaps"')])
    assert re.search(r"spike\s+10\s+100.00 %", table)
    assert re.search(r"outside the plausible range\s+2\s+20.00 %", table)

    def came(page: str) -> float:  # in the days shown, behind the number since the pilot's start
        row = r"The crane</a></th>\s*<td[^>]*><strong>[^<]*</strong></td>\s*<td[^>]*>([\d.]+)"
        return float(re.search(row, page)[1])  # type: ignore[index]

    assert came(text) > came((await client.get(path + "&readings=good")).text) == 0


def test_axes_have_round_values_at_their_places() -> None:
    axis = figures.axis(0.4, 9.7, 0, 100, 6)
    assert [value for value, _ in axis.ticks] == [2, 4, 6, 8]
    assert axis.ticks[0][1] == pytest.approx(100 * (2 - 0.4) / 9.3, abs=0.05)
    assert axis.decimals == 0
    assert figures.axis(3, 3, 60, 0, 6).ticks == [(3, 60)], "where all values are one"
