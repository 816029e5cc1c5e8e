"""Parameters of /readings and of what takes the same question."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from techport_dashboards.problems import Problem
from techport_dashboards.query.formats import MEDIA_TYPES
from techport_dashboards.query.parameters import Choice, Names
from techport_dashboards.query.question import Question
from techport_dashboards.query.shaping import MOST_POINTS, Fill, Order, Shape
from techport_pilots.time import interval_micros


class ReadingsParameters(Choice):
    start: str | None = Field(
        None,
        max_length=64,
        description="First instant: ISO 8601 with offset, a date (midnight in `zone`), or a duration before now.",
        examples=["-P7D", "2026-01-22T08:00:00+01:00", "2026-01-22"],
    )
    end: str | None = Field(
        None, max_length=64, description="First instant that is left out, in the same forms.", examples=["now"]
    )
    every: str | None = Field(
        None,
        max_length=32,
        description="Bucket width; days and longer follow the calendar of `zone`.",
        examples=["PT1H"],
    )
    aggregate: Names = Field(
        description="mean (default), min, max, sum, count, first, last, std, median, p1 to p99, energy_mean (of "
        "decibels), vector_mean (of directions). Several with commas.",
        examples=[["mean,p95"]],
    )
    zone: str | None = Field(
        None, max_length=64, description="IANA time zone; the pilot's own when left out.", examples=["Europe/Oslo"]
    )
    quality: Literal["all", "good"] = Field("all", description="good: only readings without a flag.", examples=["good"])
    fill: Fill = Field(
        "none",
        description="Buckets without readings: left out (none), or there with count 0 and null, the value before "
        "(previous), or a straight line between its neighbours (linear). Needs `every` and `start`.",
        examples=["null", "previous", "linear"],
    )
    max_gap: str | None = Field(
        None,
        max_length=32,
        description="previous and linear fill no longer time than this; three buckets when left out.",
        examples=["PT3H"],
    )
    shape: Literal["long", "wide"] = Field(
        "long",
        description="wide: a row for each time, a column `pilot/device/quantity` for each stream.",
        examples=["wide"],
    )
    downsample: Literal["minmax", "lttb"] | None = Field(
        None,
        description="Some of the readings of each stream, such that a line through them looks the same.",
        examples=["minmax", "lttb"],
    )
    points: int = Field(
        1000, ge=4, le=MOST_POINTS, description="How many of each stream, with `downsample`.", examples=[200]
    )
    order: Order = Field(
        "stream",
        description="stream: by pilot, device, quantity and then time. time, -time: all streams together, the oldest "
        "or the newest first.",
        examples=["-time"],
    )
    format: str | None = Field(
        None,
        max_length=40,
        description="json, ndjson, csv, csv-nb (semicolons and decimal commas), parquet or arrow; instead of Accept.",
        examples=list(MEDIA_TYPES),
        json_schema_extra={"enum": [*MEDIA_TYPES, None]},
    )

    def question(self, limit: int | None = None) -> Question:
        return Question(
            pilots=self.pilot,
            devices=self.device,
            quantities=self.quantity,
            limit=limit,
            **self.model_dump(
                include={
                    *("bbox", "within", "near"),
                    *("start", "end", "every", "aggregate", "zone", "quality", "cursor"),
                }
            ),
        )

    def as_shape(self) -> Shape:
        """Raises Problem."""
        try:
            gap = interval_micros(self.max_gap) if self.max_gap is not None else None
        except ValueError as error:
            raise Problem("bad-parameter", f"{error}.", parameter="max_gap", example="PT3H") from error
        return Shape(
            fill=self.fill,
            max_gap=gap,
            wide=self.shape == "wide",
            downsample=self.downsample,
            points=self.points,
            order=self.order,
        )
