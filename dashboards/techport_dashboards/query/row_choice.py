"""Which rows and columns of an answer are wanted: the mean that fits the kind of quantity, values above something, and
columns by name."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from techport_dashboards.problems import Problem
from techport_dashboards.query.registry_cache import RegistryView
from techport_pilots.quantities import Kind
from techport_storage.columns import group_by_stream
from techport_storage.model import Aggregate, Selection, Stream

AGGREGATE_OF_KIND: Mapping[Kind, Aggregate] = {
    "level": "mean",
    "count": "sum",
    "direction": "vector_mean",  # of 350° and 10° it is 0°, not 180°
    "energy-level": "energy_mean",  # of decibels, as the energy that they stand for
    "state": "share",  # how much of the readings something was on
}
"""What a bucket says where nobody asks for something else."""

PROFILE_OF_KIND: Mapping[Kind, Aggregate] = {
    "level": "mean",
    "count": "mean",  # of the sums of the buckets: the usual number an hour
    "direction": "vector_mean",
    "energy-level": "energy_mean",
    "state": "mean",  # of the shares
}
"""What a profile says of the buckets of a class, where nobody asks for something else."""

_CONDITION = re.compile(r"\s*(>=|<=|>|<|=|!=)?\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*")
_TESTS: Mapping[str, Callable[[Any, Any], Any]] = {
    ">=": pc.greater_equal,
    "<=": pc.less_equal,
    ">": pc.greater,
    "<": pc.less,
    "=": pc.equal,
    "!=": pc.not_equal,
}
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
    "!=": operator.ne,
}


class Condition(msgspec.Struct, frozen=True):
    """A comparison that the value of a row has to satisfy."""

    test: str
    number: float

    def holds(self, value: float) -> bool:
        return _COMPARE[self.test](value, self.number)


def conditions(texts: Iterable[str]) -> tuple[Condition, ...]:
    """`>50`, `<=80` or several with commas. Raises Problem."""
    parts = [part for text in texts for part in text.split(",") if part.strip()]
    parsed = []
    for part in parts:
        match = _CONDITION.fullmatch(part)
        if match is None or not math.isfinite(float(match[2])):
            raise Problem(
                "bad-parameter",
                "{text} is not a comparison with a number.",
                text=repr(part[:40]),
                parameter="value",
                example=">50 (value>50, or value=%3E50), >=10,<20",
            )
        parsed.append(Condition(match[1] or "=", float(match[2])))
    return tuple(parsed)


def aggregate_of(catalogue: RegistryView, stream: Stream, of_buckets: bool = False) -> Aggregate:
    """The aggregate that fits the stream's kind of quantity; or that fits its buckets, for a profile."""
    return (PROFILE_OF_KIND if of_buckets else AGGREGATE_OF_KIND)[catalogue.stream(stream).kind]


def fitting_aggregates(catalogue: RegistryView, select: Selection, of_buckets: bool = False) -> tuple[Aggregate, ...]:
    """Those of all streams that are selected, in the order of AGGREGATE_OF_KIND."""
    needed = {aggregate_of(catalogue, info.stream, of_buckets) for info in catalogue.chosen(select)}
    return tuple(name for name in AGGREGATE_OF_KIND.values() if name in needed) or ("mean",)


def only_fitting(batch: pa.RecordBatch, names: Sequence[Aggregate], fitting: Callable[[Stream], str]) -> pa.RecordBatch:
    """Buckets of which each stream has its own aggregate, and null in the columns of the others."""
    if len(names) < 2:
        return batch
    groups = list(group_by_stream(batch))
    for name in names:
        foreign = np.zeros(batch.num_rows, bool)
        for stream, rows in groups:
            foreign[rows] = fitting(stream) != name
        place = batch.schema.get_field_index(name)
        column = pc.if_else(pa.array(foreign), pa.scalar(None, pa.float64()), batch.column(place))
        batch = batch.set_column(place, batch.schema.field(place), column)
    return batch


def satisfying(batch: pa.RecordBatch, filters: Sequence[Condition], columns: Sequence[str]) -> pa.RecordBatch:
    """The rows whose value satisfies all conditions. Of several `columns` a row has its value in one."""
    if not filters:
        return batch
    present = [batch.column(name) for name in columns if name in batch.schema.names]
    value = pc.coalesce(*present) if len(present) > 1 else present[0]
    mask = None
    for condition in filters:
        test = _TESTS[condition.test](value, condition.number)
        mask = test if mask is None else pc.and_(mask, test)
    return batch.filter(mask)


def column_names(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for text in texts for part in text.split(",") if part.strip()))


def check_columns(names: Sequence[str], schema: pa.Schema) -> None:
    """Raises Problem for a column that the answer does not have."""
    for name in names:
        if name not in schema.names:
            raise Problem(
                "bad-parameter",
                "There is no column {name}.",
                name=repr(name[:80]),
                parameter="columns",
                example=",".join(schema.names[:12]),
            )
