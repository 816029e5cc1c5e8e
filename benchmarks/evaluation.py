"""Proof that evaluations are honest: how often do 95 % intervals cover the true effect of simulated pilots?

    nice .venv/bin/python -m benchmarks.evaluation [--pilots 500] [--only WORD]

Every pilot goes the whole way from readings to the verdict; only the store is a shelf in memory, for speed (the
slow test tests/pilots/test_evaluation_honest.py takes a real one). The table is in docs/statistics.md.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from benchmarks.evaluation_pilots import Scenario, Shelf, definition, readings
from techport_pilots.evaluation import Evaluation, Interval, evaluate

EFFECT = 2.0

SCENARIOS = (
    *(
        Scenario(f"{weeks} + {weeks} weeks, AR {persistence}", weeks, persistence)
        for weeks in (4, 8)
        for persistence in (0.5, 0.8, 0.95)
    ),
    Scenario("3 + 3 weeks, AR 0.8", 3, 0.8),
    Scenario("4 + 4 weeks, AR 0.98 (memory of days)", 4, 0.98),
    Scenario("4 + 4 weeks, AR 0.8, no gaps", 4, 0.8, gaps=False),
    Scenario("4 + 4 weeks, AR 0.8, control group", 4, 0.8, control=True),
    Scenario("4 + 4 weeks, AR 0.8, adjusted for wind", 4, 0.8, covariate=True),
    Scenario("8 + 8 weeks, AR 0.95, control and wind", 8, 0.95, control=True, covariate=True),
    Scenario("4 + 4 weeks, AR 0.8, skewed noise", 4, 0.8, skewed=True),
    Scenario("4 + 4 weeks, AR 0.8, 90th percentile", 4, 0.8, statistic="percentile"),
)


def one(scenario: Scenario, effect: float, seed: int) -> Evaluation:
    """Simulate one pilot and evaluate it. Every scenario has its own chance, with and without the effect."""
    pilot = definition(scenario)
    chance = np.random.default_rng([SCENARIOS.index(scenario), int(effect != 0), seed])
    return evaluate(Shelf(readings(scenario, effect, chance)), pilot, pilot.kpis[0])


def row(scenario: Scenario, pilots: int) -> str:
    """Coverage and false alarms of a scenario as a line of a table."""
    real = [one(scenario, EFFECT, seed) for seed in range(pilots)]
    null = [one(scenario, 0.0, seed) for seed in range(pilots)]
    answered = [e for e in real if e.interval is not None]
    quiet = [e for e in null if e.interval is not None]
    covered = np.mean([_covers(e.interval, EFFECT) for e in answered] + [_covers(e.interval, 0.0) for e in quiet])
    alarms = np.mean([e.shown != "none shown" for e in quiet])
    found = np.mean([e.shown == "higher" for e in answered])
    width = np.mean([e.interval.high - e.interval.low for e in answered if e.interval]) / 2
    return (
        f"| {scenario.name} | {covered:.1%} | {alarms:.1%} | ±{width:.2f} | {found:.0%} | "
        f"{len(answered) + len(quiet)} of {2 * pilots} |"
    )


def _covers(interval: Interval | None, truth: float) -> bool:
    return interval is not None and interval.low <= truth <= interval.high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pilots", type=int, default=500, help="with the effect, and as many without, per scenario")
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    wanted = parser.parse_args()
    print(
        f"| scenario | covers the truth (0 or {EFFECT:g}) | false alarms, no effect | half width | effect found "
        "| answered |\n|---|---|---|---|---|---|",
        flush=True,
    )
    began = time.process_time()
    for scenario in SCENARIOS:
        if wanted.only in scenario.name:
            print(row(scenario, wanted.pilots), flush=True)
    print(f"\n{time.process_time() - began:.0f} CPU-seconds")


if __name__ == "__main__":
    main()
