"""Repeatable chance: numbers depend on key and step only, and have the distribution that their name says."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from techport_simulators.chance import drift, key, normal, poisson, uniform
from techport_storage.microseconds import HOUR, MINUTE

STEPS = np.arange(-20_000, 20_000, dtype=np.int64)


@given(st.integers(0, 2**64 - 1), st.lists(st.integers(-(2**50), 2**50), min_size=1, max_size=20))
def test_a_number_does_not_depend_on_what_else_is_asked_for(of: int, steps: list[int]) -> None:
    together = uniform(of, np.array(steps, np.int64))
    alone = [float(uniform(of, np.array([step], np.int64))[0]) for step in steps]
    assert together.tolist() == alone
    assert all(0.0 < number < 1.0 for number in alone)


def test_uniform_and_normal_have_their_distribution() -> None:
    even, bell = uniform(key("even"), STEPS), normal(key("bell"), STEPS)
    assert abs(even.mean() - 0.5) < 0.01
    assert np.allclose(np.histogram(even, 10, (0, 1))[0], len(STEPS) / 10, rtol=0.06)
    assert abs(bell.mean()) < 0.02
    assert abs(bell.std() - 1.0) < 0.02
    assert abs(np.corrcoef(bell[:-1], bell[1:])[0, 1]) < 0.02


def test_keys_tell_their_parts_apart() -> None:
    assert key("ab", "c") != key("a", "bc")
    assert key(1, "a") == key("1", "a")
    assert abs(np.corrcoef(normal(key(1), STEPS), normal(key(2), STEPS))[0, 1]) < 0.02


def test_poisson_has_the_mean_and_variance_that_were_asked_for() -> None:
    for mean in (0.2, 3.0, 40.0, 400.0):
        counts = poisson(key("count", mean), STEPS, np.full(len(STEPS), mean))
        assert np.array_equal(counts, np.round(counts))
        assert counts.min() >= 0
        assert abs(counts.mean() - mean) < 0.03 * mean + 0.01
        assert abs(counts.var() - mean) < 0.08 * mean


def test_drift_forgets_at_the_pace_that_was_asked_for() -> None:
    time = np.arange(0, 4000 * HOUR, HOUR, dtype=np.int64)
    path = drift(key("path"), time, HOUR, 10 * HOUR)
    assert abs(path.std() - 1.0) < 0.15
    after_memory = np.corrcoef(path[:-10], path[10:])[0, 1]
    assert abs(after_memory - np.exp(-1)) < 0.12
    between = drift(key("path"), np.array([HOUR // 2], np.int64), HOUR, 10 * HOUR)
    assert np.isclose(between[0], path[:2].mean())


def test_drift_is_the_same_for_one_instant_and_for_ten_years_with_holes() -> None:
    time = np.array([0, 5 * MINUTE, 90_000 * HOUR, 3 * HOUR, 90_001 * HOUR], np.int64)
    together = drift(key("path"), time, MINUTE, 2 * HOUR)
    alone = [float(drift(key("path"), time[i : i + 1], MINUTE, 2 * HOUR)[0]) for i in range(len(time))]
    assert np.allclose(together, alone, rtol=0, atol=1e-12)
