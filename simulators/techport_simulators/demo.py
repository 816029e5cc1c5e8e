"""The definitions and mappings that come with the package."""

from __future__ import annotations

import datetime as dt
import re
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

DEMO_PILOTS = ("school-air", "hospital-noise", "smart-bins", "campus-rooms", "elgeseter-bridge", "nidelva-water")
"""The simulated district, by file name without its ending."""

REAL_PILOTS = ("street-cleaning", "lecture-noise")
"""Pilots whose data are recorded, for replay."""


def definition_path(name: str) -> Path:
    """The packaged definition file of a pilot. Raises FileNotFoundError naming those there are."""
    return _packaged("pilots", name, ".yaml")


def mapping_path(name: str) -> Path:
    """The packaged mapping file for `replay`. Raises FileNotFoundError naming those there are."""
    return _packaged("mappings", name, ".toml")


def _packaged(folder: str, name: str, ending: str) -> Path:
    there = Path(str(resources.files(__package__))) / folder
    path = there / f"{name}{ending}"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in there.glob(f"*{ending}")))
        raise FileNotFoundError(f"no {name!r} among the packaged {folder}: {known}")
    return path


def demo_definitions() -> list[Path]:
    """Definition files of the demo district: six pilots, 45 devices."""
    return [definition_path(name) for name in DEMO_PILOTS]


SINCE = dt.timedelta(weeks=4)
"""How long the interventions of a demo have been running on the day it is first started."""

HISTORY = dt.timedelta(weeks=17)
"""From then back to the beginning of the baseline."""

_INTERVENTION = dt.date(2026, 11, 16)  # in the packaged definitions
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d")


def demo_in(folder: Path, today: dt.date) -> list[Path]:
    """The demo's definitions with their dates moved, so that phases and events lie around today; in `folder`.

    Written once: the next start finds the same definitions, and the pilots grow older.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for source in demo_definitions():
        there = folder / source.name
        if not there.exists():
            there.write_text(_around(today, source), encoding="utf-8")
    return [folder / source.name for source in demo_definitions()]


def example_pilots() -> list[str]:
    """Definitions of the demo to look at and to change, with their dates around today."""
    return [_around(dt.datetime.now(ZoneInfo("Europe/Oslo")).date(), definition_path(name)) for name in EXAMPLES]


EXAMPLES = ("school-air", "elgeseter-bridge", "nidelva-water")


def _around(today: dt.date, source: Path) -> str:
    """A packaged definition with its dates moved, so that its phases lie around today."""
    monday = today - dt.timedelta(days=today.weekday())
    moved = monday - SINCE - _INTERVENTION
    return _TIME.sub(lambda time: _later(time[0], moved), source.read_text(encoding="utf-8"))


def _later(time: str, by: dt.timedelta) -> str:
    """The same time of day in Trondheim on another date, with the offset of that date."""
    wall = dt.datetime.fromisoformat(time).replace(tzinfo=None) + by
    return wall.replace(tzinfo=ZoneInfo("Europe/Oslo")).isoformat()
