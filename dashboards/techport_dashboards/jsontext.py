"""Rows of Arrow as JSON, column by column: ten times faster than through objects, and without Python's lock.

A number with a fraction stays one when it is whole ("12.0"), so that readers who go by the first rows guess right.
"""

from __future__ import annotations

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from techport_dashboards import rows

_WHOLE = "^-?[0-9]+$"


def objects(batch: pa.RecordBatch, end: str) -> bytes:
    """Each row as an object, in the order of the columns, with `end` behind it."""
    if not batch.num_rows:
        return b""
    parts: list[pa.Array | str] = []
    before = "{"
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        parts += [f"{before}{msgspec.json.encode(name).decode()}:", pc.fill_null(_values(column), "null")]
        before = ","
    lines = pc.binary_join_element_wise(*parts, "}" + end, "")
    _, offsets, text = lines.buffers()
    edges = memoryview(offsets).cast("i")[lines.offset : lines.offset + len(lines) + 1]
    return memoryview(text)[edges[0] : edges[-1]].tobytes()


def _values(column: pa.Array) -> pa.Array:
    """The JSON of each value; null for null."""
    if pa.types.is_string(column.type):
        column = column.dictionary_encode()
    if pa.types.is_dictionary(column.type):
        known = [msgspec.json.encode(value).decode() for value in column.dictionary.to_pylist()]
        return pa.DictionaryArray.from_arrays(column.indices, pa.array(known, pa.string())).cast(pa.string())
    if pa.types.is_timestamp(column.type):
        return pc.binary_join_element_wise('"', rows.iso(column), '"', "")
    text = column.cast(pa.string())
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.match_substring_regex(text, _WHOLE), pc.binary_join_element_wise(text, ".0", ""), text)
    return text
