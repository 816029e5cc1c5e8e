"""Where a chart's line is broken."""

from __future__ import annotations

import numpy as np
import pytest

from techport_dashboards.charts.lines import Line, coarser, with_gaps
from techport_pilots.model import Text
from techport_pilots.registry.registry import StreamInfo
from techport_storage.model import Stream

VIEW = StreamInfo(stream=Stream("p", "d", "pm10"), title=Text(en="PM10"), described=True)


def broken(times: list[int], expected: int | None, moved: tuple[int, ...] = ()) -> list[int | None]:
    """The line's times with None in every hole; they must ascend."""
    line = Line(VIEW, np.array(times), np.ones(len(times)), None, None, len(times), expected, moved)
    time, (value, low, high) = with_gaps(line)
    assert value is not None
    assert low is high is None
    assert (np.diff(time) > 0).all()
    return [int(t) if v == v else None for t, v in zip(time, value, strict=True)]


@pytest.mark.parametrize(
    ("moved", "drawn"),
    [
        ((), [0, 10, 20, 30]),
        ((15,), [0, 10, None, 20, 30]),
        ((20,), [0, 10, None, 20, 30]),
        ((5, 21), [0, None, 10, 20, None, 30]),
        ((-100, 0, 31), [0, 10, 20, 30]),
    ],
)
def test_a_line_is_broken_where_its_device_was_moved(moved: tuple[int, ...], drawn: list[int | None]) -> None:
    assert broken([0, 10, 20, 30], 10, moved) == drawn
    assert broken([0, 10, 20, 30], None, moved) == drawn


def test_a_line_is_broken_where_readings_are_missing() -> None:
    assert broken([0, 10, 40, 50], 10) == [0, 10, None, 40, 50]
    assert broken([0, 10, 40, 50], 10, (30,)) == [0, 10, None, 40, 50]
    assert broken([0, 10, 35], 10) == [0, 10, 35]
    assert broken([0], 10, (0,)) == [0]
    assert broken([], None, (5,)) == []


def test_a_band_in_fewer_points_has_the_same_extremes_and_goes_as_far() -> None:
    time = np.array([0, 10, 20, 30, 40, 70, 80])
    low, high = np.array([3.0, 1, 2, 5, 4, 6, 7]), np.array([3.0, 9, 2, 5, 8, 6, 7])
    band = coarser(Line(VIEW, time, low, low, high, 7, 10), 3, 10)
    assert (band.time.tolist(), band.expected) == ([0, 30, 70, 80], 30)
    assert band.low is not None
    assert band.high is not None
    assert (band.low.tolist(), band.high.tolist()) == ([1, 4, 6, 6], [9, 8, 7, 7])
    line = Line(VIEW, time, low, low, high, 7, 10)
    assert coarser(line, 1, 10) is line
