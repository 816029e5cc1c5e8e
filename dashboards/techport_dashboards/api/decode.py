"""A linter for device makers: what would become of this message?"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool

from techport_dashboards import times
from techport_dashboards.access import Viewer, allow
from techport_dashboards.api.describe import find_pilot
from techport_dashboards.api.matters_schema import Decoded, Pasted
from techport_dashboards.errors import Problem
from techport_dashboards.services import Services, services_of
from techport_pilots.explanation import Explanation

router = APIRouter(prefix="/decode", tags=["onboarding"])
Allowed = Annotated[Viewer, Depends(allow)]


@router.post("", response_model=Decoded)
async def decode(request: Request, viewer: Allowed, pasted: Pasted) -> Decoded:
    """Say what would become of a message: its readings, or what is wrong with it and what would be accepted. Nothing
    is kept. With a pilot, it is read by that pilot's sources; without one, every device is welcome.
    """
    return Decoded.of(await run_in_threadpool(explained, services_of(request), viewer, pasted))


def explained(services: Services, viewer: Viewer, pasted: Pasted) -> Explanation:
    """What the linter says. Raises Problem for a payload that is not hexadecimal, and where there is no linter."""
    if services.explain is None:
        raise Problem("not-found", "This process has no decoders: ask `techport decode`.")
    definition = find_pilot(services.catalogues.current(), viewer, pasted.pilot) if pasted.pilot else None
    format = pasted.format or (None if definition else "native")
    return services.explain(payload_of(pasted), pasted.topic, times.now(), format, definition)


def payload_of(pasted: Pasted) -> bytes:
    if pasted.hex is None:
        return (pasted.text or "").encode(errors="surrogatepass")
    try:
        return bytes.fromhex(pasted.hex.replace(":", " "))
    except ValueError as error:
        raise Problem(
            "bad-parameter", "This is not hexadecimal: {what}.", what=error, parameter="hex", example="01 67 00 d7"
        ) from error
