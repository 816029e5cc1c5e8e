"""Fields that many answers have, described once: what they are, and in which unit."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

PilotName = Annotated[str, Field(description="The pilot, by its id.")]
DeviceName = Annotated[str, Field(description="The device, by its id, which is unique within its pilot.")]
QuantityName = Annotated[
    str, Field(description="What is measured, as /quantities names it; a channel may follow a full stop.")
]
Unit = Annotated[str, Field(description="Unit of the values, in UCUM; empty where nobody has described the stream.")]
Instant = Annotated[str, Field(description="ISO 8601 in UTC, with microseconds.")]
MaybeInstant = Annotated[str | None, Field(description="ISO 8601 in UTC, with microseconds; null where there is none.")]
Seconds = Annotated[float, Field(description="Seconds.")]
Licence = Annotated[str, Field(description="SPDX identifier of the licence.")]
Attribution = Annotated[str, Field(description="Who has to be named where the data are used.")]
