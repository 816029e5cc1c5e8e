"""What devices post may be packed with gzip, within the size that a message may have."""

from __future__ import annotations

import gzip
import zlib

import pytest

from techport_dashboards.problems import Problem
from techport_dashboards.web.device_messages import unpacked
from techport_dashboards.web.request_bounds import LARGEST_MESSAGE

MESSAGE = b'{"air_temperature": 21.5}'


def packed(message: bytes) -> bytes:
    """Without the time of day, which would be in the names of tests: every process has to collect the same ones."""
    return gzip.compress(message, mtime=0)


@pytest.mark.parametrize(("encoding", "body"), [("", MESSAGE), ("identity", MESSAGE), ("GZIP", packed(MESSAGE))])
def test_a_message_is_what_was_packed(encoding: str, body: bytes) -> None:
    assert unpacked(body, encoding) == MESSAGE


@pytest.mark.parametrize(
    ("encoding", "body", "kind"),
    [
        ("br", MESSAGE, "bad-encoding"),
        ("gzip, gzip", packed(MESSAGE), "bad-encoding"),
        ("gzip", MESSAGE, "bad-encoding"),
        ("gzip", zlib.compress(MESSAGE), "bad-encoding"),
        ("gzip", packed(MESSAGE)[:-4], "bad-encoding"),
        ("gzip", packed(MESSAGE) + b"more", "bad-encoding"),
        ("gzip", packed(b" " * (LARGEST_MESSAGE + 1)), "too-large"),
        ("gzip", packed(b" " * 50_000_000), "too-large"),
    ],
)
def test_what_cannot_be_unpacked_is_refused_at_once(encoding: str, body: bytes, kind: str) -> None:
    with pytest.raises(Problem) as refused:
        unpacked(body, encoding)
    assert refused.value.kind == kind


def test_as_much_as_a_message_may_have_is_unpacked() -> None:
    assert len(unpacked(packed(b" " * LARGEST_MESSAGE), "gzip")) == LARGEST_MESSAGE
