"""The definitions and mappings that come with the package, and the story that the demo tells with them."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec

from techport_pilots.model import DeviceDefinition, PilotDefinition, StreamDefinition
from techport_simulators.chance import key
from techport_simulators.devices import iso, micros
from techport_simulators.faults import FaultPlan, Faults
from techport_storage import clock
from techport_storage.microseconds import DAY, HOUR, MINUTE

DEMO_PILOTS = ("school-air", "hospital-noise", "smart-bins", "campus-rooms", "elgeseter-bridge", "nidelva-water")
"""The simulated district, by file name without its ending."""

FINISHED_PILOT = "quiet-asphalt"
"""The pilot of the demo that is over and closed: its devices have been taken down."""

REAL_PILOTS = ("street-cleaning", "lecture-noise")
"""Pilots whose data are recorded, for replay."""


def definition_path(name: str) -> Path:
    """The packaged definition file of a pilot. Raises FileNotFoundError naming those there are."""
    return _packaged("pilots", name, ".yaml")


def mapping_path(name: str) -> Path:
    """The packaged mapping file for `replay`. Raises FileNotFoundError naming those there are."""
    return _packaged("mappings", name, ".toml")


def _packaged(folder: str, name: str, ending: str) -> Path:
    directory = Path(str(resources.files(__package__))) / folder
    path = directory / f"{name}{ending}"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in directory.glob(f"*{ending}")))
        raise FileNotFoundError(f"no {name!r} among the packaged {folder}: {names}")
    return path


def demo_definitions() -> list[Path]:
    """Definition files of the demo district: six pilots, 45 devices."""
    return [definition_path(name) for name in DEMO_PILOTS]


# -- Dates: the demo's phases and events lie around the day on which it is first started.

SINCE = dt.timedelta(weeks=4)
"""How long the interventions of a demo have been running on the day it is first started."""

HISTORY = dt.timedelta(weeks=17)
"""From then back to the beginning of the baseline."""

_INTERVENTION = dt.date(2026, 11, 16)  # in the packaged definitions
_OFTEN = "2026-12-19T00:00:00+01:00"  # in the packaged definitions: when devices began to send as often as they do
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d")


def demo_in(folder: Path, today: dt.date) -> list[Path]:
    """The demo's definitions with their dates moved, so that phases and events lie around today; in `folder`.

    Written once: the next start finds the same definitions, and the pilots grow older.
    """
    return [_moved(folder, name, today) for name in DEMO_PILOTS]


def finished_in(folder: Path, today: dt.date) -> Path:
    """The definition of the pilot that is over, moved in the same way."""
    return _moved(folder, FINISHED_PILOT, today)


def _moved(folder: Path, name: str, today: dt.date) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    if not path.exists():
        path.write_text(_around(today, definition_path(name)), encoding="utf-8")
    return path


def example_pilots() -> list[str]:
    """Definitions of the demo to look at and to change, with their dates around today; without their past."""
    today = clock.now_datetime(ZoneInfo("Europe/Oslo")).date()
    return [_around(today, definition_path(name), without=_OFTEN) for name in EXAMPLES]


EXAMPLES = ("school-air", "elgeseter-bridge", "nidelva-water")


def _around(today: dt.date, source: Path, without: str | None = None) -> str:
    """A packaged definition with its dates moved, so that its phases lie around today; without the lines in which a
    text occurs."""
    monday = today - dt.timedelta(days=today.weekday())
    moved = monday - SINCE - _INTERVENTION
    often = dt.datetime.combine(today - dt.timedelta(days=1), dt.time(), ZoneInfo("Europe/Oslo")).isoformat()
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    text = "".join(line for line in lines if without is None or without not in line)
    return _TIME.sub(lambda time: often if time[0] == _OFTEN else _later(time[0], moved), text)


def _later(time: str, by: dt.timedelta) -> str:
    """The same time of day in Trondheim on another date, with the offset of that date."""
    wall = dt.datetime.fromisoformat(time).replace(tzinfo=None) + by
    return wall.replace(tzinfo=ZoneInfo("Europe/Oslo")).isoformat()


# -- What is wrong in the demo, so that there is something to find.

OFFLINE = ("school-air", "lade-skole")
"""Silent since the Friday before the week of the first start."""

LOW_BATTERY = ("smart-bins", "solsiden")

UNKNOWN_BOX = ("school-air", "rosenborg-skole")
"""Sends, and nobody has added it."""

MISREAD = ("nidelva-water", "gamle-bybro")
"""Sent text instead of numbers for a night: its wiper was stuck."""

_SILENT_SINCE = 4 * 7 * DAY - 62 * HOUR  # after the intervention began
_BATTERY_LIFE = 400 * DAY
_BATTERY_USED = 0.93  # of its life on the day of the first start: below 10 % of its charge


def demo_faults(pilots: Sequence[PilotDefinition]) -> FaultPlan:
    """What goes wrong with the demo's devices. Written down by the pilots' dates, so the same at every start."""
    began = {pilot.id: _intervention(pilot) for pilot in pilots}

    def faults(pilot: str, device: str) -> Faults:
        if (pilot, device) == OFFLINE and pilot in began:
            return Faults(silent_from=began[pilot] + _SILENT_SINCE)
        if pilot in began:  # all other batteries have months left
            used = _BATTERY_USED if (pilot, device) == LOW_BATTERY else 0.1 + key("battery", pilot, device) % 50 / 100
            first_start = began[pilot] + SINCE // dt.timedelta(microseconds=1)
            new = first_start - round(used * _BATTERY_LIFE)
            return Faults(battery=dt.timedelta(microseconds=_BATTERY_LIFE), battery_since=new)
        return Faults()

    return faults


def with_unknown_box(pilots: Sequence[PilotDefinition]) -> list[PilotDefinition]:
    """The pilots with a device that sends and that their definitions do not name."""
    pilot, device = UNKNOWN_BOX
    streams = [StreamDefinition(quantity) for quantity in ("pm10", "pm25", "air_temperature")]
    box = DeviceDefinition(device, group="school", interval="PT10M", streams=streams)
    return [msgspec.structs.replace(p, devices=[*p.devices, box]) if p.id == pilot else p for p in pilots]


def _intervention(pilot: PilotDefinition) -> int:
    return min(micros(phase.start) for phase in pilot.phases if phase.kind == "intervention")


@dataclass(frozen=True, slots=True)
class Stray:
    """A message of the last day that is for the quarantine; `received` in µs."""

    topic: str
    payload: bytes
    received: int


def strays(now: int) -> list[Stray]:
    """What came in the last day and nobody could read: of a box that nobody added, and of a sonde that sent words."""
    messages = []
    pilot, device = UNKNOWN_BOX
    for number, time in enumerate(range(now - 5 * HOUR, now - 4 * MINUTE, 10 * MINUTE)):
        values = {"pm10": 14.2 + number % 7, "pm25": 6.1 + number % 5, "air_temperature": -1.5 + number / 10}
        payload = msgspec.json.encode({"time": iso(time), **values})
        messages.append(Stray(f"pilots/{pilot}/{device}/readings", payload, time))
    pilot, device = MISREAD
    for time in range(now - 9 * HOUR, now - 5 * HOUR, 10 * MINUTE):
        payload = msgspec.json.encode({"time": iso(time), "turbidity": "WIPER FAULT"})
        messages.append(Stray(f"pilots/{pilot}/{device}/readings", payload, time))
    return sorted(messages, key=lambda message: message.received)
