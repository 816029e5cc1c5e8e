"""How complete the readings are, and where they are not."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from techport_dashboards.api.schema import Listed
from techport_dashboards.api.words import (
    DeviceName,
    MaybeInstant,
    PilotName,
    QuantityName,
    Seconds,
)
from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.paging import paged
from techport_dashboards.query.parameters import Choice
from techport_dashboards.query.question import TIME_EXAMPLE, instant, pick_zone, select
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import OPEN_DATA, needs
from techport_dashboards.web.dependencies import Services, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.quality.completeness import (
    Completeness,
    Earlier,
    Promise,
    earlier_promises,
    gaps,
    stream_completeness,
)
from techport_storage import clock
from techport_storage.model import Micros, Stream

router = APIRouter(tags=["completeness"], route_class=SlotRoute)


class CompletenessItem(BaseModel):
    pilot: PilotName
    device: DeviceName
    quantity: QuantityName
    expected: int | None = Field(description="Null where nobody has said how often the stream comes.")
    observed: int = Field(description="Of the expected ones, those that are there.")
    completeness: float | None = Field(description="observed ÷ expected, 0 to 1.")
    readings: int = Field(description="All that are there, those beyond the expected ones too.")
    flagged: int = Field(description="Of the readings, those with a quality flag.")
    first: MaybeInstant
    last: MaybeInstant
    longest_gap: Seconds


class GapItem(BaseModel):
    pilot: PilotName
    device: DeviceName
    quantity: QuantityName
    start: str = Field(description="Last reading before, or the start of the range.")
    end: str = Field(description="First reading after, or the end of the range.")
    seconds: Seconds
    missing: int = Field(description="Readings that should have come.")


MOST_GAP_STREAMS = 200


class PeriodParameters(Choice):
    start: str | None = Field(
        None, max_length=64, description="First instant, as of /readings; seven days ago when left out."
    )
    end: str | None = Field(None, max_length=64, description="First instant that is left out; now when left out.")


Asked = Annotated[PeriodParameters, Query()]


@router.get("/completeness", response_model=Listed[CompletenessItem])
@needs("see", anybody=OPEN_DATA)
def completeness(services: ServicesDep, viewer: ViewerDep, parameters: Asked) -> dict[str, Any]:
    """Of each stream: readings expected by its interval, and how many of those are there.

    Streams that never sent anything are in the list. Readings twice or too often never make more than 1.
    """
    return _completeness(services, viewer, parameters)


@router.get("/gaps", response_model=Listed[GapItem])
@needs("see", anybody=OPEN_DATA)
def find_gaps(services: ServicesDep, viewer: ViewerDep, parameters: Asked) -> dict[str, Any]:
    """Every place where at least one reading is missing, of at most 200 streams that promise an interval."""
    return _gaps(services, viewer, parameters)


def _completeness(services: Services, viewer: Viewer, parameters: PeriodParameters) -> dict[str, Any]:
    streams, start, end = _asked(services, viewer, parameters)
    # One page's streams are worked out, not all.
    settings = services.settings
    keys = [{"stream": stream} for stream in sorted(streams)]
    some, following = paged(
        keys, lambda item: "\0".join(item["stream"]), parameters, settings.page_size, settings.max_page_size
    )
    wanted = {item["stream"]: streams[item["stream"]] for item in some}
    found = stream_completeness(services.store, wanted, start, end, _earlier(services, wanted))
    return {"items": [_item(stream, found[stream]) for stream in wanted], "next": following}


def _gaps(services: Services, viewer: Viewer, parameters: PeriodParameters) -> dict[str, Any]:
    streams, start, end = _asked(services, viewer, parameters)
    promised = {stream: interval for stream, interval in sorted(streams.items()) if interval is not None}
    if len(promised) > MOST_GAP_STREAMS:
        raise Problem(
            "too-costly",
            f"The query covers {len(promised)} streams; gaps can be listed for at most {MOST_GAP_STREAMS}.",
            parameter="device",
            example="one device",
        )
    earlier = _earlier(services, promised)
    items = [
        {
            **stream._asdict(),
            "start": times.iso(gap.start),
            "end": times.iso(gap.end),
            "seconds": (gap.end - gap.start) / 1e6,
            "missing": gap.missing,
        }
        for stream, interval in promised.items()
        for gap in gaps(services.store, stream, interval, start, end, earlier.get(stream, ()))
    ]
    settings = services.settings
    some, following = paged(
        items,
        lambda item: "\0".join((item["pilot"], item["device"], item["quantity"], item["start"])),
        parameters,
        settings.page_size,
        settings.max_page_size,
    )
    return {"items": some, "next": following}


def _earlier(services: Services, streams: Collection[Stream]) -> Earlier:
    """What the streams promised before the intervals that they have now."""
    pilots = services.registry_cache.current().pilots
    promises: dict[Stream, list[Promise]] = {}
    for pilot in {stream.pilot for stream in streams} & pilots.keys():
        promises |= earlier_promises(pilots[pilot])
    return promises


def _asked(
    services: Services, viewer: Viewer, parameters: PeriodParameters
) -> tuple[dict[Stream, Micros | None], Micros, Micros]:
    """The streams chosen, with their intervals, and the period. Raises Problem."""
    catalogue = services.registry_cache.current()
    chosen = select(parameters.question(), viewer, catalogue, services.store)
    zone = pick_zone(parameters.question(), chosen, catalogue, services.settings.zone)
    now = clock.now()
    end = instant("end", parameters.end, zone, now, False)
    end = now if end is None else end
    start = instant("start", parameters.start or "-P7D", zone, now, False)
    if start is None or start >= end:
        raise Problem("bad-parameter", "The period is empty.", parameter="start", example=TIME_EXAMPLE)
    names = {info.stream for info in catalogue.chosen(chosen)} | set(services.store.streams(chosen))
    return {stream: catalogue.stream(stream).interval_us for stream in names}, start, end


def _item(stream: Stream, found: Completeness) -> dict[str, Any]:
    return {
        **stream._asdict(),
        "expected": found.expected,
        "observed": found.observed,
        "completeness": None if found.share is None else round(found.share, 6),
        "readings": found.readings,
        "flagged": found.flagged,
        "first": None if found.first is None else times.iso(found.first),
        "last": None if found.last is None else times.iso(found.last),
        "longest_gap": found.longest_gap / 1e6,
    }
