"""Lengths of time in microseconds, the unit in which all of techport counts time."""

from __future__ import annotations

from techport_storage.model import Micros

SECOND: Micros = 1_000_000
MINUTE: Micros = 60 * SECOND
HOUR: Micros = 60 * MINUTE
DAY: Micros = 24 * HOUR
