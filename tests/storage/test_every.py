"""Bucket widths as people write them."""

from __future__ import annotations

import pytest

from techport_storage.buckets import format_width, parse_width
from techport_storage.errors import BadQuery
from techport_storage.model import BucketWidth


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("PT1H", BucketWidth(1, "h")),
        ("pt15m", BucketWidth(15, "min")),
        ("PT30S", BucketWidth(30, "s")),
        ("P1D", BucketWidth(1, "d")),
        ("P7D", BucketWidth(1, "w")),  # the same weeks as P1W
        ("P14D", BucketWidth(2, "w")),
        ("P10D", BucketWidth(10, "d")),
        ("P1W", BucketWidth(1, "w")),
        ("P3M", BucketWidth(3, "mo")),
        ("P1Y", BucketWidth(1, "y")),
        ("1h", BucketWidth(1, "h")),
        ("h", BucketWidth(1, "h")),
        (" 10 min ", BucketWidth(10, "min")),
        ("2mo", BucketWidth(2, "mo")),
        ("250us", BucketWidth(250, "us")),
    ],
)
def test_widths(text: str, every: BucketWidth) -> None:
    assert parse_width(text) == every
    assert parse_width(format_width(every)) == every


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1", "1", "PT1D", "P1H", "P1DT12H", "-1h", "1.5h", "0h", "PT0S", "hour"]
)
def test_what_is_no_width(text: str) -> None:
    with pytest.raises(BadQuery) as caught:
        parse_width(text)
    assert caught.value.parameter == "every"
    assert "PT1H" in caught.value.hint
