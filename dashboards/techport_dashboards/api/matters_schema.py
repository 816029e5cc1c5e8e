"""What the routes about devices' messages take and answer, for their OpenAPI description. Times are ISO 8601 in UTC."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from techport_dashboards.api.words import EntryNumber
from techport_dashboards.query.times import iso
from techport_dashboards.services.message_formats import MessageFormat
from techport_pilots.accounting.message_tap import TappedMessage
from techport_pilots.accounting.quarantine import QuarantineFilter, QuarantineGroup, QuarantineRecord
from techport_pilots.accounting.rejection import Rejected, Rejection
from techport_pilots.accounting.replays import Replay
from techport_pilots.devices.onboarding import UnknownDevice


class Body(BaseModel):
    """A JSON body; keys that are not listed are rejected."""

    model_config = ConfigDict(extra="forbid")


class RawMessage(BaseModel):
    topic: str
    text: str = Field(description="The payload as text; bytes that are not UTF-8 as \\\\xNN.")
    hex: str = Field(description="The payload in hexadecimal.")

    @classmethod
    def of(cls, topic: str, payload: bytes) -> RawMessage:
        return cls(topic=topic, text=payload.decode(errors="backslashreplace"), hex=payload.hex())


class NewDeviceRequest(Body):
    id: str = Field(max_length=64, examples=["box-1"], description="Its name in topics: letters, digits and . _ -")
    title: str = Field("", max_length=200, examples=["The crane on the quay"])
    kind: str = Field("", max_length=200, examples=["ESP32 with SPS30"])
    format: MessageFormat = Field("native", description="What it sends.")
    quantities: list[str] = Field([], max_length=100, examples=[["pm10", "air_temperature"]])
    interval: str = Field("", max_length=32, examples=["PT5M"], description="Expected time between readings.")
    replace: bool = Field(False, description="Replace the credential that it has; the device must learn the new one.")


class CodeToPaste(BaseModel):
    title: str
    text: str


class AddedDevice(BaseModel):
    """The password is in this answer and nowhere else."""

    device: str
    version: int | None = Field(description="Of the pilot's definition; null: the device was known already.")
    username: str
    password: str
    topic: str
    broker: str | None = Field(description="HOST:PORT as this server knows it; null: it knows none.")
    snippets: list[CodeToPaste]


class ClaimDevice(Body):
    name: str = Field(max_length=200, examples=["A8:17:58:FF:FE:04:A1:B2"], description="As its messages call it.")
    device: str | None = Field(None, max_length=64, description="Id, new or in the definition; none: from the name.")


class ClaimedDevice(BaseModel):
    device: str
    version: int
    entries: int = Field(description="Entries of the quarantine that are replayed.")
    replay: int = Field(description="Number of the replay.")


class UnknownDeviceItem(BaseModel):
    """A device that sends and that nobody registered, with its last message."""

    device: str
    messages: int
    first: str
    last: str
    message: RawMessage

    @classmethod
    def of(cls, one: UnknownDevice) -> UnknownDeviceItem:
        return cls(
            device=one.device,
            messages=one.messages,
            first=iso(one.first),
            last=iso(one.last),
            message=RawMessage.of(one.topic, one.payload),
        )


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
    def of(cls, one: Rejected) -> RejectedItem:
        return cls(**said(one.rejection), field=one.field, values=one.values)


def said(rejection: Rejection) -> dict[str, Any]:
    """A rejection in an answer of the API: as a code with parameters, and in English."""
    return {
        "reason": rejection.reason,
        "code": None if rejection.recorded else rejection.code,
        "params": dict(rejection.kept().params),
        "detail": rejection.detail(),
        "hint": rejection.hint(),
    }


def old_name(new: str) -> Any:
    """A field that is answered under its old name for one release more (CHANGELOG.md, Deprecated)."""
    return Field(description=f"Old name of {new}.", json_schema_extra={"deprecated": True})


class SeenMessage(BaseModel):
    """A message of a watched device, and what became of it."""

    id: int
    message: RawMessage
    received: str
    visible: str = Field(description="Since when its readings are answered.")
    worker: str
    values: list[dict[str, Any]]
    rejected: list[RejectedItem]
    refused: list[RejectedItem] = old_name("rejected")
    ignored: list[str]

    @classmethod
    def of(cls, one: TappedMessage) -> SeenMessage:
        rejected = [RejectedItem.of(part) for part in one.outcome.rejected]
        return cls(
            id=one.id,
            message=RawMessage.of(one.topic, one.payload),
            received=iso(one.received),
            visible=iso(one.committed),
            worker=one.worker,
            values=[
                {
                    "quantity": value.quantity,
                    "time": iso(value.time),
                    "value": value.value,
                    "outcome": value.outcome,
                    "fate": value.outcome,  # old name
                    "quality": value.quality,
                }
                for value in one.outcome.values
            ],
            rejected=rejected,
            refused=rejected,
            ignored=list(one.outcome.ignored),
        )


class QuarantineItem(RejectedItem):
    """A message, or some values of one, in quarantine."""

    id: int
    device: str
    received: str
    format: str
    waiting: bool = Field(description="To be reprocessed by an ingest worker.")
    message: RawMessage

    @classmethod
    def of_record(cls, one: QuarantineRecord) -> QuarantineItem:
        return cls(
            **said(one.rejection),
            id=one.id,
            device=one.device,
            received=iso(one.received),
            format=one.format,
            field=one.field,
            values=one.values,
            waiting=one.replay_requested is not None,
            message=RawMessage.of(one.topic, one.payload),
        )


class QuarantineGroupItem(BaseModel):
    """Entries that need the same fix."""

    device: str
    reason: str
    field: str | None
    entries: int
    values: int
    first: str
    newest: QuarantineItem

    @classmethod
    def of(cls, one: QuarantineGroup) -> QuarantineGroupItem:
        return cls(
            device=one.device,
            reason=one.reason,
            field=one.field,
            entries=one.entries,
            values=one.values,
            first=iso(one.first),
            newest=QuarantineItem.of_record(one.newest),
        )


class Chosen(Body):
    """Which entries: by number, or all of a device, a reason, a field. At least one of device, reason and entries."""

    entries: list[EntryNumber] = Field([], max_length=10_000)
    device: str | None = Field(None, max_length=200)
    reason: str | None = Field(None, max_length=80, examples=["not-a-number"])
    field: str | None = Field(None, max_length=200, description="Empty: entries that are about no field.")

    @property
    def says_which(self) -> bool:
        return bool(self.entries) or self.device is not None or self.reason is not None

    def where(self, pilot: str) -> QuarantineFilter:
        return QuarantineFilter(
            ids=tuple(self.entries) if self.entries else None,
            pilot=pilot,
            device=self.device,
            reason=self.reason,
            field=self.field,
        )


class ReplayState(BaseModel):
    """A replay, and what has come of it so far. All but entries and waiting are values."""

    replay: int
    entries: int
    waiting: int = Field(description="Entries that no worker has taken yet.")
    stored: int
    duplicates: int = Field(description="Stored already when the message first came.")
    rejected: int = Field(description="In quarantine again, as new entries.")
    refused: int = old_name("rejected")
    ignored: int

    @classmethod
    def of(cls, one: Replay) -> ReplayState:
        return cls(
            replay=one.id,
            entries=one.entries,
            waiting=one.waiting,
            stored=one.stored,
            duplicates=one.duplicates,
            rejected=one.rejected,
            refused=one.rejected,
            ignored=one.ignored,
        )


class Deleted(BaseModel):
    deleted: int = Field(description="Entries that were deleted.")
    discarded: int = old_name("deleted")


class FieldMeaning(Body):
    """What a field of an entry's message means, for all messages of its source from now on."""

    means: Literal["quantity", "nothing"] = Field("quantity", description="nothing: it is no reading, and ignored.")
    field: str | None = Field(None, max_length=200, description="None: the field that the entry names.")
    quantity: str | None = Field(None, max_length=100, examples=["pm10"])
    unit: str | None = Field(None, max_length=40, examples=["ug/m3"], description="Of the values in the message.")
    factor: float = Field(1.0, allow_inf_nan=False)
    text: bool = Field(
        False, examples=[True], description='Read numbers sent as text, with a decimal comma too: "21,5".'
    )
    why: str = Field("", max_length=500)
    replay: bool = Field(True, description="Reprocess the messages that were rejected like this one.")


class DefinitionChanged(BaseModel):
    version: int = Field(description="Of the pilot's definition.")
    replay: int | None = Field(description="Number of the replay, where one was asked for.")
