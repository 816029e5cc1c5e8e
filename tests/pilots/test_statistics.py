"""Statistics of slots: energy, directions, percentiles, and the pseudo-values that carry their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from techport_pilots.evaluation.statistics import energy_mean, lden, mean_direction, summarise, turn
from techport_pilots.model import Measure

levels = st.lists(st.floats(0, 120), min_size=1, max_size=50)


def test_two_equal_sounds_of_which_one_is_off_half_the_time_is_three_decibel_less():
    assert energy_mean(np.array([70.0, -1e3])) == pytest.approx(70 - 3.0103, abs=1e-3)


@given(levels)
def test_the_energy_mean_lies_between_the_mean_and_the_highest(values):
    values = np.array(values)
    assert values.mean() - 1e-6 <= energy_mean(values) <= values.max() + 1e-6


def test_a_constant_sound_has_an_lden_of_6_4_more():
    assert lden(*np.full((3, 2), 60.0)) == pytest.approx(66.4, abs=0.05)  # 10 lg((12 + 4·10^0.5 + 8·10)/24) = 6.4


@given(st.floats(0, 359), st.lists(st.floats(-60, 60), min_size=1, max_size=30))
def test_the_mean_direction_does_not_know_where_north_is(north, offsets):
    turned = np.array(offsets)
    here, there = mean_direction(turned % 360), mean_direction((turned + north) % 360)
    assert here is not None
    assert there is not None
    assert turn(there - here - north) == pytest.approx(0, abs=1e-6)


def test_winds_from_opposite_sides_have_no_mean_direction():
    assert mean_direction(np.array([10.0, 190.0])) is None
    north = mean_direction(np.array([350.0, 10.0]))
    assert north is not None
    assert turn(north) == pytest.approx(0, abs=1e-9)


@given(st.lists(st.floats(-1e3, 1e3), min_size=5, max_size=200), st.sampled_from(["mean", "median", "percentile"]))
def test_pseudo_values_average_to_the_statistic(values, statistic):
    found = summarise(np.array(values), Measure(quantity="pm10", statistic=statistic, percentile=80), "arithmetic", 24)
    assert found is not None
    assume(found.pseudo is not None)
    assert found.pseudo.mean() == pytest.approx(found.value, abs=1e-6 * (1 + np.ptp(values)))


@given(levels)
def test_pseudo_values_of_levels_average_to_leq(values):
    found = summarise(np.array(values), Measure(quantity="laeq"), "energy", 24)
    assert found is not None
    assert found.pseudo is not None
    assert found.pseudo.mean() == pytest.approx(energy_mean(np.array(values)), abs=1e-6)


def test_sums_and_hours_are_of_a_day():
    values = np.array([1.0, 2.0, 3.0, 6.0])
    day = Measure(quantity="bicycle_count", statistic="sum")
    assert summarise(values, day, "arithmetic", 24).value == 72
    above = Measure(quantity="no2", statistic="hours_above", threshold=2.0)
    assert summarise(values, above, "arithmetic", 24).value == 12
    quarter = Measure(quantity="no2", statistic="hours_above", threshold=2.0, interval="PT15M")
    assert summarise(values, quarter, "arithmetic", 96).value == 12


def test_extremes_are_facts_without_pseudo_values():
    found = summarise(np.array([3.0, 9.0]), Measure(quantity="fill_level", statistic="max"), "arithmetic", 24)
    assert (found.value, found.pseudo) == (9.0, None)


def test_nothing_has_no_statistic():
    assert summarise(np.empty(0), Measure(quantity="pm10"), "arithmetic", 24) is None
