"""How complete the readings are, and where they are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

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
from techport_pilots.model import PilotDefinition, Text
from techport_pilots.quality.completeness import (
    Completeness,
    Counted,
    counted_completeness,
    counted_in,
    earlier_promises,
    gaps,
    period,
)
from techport_storage import clock
from techport_storage.microseconds import DAY
from techport_storage.model import Micros, Stream

router = APIRouter(tags=["completeness"], route_class=SlotRoute)


class CompletenessItem(BaseModel):
    pilot: PilotName
    device: DeviceName
    quantity: QuantityName
    since: MaybeInstant = Field(
        description="From when readings count: the later of the period's start and the device's first deployment. "
        "Null where nothing is expected of the device in the period."
    )
    until: MaybeInstant = Field(description="Until when: the period's end, or when the device was retired before it.")
    expected: int | None = Field(description="Null where nobody has said how often the stream comes.")
    observed: int = Field(description="Of the expected ones, those that are there.")
    completeness: float | None = Field(
        description="Of the time promised readings, 0 to 1; observed ÷ expected, unless the interval changed."
    )
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


_RECENT: Micros = 7 * DAY


class CompletenessParameters(Choice):
    start: str | None = Field(
        None, max_length=64, description="First instant, as of /readings; the start of each pilot when left out."
    )
    end: str | None = Field(
        None, max_length=64, description="First instant that is left out; now, or the end of the pilot, when left out."
    )


class GapParameters(Choice):
    start: str | None = Field(
        None, max_length=64, description="First instant, as of /readings; seven days ago when left out."
    )
    end: str | None = Field(None, max_length=64, description="First instant that is left out; now when left out.")


@router.get("/completeness", response_model=Listed[CompletenessItem])
@needs("see", anybody=OPEN_DATA)
def completeness(
    services: ServicesDep, viewer: ViewerDep, parameters: Annotated[CompletenessParameters, Query()]
) -> dict[str, Any]:
    """Of each stream: readings expected by its interval, and how many of those are there.

    A device counts from its first deployment (an event `installed`) until it is retired. Without `start`, a pilot
    counts from its start: the mean `completeness` of its streams that promise an interval, weighed by the time from
    `since` to `until`, is then the one that its pages, report and catalogue give. Streams that never sent anything are
    in the list.
    Readings twice or too often never make more than 1.
    """
    return _completeness(services, viewer, parameters)


@router.get("/gaps", response_model=Listed[GapItem])
@needs("see", anybody=OPEN_DATA)
def find_gaps(
    services: ServicesDep, viewer: ViewerDep, parameters: Annotated[GapParameters, Query()]
) -> dict[str, Any]:
    """Every place where at least one reading is missing, of at most 200 streams that promise an interval. As for
    completeness, a device counts from its first deployment until it is retired.
    """
    return _gaps(services, viewer, parameters)


class _Asked(NamedTuple):
    streams: Mapping[Stream, Micros | None]  # with what each promises, µs
    start: Micros | None  # None: of each pilot its own
    end: Micros


def _completeness(services: Services, viewer: Viewer, parameters: CompletenessParameters) -> dict[str, Any]:
    asked = _asked(services, viewer, parameters)
    # One page's streams are worked out, not all.
    settings = services.settings
    keys = [{"stream": stream} for stream in sorted(asked.streams)]
    some, following = paged(
        keys, lambda item: "\0".join(item["stream"]), parameters, settings.page_size, settings.max_page_size
    )
    by_pilot: dict[str, dict[Stream, Micros | None]] = {}
    for item in some:
        stream = item["stream"]
        by_pilot.setdefault(stream.pilot, {})[stream] = asked.streams[stream]
    items = []
    for pilot, intervals in by_pilot.items():
        definition = _definition(services, pilot)
        start, end = asked.start, asked.end
        if start is None:
            start, end = _whole(services, definition, end)
        counted = counted_completeness(services.store, definition, intervals, start, end)
        items += [
            _item(stream, counted_in(definition, stream.device, start, end), counted.get(stream))
            for stream in intervals
        ]
    return {"items": items, "next": following}


def _whole(services: Services, pilot: PilotDefinition, until: Micros) -> tuple[Micros, Micros]:
    """A pilot's own period, up to a time; the last days where neither phases nor readings say when it began."""
    until = services.registry_cache.current().measured_until(pilot.id, until)
    start, end = period(services.store, pilot, until)
    return (start, end) if end - start > 1 else (until - _RECENT, until)


def _definition(services: Services, pilot: str) -> PilotDefinition:
    """What is known of a pilot; of readings that no definition is left of, nothing."""
    definition = services.registry_cache.current().pilots.get(pilot)
    return definition or PilotDefinition(id=pilot, title=Text(), question=Text(), devices=[])


def _gaps(services: Services, viewer: Viewer, parameters: GapParameters) -> dict[str, Any]:
    streams, start, end = _asked(services, viewer, parameters)
    start = end - _RECENT if start is None else start
    promised = {stream: interval for stream, interval in sorted(streams.items()) if interval is not None}
    if len(promised) > MOST_GAP_STREAMS:
        raise Problem(
            "too-costly",
            f"The query covers {len(promised)} streams; gaps can be listed for at most {MOST_GAP_STREAMS}.",
            parameter="device",
            example="one device",
        )
    items = []
    for stream, interval in promised.items():
        definition = _definition(services, stream.pilot)
        counted = counted_in(definition, stream.device, start, end)
        if counted is None:
            continue
        earlier = earlier_promises(definition).get(stream, ())
        items += [
            {
                **stream._asdict(),
                "start": times.iso(gap.start),
                "end": times.iso(gap.end),
                "seconds": (gap.end - gap.start) / 1e6,
                "missing": gap.missing,
            }
            for gap in gaps(services.raw_store, stream, interval, counted.since, counted.until, earlier)
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


def _asked(services: Services, viewer: Viewer, parameters: CompletenessParameters | GapParameters) -> _Asked:
    """The streams chosen, with their intervals, and the period. Raises Problem."""
    catalogue = services.registry_cache.current()
    chosen = select(parameters.question(), viewer, catalogue, services.store)
    zone = pick_zone(parameters.question(), chosen, catalogue, services.settings.zone)
    now = clock.now()
    end = instant("end", parameters.end, zone, now, False)
    end = now if end is None else end
    start = None if parameters.start is None else instant("start", parameters.start, zone, now, False)
    if start is not None and start >= end:
        raise Problem("bad-parameter", "The period is empty.", parameter="start", example=TIME_EXAMPLE)
    names = {info.stream for info in catalogue.chosen(chosen)} | set(services.store.streams(chosen))
    infos = [catalogue.stream(stream) for stream in names]
    return _Asked({info.stream: info.arrives_us or info.interval_us for info in infos}, start, end)


def _item(stream: Stream, counted: Counted | None, of_stream: Completeness | None) -> dict[str, Any]:
    of_stream = of_stream or Completeness(expected=0, observed=0, readings=0, flagged=0)
    return {
        **stream._asdict(),
        "since": None if counted is None else times.iso(counted.since),
        "until": None if counted is None else times.iso(counted.until),
        "expected": of_stream.expected,
        "observed": of_stream.observed,
        "completeness": None if of_stream.share is None else round(of_stream.share, 6),
        "readings": of_stream.readings,
        "flagged": of_stream.flagged,
        "first": None if of_stream.first is None else times.iso(of_stream.first),
        "last": None if of_stream.last is None else times.iso(of_stream.last),
        "longest_gap": of_stream.longest_gap / 1e6,
    }
