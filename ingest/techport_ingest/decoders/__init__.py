"""Decoders by format name. A decoder is one small module: a function from a message to observed values.

To add a format: a module here with a `decode` function, a line in DECODERS, and a folder of cases under
tests/ingest/decoders/<format>/<case>/ (topic, message, expected.json).
"""

from __future__ import annotations

from collections.abc import Callable

from techport_ingest.decoders import native
from techport_ingest.message import Message, Observed

Decoder = Callable[[Message, str], list[Observed]]
"""(message, device named by the topic) -> values. Raises BadMessage. An empty list means: nothing in it to keep."""

DECODERS: dict[str, Decoder] = {
    "native": native.decode,
}
