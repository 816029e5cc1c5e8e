"""Messages that devices send over HTTP: whose they are, what was packed, and the way to the broker."""

from __future__ import annotations

import asyncio
import base64
import binascii
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import Request

from techport_dashboards.problems import Problem
from techport_dashboards.settings import NotTaken
from techport_dashboards.web.dependencies import Services
from techport_dashboards.web.request_bounds import LARGEST_MESSAGE
from techport_dashboards.web.request_slots import slot_given_back
from techport_pilots.access.credentials import Credential, Credentials

PATIENCE = 10.0
"""Seconds that the broker has for its PUBACK."""

_REFUSED = "The user name and password do not belong to a device. Create them with: techport device add PILOT DEVICE"


def sender(request: Request, services: Services) -> Credential:
    """The credential that the request carries. Raises Problem; may raise RegistryUnavailable."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    credential = None
    if scheme.lower() == "basic":
        try:
            username, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            username = password = ""
        credential = Credentials(services.registry_cache.registry.database).check(username, password)
    if credential is None:
        raise Problem("no-credential", _REFUSED)
    return credential


@asynccontextmanager
async def to_broker(request: Request, services: Services) -> AsyncIterator[Callable[[str, bytes], Awaitable[None]]]:
    """A function that publishes a message of the request. It is back when the broker has acknowledged the message, and
    raises Problem where it has not. The request has no slot from now on. Raises Problem when too many wait already.
    """

    async def give(topic: str, payload: bytes) -> None:
        await _publish(services, topic, payload)

    with slot_given_back(request):
        yield give


async def _publish(services: Services, topic: str, payload: bytes) -> None:
    """Raises Problem."""
    try:
        if services.post is None:
            raise NotTaken("this process has no broker to give it to")
        await asyncio.wait_for(asyncio.wrap_future(services.post(topic, payload)), PATIENCE)
    except (NotTaken, TimeoutError) as error:
        reason = str(error) or f"the broker did not acknowledge it within {PATIENCE:.0f} seconds"
        raise Problem("not-taken", f"{reason}.") from error


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
