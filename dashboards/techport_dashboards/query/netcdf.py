"""Readings as NetCDF with the CF conventions 1.11: time series at places (discrete sampling geometry).

    station  one for each device: name, latitude, longitude and, where it is known, height
    obs      one for each device and time, a station's together and in order (contiguous ragged array, CF H.2.4)

Each quantity is a variable over obs, missing where the device has no reading of it at that time. Readings have their
flags beside them; buckets have bounds, cell methods and the number of readings.

https://cfconventions.org/Data/cf-conventions/cf-conventions-1.11/cf-conventions.html
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.query.shaping import Shape
from techport_pilots.registry.registry import DeviceInfo
from techport_pilots.units import udunits
from techport_storage import clock
from techport_storage.buckets import bucket_edges, fixed_width
from techport_storage.model import Quality, Query, percentile_of
from techport_storage.query_check import check_zone

MOST_NUMBERS = 5_000_000
"""Of all variables together: the file is put together in memory."""
CONVENTIONS = "CF-1.11"
EPOCH = "microseconds since 1970-01-01 00:00:00"
_METHODS = {
    "mean": "mean",
    "time_mean": "mean",
    "min": "minimum",
    "max": "maximum",
    "sum": "sum",
    "std": "standard_deviation",
    "median": "median",
}
"""Aggregates that the conventions have a cell method for (appendix E)."""
_TEMPERATURES = ("Cel", "K", "[degF]")
_DIMENSIONLESS = ("share",)
Ints = NDArray[np.int64]


def check_shape(query: Query, shape: Shape) -> None:
    """Raises Problem for what is no time series of devices, before anything is read."""
    for wrong, parameter, example in (
        (shape.group, "group", "leave it out, or format=parquet"),
        (shape.profile, "profile", "leave it out, or format=parquet"),
        (shape.wide, "shape", "long"),
        (shape.columns, "columns", "leave it out, or format=parquet"),
        (query.limit is not None, "limit", "leave it out"),
    ):
        if wrong:
            raise Problem(
                "bad-parameter",
                "NetCDF holds whole time series of devices, which `{parameter}` takes apart.",
                parameter=parameter,
                example=example,
            )


def netcdf(
    source: Iterator[pa.RecordBatch], query: Query, catalogue: RegistryView, described: Mapping[str, Any]
) -> bytes:
    """The file.

    Parameters
    ----------
    source : iterator of pyarrow.RecordBatch
        Rows as the API gives them, in any order.
    described : mapping
        What the API says about the answer.

    Raises
    ------
    Problem
        A device has no position, which every time series of the conventions has, or the package xarray is missing.
    """
    try:
        import xarray
    except ImportError:
        raise Problem(
            "not-acceptable",
            "This server writes no NetCDF: its operator can install techport[netcdf].",
            parameter="format",
            example="parquet",
        ) from None
    batches = list(_bounded(source))
    frame = pa.Table.from_batches(batches).to_pandas(strings_to_categorical=True) if batches else pd.DataFrame()
    variables, attributes = _content(frame, query, catalogue, described)
    dataset = xarray.Dataset(
        {name: (dimensions, values, about) for name, (dimensions, values, about) in variables.items()},
        attrs=attributes,
    )
    encoding: dict[str, dict[str, Any]] = {}
    for name, variable in dataset.variables.items():
        packed = (
            {"zlib": True, "complevel": 4} if variable.ndim and variable.dtype.kind in "fiu" and variable.size else {}
        )
        fill = {"_FillValue": np.nan} if variable.dtype.kind == "f" and "obs" in variable.dims else {"_FillValue": None}
        encoding[str(name)] = packed | fill
    file = io.BytesIO()
    dataset.to_netcdf(file, engine="h5netcdf", encoding=encoding, unlimited_dims=[])
    return file.getvalue()


def _bounded(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    numbers = 0
    for batch in batches:
        numbers += batch.num_rows
        _refuse_above(numbers)
        yield batch


Variables = dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]]


def _content(
    frame: pd.DataFrame, query: Query, catalogue: RegistryView, described: Mapping[str, Any]
) -> tuple[Variables, dict[str, Any]]:
    if frame.empty:
        frame = pd.DataFrame({"pilot": [], "device": [], "quantity": [], "time": pd.to_datetime([], utc=True)})
    frame["device"] = frame["device"].astype(str)
    frame["pilot"] = frame["pilot"].astype(str)
    micros = np.asarray(frame["time"].astype("datetime64[us, UTC]").astype("int64"), np.int64)
    by_device = frame.groupby(["pilot", "device"], sort=True)
    stations = _stations([(str(pilot), str(device)) for (pilot, device), _ in by_device], catalogue)
    station = np.asarray(by_device.ngroup(), np.int64)
    order = np.lexsort((micros, station))
    first = np.append(True, (np.diff(station[order]) != 0) | (np.diff(micros[order]) != 0))[: len(order)]
    row = np.empty(len(order), np.int64)
    row[order] = np.cumsum(first) - 1
    time = micros[order][first]
    variables = _places(stations)
    counts = np.bincount(station[order][first], minlength=len(stations))
    variables["row_size"] = (
        ("station",),
        counts.astype(np.int32),
        {"long_name": "number of times of the station", "sample_dimension": "obs", "units": "1"},
    )
    about_time = {
        "standard_name": "time",
        "long_name": "time (UTC)",
        "units": EPOCH,
        "calendar": "standard",
        "units_metadata": "leap_seconds: none",
        "axis": "T",
    }
    if query.every is not None:
        about_time["bounds"] = "time_bounds"
        variables["time_bounds"] = (("obs", "bounds"), np.column_stack([time, _ends(time, query)]), {})
    variables["time"] = (("obs",), time, about_time)
    numbers = sum(np.size(values) for _, values, _ in variables.values())
    for quantity in sorted(set(frame["quantity"].astype(str))):
        chosen = (frame["quantity"] == quantity).to_numpy()
        about_quantity = described["units"].get(quantity, {})
        names = (_variable_name(quantity, number) for number in count(1))
        of_names = (_of_quantity(frame[chosen], quantity, name, about_quantity, query) for name in names)
        columns = next(made for made in of_names if variables.keys().isdisjoint(name for name, _, _ in made))
        numbers += len(columns) * len(time)  # each has all times, also where few are its own
        _refuse_above(numbers)
        for name, values, about in columns:
            column = np.full(len(time), np.nan if values.dtype.kind == "f" else 0, values.dtype)
            column[row[chosen]] = values
            variables[name] = (("obs",), column, about)
    return variables, _attributes(stations, time, query, described)


def _stations(keys: Sequence[tuple[str, str]], catalogue: RegistryView) -> list[DeviceInfo]:
    stations = [catalogue.devices[key] for key in keys if key in catalogue.devices]
    placed = [device for device in stations if device.position is not None]
    missing = sorted({"/".join(key) for key in keys} - {f"{device.pilot}/{device.device}" for device in placed})
    if missing:
        raise Problem(
            "bad-parameter",
            "NetCDF time series have a position each, and nobody has said where {devices} stand.",
            devices=", ".join(missing[:5]) + (", …" if len(missing) > 5 else ""),
            parameter="device",
            example=",".join(device.device for device in placed[:5]) or "format=parquet",
        )
    return placed


def _places(stations: Sequence[DeviceInfo]) -> Variables:
    positions = [device.position for device in stations if device.position is not None]
    variables: Variables = {
        "station_id": (
            ("station",),
            np.array([f"{device.pilot}/{device.device}" for device in stations], object),
            {"long_name": "pilot and device", "cf_role": "timeseries_id"},
        ),
        "station_name": (
            ("station",),
            np.array([device.title.get("en") for device in stations], object),
            {"long_name": "name of the station"},
        ),
        "lat": (
            ("station",),
            np.array([position.lat for position in positions], np.float64),
            {"standard_name": "latitude", "long_name": "latitude (WGS 84)", "units": "degrees_north", "axis": "Y"},
        ),
        "lon": (
            ("station",),
            np.array([position.lon for position in positions], np.float64),
            {"standard_name": "longitude", "long_name": "longitude (WGS 84)", "units": "degrees_east", "axis": "X"},
        ),
    }
    if positions and all(position.height is not None for position in positions):
        about = {"standard_name": "height", "long_name": "height above the ground", "units": "m"}
        height = np.array([position.height for position in positions], np.float64)
        variables["height"] = (("station",), height, {**about, "positive": "up", "axis": "Z"})
    return variables


def _variable_name(quantity: str, number: int) -> str:
    """The number-th name that a variable may have: others may be those of another quantity or of a coordinate."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", quantity)
    name = name if name[:1].isalpha() else f"q_{name}"
    return name if number == 1 else f"{name}_{number}"


