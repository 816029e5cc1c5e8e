"""A district with a day behind it: the demo's definitions and devices, and a few troubles to look at.

The readings end at the present and phases lie around it, but the weather is always that of the same day: what a page
shows does not depend on the date of the test.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from techport_pilots.access.shares import Shares, ShareTerms
from techport_pilots.definition.load import parse_definition
from techport_pilots.model import PilotDefinition
from techport_simulators.demo import demo_in
from techport_simulators.devices import Device, devices_of
from techport_storage.clock import now, now_datetime
from techport_storage.microseconds import HOUR, SECOND
from techport_storage.model import Batch, Reading, Stream
from tests.dashboards.web import City

SEED = 7
WEATHER = 1_795_431_600_000_000  # 2026-11-23T11:00Z: what is measured now is what this instant would have given
GAP = ("school-air", "ila-skole")  # silent from nine to seven hours ago
SILENT = {("school-air", "nidarvoll-skole"): 5 * HOUR, ("smart-bins", "solsiden"): 20 * HOUR}
SHARED = "/shared/delt-luft-ved-skolene"
NEVER = {("hospital-noise", "oya-vest")}


def build(folder: Path) -> City:
    """The demo's pilots with readings of the last 26 hours, a gap, devices that fell silent and one that never came."""
    city = City.at(folder)
    until = now()
    # Interventions began two weeks before this Monday: pilots whose phases are over need no attention.
    today = now_datetime().date()
    for path in demo_in(folder / "definitions", today + dt.timedelta(weeks=2)):
        # The demo's devices sent by the hour before; here all readings are of devices that send as they say now.
        lines = path.read_text("utf-8").splitlines(keepends=True)
        text = "".join(line for line in lines if "previous:" not in line)
        pilot = parse_definition(text)
        city.registry.import_pilot(pilot, text, "test")
        for device in troubled(pilot):
            city.store.write(day_of(device, until))
    share(city, "school-air", SHARED.rpartition("/")[2])
    return city


def share(city: City, pilot: str, key: str) -> None:
    """A feed of the pilot's air, by the hour, at a known address."""
    terms = ShareTerms(title="Air at the schools", audience="link", quantities=["no2", "pm10"])
    shared = Shares(city.registry.database).create(city.registry.pilot(pilot), terms, "test", publish=True)
    with city.registry.database.writing() as transaction:
        transaction.execute("UPDATE shares SET key = :key WHERE id = :id", {"key": key, "id": shared.id})


def troubled(pilot: PilotDefinition) -> list[Device]:
    return [device for device in devices_of(pilot, SEED) if (device.pilot, device.id) not in NEVER]


def day_of(device: Device, until: int) -> Batch:
    """All that the device measured, in columns."""
    end = until - SILENT.get((device.pilot, device.id), 0)
    times = device.instants(until - 26 * HOUR, end)
    if (device.pilot, device.id) == GAP:
        times = times[(times < until - 9 * HOUR) | (times > until - 7 * HOUR)]
    values = measured(device, times, until)
    streams = [Stream(device.pilot, device.id, sensor.quantity) for sensor in device.sensors]
    return Batch(
        streams=streams,
        stream=np.repeat(np.arange(len(streams), dtype=np.int32), len(times)),
        time=np.tile(times, len(streams)),
        value=np.array([[row[s.quantity] for row in values] for s in streams], np.float64).reshape(-1),
        received=np.tile(times + SECOND // 5, len(streams)),
        quality=np.zeros(len(times) * len(streams), np.uint8),
    )


def measured(device: Device, times: NDArray[np.int64], present: int) -> list[dict[str, float]]:
    """What the device measures at these times when the present has the weather of `WEATHER`."""
    return device.measure(times - present + WEATHER)


def everybody(city: City) -> None:
    """One reading of every device that is not in trouble, so that they are alive at this moment."""
    for pilot in city.registry.pilots():
        for device in pilot.devices:
            if (pilot.id, device.id) not in SILENT and (pilot.id, device.id) not in NEVER:
                measure_now(city, pilot, device.id)


def measure_now(city: City, pilot: PilotDefinition, device: str) -> list[Reading]:
    """One reading of each stream of the device at this moment, written to the store."""
    at = now()
    found = [
        Reading(pilot.id, device, sensor.quantity, at, float(sensor_value), at)
        for d in devices_of(pilot, SEED)
        if d.id == device
        for sensor, sensor_value in zip(d.sensors, measured(d, np.array([at], np.int64), at)[0].values(), strict=True)
    ]
    city.write(*found)
    return found
