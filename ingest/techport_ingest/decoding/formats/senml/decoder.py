"""SenML in JSON: an array of records (techport_ingest/decoding/senml.py says how they are read)."""

from __future__ import annotations

from techport_ingest.decoding.common import json_document
from techport_ingest.decoding.senml import read_pack
from techport_ingest.message import Found, Message


def decode(message: Message, device: str) -> list[Found]:
    """The values of a JSON pack. Raises RejectedMessage."""
    return read_pack(json_document(message.payload), message.received, device)
