"""A linter for device makers: what would become of this message?"""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from techport_dashboards.api.messages import RejectedItem
from techport_dashboards.api.schema import Body, old_name
from techport_dashboards.api.words import DeviceName, MaybeInstant, QuantityName
from techport_dashboards.query import times
from techport_dashboards.services.decoding import LONGEST_MESSAGE, PastedMessage, explain_message, payload_of
from techport_dashboards.services.message_formats import MessageFormat
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.devices.explanation import Explanation

router = APIRouter(prefix="/decode", tags=["onboarding"], route_class=SlotRoute)


class Pasted(Body):
    """A message to look at. Nothing of it is kept."""

    format: MessageFormat | None = Field(None, description="None: as the pilot's sources say, else native.")
    topic: str = Field("pilots/pilot/device/readings", max_length=1000)
    text: str | None = Field(None, max_length=LONGEST_MESSAGE, examples=['{"air_temperature": "21,5"}'])
    hex: str | None = Field(None, max_length=3 * LONGEST_MESSAGE, description="Instead of text: bytes in hexadecimal.")
    pilot: str | None = Field(None, max_length=64, description="Read it as this pilot would.")


class DecodedReading(BaseModel):
    """A reading of the message."""

    device: DeviceName
    quantity: QuantityName
    value: float = Field(description="In the unit.")
    unit: str | None = Field(description="In UCUM; null where the quantity is not in the vocabulary.")
    time: MaybeInstant
    remark: str = Field(description="What was done to read it; empty where nothing was.")


class DecodedIgnored(BaseModel):
    """A part of the message that is no reading by a rule."""

    rule: str = Field(description="A short code.", examples=["text"])
    key: str = Field(description="As the message calls it; empty where it is the whole message.")
    value: str | None = Field(description="As the message has it, in JSON.")
    why: str = Field(description="The rule in a sentence.")


class Decoded(BaseModel):
    ok: bool = Field(description="Nothing of it would be rejected.")
    readings: list[DecodedReading]
    rejected: list[RejectedItem]
    refused: list[RejectedItem] = old_name("rejected")
    ignored: list[str] = Field(description="The rule of each ignored part.")
    ignored_parts: list[DecodedIgnored] = Field(description="The same with key and value.")
    events: list[str]
    unmatched: list[str] = Field(description="Keys under fields of the source that match nothing in the message.")

    @classmethod
    def of(cls, explanation: Explanation) -> Decoded:
        rejected = [RejectedItem.of(part) for part in explanation.rejected]
        return cls(
            ok=explanation.ok,
            readings=[
                DecodedReading(
                    device=reading.device,
                    quantity=reading.quantity,
                    value=reading.value,
                    unit=reading.unit,
                    time=None if reading.time is None else times.iso(reading.time),
                    remark="" if reading.remark is None else str(reading.remark),
                )
                for reading in explanation.readings
            ],
            rejected=rejected,
            refused=rejected,
            ignored=list(explanation.ignored),
            ignored_parts=[
                DecodedIgnored(rule=part.rule, key=part.key, value=part.value, why=str(part.why))
                for part in explanation.ignored_parts
            ],
            events=list(explanation.events),
            unmatched=list(explanation.unmatched),
        )


@router.post("", response_model=Decoded)
@needs("see")
def decode(services: ServicesDep, viewer: ViewerDep, pasted: Pasted) -> Decoded:
    """Say what would become of a message: its readings, or what is wrong with it and what would be accepted. Nothing
    is kept. With a pilot, it is read by that pilot's sources; without one, every device is welcome.
    """
    message = PastedMessage(
        topic=pasted.topic,
        payload=payload_of(pasted.text or "", pasted.hex),
        format=pasted.format,
        pilot=pasted.pilot,
    )
    return Decoded.of(explain_message(services.explain, services.registry_cache.current(), viewer, message))
