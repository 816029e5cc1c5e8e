"""What the API answers, for its OpenAPI description, and the parameters that several routes take."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from techport_dashboards.errors import Problem
from techport_dashboards.queries import Question

T = TypeVar("T")

Names = Annotated[list[str], Field(default_factory=list, max_length=1000)]


class Parameters(BaseModel):
    """Parameters that are not in the list are refused: a misspelt one must not be ignored."""

    model_config = ConfigDict(extra="forbid")


class Page(Parameters):
    limit: int | None = Field(None, ge=1, description="Items of one answer.", examples=[100])
    cursor: str | None = Field(None, max_length=2000, description="`next` of the answer before.")


class Choice(Page):
    pilot: Names = Field(
        description="Pilots: a name, a comma list, `*` for any part. None: all.", examples=[["kai-luft"]]
    )
    device: Names = Field(description="Devices, in the same way.", examples=[["elgeseter,bakke-*"]])
    quantity: Names = Field(description="Quantities, in the same way.", examples=[["pm10,pm25"]])
    bbox: str | None = Field(
        None,
        max_length=200,
        description="Devices in a box: west, south, east, north in degrees (WGS 84).",
        examples=["10.36,63.40,10.44,63.44"],
    )
    within: str | None = Field(
        None, max_length=60_000, description="Devices in a GeoJSON Polygon or MultiPolygon, its edge included."
    )
    near: str | None = Field(
        None,
        max_length=200,
        description="Devices near a point: longitude, latitude, metres.",
        examples=["10.4,63.43,500"],
    )

    def question(self) -> Question:
        """What chooses streams, as the query path takes it. Devices without a position are in no area."""
        return Question(
            pilots=self.pilot,
            devices=self.device,
            quantities=self.quantity,
            **self.model_dump(include={"bbox", "within", "near"}),
        )


PageParameters = Annotated[Page, Query()]
ChoiceParameters = Annotated[Choice, Query()]


class Listed(BaseModel, Generic[T]):
    items: list[T]
    next: str | None = Field(description="Cursor of the next page; null on the last.")


class Title(BaseModel):
    nb: str
    en: str


class Position(BaseModel):
    lat: float
    lon: float
    height: float | None = None


class PilotItem(BaseModel):
    id: str
    title: Title
    question: Title
    timezone: str
    devices: int
    licence: str
    attribution: str
    start: str | None = Field(description="Start of the first phase.")
    end: str | None = Field(description="End of the last phase.")


class PhaseItem(BaseModel):
    name: str
    kind: str
    start: str
    end: str


class PilotDetail(PilotItem):
    description: Title
    hypothesis: Title
    phases: list[PhaseItem]
    quantities: list[str]


class DeviceItem(BaseModel):
    pilot: str
    id: str
    title: Title
    described: bool = Field(description="Named by the pilot's definition; otherwise only seen.")
    kind: str | None
    group: str | None
    position: Position | None
    quantities: list[str]


class StreamItem(BaseModel):
    pilot: str
    device: str
    quantity: str
    title: Title
    unit: str = Field(description="UCUM; empty where nobody has described the stream.")
    interval: float | None = Field(description="Expected seconds between readings.")
    range: tuple[float, float] | None = Field(description="Valid values, in the unit.")
    described: bool
    kind: str


class QuantityItem(BaseModel):
    name: str
    title: Title
    unit: str
    unit_label: str
    kind: str
    group: str
    range: tuple[float, float] | None
    cf_name: str | None
    eea_code: int | None


class LatestItem(BaseModel):
    pilot: str
    device: str
    quantity: str
    time: str
    value: float
    unit: str
    received: str
    quality: int


class EventItem(BaseModel):
    id: str
    time: str
    end: str | None
    kind: str = Field(description="installed, moved, calibrated, outage, intervention, other, or exclusion.")
    device: str | None
    quantity: str | None
    text: Title


class KpiItem(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str
    title: Title
    quantity: str
    statistic: str
    direction: str
    target: float | None
    value: dict[str, Any] | None = Field(None, description="Over the time asked for: value, unit, completeness, slots.")


class QuarantineItem(BaseModel):
    id: int
    device: str
    topic: str
    format: str
    reason: str
    field: str | None
    detail: str
    hint: str = Field(description="What to do about it.")
    values: int
    received: str
    payload: str = Field(description="At most 10,000 bytes; those that are no text as \\\\x escapes.")


class GapItem(BaseModel):
    pilot: str
    device: str
    quantity: str
    start: str = Field(description="Last reading before, or the start of the range.")
    end: str = Field(description="First reading after, or the end of the range.")
    seconds: float
    missing: int


class CompletenessItem(BaseModel):
    pilot: str
    device: str
    quantity: str
    expected: int | None = Field(description="Null where nobody has said how often the stream comes.")
    observed: int
    completeness: float | None = Field(description="observed ÷ expected, 0 to 1.")
    readings: int
    flagged: int
    first: str | None
    last: str | None
    longest_gap: float = Field(description="Seconds.")


class SnapshotItem(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str
    url: str = Field(description="Permanent address of this description.")
    file: str = Field(description="Permanent address of the Parquet file.")
    sha256: str
    rows: int
    bytes: int
    created: str
    question: dict[str, Any]
    citation: str
    doi: str | None = Field(description="Null until one is registered.")


class ReadingsPage(BaseModel):
    items: list[dict[str, Any]]
    next: str | None
    start: str | None
    end: str | None
    every: str | None
    zone: str
    quality: str
    units: dict[str, Any] = Field(description="For each quantity its UCUM code, label and title.")
    sources: list[dict[str, Any]] = Field(description="Licence and attribution of each pilot.")


def page_size(limit: int | None, default: int, most: int) -> int:
    """The limit asked for, or the default. Raises Problem for more than one answer holds."""
    if limit is not None and limit > most:
        raise Problem(
            "limit-too-large", f"One answer holds at most {most} items.", parameter="limit", example=str(most)
        )
    return limit or min(default, most)


def paged(
    items: Sequence[T], key: Callable[[T], str], page: Page, default: int, most: int
) -> tuple[list[T], str | None]:
    """One page of items that are sorted by `key`, and the cursor of the next: each item comes once."""
    size = page_size(page.limit, default, most)
    behind = decode(page.cursor) if page.cursor is not None else None
    rest = [item for item in items if behind is None or key(item) > behind]
    if len(rest) <= size:
        return rest, None
    return rest[:size], encode(key(rest[size - 1]))


def encode(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def decode(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise Problem("bad-cursor", "This is no cursor of ours.", parameter="cursor") from error
