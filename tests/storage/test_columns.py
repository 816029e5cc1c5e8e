"""Where in an answer the rows of a stream are, however the answer is cut into batches."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from techport_storage.columns import group_by_stream, name_columns
from techport_storage.model import Stream

STREAMS = [Stream("p", "a", "t"), Stream("p", "b", "t"), Stream("q", "b", "t"), Stream("q", "b", "u")]


def table(ranks: list[int], cuts: list[int]) -> pa.Table:
    """Rows of STREAMS[rank], in batches that end at the cuts; every batch has dictionaries of its own."""
    edges = [0, *sorted(cuts), len(ranks)]
    batches = [
        pa.RecordBatch.from_arrays(name_columns(STREAMS, np.array(ranks[begin:end], np.int32)), list(Stream._fields))
        for begin, end in itertools.pairwise(edges)
    ]
    return pa.Table.from_batches(batches)


@settings(deadline=None)  # pyarrow loads pandas with its first array
@given(st.data(), st.lists(st.integers(0, 5), min_size=4, max_size=4))
def test_every_stream_comes_once_with_all_its_rows(data: st.DataObject, counts: list[int]) -> None:
    ranks = np.repeat(np.arange(4), counts).tolist()
    cuts = data.draw(st.lists(st.integers(0, len(ranks)), max_size=4))
    answer = table(ranks, cuts)
    ends = np.cumsum(counts).tolist()
    groups = [(s, slice(e - n, e)) for s, n, e in zip(STREAMS, counts, ends, strict=True) if n]
    assert list(group_by_stream(answer)) == groups
    plain = answer.cast(pa.schema([(name, pa.string()) for name in Stream._fields]))
    assert list(group_by_stream(plain)) == groups


def test_rows_in_another_order_are_grouped_in_stretches() -> None:
    assert list(group_by_stream(table([1, 1, 0, 1], [2]))) == [
        (STREAMS[1], slice(0, 2)),
        (STREAMS[0], slice(2, 3)),
        (STREAMS[1], slice(3, 4)),
    ]


@pytest.mark.parametrize("part", range(3))
def test_a_stream_differs_in_any_of_its_names(part: int) -> None:
    other = Stream(*("x" if i == part else name for i, name in enumerate(STREAMS[0])))
    batch = pa.RecordBatch.from_arrays(
        name_columns([STREAMS[0], other], np.array([0, 1], np.int32)), list(Stream._fields)
    )
    assert list(group_by_stream(batch)) == [(STREAMS[0], slice(0, 1)), (other, slice(1, 2))]
