"""Pilots of many kinds whose evaluations are recorded in evaluation_recorded.json: every way that numbers are made."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np

from techport_pilots.model import (
    Comparison,
    Covariate,
    DeviceDefinition,
    Event,
    Exposure,
    Kpi,
    Measure,
    Phase,
    PilotDefinition,
    StreamDefinition,
    Text,
)
from techport_storage.model import Batch, Stream
from techport_storage.store import open_store
from tests.pilots import trial

HOUR = 3_600_000_000
START = dt.datetime(2025, 9, 28, 22, tzinfo=dt.UTC)  # midnight in Oslo; summer time ends four weeks later
MIDDLE, END = START + dt.timedelta(weeks=4, hours=1), START + dt.timedelta(weeks=8, hours=1)
HOURS = (END - START) // dt.timedelta(hours=1)
FIRST = int(START.timestamp()) * 1_000_000
TIMES = FIRST + HOUR * np.arange(HOURS)
AFTER = np.arange(HOURS) >= 4 * 168 + 1
WIND = Covariate("wind_speed", "mast")
DIRECTION = Covariate("wind_from_direction", "mast")
CARS = Measure(quantity="vehicle_count", statistic="sum")

KPIS: dict[str, dict[str, Any]] = {
    "mean": {},
    "mean of one group": {"groups": ["street"]},
    "control group": {"groups": ["street"], "control": ["park"]},
    "adjusted": {"groups": ["street"], "control": ["park"], "adjust": [WIND, DIRECTION]},
    "median": {"statistic": "median"},
    "90th percentile": {"statistic": "percentile", "percentile": 90.0},
    "share above": {"statistic": "share_above", "threshold": 20.0},
    "hours above": {"statistic": "hours_above", "threshold": 20.0},
    "highest": {"statistic": "max", "target": 60.0},
    "daily maximum": {"interval": "P1D", "slot": "max"},
    "daily minimum": {"interval": "P1D", "slot": "min", "statistic": "median"},
    "running mean": {"interval": "P1D", "slot": "max_8h"},
    "rush hours": {"hours": (7, 9), "weekdays": ["mon", "tue", "wed", "thu", "fri"]},
    "nights": {"hours": (22, 7)},
    "value target": {"target": 21.0},
    "percent target": {"target": -10.0, "target_is": "percent"},
    "sound": {"quantity": "laeq"},
    "lden": {"quantity": "laeq", "interval": "P1D", "slot": "lden"},
    "daily sound": {"quantity": "laeq", "interval": "P1D"},
    "wind direction": {"quantity": "wind_from_direction"},
    "bicycles": {"quantity": "bicycle_count", "statistic": "sum", "direction": "higher"},
    "daily bicycles": {"quantity": "bicycle_count", "statistic": "mean", "interval": "P1D"},
    "traffic": {"quantity": "bicycle_count", "plus": ["vehicle_count"], "statistic": "sum"},
    "readings": {"quantity": "vehicle_count", "statistic": "count"},
    "modal share": {"quantity": "bicycle_count", "statistic": "sum", "compare": Comparison("share", CARS)},
    "ratio": {"quantity": "bicycle_count", "statistic": "sum", "compare": Comparison("ratio", CARS)},
    "difference": {"quantity": "bicycle_count", "statistic": "sum", "compare": Comparison("difference", CARS)},
    "after events": {"after": Exposure(event="intervention"), "groups": ["street"]},
    "two days after": {"after": Exposure(event="intervention", lag=2), "adjust": [WIND]},
    "after a stream": {"after": Exposure(quantity="street_cleaning", device="log", level_before=True)},
    "nobody": {"quantity": "no2"},
}


def pilot() -> PilotDefinition:
    """Two streets, a park, a mast, a counter and a log of the sweeping, with a device that was moved."""
    devices = [
        *((name, "street", ["pm10", "laeq"]) for name in ("street-1", "street-2")),
        ("park-1", "park", ["pm10"]),
        ("mast", "weather", ["wind_speed", "wind_from_direction"]),
        ("counter", "traffic", ["bicycle_count", "vehicle_count"]),
        ("log", "log", ["street_cleaning"]),
    ]
    events = [
        Event(START + dt.timedelta(days=day, hours=9), "intervention", Text(en="Swept")) for day in range(2, 54, 3)
    ]
    moved = Event(START + dt.timedelta(days=40), "moved", Text(en="Across the street"), device="street-2")
    return PilotDefinition(
        "p",
        Text(en="P"),
        Text(en="Q?"),
        [
            DeviceDefinition(name, group=group, interval="PT1H", streams=[StreamDefinition(key) for key in quantities])
            for name, group, quantities in devices
        ],
        phases=[Phase("before", "baseline", START, MIDDLE), Phase("after", "intervention", MIDDLE, END)],
        events=[*events, moved],
        kpis=[
            Kpi(**{"id": name, "title": Text(en=name), "quantity": "pm10", "minimum_completeness": 0.5} | more)
            for name, more in KPIS.items()
        ],
    )


def readings() -> Batch:
    """Eight weeks of hours, with noise that lasts, holes in every stream, and an effect of -4 in the street."""
    chance = np.random.default_rng(20)
    hour = (TIMES // HOUR + 1) % 24
    wind = 5 + _lasting(chance, 0.97)
    day = np.arange(HOURS) // 24

    def dust(effect: float) -> Any:
        pattern = 3 * np.sin(2 * np.pi * hour / 24)
        return 22 + pattern + _lasting(chance, 0.8) - wind + effect * AFTER + chance.normal(size=HOURS)

    values = {
        ("street-1", "pm10"): dust(-4),
        ("street-2", "pm10"): dust(-4) + 5,
        ("park-1", "pm10"): dust(0),
        ("street-1", "laeq"): 60 + chance.normal(0, 2, HOURS) - 3 * AFTER - 8 * (hour < 7),
        ("street-2", "laeq"): 62 + chance.normal(0, 2, HOURS) - 3 * AFTER - 8 * (hour < 7),
        ("mast", "wind_speed"): wind,
        ("mast", "wind_from_direction"): (350 + chance.normal(0, 15, HOURS) + 30 * AFTER) % 360,
        ("counter", "bicycle_count"): chance.poisson(20 + 10 * AFTER),
        ("counter", "vehicle_count"): chance.poisson(80 - 10 * AFTER),
        ("log", "street_cleaning"): (day % 4 == 1).astype(float),
    }
    there = {key: np.flatnonzero(chance.random(HOURS) > (0.0 if key[0] == "log" else 0.06)) for key in values}
    place = np.concatenate(list(there.values()))
    stream = np.repeat(np.arange(len(there), dtype=np.int32), [len(rows) for rows in there.values()])
    value = np.concatenate([np.asarray(values[key], float)[rows] for key, rows in there.items()])
    time = TIMES[place]
    return Batch([Stream("p", *key) for key in values], stream, time, value, time, np.zeros(len(time), np.uint8))


def _lasting(chance: np.random.Generator, persistence: float) -> Any:
    noise = np.zeros(HOURS)
    for i in range(1, HOURS):
        noise[i] = persistence * noise[i - 1] + chance.normal(0, 0.5)
    return noise


def numbers(evaluate: Callable[..., Any], kpi_value: Callable[..., Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is recorded of each case: everything but sentences."""
    for name, definition, batch in (("many", pilot(), readings()), ("trial", trial.definition(), trial.readings())):
        store = open_store("duckdb://")
        store.write(batch)
        last = int(batch.time.max()) // HOUR * HOUR
        for kpi in definition.kpis:
            answer = msgspec.to_builtins(evaluate(store, definition, kpi))
            for key in ("reasons", "method", "left_out"):
                answer.pop(key, None)
            yield f"{name}: {kpi.id}", answer
            if kpi.after is None:
                value = kpi_value(store, definition, kpi, last - 400 * HOUR, last)
                yield (
                    f"{name}: value of {kpi.id}",
                    {
                        "value": value.value,
                        "unit": value.unit,
                        "completeness": value.completeness,
                        "samples": value.samples,
                    },
                )
        store.close()
