"""Readings as CoverageJSON: a collection of point series, one a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.registry_cache import RegistryView
from techport_pilots.quantities import lookup
from techport_pilots.registry.registry import StreamInfo
from techport_storage.columns import group_by_stream
from techport_storage.model import Micros, Query, Selection, Stream
from techport_storage.store import ReadingStore

CF_NAMES = "http://vocab.nerc.ac.uk/standard_name/"
UCUM = "http://www.opengis.net/def/uom/UCUM/"
CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
GREGORIAN = 'TIMECRS["DateTime",TDATUM["Gregorian Calendar"],CS[TemporalDateTime,1],AXIS["Time (T)",future]]'
COVERAGE_JSON = "CoverageJSON"
MOST_VALUES = 200_000
_REFERENCES = [
    {"coordinates": ["x", "y"], "system": {"type": "GeographicCRS", "id": CRS84}},
    {"coordinates": ["t"], "system": {"type": "TemporalRS", "calendar": "Gregorian"}},
]


def coverages(
    store: ReadingStore, catalogue: RegistryView, streams: Sequence[Stream], start: Micros | None, end: Micros | None
) -> dict[str, Any]:
    """A CoverageCollection of the streams' readings in [start, end). Raises Problem for more than MOST_VALUES."""
    query = Query(select=Selection(streams=tuple(streams)), start=start, end=end, limit=MOST_VALUES + 1)
    with store.read(query) as reader:
        table = reader.read_all()
    if table.num_rows > MOST_VALUES:
        raise Problem(
            "too-much-data",
            f"The response would hold more than {MOST_VALUES:,} values.",
            parameter="datetime",
            example="a shorter time, or /api/v1/readings?format=parquet",
        )
    by_stream: dict[Stream, tuple[list[str], list[float]]] = {}
    for batch in table.to_batches():
        at = batch.column("time").cast(pa.int64()).to_pylist()
        values = batch.column("value").to_pylist()
        for stream, rows in group_by_stream(batch):
            moments, numbers = by_stream.setdefault(stream, ([], []))
            moments += map(times.iso, at[rows])
            numbers += values[rows]
    names = {stream.quantity: catalogue.stream(stream) for stream in by_stream}
    return {
        "type": "CoverageCollection",
        "domainType": "PointSeries",
        "parameters": {name: parameter(info) for name, info in sorted(names.items())},
        "referencing": _REFERENCES,
        "coverages": [_coverage(catalogue, stream, *series) for stream, series in by_stream.items()],
    }


def parameter(info: StreamInfo) -> dict[str, Any]:
    """A quantity, as CoverageJSON describes it."""
    title = info.title.get("en") or info.stream.quantity
    unit = {"label": {"en": info.unit_label or info.unit or "not described"}}
    if info.unit:
        unit["symbol"] = {"value": info.unit, "type": UCUM}
    observed: dict[str, Any] = {"id": property_uri(info), "label": {"en": title}}
    if not info.words:
        return {"type": "Parameter", "observedProperty": observed, "unit": unit}
    ids = [f"{observed['id']}#{number}" for number in range(len(info.words))]
    observed["categories"] = [
        {"id": category, "label": {"en": word.get("en")}} for category, word in zip(ids, info.words, strict=True)
    ]
    return {  # what has categories has no unit
        "type": "Parameter",
        "observedProperty": observed,
        "categoryEncoding": {category: number for number, category in enumerate(ids)},
    }


def property_uri(info: StreamInfo) -> str:
    """What is measured, as a URI: of the CF conventions where they have a name for it."""
    name = info.stream.quantity.partition(".")[0]
    quantity = lookup(name)
    cf_name = quantity.cf_name if quantity else None
    return f"{CF_NAMES}{cf_name}/" if cf_name else f"urn:techport:quantity:{name}"


def plain_parameter(info: StreamInfo) -> dict[str, Any]:
    """The same for EDR's own pages, whose texts are in one language."""
    described = parameter(info)
    observed, unit = described["observedProperty"], described.get("unit")
    if unit is None:  # of a state: its words
        words = ", ".join(f"{number}: {word.get('en')}" for number, word in enumerate(info.words))
        plain_unit: dict[str, Any] = {"label": words, "symbol": {"value": info.unit or "1", "type": UCUM}}
    else:
        plain_unit = {**unit, "label": unit["label"]["en"]}
    return {
        "type": described["type"],
        "id": info.stream.quantity,
        "observedProperty": {"id": observed["id"], "label": observed["label"]["en"]},
        "unit": plain_unit,
    }


def _coverage(catalogue: RegistryView, stream: Stream, moments: list[str], values: list[float]) -> dict[str, Any]:
    position = catalogue.devices[stream[:2]].position
    assert position is not None  # streams without one are in no location
    return {
        "type": "Coverage",
        "domain": {
            "type": "Domain",
            "domainType": "PointSeries",
            "axes": {
                "x": {"values": [position.lon]},
                "y": {"values": [position.lat]},
                "t": {"values": moments},
            },
        },
        "ranges": {
            stream.quantity: {
                "type": "NdArray",
                "dataType": "float",
                "axisNames": ["t"],
                "shape": [len(values)],
                "values": values,
            }
        },
    }
