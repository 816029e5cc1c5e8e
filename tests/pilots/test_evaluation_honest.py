"""The promise of docs/statistics.md on fewer pilots: intervals cover the truth, and no effect is rarely called one."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest

from techport_pilots.evaluation import evaluate
from techport_pilots.evaluation.interval import fit, half_width
from techport_storage.model import Selection
from techport_storage.store import open_store
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def pilots() -> ModuleType:
    """benchmarks/evaluation_pilots.py, which is no package."""
    spec = importlib.util.spec_from_file_location("evaluation_pilots", ROOT / "benchmarks" / "evaluation_pilots.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(
    "world",
    [
        {"persistence": 0.95},
        {"persistence": 0.8, "control": True},
        {"persistence": 0.8, "covariate": True},
    ],
    ids=str,
)
def test_intervals_cover_the_truth_and_nothing_is_rarely_something(pilots, world):
    scenario = pilots.Scenario("test", **world)
    pilot, effect, covered, alarms, n = pilots.definition(scenario), 2.0, 0, 0, 60
    store = open_store("duckdb://")
    for seed in range(n):
        for true in (effect, 0.0):
            store.write(pilots.readings(scenario, true, np.random.default_rng([7, seed, int(true)])))
            found = evaluate(store, pilot, pilot.kpis[0])
            assert store.erase(Selection()) > 0
            covered += true == effect and found.interval.low <= effect <= found.interval.high
            alarms += true == 0 and found.shown != "none shown"
    store.close()
    # 60 draws of 95 % are at least 52 but for one time in 500. A plain interval, at 80-90 %, falls out in half of the
    # worlds; benchmarks/evaluation_worlds.py has the figures of more draws.
    assert covered >= 52
    assert alarms <= 8


@pytest.mark.slow
@pytest.mark.parametrize("persistence", [0.0, 0.7])
def test_scattered_days_keep_the_promise_too(persistence):
    """The design of the street cleaning: 50 exposed days in runs, 300 others, days that resemble each other, holes."""
    covered, n = 0, 200
    for seed in range(n):
        random = np.random.default_rng([3, seed])
        noise = np.zeros(450)
        for i in range(1, 450):
            noise[i] = persistence * noise[i - 1] + random.normal()
        exposed = np.zeros(450)
        for start in random.integers(100, 440, 20):
            exposed[start : start + random.integers(1, 6)] = 1
        day = np.flatnonzero(random.random(450) < 0.85)
        day = day[day >= 100]
        season = np.cos(2 * np.pi * day / 365)
        design = np.column_stack([np.ones(len(day)), exposed[day], season - season.mean()])
        values = noise[day] + 0.7 * exposed[day] + 2 * season
        found = fit(values, design, day, np.zeros(len(day), np.int64), 1)
        covered += abs(found.value - 0.7) <= half_width(found.variance, found.freedom)
    assert 0.9 <= covered / n <= 0.99  # three standard errors