def _of_quantity(
    rows: pd.DataFrame, quantity: str, name: str, described: Mapping[str, Any], query: Query
) -> list[tuple[str, NDArray[Any], dict[str, Any]]]:
    """The variables of a quantity: name, values and attributes."""
    cf_name, title, unit = described.get("cf_name"), described.get("title") or quantity, described.get("ucum") or ""
    coordinates = {"coordinates": "time lat lon"}
    common = {"long_name": title, "units": udunits(unit), **coordinates, **({"ucum_unit": unit} if unit else {})}
    if unit in _TEMPERATURES:
        common["units_metadata"] = "temperature: on_scale"
    if query.every is None:
        flags = [flag for flag in Quality if flag]
        quality = {
            "standard_name": "quality_flag",
            "long_name": f"flags of {title}, added up",
            "flag_masks": np.array([int(flag) for flag in flags], np.uint8),
            "flag_meanings": " ".join(str(flag.name).lower() for flag in flags),
            **coordinates,
        }
        about = common | ({"standard_name": cf_name} if cf_name else {}) | {"ancillary_variables": f"{name}_flags"}
        return [
            (name, rows["value"].to_numpy(np.float64), about),
            (f"{name}_flags", rows["quality"].to_numpy(np.uint8), quality),
        ]
    result = []
    columns = [column for column in rows.columns if column in query.aggregates and column != "count"]
    columns += ["rolling"] if "rolling" in rows.columns else []
    for column in columns:
        values = rows[column].to_numpy(np.float64)
        if np.isnan(values).all() and len(columns) > 1:
            continue  # the aggregate of another kind
        about = common | {"long_name": f"{_words(column)} of {title}", "ancillary_variables": f"{name}_count"}
        if column in _DIMENSIONLESS:
            about |= {"units": "1"}
        elif cf_name and column != "std":
            about["standard_name"] = cf_name
        if column == "std" and "units_metadata" in about:
            about["units_metadata"] = "temperature: difference"
        if column in _METHODS:
            about["cell_methods"] = f"time: {_METHODS[column]}"
        result.append((f"{name}_{column}", values, about))
    counted = {
        "standard_name": "number_of_observations",
        "long_name": f"readings of {title} in the bucket",
        "units": "1",
        **coordinates,
    }
    return [*result, (f"{name}_count", rows["count"].to_numpy(np.int64), counted)]


