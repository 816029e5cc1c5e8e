"""Bucket widths as people write them."""

from __future__ import annotations

import pytest

from techport_storage.buckets import format_every, parse_every
from techport_storage.errors import BadQuery
from techport_storage.model import Every


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("PT1H", Every(1, "h")),
        ("pt15m", Every(15, "min")),
        ("PT30S", Every(30, "s")),
        ("P1D", Every(1, "d")),
        ("P7D", Every(7, "d")),
        ("P1W", Every(1, "w")),
        ("P3M", Every(3, "mo")),
        ("P1Y", Every(1, "y")),
        ("1h", Every(1, "h")),
        ("h", Every(1, "h")),
        (" 10 min ", Every(10, "min")),
        ("2mo", Every(2, "mo")),
        ("250us", Every(250, "us")),
    ],
)
def test_widths(text: str, every: Every) -> None:
    assert parse_every(text) == every
    assert parse_every(format_every(every)) == every


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1", "1", "PT1D", "P1H", "P1DT12H", "-1h", "1.5h", "0h", "PT0S", "hour"]
)
def test_what_is_no_width(text: str) -> None:
    with pytest.raises(BadQuery) as caught:
        parse_every(text)
    assert caught.value.parameter == "every"
    assert "PT1H" in caught.value.hint
