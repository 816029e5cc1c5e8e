"""The definitions and mappings that come with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

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