def _words(aggregate: str) -> str:
    percentile = percentile_of(aggregate)
    if percentile is not None:
        return f"{percentile}th percentile"
    return {"std": "standard deviation", "rolling": "running mean"}.get(aggregate, aggregate.replace("_", " "))


def _ends(time: Ints, query: Query) -> Ints:
    """Where the buckets end that begin at these times."""
    assert query.every is not None
    width = fixed_width(query.every)
    if width is not None or not len(time):
        return time + (width or 0)
    edges = bucket_edges(query.every, check_zone(query.zone), int(time.min()), int(time.max()))
    return np.asarray(edges[np.searchsorted(edges, time, "right")], np.int64)


def _refuse_above(numbers: int) -> None:
    if numbers > MOST_NUMBERS:
        raise Problem(
            "too-costly",
            "A NetCDF file is put together in memory and can hold at most {most} numbers.",
            most=f"{MOST_NUMBERS:,}",
            parameter="format",
            example="parquet, which streams any amount; or a shorter range",
        )


def _attributes(
    stations: Sequence[DeviceInfo], time: Ints, query: Query, described: Mapping[str, Any]
) -> dict[str, Any]:
    sources = described["sources"]
    attributes = {
        "Conventions": CONVENTIONS,
        "featureType": "timeSeries",
        "title": f"Readings of {', '.join(source['title'] for source in sources)}",
        "institution": "; ".join(source["attribution"] or source["title"] for source in sources),
        "source": "readings of sensors in a city, by techport",
        "history": f"{times.iso(clock.now())} written by techport",
        "references": "https://www.ogc.org/standard/sensorthings/",
        "comment": f"Buckets of days and longer follow {query.zone}." if query.every else "Readings as they came.",
        "license": "; ".join(sorted({source["licence"] for source in sources if source["licence"]})),
        "techport": json.dumps(described, ensure_ascii=False, default=str),
    }
    if len(time):
        attributes |= {
            "time_coverage_start": times.iso(int(time.min())),
            "time_coverage_end": times.iso(int(time.max())),
        }
    return {name: value for name, value in attributes.items() if value}
