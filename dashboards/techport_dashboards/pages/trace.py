"""Where is my message? A device and a time, and what became of what it sent around then."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, ServicesDep
from techport_dashboards.web.payload import raw
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render
from techport_pilots.accounting.trace import trace
from techport_storage import clock
from techport_storage.microseconds import MINUTE
from techport_storage.model import Stream

router = APIRouter(route_class=SlotRoute)
MINUTES = (1, 5, 30, 120, 720)


class TraceParameters(Parameters):
    device: str | None = Field(None, max_length=200)
    time: str | None = Field(None, max_length=64, description="Local time of the pilot, or with an offset.")
    minutes: int = Field(5, ge=1, le=1440)
    lang: str | None = Field(None, max_length=8)


@router.get("/pilots/{pilot}/trace")
@needs("see-raw")
def trace_page(
    request: Request, services: ServicesDep, pilot: PilotDep, parameters: Annotated[TraceParameters, Query()]
) -> Response:
    """The question, and where it is asked whole the answer."""
    now = clock.now()
    catalogue = services.registry_cache.current()
    zone = times.zone_named(pilot.timezone)
    answer, at = None, now
    if parameters.device and parameters.time:
        try:
            at = times.parse_instant(parameters.time, zone, now, wall_clock=True)
        except ValueError as error:
            raise Problem("bad-parameter", f"{error}.", parameter="time", example="2026-05-04T14:03") from error
        if services.ledger is None:
            raise Problem("not-found", "This process keeps no ledger. Use a process that ingests messages.")
        registry, window = services.registry_cache.registry, parameters.minutes * MINUTE
        answer = trace(registry, services.ledger, services.raw_store, pilot.id, parameters.device, at, window)
    return render(
        request,
        "trace.html",
        language_of(request),
        pilot=pilot,
        asked=parameters,
        local=times.moment(at, zone).strftime("%Y-%m-%dT%H:%M"),
        devices=catalogue.devices_of(pilot.id),
        choices=MINUTES,
        answer=answer,
        arrived={arrival.received: arrival for arrival in answer.arrivals if arrival.visible is not None}
        if answer
        else {},
        info=lambda quantity: catalogue.stream(Stream(pilot.id, answer.device if answer else "", quantity)),
        raw=raw,
    )
