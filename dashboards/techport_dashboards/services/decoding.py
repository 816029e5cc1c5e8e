"""A linter for device makers: what would become of a message? For the API and the page alike."""

from __future__ import annotations

from dataclasses import dataclass

from techport_dashboards.problems import Problem
from techport_dashboards.query.names import find_pilot
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.viewer import Viewer
from techport_pilots.devices.explanation import Explain, Explanation
from techport_storage import clock

LONGEST_MESSAGE = 262_144
"""Bytes, or characters, of a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastedMessage:
    topic: str
    payload: bytes
    format: str | None = None
    """None: as the pilot's sources say, else native."""
    pilot: str | None = None
    """By whose sources it is read; None: every device is welcome."""


def explain_message(
    explain: Explain | None, registry: RegistryView, viewer: Viewer, message: PastedMessage
) -> Explanation:
    """What would become of the message; nothing of it is kept. Raises Problem, also where there is no linter."""
    if explain is None:
        raise Problem("not-found", "This process has no decoders. Use `techport decode`.")
    definition = find_pilot(registry, viewer, message.pilot) if message.pilot else None
    format_name = message.format or (None if definition else "native")
    return explain(message.payload, message.topic, clock.now(), format_name, definition)


def payload_of(text: str, as_hex: str | None = None) -> bytes:
    """The bytes of a message that was pasted as text or, where there is any, in hexadecimal. Raises Problem."""
    if as_hex is None:
        return text.encode(errors="surrogatepass")
    try:
        return bytes.fromhex(as_hex.replace(":", " "))
    except ValueError as error:
        raise Problem(
            "bad-parameter", "Invalid hexadecimal: {what}.", what=error, parameter="hex", example="01 67 00 d7"
        ) from error
