"""Phases laid over each other: the figures, the page, and that a phase which runs is judged up to now."""

from __future__ import annotations

import datetime as dt
import html
import re

import httpx
import msgspec
import numpy as np
import pytest

from techport_dashboards.charts import distribution as figures
from techport_dashboards.charts.distribution import Group
from techport_pilots.evaluation import evaluate, so_far
from techport_storage.microseconds import DAY
from tests.dashboards.web import City
from tests.pilots import trial

pytestmark = pytest.mark.anyio


def mean(values: figures.Floats) -> float:
    return float(values.mean())


def group(name: str, base: float, weeks: int = 4) -> Group:
    """`base` at night, ten more from eight to sixteen on weekdays; every week the same."""
    hours = np.arange(weeks * 168)
    hour, weekday = hours % 24, hours // 24 % 7
    busy = (hour >= 8) & (hour < 16) & (weekday < 5)
    return Group(name, base + 10.0 * busy + 0.01 * (hours // 168), hour, weekday)


def test_a_group_is_summed_up_by_its_quantiles() -> None:
    found = figures.spread(np.arange(101, dtype=float), mean)
    assert found == figures.Spread(101, 50, 5, 25, 50, 75, 95)
    assert figures.spread(np.empty(0), mean) is None


@pytest.mark.dates
def test_the_typical_day_and_week_are_means_of_their_hours() -> None:
    day, week = figures.day([group("baseline", 5)], mean), figures.week([group("baseline", 5)], mean)
    assert day is not None
    assert week is not None
    ((_, hours),) = day.means
    assert hours[3] == pytest.approx(5.015)
    assert hours[12] == pytest.approx(5.015 + 10 * 5 / 7)
    ((_, slots),) = week.means
    assert slots[12] == pytest.approx(15.015)
    assert slots[6 * 24 + 12] == pytest.approx(5.015)
    assert len(day.bands) == 1
    assert week.bands == []


def test_hours_with_hardly_a_value_break_the_curve() -> None:
    whole = group("baseline", 5)
    kept = whole.hour != 12
    day = figures.day([Group("baseline", whole.value[kept], whole.hour[kept], whole.weekday[kept])], mean)
    assert day is not None
    ((_, path),) = day.curves
    assert path.count("M") == 2
    assert day.bands[0][1].count("Z") == 2


def test_the_distribution_keeps_within_its_drawing() -> None:
    chance = np.random.default_rng(3)
    noise = [
        Group(name, chance.normal(i, 1, 500), np.zeros(500, int), np.zeros(500, int))
        for i, name in enumerate(("baseline", "intervention", "control"))
    ]
    found = figures.distribution([*noise, Group("other", np.empty(0), *2 * [np.empty(0, np.int64)])], mean)
    assert found is not None
    assert [box.name for box in found.boxes] == ["baseline", "intervention", "control"]
    numbers = [float(n) for _, path in found.outlines for n in re.findall(r"[\d.]+", path)]
    assert min(numbers) >= 0
    assert max(numbers) <= figures.WIDTH
    assert found.boxes[0].median < found.boxes[1].median < found.boxes[2].median
    assert len(found.axis.ticks) >= 4
    assert figures.distribution([], mean) is None


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-5, 12), (1000.2, 1000.9), (0, 1e6)])
def test_an_axis_has_round_values_within_its_ends(low: float, high: float) -> None:
    axis = figures._axis(low, high, lambda value: value)
    values = [value for value, _ in axis.ticks]
    assert 4 <= len(values) <= 8
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in values)
    assert [round(value, axis.decimals) for value in values] == pytest.approx(values)


@pytest.fixture
def street(city: City) -> City:
    city.registry.import_pilot(trial.definition(), trial.YAML, "test")
    city.store.write(trial.readings())
    return city


@pytest.mark.dates
async def test_the_page_says_what_each_phase_was_like(street: City, client: httpx.AsyncClient) -> None:
    """The trial's effect is four less; the means of the table are those of the readings."""
    text = (await client.get("/pilots/elgeseter/phases?lang=en")).text
    assert re.findall(r'aria-current="page">([^<]+)<', text) == ["Phases"]
    means = [float(m) for m in re.findall(r'<td class="number"><strong>([\d.]+)</strong>', text)]
    assert len(means) == 2
    assert means[0] - means[1] == pytest.approx(4, abs=0.8)
    assert text.count('<svg class="drawing"') == 3
    address = html.unescape(re.search(r'data-address="([^"]+)"', text)[1])  # type: ignore[index]
    answer = (await client.get(address)).text
    assert "<strong>target met</strong>" in answer
    assert re.search(r"Without the intervention, [\d.]+ µg/m³ would have been expected", answer)
    assert re.search(
        r"The difference is −[\d.]+ µg/m³ \(−[\d.]+ %\), with an interval from −[\d.]+ µg/m³ to −[\d.]+", answer
    )
    assert re.search(r'<p class="raw">Raw values, not adjusted: [\d.]+ µg/m³ before', answer)


async def test_what_is_compared_is_in_the_address(street: City, client: httpx.AsyncClient) -> None:
    one = await client.get("/pilots/elgeseter/phases?what=pm10&device=bridge&quality=all&lang=en")
    assert '<option value="bridge" selected>' in one.text
    assert '<option value="pm10" selected>' in one.text
    assert "1 device;" in one.text
    assert "all readings, including flagged" in one.text
    both = (await client.get("/pilots/elgeseter/phases?what=pm10&device=bridge,kirka&lang=en")).text
    assert "2 devices;" in both
    for wrong in ("what=nothing", "device=nobody", "quality=bad"):
        assert (await client.get(f"/pilots/elgeseter/phases?{wrong}")).status_code == 400


async def test_a_pilot_without_phases_says_what_to_do(client: httpx.AsyncClient) -> None:
    text = (await client.get("/pilots/kai-luft/phases?lang=en")).text
    assert "Add the baseline and intervention periods" in text
    assert 'id="kpis"' not in text


@pytest.mark.dates
def test_days_to_come_are_not_missing_ones(street: City) -> None:
    """A phase of which half has passed is complete when that half is; evaluated whole, half of it would be missing."""
    pilot = trial.definition()
    longer = msgspec.structs.replace(
        pilot,
        phases=[
            pilot.phases[0],
            msgspec.structs.replace(pilot.phases[1], end=pilot.phases[1].end + dt.timedelta(days=30)),
        ],
    )
    now = trial.START + trial.DAYS * DAY
    kpi = pilot.kpis[0]
    whole, cut = evaluate(street.store, longer, kpi), evaluate(street.store, so_far(longer, now), kpi)
    assert whole.intervention is not None
    assert cut.intervention is not None
    assert whole.intervention.completeness < 0.6
    assert cut.intervention.completeness > 0.9
    assert cut.effect == pytest.approx(evaluate(street.store, pilot, kpi).effect, abs=0.3)
