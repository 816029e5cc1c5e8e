"""Axes, paths and projections of pictures that are drawn as inline SVG."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from techport_pilots import svg

TRONDHEIM = [(10.36, 63.40), (10.44, 63.44)]
NAN = math.nan


def numbers(path: str) -> list[float]:
    return [float(text) for text in re.findall(r"-?\d+\.?\d*", path)]


def test_a_scale_maps_its_ends_and_may_run_downwards() -> None:
    down = svg.Scale(0, 50, 200, 10)
    assert [down(0), down(50), down(25)] == [200, 10, 105]
    assert [down.within(-10), down.within(60)] == [200, 10]
    assert down.each([0, NAN, 50]).tolist() == pytest.approx([200, NAN, 10], nan_ok=True)


@given(st.floats(1e-6, 1e9), st.integers(3, 12))
def test_a_step_is_round_and_the_least_that_makes_so_few(span: float, most: int) -> None:
    step = svg.round_step(span, most)
    digit = step / 10 ** math.floor(math.log10(step * (1 + 1e-9)))
    assert digit == pytest.approx(1) or digit == pytest.approx(2) or digit == pytest.approx(5)
    assert span / step <= most * (1 + 1e-6)
    finer = step / 2.5 if digit == pytest.approx(5) else step / 2
    assert span / finer > most * (1 - 1e-6)


def test_ticks_are_multiples_between_the_ends_and_told_apart() -> None:
    assert svg.ticks(0.3, 1.0, 0.2) == pytest.approx([0.4, 0.6, 0.8, 1.0])
    assert svg.ticks(-5, 5, 5) == [-5, 0, 5]
    for step, decimals in ((50, 0), (1, 0), (0.5, 1), (0.2, 1), (0.05, 2)):
        assert svg.decimals_of(step) == decimals
        assert len({f"{tick:.{decimals}f}" for tick in svg.ticks(0, 10 * step, step)}) == 11


def test_spans_that_overlap_lie_in_lanes_of_their_own() -> None:
    assert svg.lanes([(0, 10), (5, 12), (10, 20), (11, 13), (12, 15)]) == ([0, 1, 0, 2, 1], 3)
    assert svg.lanes([]) == ([], 0)


def test_lines_and_bands_are_broken_where_there_is_no_value() -> None:
    x = np.arange(5.0)
    assert svg.polyline(x, np.array([1, NAN, 2, 3, NAN])) == "M0.0 1.0M2.0 2.0L3.0 3.0"
    low, high = np.array([1, 1, NAN, 3, 3.0]), np.array([2, 2, 9, 4, 4.0])
    assert svg.band(x, low, high) == "M0.0 1.0L1.0 1.0L1.0 2.0L0.0 2.0ZM3.0 3.0L4.0 3.0L4.0 4.0L3.0 4.0Z"
    assert svg.stairs(np.array([0.0, 1, 2]), np.array([5.0, 3])) == "M0.0 5.0H1.0V3.0H2.0"
    assert svg.dots(np.array([1.0, 2]), np.array([3.0, 4])) == "M1.0 3.0h0M2.0 4.0h0"


def test_a_ring_piece_lies_between_its_radii_around_its_direction() -> None:
    east = numbers(svg.ring_piece(90, 10, 20, 40))
    ends = [(east[0], east[1]), (east[7], east[8]), (east[9], east[10])]
    assert [math.dist(end, (50, 50)) for end in ends] == pytest.approx([40, 40, 20], abs=0.02)
    assert all(x > 50 for x, _ in ends)
    assert svg.ring_piece(0, 10, 0, 40).endswith("L50 50Z")


def test_a_projection_has_all_places_within_its_margins() -> None:
    view = svg.Projection.fitting(TRONDHEIM, 680, 340, 30, (0.001, 0.001))
    for place in TRONDHEIM:
        x, y = view(*place)
        assert 30 <= x <= 650
        assert 30 <= y <= 310
    assert view(view.west, view.north) == (0, 0)
    assert view(view.east, view.south) == (680, 340)


def test_a_projection_is_as_long_across_as_down() -> None:
    """A kilometre to the east and one to the north have the same length: within a hundredth over a city."""
    view = svg.Projection.fitting(TRONDHEIM, 680, 340, 30, (0.001, 0.001))
    x, y = view(10.40, 63.42)
    east = view(10.40 + 1 / (111.32 * math.cos(math.radians(63.42))), 63.42)[0] - x
    north = y - view(10.40, 63.42 + 1 / svg.KILOMETRES_PER_DEGREE)[1]
    assert east == pytest.approx(north, rel=0.01)


def test_one_place_alone_is_in_the_middle_of_what_is_shown_at_least() -> None:
    view = svg.Projection.fitting(TRONDHEIM[:1], 680, 340, 30, (0.008, 0.006))
    assert view(*TRONDHEIM[0]) == (340, 170)
    assert (view.north - view.south) * 280 / 340 == pytest.approx(0.006)


def test_an_outline_leaves_out_what_falls_together_and_is_cut_far_beyond() -> None:
    view = svg.Projection(10.0, 64.0, 100.0, 100.0, 200.0, 100.0)
    assert (
        view.path([(10.0, 64.0), (10.001, 64.0), (10.1, 63.9), (99, 63.9)], closed=True)
        == "M0.0 0.0L10.0 10.0L800.0 10.0Z"
    )
    assert view.curve([(10.0, 64.0), (10.1, 64.0), (10.2, 63.9)]) == "M0.0 0.0L5.0 0.0Q10.0 0.0 15.0 5.0L20.0 10.0"


@pytest.mark.parametrize(
    ("per_lat", "bar"),
    [(11_120, (100, "1 km")), (111_200, (100, "100 m")), (1_112, (100, "10 km")), (10**7, (4496.4, "50 m"))],
)
def test_a_scale_bar_is_the_longest_round_distance(per_lat: float, bar: tuple[float, str]) -> None:
    assert svg.Projection(10, 64, 1, per_lat, 800, 520).scale_bar(120) == bar


def test_a_number_goes_beside_those_that_are_there() -> None:
    taken = [(50.0, 50.0)]
    place = svg.free_place((50, 50), taken, 18)
    assert 18 <= math.dist(place, taken[0]) < 25
    assert svg.free_place((90, 90), taken, 18) == (90, 90)
