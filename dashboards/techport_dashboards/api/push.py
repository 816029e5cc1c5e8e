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

import asyncio
import base64
import binascii
import re
import zlib
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from techport_dashboards.problems import Problem
from techport_dashboards.settings import NotTaken
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import Services, ServicesDep
from techport_dashboards.web.request_bounds import LARGEST_MESSAGE
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.access.credentials import Credential, Credentials
from techport_pilots.formats import formats

router = APIRouter(include_in_schema=False, route_class=SlotRoute)

PATIENCE = 10.0
"""Seconds that the broker has for its PUBACK."""

_EVENT = re.compile(r"[a-z]{1,20}")


def _sender(request: Request, services: ServicesDep, form: str, event: str | None = None) -> Credential:
    """The credential that the request carries. Raises Problem; may raise RegistryUnavailable."""
    if form not in formats():
        raise Problem("not-found", f"There is no format {form!r}. There are: {', '.join(formats())}.")
    if event is not None and not _EVENT.fullmatch(event):
        raise Problem("bad-parameter", f"{event[:40]!r} is not a valid event.", parameter="event", example="up")
    credential = _authenticate(request, services)
    if credential is None:
        raise Problem("no-credential", _REFUSED)
    return credential


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
    try:
        if services.post is None:
            raise NotTaken("this process has no broker to give it to")
        await asyncio.wait_for(asyncio.wrap_future(services.post(topic, payload)), PATIENCE)
    except (NotTaken, TimeoutError) as error:
        reason = str(error) or f"the broker did not acknowledge it within {PATIENCE:.0f} seconds"
        raise Problem("not-taken", f"{reason}.") from error
    body = {"status": "kept", "topic": topic, "bytes": len(payload)}
    return Response(msgspec.json.encode(body), 202, media_type="application/json")


_REFUSED = "The user name and password do not belong to a device. Create them with: techport device add PILOT DEVICE"


def _authenticate(request: Request, services: Services) -> Credential | None:
    """The credential that the request carries, if it is one. May raise RegistryUnavailable."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        username, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return Credentials(services.registry_cache.registry.database).check(username, password)


def unpacked(body: bytes, encoding: str) -> bytes:
    """The message itself. Raises a Problem for an encoding that is not understood, for what is not gzip after all, and
    for a message that is too long, of which no more than that is unpacked.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise Problem("bad-encoding", "The message is encoded as {encoding}.", encoding=encoding[:40])
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        message = unpacker.decompress(body, LARGEST_MESSAGE + 1)
    except zlib.error:
        raise Problem("bad-encoding", "The message is not gzip, although its header says so.") from None
    if len(message) > LARGEST_MESSAGE or unpacker.unconsumed_tail:
        raise Problem("too-large", "A message has at most {n} bytes.", n=LARGEST_MESSAGE)
    if not unpacker.eof or unpacker.unused_data:
        raise Problem("bad-encoding", "The gzip data does not end where the message does.")
    return message
