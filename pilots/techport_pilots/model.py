"""A pilot as its team writes it down: the types behind the definition file (YAML or TOML).

Field names are the file's keys. Times are ISO 8601 with an offset (or local times of the pilot's zone), durations are
ISO 8601 ("PT10M", "P2Y"). definition.py reads and checks a file and names line, field and remedy of what is wrong.
"""

from __future__ import annotations

import datetime as dt
from typing import Literal

import msgspec


class Text(msgspec.Struct, frozen=True):
    """A text in the languages of the pages; where one is missing, the other stands in."""

    nb: str = ""
    en: str = ""

    def get(self, language: str) -> str:
        return (self.nb or self.en) if language in ("nb", "nn", "no") else (self.en or self.nb)


class Organisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    role: Literal["owner", "partner", "supplier", "funder", "data-processor"] = "partner"
    url: str | None = None


class Contact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    email: str | None = None


class Position(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """WGS 84 degrees; height above ground in metres."""

    lat: float
    lon: float
    height: float | None = None


class StreamDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One quantity that a device measures."""

    quantity: str  # vocabulary name, or one of the pilot's own; ".channel" may follow
    interval: str | None = None  # expected time between readings, ISO 8601 duration
    range: tuple[float, float] | None = (
        None  # valid range, in the quantity's unit, where narrower than the vocabulary's
    )
    title: Text | None = None


class DeviceDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    title: Text | None = None
    kind: str | None = None  # maker's model or what it is: "air-quality station"
    position: Position | None = None
    group: str | None = None  # for KPIs and control groups
    interval: str | None = None  # default for its streams
    streams: list[StreamDefinition] = []


class QuantityDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A quantity of the pilot's own, beside the vocabulary."""

    name: str
    title: Text
    unit: str  # UCUM
    range: tuple[float, float] | None = None
    kind: Literal["level", "count", "direction", "state"] = "level"


class Phase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    kind: Literal["baseline", "intervention", "control", "other"]
    start: dt.datetime
    end: dt.datetime
    title: Text | None = None


class Kpi(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What decides. Kept as written for now; evaluation reads it."""

    id: str
    title: Text
    quantity: str
    statistic: str = "mean"
    direction: Literal["lower", "higher"] = "lower"
    target: float | None = None  # in the quantity's unit
    minimum_completeness: float = 0.75  # 0..1
    devices: list[str] = []


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    time: dt.datetime
    kind: Literal["installed", "moved", "calibrated", "outage", "intervention", "other"]
    text: Text
    device: str | None = None
    end: dt.datetime | None = None


class PilotDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str  # a topic level: a-z, 0-9 and hyphen
    title: Text
    question: Text  # the hypothesis as one sentence with a question mark
    devices: list[DeviceDefinition]
    description: Text = Text()
    hypothesis: Text = Text()
    organisations: list[Organisation] = []
    contact: Contact | None = None
    purpose: Text = Text()
    personal_data: bool = False
    legal_basis: str | None = None  # GDPR article 6 ground, where personal_data
    dpia: str | None = None  # reference to the assessment, where personal_data
    data_class: Literal["open", "internal", "personal"] = "open"
    timezone: str = "Europe/Oslo"
    area: list[tuple[float, float]] = []  # outline, [lon, lat] pairs as in GeoJSON
    phases: list[Phase] = []
    kpis: list[Kpi] = []
    quantities: list[QuantityDefinition] = []
    events: list[Event] = []
    licence: str = "CC-BY-4.0"  # SPDX
    attribution: str = ""
    retention: str | None = None  # ISO 8601 duration after the end
