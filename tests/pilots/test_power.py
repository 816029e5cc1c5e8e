"""Which effect can be found: measured against what evaluations of simulated pilots find."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from techport_pilots.evaluation import evaluate
from techport_pilots.evaluation.power import Power, detectable, power, power_by, power_note
from techport_storage.store import open_store
from tests.pilots.test_evaluation import AFTER, BEFORE, END, HOURS, SECOND, SHORT, kpi, pilot, world, write

UNTIL = int(AFTER.start.timestamp()) * 1_000_000


def found(**fields: object) -> Power:
    with_store = open_store("duckdb://")
    write(with_store, "box", world(effect=0.0))
    answer = power(with_store, pilot(), kpi(**fields), UNTIL)
    with_store.close()
    return answer


def test_more_weeks_find_smaller_effects() -> None:
    answer = found()
    sizes = [point.detectable for point in answer.points if point.devices == 1]
    assert sizes == sorted(sizes, reverse=True)
    assert (answer.devices, answer.days) == (1, 28)
    assert answer.level == pytest.approx(20, abs=1.5)
    assert all(p.percent == pytest.approx(100 * p.detectable / answer.level) for p in answer.points)


@pytest.mark.slow
def test_an_effect_of_that_size_is_found_in_most_pilots() -> None:
    """4 of 5 by the promise; of forty simulated pilots between 20 and 40."""
    size = next(point.detectable for point in found().points if point.weeks == 4)
    hits = 0
    for seed in range(40):
        store = open_store("duckdb://")
        write(store, "box", world(seed=100 + seed, effect=-size))
        hits += evaluate(store, pilot(), kpi()).interval.high < 0
        store.close()
    assert 20 <= hits <= 40


def test_any_number_of_weeks_and_devices_lies_on_the_curve_of_the_points() -> None:
    answer = found()
    for point in answer.points:
        assert detectable(answer, point.weeks, point.devices) == pytest.approx(point.detectable)
    between = detectable(answer, 5, 3)
    assert between is not None
    sizes = {(point.weeks, point.devices): point.detectable for point in answer.points}
    assert sizes[6, 4] < between < sizes[4, 2]
    assert detectable(answer, 0, 1) is None
    assert detectable(Power(kpi="k", unit="1"), 4, 1) is None


def test_another_pilots_days_stand_in_for_a_baseline_that_is_not_there_yet() -> None:
    """The same days, judged for the pilot itself and for one that only plans the same phases."""
    with_store = open_store("duckdb://")
    write(with_store, "box", world(effect=0.0))
    plan = msgspec.structs.replace(pilot(), id="planned")
    own = power(with_store, pilot(), kpi(), UNTIL)
    assert power(with_store, plan, kpi(), UNTIL).obstacle is not None
    by_other = power_by(with_store, plan, kpi(devices=["nowhere"]), pilot(), UNTIL)
    assert by_other.level == pytest.approx(own.level)
    assert [p.detectable for p in by_other.points] == pytest.approx([p.detectable for p in own.points])
    without_phases = msgspec.structs.replace(plan, phases=[])
    assert power_by(with_store, without_phases, kpi(), pilot(), UNTIL).obstacle is not None
    with_store.close()


def test_devices_that_vary_by_themselves_help() -> None:
    chance = np.random.default_rng(5)
    shared, own = open_store("duckdb://"), open_store("duckdb://")
    base = world(effect=0.0)
    for name in ("a", "b", "c"):
        write(shared, name, base + 0.01 * chance.normal(size=HOURS))
        write(own, name, 20 + np.repeat(chance.normal(0, 3, HOURS // 24 + 1), 24)[:HOURS])
    three = pilot(("a", None, "pm10"), ("b", None, "pm10"), ("c", None, "pm10"))
    gains = []
    for store in (shared, own):
        by_devices = [p.detectable for p in power(store, three, kpi(), UNTIL).points if p.weeks == 4]
        gains.append(by_devices[-1] / by_devices[0])
        store.close()
    assert gains[0] > 0.95, "four times as many devices that say the same tell nothing new"
    assert gains[1] < 0.75


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"target": -15.0, "target_is": "change"}, None),
        ({"target": -1.0, "target_is": "percent"}, "evaluation.power.never"),
        ({"target": 30.0}, None),  # it is below already
        ({}, None),
    ],
)
def test_a_definition_is_told_what_it_cannot_see(fields: dict[str, object], code: str | None) -> None:
    note = power_note(kpi(**fields), found(**fields))
    assert (note and note.code) == code


def test_how_many_weeks_are_missing() -> None:
    answer = found()
    four, wide = (next(p.detectable for p in answer.points if p.weeks == weeks) for weeks in (4, 12))
    target = {"target": -(four + wide) / 2, "target_is": "change"}
    asked = found(**target)
    assert asked.needed is not None
    assert 4 < asked.needed < 12
    assert asked.planned == pytest.approx(4)
    note = power_note(kpi(**target), asked)
    assert note is not None
    assert note.code == "evaluation.power.too-few.weeks"


def test_without_two_weeks_nothing_is_said() -> None:
    store = open_store("duckdb://")
    write(store, "box", world())
    begun = int((BEFORE.start + SHORT).timestamp()) * 1_000_000
    assert power(store, pilot(), kpi(), begun).obstacle is not None
    assert power(store, pilot(phases=(AFTER,)), kpi(), UNTIL).obstacle is not None
    store.close()


def test_a_control_group_that_shares_the_noise_helps() -> None:
    store = open_store("duckdb://")
    base = world(effect=0.0)
    write(store, "street", base)
    write(store, "park", base + np.random.default_rng(3).normal(0, 0.5, HOURS))
    two = pilot(("street", "s", "pm10"), ("park", "p", "pm10"))
    alone = power(store, two, kpi(groups=["s"]), UNTIL)
    beside = power(store, two, kpi(groups=["s"], control=["p"]), UNTIL)
    store.close()
    assert beside.points[2].detectable < 0.6 * alone.points[2].detectable
    assert BEFORE.start < END
    assert SECOND.any()
    assert msgspec.json.encode(beside)
