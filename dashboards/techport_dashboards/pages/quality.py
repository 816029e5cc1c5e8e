"""How complete a pilot's readings are: a calendar of its devices, what is flagged, and every gap of one device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
from fastapi import APIRouter, Query, Request, Response
from numpy.typing import NDArray
from pydantic import Field

from techport_dashboards.pages.quality_flags import Flagged, flags_of
from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render
from techport_pilots.model import PilotDefinition
from techport_pilots.quality.completeness import (
    Gap,
    SinceStart,
    by_device,
    counted_completeness,
    counted_in,
    earlier_promises,
    gaps,
    intervals_at,
    pilot_intervals,
    since_start,
)
from techport_pilots.registry.registry import DeviceInfo, StreamInfo
from techport_storage import clock
from techport_storage.model import BucketWidth, Micros, Selection, Stream
from techport_storage.model import Query as StoreQuery

router = APIRouter(route_class=SlotRoute)

Numbers = NDArray[np.int64]
Counts = dict[Stream, Numbers]
"""Readings of each stream, one number a day."""

SPANS = (7, 30, 90)
GAPS_SHOWN = 30


class QualityParameters(Parameters):
    days: Literal["7", "30", "90"] = "30"
    readings: Literal["all", "good"] = Field("all", description="What counts as having come: all, or without flags.")
    device: str | None = Field(None, max_length=200, description="Whose gaps to list.")
    lang: str | None = Field(None, max_length=8)


@dataclass(frozen=True, slots=True)
class Row:
    """A device. `shares` has one number a day, 0..1, None where nothing was expected."""

    device: DeviceInfo
    shares: list[float | None]
    share: float | None  # of the days shown
    whole: float | None  # since the pilot's start, or the device's deployment; None where nothing was expected
    since: Micros | None  # that moment
    readings: int
    flagged: int

    @property
    def flagged_share(self) -> float:
        return self.flagged / self.readings if self.readings else 0.0


@dataclass(frozen=True, slots=True)
class Calendar:
    days: list[Micros]  # local midnights
    rows: list[Row]
    edges: Numbers  # of the days, up to now
    flagged: Counts
    whole: SinceStart  # of the pilot: the number that all pages give


@router.get("/pilots/{pilot}/quality")
@needs("see")
def quality_page(
    request: Request, services: ServicesDep, pilot: PilotDep, parameters: Annotated[QualityParameters, Query()]
) -> Response:
    """The last days up to now, worst device first."""
    now = clock.now()
    catalogue = services.registry_cache.current()
    if parameters.device is not None and (pilot.id, parameters.device) not in catalogue.devices:
        raise Problem(
            "not-found",
            "There is no device {name} in {pilot}.",
            name=repr(parameters.device[:80]),
            pilot=pilot.id,
            parameter="device",
        )
    calendar = calendar_of(services, pilot, int(parameters.days), now, parameters.readings)
    missing: list[tuple[StreamInfo, Gap]] = []
    flags: list[Flagged] = []
    if parameters.device is not None:
        missing = _gaps(services, pilot, parameters.device, *_shown(calendar.whole, calendar.edges))
        flags = _flags(services, calendar, parameters.device)
    return render(
        request,
        "quality.html",
        language_of(request),
        pilot=pilot,
        calendar=calendar,
        spans=SPANS,
        span=int(parameters.days),
        device=parameters.device,
        readings=parameters.readings,
        flags=flags,
        gaps=missing[:GAPS_SHOWN],
        gap_count=len(missing),
    )


def calendar_of(
    services: Services, pilot: PilotDefinition, days: int, now: Micros, counted: Literal["all", "good"] = "all"
) -> Calendar:
    """Readings of each device and local day against those that its streams promise; `counted` are all or good ones."""
    zone = times.zone_named(pilot.timezone)
    today = times.moment(now, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    starts = [times.parse_instant(f"-P{back}D", zone, times.micros(today)) for back in range(days - 1, -1, -1)]
    edges = np.array([*starts, now], np.int64)
    every, good = (_counts(services, pilot, edges, quality) for quality in ("all", "good"))
    promised = _promised(pilot, edges[:-1])
    catalogue = services.registry_cache.current()
    whole = since_start(services.store, pilot, catalogue.measured_until(pilot.id, now))
    expected = _expected_times(pilot, whole, edges)
    shown = by_device(counted_completeness(services.store, pilot, pilot_intervals(pilot), *_shown(whole, edges)))
    of_devices = by_device(whole.streams)
    rows = []
    for device in catalogue.devices_of(pilot.id):
        row = _row(device, promised, expected.get(device.device), every, good, counted)
        if counted == "all" and device.device in shown:
            row = replace(row, share=shown[device.device].share)
        since = counted_in(pilot, device.device, whole.since, whole.until)
        if since is not None and device.device in of_devices:
            row = replace(row, whole=of_devices[device.device].share, since=since.since)
        rows.append(row)
    none = np.zeros(days, np.int64)
    flagged = {stream: counts - good.get(stream, none) for stream, counts in every.items()}
    rows.sort(key=lambda row: (row.share is None, row.share or 0.0))
    return Calendar(starts, rows, edges, flagged, whole)


def _shown(whole: SinceStart, edges: Numbers) -> tuple[Micros, Micros]:
    """The part of the days shown in which the pilot ran; an empty one where it did not."""
    start = max(int(edges[0]), whole.since)
    return start, max(start, min(int(edges[-1]), whole.until))


def _expected_times(pilot: PilotDefinition, whole: SinceStart, edges: Numbers) -> dict[str, Numbers]:
    """How long readings of each device were expected on each day, µs."""
    start, end = _shown(whole, edges)
    counted = {device.id: counted_in(pilot, device.id, start, end) for device in pilot.devices}
    return {
        device: np.maximum(0, np.minimum(edges[1:], times.until) - np.maximum(edges[:-1], times.since))
        for device, times in counted.items()
        if times is not None
    }


def _flags(services: Services, calendar: Calendar, device: str) -> list[Flagged]:
    of_device = {stream: counts for stream, counts in calendar.flagged.items() if stream.device == device}
    readings = next(row.readings for row in calendar.rows if row.device.device == device)
    return flags_of(services.store, of_device, calendar.edges, readings)


def _counts(services: Services, pilot: PilotDefinition, edges: Numbers, quality: str) -> Counts:
    query = StoreQuery(
        select=Selection(pilots=(pilot.id,)),
        start=int(edges[0]),
        end=int(edges[-1]),
        every=BucketWidth(1, "d"),
        aggregates=("count",),
        zone=pilot.timezone,
        quality="good" if quality == "good" else "all",
    )
    table = services.raw_store.read(query).read_all()  # how many readings came, also of those that leave as sums
    names = zip(*(table.column(name).to_pylist() for name in ("pilot", "device", "quantity")), strict=True)
    day = np.searchsorted(edges, table.column("time").cast(pa.int64()).to_numpy(), side="right") - 1
    counts: Counts = {}
    for name, index, count in zip(names, day.tolist(), table.column("count").to_pylist(), strict=True):
        counts.setdefault(Stream(*name), np.zeros(len(edges) - 1, np.int64))[index] += count
    return counts


def _promised(pilot: PilotDefinition, days: Numbers) -> dict[Stream, Numbers | None]:
    """The interval that each stream promised at the beginning of each day, µs; None where it promises nothing."""
    earlier = earlier_promises(pilot)
    return {
        stream: None if interval is None else intervals_at(days, interval, earlier.get(stream, ()))
        for stream, interval in pilot_intervals(pilot).items()
    }


def _row(
    device: DeviceInfo,
    promised: dict[Stream, Numbers | None],
    expected_times: Numbers | None,
    every: Counts,
    good: Counts,
    counted: Literal["all", "good"],
) -> Row:
    streams = [stream for stream in {*promised, *every} if stream[:2] == (device.pilot, device.device)]
    days = len(next(iter(every.values()), ())) if expected_times is None else len(expected_times)
    expected, observed = np.zeros(days), np.zeros(days)
    for stream in streams:
        interval = promised.get(stream)
        if interval is not None and expected_times is not None:
            due = expected_times // interval
            expected += due
            observed += np.minimum((good if counted == "good" else every).get(stream, np.zeros(days)), due)
    readings = int(sum(every[stream].sum() for stream in streams if stream in every))
    good_readings = int(sum(good[stream].sum() for stream in streams if stream in good))
    shares = [float(o / e) if e else None for o, e in zip(observed, expected, strict=True)]
    share = None  # of the time: a day counts as a day, whatever was promised on it
    if expected_times is not None and expected.any():
        times_promised = np.where(expected > 0, expected_times, 0)
        share = float((times_promised * observed / np.maximum(expected, 1)).sum() / times_promised.sum())
    return Row(device, shares, share, None, None, readings, readings - good_readings)


def _gaps(
    services: Services, pilot: PilotDefinition, device: str, start: Micros, end: Micros
) -> list[tuple[StreamInfo, Gap]]:
    """Every gap of the device's streams, the longest first."""
    catalogue, earlier = services.registry_cache.current(), earlier_promises(pilot)
    counted = counted_in(pilot, device, start, end)
    gaps_of_devices = [
        (catalogue.stream(stream), gap)
        for stream, interval in pilot_intervals(pilot).items()
        if stream.device == device and interval is not None and counted is not None
        for gap in gaps(services.raw_store, stream, interval, counted.since, counted.until, earlier.get(stream, ()))
    ]
    return sorted(gaps_of_devices, key=lambda pair: pair[1].start - pair[1].end)
