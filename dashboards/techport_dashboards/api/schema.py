"""What the API answers, for its OpenAPI description, and the parameters that several routes take."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from techport_dashboards.api.words import (
    Attribution,
    DeviceName,
    Instant,
    Licence,
    MaybeInstant,
    PilotName,
    QuantityName,
    Seconds,
    Unit,
)

T = TypeVar("T")


class Listed(BaseModel, Generic[T]):
    items: list[T] = Field(description="One page, in the order of their names or times.")
    next: str | None = Field(description="Cursor of the next page; null on the last.")


class Title(BaseModel):
    nb: str = Field(description="In Norwegian (bokmål); the English text where there is none.")
    en: str = Field(description="In English; the Norwegian text where there is none.")


class Position(BaseModel):
    lat: float = Field(description="Degrees north (WGS 84).")
    lon: float = Field(description="Degrees east (WGS 84).")
    height: float | None = Field(None, description="Metres above the ground.")


class PilotItem(BaseModel):
    id: PilotName
    title: Title
    question: Title
    timezone: str = Field(description="IANA time zone, in which its days and hours are counted.")
    devices: int = Field(description="How many its definition names.")
    licence: Licence
    attribution: Attribution
    start: str | None = Field(description="Start of the first phase.")
    end: str | None = Field(description="End of the last phase.")


class PhaseItem(BaseModel):
    name: str = Field(description="Unique within the pilot.")
    kind: str = Field(description="baseline, intervention, control or other.")
    start: str = Field(description="First instant, ISO 8601.")
    end: str = Field(description="First instant that no longer belongs to it, ISO 8601.")


class PilotDetail(PilotItem):
    description: Title
    hypothesis: Title
    phases: list[PhaseItem] = Field(description="What is compared with what.")
    quantities: list[str] = Field(description="Everything that its devices measure.")


class DeviceItem(BaseModel):
    pilot: PilotName
    id: DeviceName
    title: Title
    described: bool = Field(description="Named by the pilot's definition; otherwise only seen.")
    kind: str | None = Field(description="Maker's model, or what it is.")
    group: str | None = Field(description="Group within the pilot, for KPIs and controls.")
    position: Position | None = Field(description="Where it stands now; null where nobody has said.")
    quantities: list[str] = Field(description="What it measures.")


class StreamItem(BaseModel):
    pilot: PilotName
    device: DeviceName
    quantity: QuantityName
    title: Title
    unit: Unit
    interval: float | None = Field(description="Expected seconds between readings.")
    range: tuple[float, float] | None = Field(description="Valid values, in the unit.")
    described: bool = Field(description="Named by the pilot's definition; otherwise only seen.")
    kind: str = Field(description="level, count, direction, state or energy-level (decibels): how it is averaged.")


class QuantityItem(BaseModel):
    name: QuantityName
    title: Title
    unit: Unit
    unit_label: str = Field(description="The unit as people read it.")
    kind: str = Field(description="level, count, direction, state or energy-level (decibels): how it is averaged.")
    group: str = Field(description="The field it belongs to: air, noise, water, mobility, ...")
    range: tuple[float, float] | None = Field(description="Valid values, in the unit.")
    cf_name: str | None = Field(description="Standard name of the CF conventions.")
    eea_code: int | None = Field(description="Code in the vocabulary of the European Environment Agency.")


class LatestItem(BaseModel):
    pilot: PilotName
    device: DeviceName
    quantity: QuantityName
    time: Instant
    value: float = Field(description="In the unit.")
    unit: Unit
    received: str = Field(description="When it reached us, ISO 8601 in UTC with microseconds.")
    quality: int = Field(description="Flags, added up: 0 is a reading without any.")


class EventItem(BaseModel):
    id: str = Field(description="Place in the order of time.")
    added: int | None = Field(description="Number for DELETE; null for what stands in the definition file.")
    time: Instant
    end: MaybeInstant
    kind: str = Field(description="installed, moved, calibrated, outage, intervention, other, or exclusion.")
    device: str | None = Field(description="The device it is about; null: the whole pilot.")
    quantity: str | None = Field(description="The quantity it is about; null: all.")
    text: Title


class KpiItem(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str = Field(description="Unique within the pilot.")
    title: Title
    quantity: QuantityName
    statistic: str = Field(description="mean, median, percentile, min, max, sum, count, hours_above or share_above.")
    direction: str = Field(description="What is better: lower or higher.")
    target: float | None = Field(description="In the quantity's unit, or in per cent where target_is says so.")
    value: dict[str, Any] | None = Field(None, description="Over the time asked for: value, unit, completeness, slots.")


class QuarantineItem(BaseModel):
    id: int = Field(description="Number of the entry.")
    device: DeviceName
    topic: str = Field(description="Where the message came in.")
    format: str = Field(description="What it was read as.")
    reason: str = Field(description="Why it was set aside, as one word.")
    field: str | None = Field(description="Where in the message.")
    detail: str = Field(description="What was wrong.")
    hint: str = Field(description="What to do about it.")
    values: int = Field(description="How many values wait in it.")
    received: Instant
    payload: str = Field(description="At most 10,000 bytes; those that are no text as \\\\x escapes.")


class GapItem(BaseModel):
    pilot: PilotName
    device: DeviceName
    quantity: QuantityName
    start: str = Field(description="Last reading before, or the start of the range.")
    end: str = Field(description="First reading after, or the end of the range.")
    seconds: Seconds
    missing: int = Field(description="Readings that should have come.")


class CompletenessItem(BaseModel):
    pilot: PilotName
    device: DeviceName
    quantity: QuantityName
    expected: int | None = Field(description="Null where nobody has said how often the stream comes.")
    observed: int = Field(description="Of the expected ones, those that are there.")
    completeness: float | None = Field(description="observed ÷ expected, 0 to 1.")
    readings: int = Field(description="All that are there, those beyond the expected ones too.")
    flagged: int = Field(description="Of the readings, those with a quality flag.")
    first: MaybeInstant
    last: MaybeInstant
    longest_gap: Seconds


class SnapshotItem(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str = Field(description="The first 24 digits of the checksum.")
    url: str = Field(description="Permanent address of this description.")
    page: str = Field(description="Permanent address of the same for people.")
    file: str = Field(description="Permanent address of the Parquet file.")
    sha256: str = Field(description="Checksum of the file.")
    rows: int = Field(description="Rows of the file.")
    bytes: int = Field(description="Size of the file.")
    created: Instant
    question: dict[str, Any] = Field(description="The parameters of /readings that it answers.")
    citation: str = Field(description="Text for a list of references.")
    doi: str | None = Field(description="Null until one is registered.")


class ReadingsPage(BaseModel):
    items: list[dict[str, Any]] = Field(
        description="Readings: pilot, device, quantity, time, value, received, quality, unit. With `every` buckets: "
        "time (the start), count, completeness (0 to 1) and a column for each aggregate, in the unit. Wide: time and "
        "a column for each stream."
    )
    next: str | None = Field(description="Cursor of the next page; null on the last.")
    start: MaybeInstant
    end: MaybeInstant
    every: str | None = Field(description="Width of the buckets, ISO 8601; null for readings as they came.")
    zone: str = Field(description="IANA time zone that days and longer buckets follow.")
    quality: str = Field(description="all, or good: those without a flag.")
    units: dict[str, Any] = Field(description="For each quantity its UCUM code, label and title.")
    sources: list[dict[str, Any]] = Field(description="Licence and attribution of each pilot.")
