"""Chance that can be repeated: random numbers as functions of a key and a time step, without a generator's state.

Every number is a hash of (key, step). So a device that starts again carries on where it was, ten years of history and
one live reading come out of the same function, and asking for times in another order changes nothing.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Steps = NDArray[np.int64]
Numbers = NDArray[np.float64]

_ROWS = 4096  # whose shocks are in memory at once

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


def key(*parts: object) -> int:
    """64 bits that stand for these parts (a seed, a device, a quantity ...), the same on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _bits(of: int, step: Steps) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea and Flood 2014), entered at any step instead of one after the other."""
    with np.errstate(over="ignore"):
        z = np.uint64(of) + step.astype(np.uint64) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _MIX1
        z = (z ^ (z >> np.uint64(27))) * _MIX2
        mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


def uniform(of: int, step: Steps) -> Numbers:
    """Evenly spread over (0, 1), one number a step."""
    return (_bits(of, step) >> np.uint64(11)).astype(np.float64) / 2.0**53 + 2.0**-54


def normal(of: int, step: Steps) -> Numbers:
    """Standard normal, one number a step (Box and Muller 1958)."""
    radius = np.sqrt(-2.0 * np.log(uniform(of, step)))
    angle: Numbers = 2.0 * np.pi * uniform(of ^ 0x5DEECE66D, step)
    return radius * np.cos(angle)


def poisson(of: int, step: Steps, mean: Numbers) -> Numbers:
    """Counts with this mean: by the inverse of the distribution; above 50 by its normal approximation."""
    chance = uniform(of, step)
    term = np.exp(-np.minimum(mean, 50.0))
    below = term.copy()
    count = np.zeros_like(mean)
    for k in range(1, 121):
        beyond = chance > below
        if not beyond.any():
            break
        count += beyond
        term = term * np.minimum(mean, 50.0) / k
        below += term
    large = np.maximum(0.0, np.round(mean + np.sqrt(mean) * normal(of, step)))
    return np.where(mean > 50.0, large, count)


def drift(of: int, time: Steps, step: int, memory: int) -> Numbers:
    """A first-order autoregressive process, mean 0 and variance 1, at `time` (µs), between steps on a straight line.

    Written as its moving average over the last 7 `memory` (µs; the correlation falls to 1/e within one), because that
    needs no state: x[n] = sqrt(1 - a²) Σ a^k e[n - k], a = exp(-step / memory). What is cut off is below 0.1 %.
    """
    decay = np.exp(-step / memory)
    weights = np.sqrt(1.0 - decay**2) * decay ** np.arange(int(np.ceil(7 * memory / step)))
    nearest = time // step
    steps, where = np.unique(np.concatenate([nearest, nearest + 1]), return_inverse=True)
    values = _moving_average(of, steps, weights)[where]
    before, after = values[: len(time)], values[len(time) :]
    part = (time - nearest * step) / step
    between: Numbers = before + (after - before) * part
    return between


def _moving_average(of: int, steps: Steps, weights: Numbers) -> Numbers:
    """Σ weights[k] e[n - k] for each of the sorted steps n; in one go over each run without large holes."""
    result = np.empty(len(steps))
    cuts = np.flatnonzero(np.diff(steps) > len(weights)) + 1
    if len(cuts) > len(steps) // 8:  # far apart, nearly all of them
        back = np.arange(len(weights), dtype=np.int64)
        for at in range(0, len(steps), _ROWS):
            shocks = normal(of, (steps[at : at + _ROWS, None] - back).reshape(-1))
            result[at : at + _ROWS] = shocks.reshape(-1, len(weights)) @ weights
        return result
    for rows in np.split(np.arange(len(steps)), cuts):
        if len(rows) == 0:
            continue
        first, last = int(steps[rows[0]]), int(steps[rows[-1]])
        shocks = normal(of, np.arange(first - len(weights) + 1, last + 1, dtype=np.int64))
        result[rows] = np.convolve(shocks, weights, mode="valid")[steps[rows] - first]
    return result
