"""Reading InfluxDB's MessagePack: the fast way by columns equals the plain one, however the answer is cut."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from techport_storage.errors import StoreUnavailable
from techport_storage.influxdb.query import parse_key
from techport_storage.influxdb.responses import columns, series
from techport_storage.model import Stream

KINDS = (np.int64, np.float64, np.int64)
whole = st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 300)
rows_strategy = st.lists(st.tuples(whole, st.floats(allow_nan=False), whole), max_size=40)


def document(device: str, rows: list[tuple[int, float, int]]) -> bytes:
    tags = {"device": device, "pilot": "p", "quantity": "q"}
    found = {"name": "reading", "tags": tags, "columns": ["time", "value", "received"], "values": rows}
    return msgspec.msgpack.encode({"results": [{"statement_id": 0, "series": [found]}]})


@given(rows_strategy)
def test_columns(rows: list[tuple[int, float, int]]) -> None:
    found = columns(msgspec.msgpack.encode(rows), KINDS)
    assert [c.dtype for c in found] == [np.dtype(kind) for kind in KINDS]
    assert found[0].tolist() == [row[0] for row in rows]
    assert found[1].tobytes() == np.array([row[1] for row in rows]).tobytes()
    assert found[2].tolist() == [row[2] for row in rows]


def test_rows_that_lack_something_are_left_out() -> None:
    rows = [(1, 0.5, 7), (2, None, 7), (3, 0.25, None), (4, 0.125, 7)]
    assert columns(msgspec.msgpack.encode(rows), KINDS)[0].tolist() == [1, 4]
    assert [len(c) for c in columns(msgspec.msgpack.encode(None), KINDS)] == [0, 0, 0]


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "results", "\u1067results", "x\u1067results\u1067results"]), rows_strategy)
    ),
    st.integers(1, 400),
)
def test_documents_are_told_apart_wherever_the_answer_is_cut(
    answers: list[tuple[str, list[tuple[int, float, int]]]], size: int
) -> None:
    """U+1067 ends in the bytes that each document begins with, so these names look like a new document."""
    whole = b"".join(document(device, rows) for device, rows in answers)
    pieces = [whole[i : i + size] for i in range(0, len(whole), size)]
    found = [(s.stream.device, s.columns[0].tolist()) for s in series(pieces, KINDS[1:])]
    assert found == [(device, [row[0] for row in rows]) for device, rows in answers]


def test_an_answer_that_breaks_off_is_an_error() -> None:
    whole = document("a", [(1, 0.5, 7)] * 100)
    with pytest.raises(StoreUnavailable, match="ends in the middle"):
        list(series([whole, whole[:-9]], KINDS[1:]))
    failed = msgspec.msgpack.encode({"results": [{"statement_id": 0, "error": "timeout"}]})
    with pytest.raises(StoreUnavailable, match="timeout"):
        list(series([whole, failed], KINDS[1:]))


def test_series_keys() -> None:
    key = "reading,device=a\\,b\\ c\\=d\\e,pilot=p,quantity=q\\\\,x"
    assert parse_key(key) == Stream("p", "a,b c=d\\e", "q\\,x")
    assert parse_key("reading,host=x") is None
