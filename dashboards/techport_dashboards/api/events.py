"""What happened to a pilot, and what evaluation leaves out: read, added as it happens, taken back if by mistake."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from techport_dashboards.api.schema import Listed, Title, title
from techport_dashboards.api.words import (
    Instant,
    MaybeInstant,
)
from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.paging import paged
from techport_dashboards.query.parameters import PageParameters
from techport_dashboards.query.question import local_moment
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.model import Event, EventKind, Exclusion, PilotDefinition, Text
from techport_pilots.registry import events
from techport_pilots.registry.lifecycle import with_note
from techport_pilots.time import micros_of

router = APIRouter(prefix="/pilots/{pilot}/events", tags=["pilots"], route_class=SlotRoute)

Number = Annotated[int, Path(ge=1, le=2**63 - 1)]


class EventItem(BaseModel):
    id: str = Field(description="Place in the order of time.")
    added: int | None = Field(description="Number for DELETE; null for what stands in the definition file.")
    time: Instant
    end: MaybeInstant
    kind: str = Field(
        description="installed, moved, calibrated, maintenance, outage, intervention, other, or exclusion."
    )
    device: str | None = Field(description="The device it is about; null: the whole pilot.")
    quantity: str | None = Field(description="The quantity it is about; null: all.")
    text: Title


class Words(BaseModel, extra="forbid"):
    """One language is enough; it stands in for the other."""

    nb: str = Field("", max_length=1000, description="Norwegian.")
    en: str = Field("", max_length=1000, description="English.")


class NewEvent(BaseModel, extra="forbid"):
    """An event; or, with kind `exclusion`, a window that evaluation leaves out, whose text is the reason."""

    kind: EventKind | Literal["exclusion"] = Field(examples=["other"])
    time: str = Field(
        max_length=64,
        description="When, or from when. Without an offset: local time of the pilot.",
        examples=["2026-05-04T14:03"],
    )
    end: str | None = Field(None, max_length=64, description="When it was over. An exclusion has to have one.")
    text: Words = Field(examples=[{"nb": "Filteret er byttet.", "en": "The filter was changed."}])
    device: str | None = Field(None, max_length=200, description="The device it is about; none: the whole pilot.")
    quantity: str | None = Field(None, max_length=200, description="Of an exclusion: only this quantity.")
    who: str = Field("", max_length=200, description="A name to note in the text; the credential says who added it.")


@router.get("", response_model=Listed[EventItem])
@needs("see")
def listed(services: ServicesDep, pilot: PilotDep, page: PageParameters) -> dict[str, Any]:
    """What happened: installed, moved, calibrated, outages; and windows that evaluation leaves out, with the reason."""
    added = events.added(services.registry_cache.registry.database, pilot.id)
    numbers = {entry.what: entry.id for entry in added}
    happened: list[Event | Exclusion] = [*pilot.events, *pilot.exclusions]
    items = [_item(happening, numbers.get(happening), pilot.timezone) for happening in happened]
    items = [{"id": f"{i:06}", **item} for i, item in enumerate(sorted(items, key=lambda item: str(item["time"])))]
    settings = services.settings
    some, following = paged(items, lambda item: str(item["id"]), page, settings.page_size, settings.max_page_size)
    return {"items": some, "next": following}


@router.post("", status_code=201, response_model=EventItem)
@needs("edit")
def add(services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, asked: NewEvent) -> dict[str, Any]:
    """Put an event on the time line, as `techport pilot event` and `exclude` do. `added` takes it back."""
    entry = _meant(asked, pilot)
    database, who = services.registry_cache.registry.database, viewer.who
    if isinstance(entry, Exclusion):
        number = events.add_exclusion(database, pilot, entry, who)
    else:
        number = events.add_event(database, pilot, entry, who)
    return {"id": str(number), **_item(entry, number, pilot.timezone)}


@router.delete("/{added}", response_model=EventItem)
@needs("edit")
def take_back(services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, added: Number) -> dict[str, Any]:
    """Take back what was added. The answer is what it was, so that it can be added again."""
    entry = events.take_back(services.registry_cache.registry.database, pilot, added)
    if entry is None:
        raise Problem(
            "not-found",
            "There is no added event {number}. Events in the definition file are changed there.",
            number=added,
        )
    return {"id": str(added), **_item(entry, None, pilot.timezone)}


def _meant(asked: NewEvent, pilot: PilotDefinition) -> Event | Exclusion:
    """Raises Problem for times that are none, and for fields that do not go with the kind."""
    nb, en = asked.text.nb.strip(), asked.text.en.strip()
    words = Text(nb=with_note(nb or en, asked.who), en=with_note(en or nb, asked.who))
    if not (nb or en):
        raise Problem("bad-parameter", "Describe in one sentence what happened.", parameter="text")
    start = local_moment("time", asked.time, pilot.timezone)
    end = None if asked.end is None else local_moment("end", asked.end, pilot.timezone)
    if end is not None and end < start:
        raise Problem("bad-parameter", "The end is before the start.", parameter="end")
    if asked.kind == "exclusion":
        if end is None:
            raise Problem("bad-parameter", "An excluded period must have an end.", parameter="end")
        return Exclusion(start, end, words, asked.device, asked.quantity)
    if asked.quantity is not None:
        raise Problem("bad-parameter", "Only an exclusion can apply to a single quantity.", parameter="quantity")
    if asked.kind == "moved" and asked.device is None:
        raise Problem("bad-parameter", "Specify which device was moved.", parameter="device")
    return Event(start, asked.kind, words, asked.device, end)


def _item(entry: Event | Exclusion, number: int | None, zone: str) -> dict[str, Any]:
    start = entry.time if isinstance(entry, Event) else entry.start
    return {
        "added": number,
        "time": times.iso(micros_of(start, zone)),
        "end": None if entry.end is None else times.iso(micros_of(entry.end, zone)),
        "kind": entry.kind if isinstance(entry, Event) else "exclusion",
        "device": entry.device,
        "quantity": None if isinstance(entry, Event) else entry.quantity,
        "text": title(entry.text if isinstance(entry, Event) else entry.reason),
    }
