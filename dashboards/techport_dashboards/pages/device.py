"""One device: what it measures now, its charts, and the account of its messages."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from techport_dashboards import times
from techport_dashboards.access import Viewer, allow
from techport_dashboards.pages.pilot import PageParameters, device_of, newest, panels, pilot_now, range_values
from techport_dashboards.services import Services, services_of
from techport_dashboards.templating import language_of, render
from techport_pilots.books import DeviceDay, Tally
from techport_storage.model import Micros

router = APIRouter()
ACCOUNT_DAYS = 7


@router.get("/pilots/{pilot}/devices/{device}")
async def device_page(
    request: Request,
    viewer: Annotated[Viewer, Depends(allow)],
    pilot: str,
    device: str,
    parameters: Annotated[PageParameters, Query()],
) -> Response:
    """The device's page over a range."""
    services = services_of(request)
    now = times.now()
    here, _ = await run_in_threadpool(pilot_now, services, viewer, pilot, now)
    found = device_of(here, device)
    return render(
        request,
        "device.html",
        language_of(request),
        now=now,
        here=here,
        pilot=here.pilot,
        device=found,
        panels=panels(here.pilot, [stream.view for stream in found.streams]),
        account=await run_in_threadpool(_account, services, pilot, device, now),
        day_start=lambda day: day * times.DAY,
        **range_values(request, here.pilot, newest([here]), parameters, now),
    )


def _account(services: Services, pilot: str, device: str, now: Micros) -> list[tuple[DeviceDay, Tally]]:
    """What became of the values of the last days that have any, newest first."""
    if services.books is None:
        return []
    tallies = services.books.tallies(pilot, device)
    return sorted(tallies.items(), reverse=True)[:ACCOUNT_DAYS]
