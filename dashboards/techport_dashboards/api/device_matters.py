"""A device's messages: where one went, and how the sums of its days add up."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from techport_dashboards.api.accounts_schema import DaySums, Sums, Traced, day
from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.query.question import instant
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.accounting.ledger import Ledger, ignored_by_rule
from techport_pilots.accounting.trace import trace
from techport_pilots.registry.registry import Registry
from techport_storage import clock

router = APIRouter(prefix="/pilots/{pilot}", tags=["accounting"], route_class=SlotRoute)


class TraceParameters(Parameters):
    time: str = Field(max_length=64, description="When the message was sent.", examples=["2026-05-04T14:03:00+02:00"])
    minutes: float = Field(5.0, gt=0, le=1440, description="How far around it to look.")


@router.get("/devices/{device}/trace", response_model=Traced)
def where_is_it(
    services: ServicesDep,
    pilot: PilotDep,
    device: str,
    parameters: Annotated[TraceParameters, Query()],
) -> Traced:
    """Where is my message? Readings observed and messages received around a time: stored, set aside (why, and what to
    do) or ignored, with the sums of that day.
    """
    at = instant("time", parameters.time, pilot.timezone, clock.now(), False)
    assert at is not None
    registry, books = _parts(services)
    window = int(parameters.minutes * 60e6)
    return Traced.of(trace(registry, books, services.store, pilot.id, device, at, window))


@router.get("/devices/{device}/account", response_model=list[DaySums])
def account(services: ServicesDep, pilot: PilotDep, device: str) -> list[DaySums]:
    """The sums of each day (UTC), the newest first: received = stored + duplicates + quarantined + ignored, and what
    was ignored by which rule.
    """
    registry, books = _parts(services)
    tallies = books.tallies(pilot.id, device)
    rules = ignored_by_rule(registry.database, pilot.id, device)
    return [
        DaySums(
            **Sums.of(tally).model_dump(),
            day=day(device_day.day),
            ignored_by_rule={rule: parts for (owner, rule), parts in sorted(rules.items()) if owner == device_day},
        )
        for device_day, tally in sorted(tallies.items(), reverse=True)
    ]


def _parts(services: Services) -> tuple[Registry, Ledger]:
    if services.books is None:
        raise Problem("not-found", "This process keeps no ledger. Use a process that ingests messages.")
    return services.registry_cache.registry, services.books
