"""A file of readings, sent from a page: split into messages, which take the way of every message of a device."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, ServicesDep
from techport_dashboards.web.device_messages import to_broker
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.device_names import as_id
from techport_pilots.devices.csv_files import LARGEST, MOST_DEVICES, CsvPart, NotCsv, parts, text_of
from techport_pilots.i18n import N_

router = APIRouter(route_class=SlotRoute)

LONGEST = 120.0
"""Seconds that the broker has for all of a file."""

_WRONG = {
    "encoding": N_("Line {line}: this is no text in UTF-8, UTF-16 or Latin-1."),
    "long-heading": N_("Line {line}: a heading can have at most {most} bytes."),
    "devices": N_("Line {line}: one file can have lines of at most {most} devices. Send several files."),
    "heading": N_("Line {line}: there is no line with the names of columns."),
    "columns": N_("Line {line} has {columns} cells, but the heading has {heading}."),
    "quotes": N_("Line {line}: a quotation mark is not closed, or something follows a closed one."),
}


class UploadParameters(Parameters):
    device: str = Field(min_length=1, max_length=64, description="Whose readings they are, where no column says it.")


@router.post("/pilots/{pilot}/onboarding/file")
@needs("devices")
async def upload(
    request: Request, services: ServicesDep, pilot: PilotDep, parameters: Annotated[UploadParameters, Query()]
) -> Response:
    """Publish the lines of a CSV file on behalf of a device of the pilot. Answered when the broker has all of them."""
    if parameters.device not in [device.id for device in pilot.devices]:
        raise Problem("not-found", "The pilot has no device {device}.", device=parameters.device)
    if services.post is None:
        raise Problem("not-taken", "This process has no broker to give the file to.")
    raw = await _body(request)
    made = await asyncio.to_thread(_parts, raw)
    given_up = asyncio.get_running_loop().time() + LONGEST
    async with to_broker(request, services) as give:
        for part in made:
            owner = as_id(part.device) if part.device else parameters.device
            topic = f"pilots/{pilot.id}/{owner}/push/csv"
            try:
                async with asyncio.timeout_at(given_up):
                    await give(topic, part.payload)
            except (Problem, TimeoutError) as error:
                raise Problem(
                    "not-taken", "Line {line} and those after it were not accepted.", line=part.first
                ) from error
    body = {"lines": sum(part.lines for part in made), "messages": len(made)}
    return Response(msgspec.json.encode(body), 202, media_type="application/json")


def _parts(raw: bytes) -> list[CsvPart]:
    """The messages of a file; all of it is read before the first is sent. Raises Problem."""
    try:
        return list(parts(text_of(raw), MOST_DEVICES))
    except NotCsv as error:
        values: dict[str, Any] = {"line": error.line, **error.params}
        raise Problem("bad-parameter", _WRONG[error.code], parameter="body", **values) from error


async def _body(request: Request) -> bytes:
    gathered = bytearray()
    async for piece in request.stream():
        gathered += piece
        if len(gathered) > LARGEST:
            raise Problem("bad-parameter", "A file can have at most {most} bytes.", most=LARGEST, parameter="body")
    return bytes(gathered)
