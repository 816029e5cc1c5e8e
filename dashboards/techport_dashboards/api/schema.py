"""What the API answers, for its OpenAPI description, and the parameters that several routes take."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from techport_dashboards.errors import Problem

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


class ReadingsPage(BaseModel):
    items: list[dict[str, Any]]
    next: str | None
    start: str | None
    end: str | None
    every: str | None
    zone: str


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
    return rest[:size], base64.urlsafe_b64encode(key(rest[size - 1]).encode()).decode().rstrip("=")


def decode(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise Problem("bad-cursor", "This is no cursor of ours.", parameter="cursor") from error
