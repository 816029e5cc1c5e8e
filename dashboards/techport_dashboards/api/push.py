"""POST /push/{format}: messages of devices and networks that speak HTTP and not MQTT.

    Sensor.Community's "own API", webhooks of The Things Stack and ChirpStack, curl
        │  Basic authentication with the device's credential
        ▼
    broker, topic pilots/<pilot>/<device>/push/<format> ──► ingest, like any message
        │  PUBACK
        ▼
    202, and not before: what is answered so is kept as an acknowledged MQTT message is (docs/guarantees.md)

The sender proves by its credential which device it is; that, and no viewer's right, is what guards this route.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from techport_dashboards.problems import Problem
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import ServicesDep
from techport_dashboards.web.device_messages import sender, to_broker, unpacked
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.access.credentials import Credential
from techport_pilots.formats import formats

router = APIRouter(include_in_schema=False, route_class=SlotRoute)

_EVENT = re.compile(r"[a-z]{1,20}")


def _sender(request: Request, services: ServicesDep, form: str, event: str | None = None) -> Credential:
    """The credential that the request carries. Raises Problem; may raise RegistryUnavailable."""
    if form not in formats():
        raise Problem("not-found", f"There is no format {form!r}. There are: {', '.join(formats())}.")
    if event is not None and not _EVENT.fullmatch(event):
        raise Problem("bad-parameter", f"{event[:40]!r} is not a valid event.", parameter="event", example="up")
    return sender(request, services)


@router.post("/push/{form}")
@needs("device", anybody="takes messages of devices, which prove who they are by their own credential")
async def push(
    request: Request,
    services: ServicesDep,
    credential: Annotated[Credential, Depends(_sender)],
    form: str,
    event: str | None = None,
) -> Response:
    """Take one message of a device. `event` is what ChirpStack's webhook calls the kind of an event."""
    payload = unpacked(await request.body(), request.headers.get("content-encoding", ""))
    topic = "/".join([f"{credential.topics}push", form, *([event] if event else [])])
    async with to_broker(request, services) as give:
        await give(topic, payload)
    body = {"status": "kept", "topic": topic, "bytes": len(payload)}
    return Response(msgspec.json.encode(body), 202, media_type="application/json")
