"""Parameters that several routes take: which streams, which entries of a quarantine, and which page of a list."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.areas import WITHIN_EXAMPLE
from techport_dashboards.query.question import ChartQuestion, Question
from techport_pilots.accounting.quarantine import QuarantineFilter

Names = Annotated[list[str], Field(default_factory=list, max_length=1000)]


class Parameters(BaseModel):
    """Parameters that are not in the list are refused: a misspelt one must not be ignored."""

    model_config = ConfigDict(extra="forbid")


class Page(Parameters):
    limit: int | None = Field(None, ge=1, description="Items of one answer.", examples=[100])
    cursor: str | None = Field(
        None, max_length=2000, description="`next` of the answer before, with the same other parameters."
    )


class Choice(Page):
    pilot: Names = Field(
        description="Pilots: a name, a comma list, `*` for any part. None: all.", examples=[["school-air"]]
    )
    device: Names = Field(description="Devices, in the same way.", examples=[["*"]])
    quantity: Names = Field(description="Quantities, in the same way.", examples=[["pm10"]])
    bbox: str | None = Field(
        None,
        max_length=200,
        description="Devices in a box: west, south, east, north in degrees (WGS 84).",
        examples=["10.36,63.40,10.44,63.44"],
    )
    within: str | None = Field(
        None,
        max_length=60_000,
        description="Devices in a GeoJSON Polygon or MultiPolygon (WGS 84), its edge included.",
        examples=[WITHIN_EXAMPLE],
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


class ChartParameters(Parameters):
    quantity: str = Field(max_length=200, description="The quantity, by its name.", examples=["pm10"])
    device: str | None = Field(
        None, max_length=2000, description="A device, or a comma list. None: all of the pilot.", examples=["ila-skole"]
    )
    start: str = Field(
        max_length=64,
        description="First instant: ISO 8601 (local time of the pilot without an offset), or a duration before now.",
        examples=["-P1D", "2026-01-22T08:00"],
    )
    end: str = Field(
        "now", max_length=64, description="First instant that is left out, in the same forms.", examples=["now"]
    )
    against: str | None = Field(
        None,
        max_length=32,
        description="An earlier period to lay under it: how far back it begins.",
        examples=["-P7D"],
    )
    lang: str | None = Field(
        None, max_length=8, description="Language of its words: nb or en; else by Accept-Language.", examples=["en"]
    )

    def question(self, pilot: str) -> ChartQuestion:
        devices = self.device.split(",") if self.device else ()
        names = ("quantity", "start", "end", "against")
        return ChartQuestion(pilot=pilot, devices=devices, **{name: getattr(self, name) for name in names})


class QuarantineChoice(Parameters):
    """Which entries of a pilot's quarantine, for the API and the page."""

    limit: int = Field(100, ge=1, le=1000)
    device: str | None = Field(None, max_length=200)
    reason: str | None = Field(None, max_length=80, examples=["not-a-number"])
    field: str | None = Field(None, max_length=200, description="Empty: entries that are about no field.")
    day: str | None = Field(None, max_length=10, examples=["2026-05-04"], description="Of arrival, UTC.")

    def where(self, pilot: str) -> QuarantineFilter:
        """The filter, as the quarantine takes it. Raises Problem for a day that is not a date."""
        return QuarantineFilter(
            pilot=pilot,
            device=self.device or None,
            reason=self.reason or None,
            field=self.field,
            day=_day_number(self.day) if self.day else None,
        )


def _day_number(text: str) -> int:
    try:
        return (dt.date.fromisoformat(text) - times.EPOCH.date()).days
    except ValueError as error:
        raise Problem("bad-parameter", "This is not a date.", parameter="day", example="2026-05-04") from error


PageParameters = Annotated[Page, Query()]
ChoiceParameters = Annotated[Choice, Query()]
