"""Why not a plain method? Coverage of six intervals on the same simulated hours, without gaps.

    uv sync --group benchmarks
    nice .venv/bin/python -m benchmarks.evaluation_methods [--pilots 500]

The first three are what a textbook or a library's default gives; the table is in docs/statistics.md.
"""

from __future__ import annotations

import argparse

import numpy as np
import statsmodels.api as sm
from arch.bootstrap import StationaryBootstrap, optimal_block_length

from benchmarks.evaluation_bootstrap import bootstrap_interval
from benchmarks.evaluation_pilots import Floats, noise
from techport_pilots.evaluation.interval import fit, half_width

NAMES = ("HAC, hours", "bootstrap, hours", "HAC, days", "bootstrap, days", "fixed-b HAC, days", "techport")


def intervals(hours: Floats, seed: int) -> list[tuple[float, float]]:
    """The intervals of the second half's mean minus the first half's, in the order of NAMES."""
    days = hours.reshape(-1, 24).mean(axis=1)
    n = len(days)
    second = np.arange(n) >= n // 2
    found = fit(days, np.column_stack([np.ones(n), second]), np.arange(n), second.astype(np.int64), 1)
    half = half_width(found.variance, found.freedom)
    return [
        _hac(hours, round(4 * (len(hours) / 100) ** (2 / 9))),
        _bootstrap(hours, seed),
        _hac(days, round(4 * (n / 100) ** (2 / 9))),
        bootstrap_interval(found, second.astype(np.int64)),
        _fixed_b(days),
        (found.value - half, found.value + half),
    ]


def _hac(values: Floats, lags: int) -> tuple[float, float]:
    """Newey and West (1987) with the usual rule for the number of lags, and normal quantiles."""
    design = sm.add_constant((np.arange(len(values)) >= len(values) // 2).astype(float))
    low, high = sm.OLS(values, design).fit(cov_type="HAC", cov_kwds={"maxlags": lags}).conf_int()[1]
    return float(low), float(high)


def _fixed_b(values: Floats) -> tuple[float, float]:
    """Bartlett HAC with 1.3 sqrt(n) lags and the critical values of Kiefer and Vogelsang (2005), table 1."""
    n = len(values)
    lags = int(np.ceil(1.3 * np.sqrt(n)))
    b = lags / n
    critical = 1.9600 + 2.9694 * b + 0.4160 * b**2 - 0.5324 * b**3
    design = sm.add_constant((np.arange(n) >= n // 2).astype(float))
    result = sm.OLS(values, design).fit(cov_type="HAC", cov_kwds={"maxlags": lags - 1})
    return result.params[1] - critical * result.bse[1], result.params[1] + critical * result.bse[1]


def _bootstrap(values: Floats, seed: int) -> tuple[float, float]:
    """Stationary bootstrap of each half with automatic block length, percentiles."""
    halves = np.split(values, 2)
    draws = []
    for i, half in enumerate(halves):
        length = max(1, round(optimal_block_length(half)["stationary"].iloc[0]))
        resample = StationaryBootstrap(length, half, seed=np.random.default_rng([seed, i]))
        draws.append(resample.apply(lambda x: np.atleast_1d(x.mean()), 400)[:, 0])
    low, high = np.quantile(draws[1] - draws[0], [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pilots", type=int, default=500)
    pilots = parser.parse_args().pilots
    print("| weeks, AR | " + " | ".join(NAMES) + " |\n" + "|---" * (len(NAMES) + 1) + "|", flush=True)
    for weeks in (2, 4, 8):
        for persistence in (0.5, 0.8, 0.95):
            covers = np.zeros(len(NAMES))
            for seed in range(pilots):
                hours = noise(2 * weeks * 168, persistence, np.random.default_rng([weeks, seed]))
                covers += [low <= 0 <= high for low, high in intervals(hours, seed)]
            row = " | ".join(f"{share:.1%}" for share in covers / pilots)
            print(f"| {weeks} + {weeks}, {persistence} | {row} |", flush=True)


if __name__ == "__main__":
    main()
