"""Fields that many answers have, described once: what they are, and in which unit.

Those that mean the same wherever they stand are in MEANINGS; a field that says more of itself is described where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

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
EntryNumber = Annotated[int, Field(ge=0, lt=2**63)]

MEANINGS: Mapping[str, str] = {
    "after": "Number of the newest one that is known already.",
    "detail": "What was wrong.",
    "device": "The device, by its id, which is unique within its pilot.",
    "discarded": "How many entries are gone.",
    "entries": "Entries of the quarantine: their numbers, or how many.",
    "events": "What else the message said: joined, restarted, low battery.",
    "factor": "What values are multiplied by, after their unit is turned into the quantity's.",
    "field": "Where in the message.",
    "first": "Time of the first, ISO 8601 in UTC.",
    "format": "What the message was read as.",
    "hint": "What to do about it.",
    "id": "Its number or name.",
    "ignored": "What was left out by a rule, by rule or as a number.",
    "kind": "Maker's model, or what it is.",
    "last": "Time of the last, ISO 8601 in UTC.",
    "limit": "Items of one answer.",
    "messages": "How many messages.",
    "password": "Shown once, and kept nowhere as it stands.",
    "pilot": "The pilot, by its id; left out: all.",
    "quantities": "What it measures, by names of the vocabulary.",
    "quantity": "What is measured, as /quantities names it.",
    "readings": "Readings that the message holds.",
    "reason": "Why it was set aside, as one word.",
    "received": "When it reached us, ISO 8601 in UTC.",
    "rejected": "What could not be stored, each part with its code, parameters, reason and hint.",
    "refused": "What could not be taken, each with its reason and a hint.",
    "replay": "Number of the replay.",
    "snippets": "Code for the device, ready to paste.",
    "state": "Where it stands now, or shall stand.",
    "stored": "Readings that were stored.",
    "text": "As text.",
    "title": "As people call it.",
    "topic": "MQTT topic.",
    "username": "User name at the broker.",
    "values": "How many values.",
    "version": "Of the pilot's definition, from 1.",
    "who": "Whose change it is; it is kept in the history.",
    "why": "Kept beside the change, in the history.",
    "worker": "The ingest worker that took it.",
}
"""Of fields and parameters by their names."""
EXAMPLES: Mapping[str, Any] = {
    "after": 0,
    "field": "pm10",
    "limit": 100,
    "minutes": 5,
    "name": "package.zip",
    "reason": "not-a-number",
    "sort": "ends",
    "who": "Kari Nordmann",
}
"""Of parameters by their names, where a route gives none and the platform has none of its own."""
