"""Simulated pilots whose true effect is known, for the proof that an evaluation's intervals keep their promise.

Hours of autocorrelated noise, a daily and a weekly pattern, three devices that share most of the noise, holes of all
lengths, and where asked a control group or a covariate that moves the quantity.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.signal import lfilter

from techport_pilots.model import Covariate, DeviceDefinition, Kpi, Phase, PilotDefinition, StreamDefinition, Text
from techport_pilots.time import local
from techport_storage.columns import name_columns
from techport_storage.microseconds import HOUR
from techport_storage.model import Batch, BucketWidth, Query, Stream, aggregate_schema

START = dt.datetime(2025, 9, 29, tzinfo=dt.UTC)  # four or eight weeks on lie across the end of summer time
LEVEL, AMPLITUDE = 20.0, 4.0
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scenario:
    """What the world of a pilot is like. `weeks` is the length of each of the two phases."""

    name: str
    weeks: int = 4
    persistence: float = 0.8  # from one hour to the next
    gaps: bool = True
    control: bool = False
    covariate: bool = False
    statistic: str = "mean"
    skewed: bool = False


def noise(hours: int, persistence: float, random: np.random.Generator) -> Floats:
    """Stationary AR(1) with variance one."""
    steps = random.standard_normal(hours + 500)
    return np.asarray(lfilter([1.0], [1.0, -persistence], steps)[500:] * np.sqrt(1 - persistence**2))


def definition(scenario: Scenario) -> PilotDefinition:
    """The pilot's definition: phases, devices, one KPI."""
    turn, end = START + dt.timedelta(weeks=scenario.weeks), START + dt.timedelta(weeks=2 * scenario.weeks)
    groups = ["street", "control"] if scenario.control else ["street"]
    devices = [
        DeviceDefinition(f"{group}-{i}", group=group, interval="PT1H", streams=[StreamDefinition("pm10")])
        for group in groups
        for i in range(3)
    ]
    if scenario.covariate:
        devices.append(DeviceDefinition("mast", group="weather", streams=[StreamDefinition("wind_speed")]))
    kpi = Kpi(
        id="pm10",
        title=Text(en="PM10"),
        quantity="pm10",
        groups=["street"],
        statistic=scenario.statistic,  # type: ignore[arg-type]
        percentile=90 if scenario.statistic == "percentile" else None,
        threshold=LEVEL + 4 if scenario.statistic.endswith("above") else None,
        minimum_completeness=0.6,
        control=["control"] if scenario.control else [],
        adjust=[Covariate("wind_speed", "mast")] if scenario.covariate else [],
    )
    return PilotDefinition(
        "trial",
        Text(en="Trial"),
        Text(en="Does it work?"),
        devices,
        phases=[Phase("before", "baseline", START, turn), Phase("after", "intervention", turn, end)],
        kpis=[kpi],
    )


def readings(scenario: Scenario, effect: float, random: np.random.Generator) -> Batch:
    """One simulated pilot's readings; the street's devices are `effect` higher in the second phase."""
    hours = 2 * scenario.weeks * 168
    time = int(START.timestamp()) * 1_000_000 + HOUR * np.arange(hours)
    when = local(time, "Europe/Oslo")
    rush = np.exp(-((when.hour - 8) ** 2) / 4) + np.exp(-((when.hour - 16) ** 2) / 6)
    pattern = LEVEL + 6 * rush * np.where(when.weekday >= 5, 0.4, 1.0) - 2 * (when.weekday >= 5)
    shared = noise(hours, scenario.persistence, random)
    wind = noise(hours, 0.97, random) if scenario.covariate else np.zeros(hours)
    streams, columns = [], []
    for device in definition(scenario).devices:
        if device.group == "weather":
            value = 5 + 2 * wind
        else:
            own = noise(hours, scenario.persistence, random)
            error = 0.8 * shared + 0.6 * own
            if scenario.skewed:
                error = (np.exp(0.8 * error) - np.exp(0.32)) / 1.5
            value = pattern + random.normal(0, 3) + AMPLITUDE * error - 3 * wind
            value[hours // 2 :] += effect if device.group == "street" else 0.0
            value += 1.5 * (np.arange(hours) >= hours // 2) if scenario.control else 0.0  # the season, for everybody
        streams.append(Stream("trial", device.id, device.streams[0].quantity))
        columns.append(_holed(value, random) if scenario.gaps and device.group != "weather" else value)
    table = np.stack(columns)
    stream, hour = np.nonzero(np.isfinite(table))
    n = len(stream)
    return Batch(
        streams,
        stream.astype(np.int32),
        time[hour],
        table[stream, hour],
        time[hour] + 1_000_000,
        np.zeros(n, np.uint8),
    )


def _holed(values: Floats, random: np.random.Generator) -> Floats:
    """Holes of hours every few days, and one of some days."""
    values = values.copy()
    hours = len(values)
    for _ in range(random.poisson(hours / 80)):
        start = int(random.integers(hours))
        values[start : start + 1 + int(random.exponential(6))] = np.nan
    start = int(random.integers(hours))
    values[start : start + int(random.integers(24, 96))] = np.nan
    return values


class Shelf:
    """Hourly readings in memory, answering the one question that an evaluation asks: means of hours."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def read(self, query: Query) -> pa.RecordBatchReader:
        """Each bucket holds at most one reading, which is its mean."""
        if query.every != BucketWidth(HOUR, "us") or query.aggregates != ("mean",) or query.select.streams is None:
            raise NotImplementedError(query)
        batch = self._batch
        asked = np.array([stream in query.select.streams for stream in batch.streams])
        rows = asked[batch.stream] & (batch.time >= query.start) & (batch.time < query.end)
        columns = name_columns(batch.streams, batch.stream[rows])
        numbers = [batch.time[rows].astype("datetime64[us]"), batch.value[rows], np.ones(rows.sum(), np.int64)]
        schema = aggregate_schema(query.aggregates)
        types = schema.types[3:]
        table = pa.Table.from_arrays(
            [*columns, *(pa.array(column).cast(kind) for column, kind in zip(numbers, types, strict=True))],
            schema=schema,
        )
        return table.to_reader()
