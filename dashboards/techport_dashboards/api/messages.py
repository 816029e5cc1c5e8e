"""Messages of devices as several answers show them: raw, and what became of each part."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from techport_dashboards.api.schema import old_name
from techport_dashboards.api.words import Instant, QuantityName
from techport_dashboards.query.times import iso
from techport_pilots.accounting.message_tap import TappedMessage
from techport_pilots.accounting.rejection import Rejected, Rejection


class RawMessage(BaseModel):
    topic: str
    text: str = Field(description="The payload as text; bytes that are not UTF-8 as \\\\xNN.")
    hex: str = Field(description="The payload in hexadecimal.")

    @classmethod
    def of(cls, topic: str, payload: bytes) -> RawMessage:
        return cls(topic=topic, text=payload.decode(errors="backslashreplace"), hex=payload.hex())


class RejectedItem(BaseModel):
    """A part of a message that was rejected, or the whole of it."""

    reason: str = Field(description="What entries are grouped by.", examples=["not-a-number"])
    code: str | None = Field(None, description="The reason and its case; null where only sentences were kept.")
    params: dict[str, Any] = Field(description="Parameters of the sentences.")
    field: str | None = Field(description="The key within the payload.")
    detail: str = Field(description="What was wrong, in English.")
    hint: str = Field(description="How to fix it, in English.")
    values: int

    @classmethod
    def of(cls, rejected: Rejected) -> RejectedItem:
        return cls(**said(rejected.rejection), field=rejected.field, values=rejected.values)


def said(rejection: Rejection) -> dict[str, Any]:
    """A rejection in an answer of the API: as a code with parameters, and in English."""
    return {
        "reason": rejection.reason,
        "code": None if rejection.recorded else rejection.code,
        "params": dict(rejection.kept().params),
        "detail": rejection.detail(),
        "hint": rejection.hint(),
    }


class SeenValue(BaseModel):
    """A value of a message, as it was understood."""

    quantity: QuantityName
    time: Instant
    value: float = Field(description="In the unit of the quantity.")
    outcome: str = Field(description="stored, or duplicate.")
    fate: str = old_name("outcome")
    quality: int = Field(description="Flags, added up: 0 is a reading without any.")


class SeenMessage(BaseModel):
    """A message of a watched device, and what became of it."""

    id: int
    message: RawMessage
    received: str
    visible: str = Field(description="Since when its readings are answered.")
    worker: str
    values: list[SeenValue]
    rejected: list[RejectedItem]
    refused: list[RejectedItem] = old_name("rejected")
    ignored: list[str]

    @classmethod
    def of(cls, tapped: TappedMessage) -> SeenMessage:
        rejected = [RejectedItem.of(part) for part in tapped.outcome.rejected]
        return cls(
            id=tapped.id,
            message=RawMessage.of(tapped.topic, tapped.payload),
            received=iso(tapped.received),
            visible=iso(tapped.committed),
            worker=tapped.worker,
            values=[
                SeenValue(
                    quantity=value.quantity,
                    time=iso(value.time),
                    value=value.value,
                    outcome=value.outcome,
                    fate=value.outcome,
                    quality=value.quality,
                )
                for value in tapped.outcome.values
            ],
            rejected=rejected,
            refused=rejected,
            ignored=list(tapped.outcome.ignored),
        )
