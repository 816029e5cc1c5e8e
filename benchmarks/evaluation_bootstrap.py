"""For comparison only: an interval by the stationary bootstrap of Politis and Romano (1994, doi:10.2307/2290993).

Whole stretches of days, of random length, are drawn again within each phase. It assumes less than interval.py, but in
weeks of data it comes out too narrow (docs/statistics.md has the figures): so the platform does not use it.
"""

from __future__ import annotations

import numpy as np
from arch.bootstrap import StationaryBootstrap, optimal_block_length
from numpy.typing import NDArray

from techport_pilots.evaluation.interval import Fit

Floats = NDArray[np.float64]


def bootstrap_interval(
    fit: Fit, group: NDArray[np.int64], confidence: float = 0.95, draws: int = 1000, seed: int = 1
) -> tuple[float, float]:
    """Interval of the coefficient, from resampled daily contributions. The same seed gives the same numbers."""
    total = np.zeros(draws)
    for name in np.unique(group):
        part = fit.contributions[group == name]
        if np.ptp(part) == 0:
            continue
        length = optimal_block_length(part)["stationary"].iloc[0]
        length = round(np.clip(length if np.isfinite(length) else 1, 1, len(part) / 3))
        resample = StationaryBootstrap(length, part, seed=np.random.default_rng([seed, int(name)]))
        total += resample.apply(lambda x: np.atleast_1d(x.sum()), draws)[:, 0] - part.sum()
    low, high = np.quantile(total, [(1 - confidence) / 2, (1 + confidence) / 2])
    return fit.value - float(high), fit.value - float(low)
