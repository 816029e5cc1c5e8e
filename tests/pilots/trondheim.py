"""The Trondheim hours of 2019 and 2020 as a pilot and its readings, for tests and benchmarks that have ../shared."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd

from techport_pilots.model import DeviceDefinition, Phase, PilotDefinition, StreamDefinition, Text
from techport_storage.microseconds import HOUR
from techport_storage.model import Batch, Stream

PILOT = "trondheim-cleaning"
START = int(np.datetime64("2019-01-01T00", "us").astype(np.int64)) - HOUR
END = int(np.datetime64("2021-01-01T00", "us").astype(np.int64)) - HOUR


# docs/decisions/0005: traffic, air quality and cleaning name the start of the hour in fixed UTC+1; weather is UTC, and
# its sums are of the hour that ends at the label.
def _starts(column: str) -> int:
    """What to take off a label to get the instant (µs)."""
    return 0 if column.startswith("voll") and "sum(" not in column else HOUR


_COLUMNS = {
    "air_quality_measurements.csv": {
        "E6-Tiller_pm10": ("e6-tiller", "pm10"),
        "Elgeseter_pm10": ("elgeseter", "pm10"),
        "Bakke kirke_pm10": ("bakke-kirke", "pm10"),
        "Torvet_pm10": ("torvet", "pm10"),
    },
    "weather.csv": {
        "voll_sum(precipitation_amount PT1H)": ("voll", "precipitation"),
        "voll_wind_speed": ("voll", "wind_speed"),
        "voll_wind_from_direction": ("voll", "wind_from_direction"),
        "voll_air_temperature": ("voll", "air_temperature"),
        "voll_relative_humidity": ("voll", "relative_humidity"),
    },
    "traffic.csv": {
        "Elgeseter": ("traffic-elgeseter", "vehicle_count"),
        "Bakkekirke": ("traffic-bakke-kirke", "vehicle_count"),
        "Moholtlia": ("traffic-moholtlia", "vehicle_count"),
    },
    "street_cleaning.csv": {
        "E6": ("cleaning-e6", "street_cleaning"),
        "Siemens to Sirkus": ("cleaning-siemens-sirkus", "street_cleaning"),
        "706": ("cleaning-706", "street_cleaning"),
    },
}


def definition() -> PilotDefinition:
    """All devices of the data set, hourly."""
    measured: dict[str, list[StreamDefinition]] = {}
    for columns in _COLUMNS.values():
        for device, quantity in columns.values():
            measured.setdefault(device, []).append(StreamDefinition(quantity))
    return PilotDefinition(
        PILOT,
        Text(nb="Gaterenhold i Trondheim", en="Street cleaning in Trondheim"),
        Text(nb="Gir feiing mindre svevestøv dagen etter?", en="Does sweeping lower PM10 the next day?"),
        [DeviceDefinition(device, interval="PT1H", streams=streams) for device, streams in measured.items()],
        phases=[Phase("both-years", "other", dt.datetime(2019, 1, 1), dt.datetime(2021, 1, 1))],
    )


def readings(shared: Path) -> Batch:
    """Every value of the columns above, good or clipped as the source has it."""
    folder = shared / "datasets" / "trondheim-ntnu"
    streams: list[Stream] = []
    times, values, index = [], [], []
    for name, columns in _COLUMNS.items():
        table = pd.read_csv(folder / name, index_col=0, parse_dates=[0])
        labels = table.index.to_numpy().astype("datetime64[us]").astype(np.int64)
        for column, (device, quantity) in columns.items():
            index.append(np.full(len(table), len(streams), np.int32))
            streams.append(Stream(PILOT, device, quantity))
            times.append(labels - _starts(column))
            values.append(table[column].to_numpy(np.float64))
    time = np.concatenate(times)
    return Batch(streams, np.concatenate(index), time, np.concatenate(values), time, np.zeros(len(time), np.uint8))
