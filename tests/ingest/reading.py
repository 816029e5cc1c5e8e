"""Reads messages one by one as a worker does, without broker, store or database."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

from techport_ingest.checking.check import Columns
from techport_ingest.decoding.reader import Reader
from techport_ingest.message import Message
from techport_pilots.definition.load import parse_definition
from techport_pilots.registry.view import IngestView, Origin

NOW = 1_796_000_000_000_000
TIME = "2026-11-29T20:00:00Z"

Sent = tuple[str, "dict[str, Any] | list[Any] | str | bytes"]


def definition(sources: str, devices: Sequence[str] = ("a",), more: str = "") -> str:
    listed = "".join(f'  - {{id: "{device}"}}\n' for device in devices)
    return f"id: kai\ntitle: Kai\nquestion: Kai?\n{sources}\ndevices:\n{listed}{more}"


class Platform:
    """Reads messages one by one and remembers origins as the registry does."""

    def __init__(self, text: str) -> None:
        self.pilot = parse_definition(text, file="kai.yaml")
        self.origins: dict[tuple[str, str, str], str] = {}
        self.rows: list[tuple[str, str, float]] = []
        self.rejected: list[tuple[str, str, int]] = []
        self.reader = Reader()
        self.last = Columns(IngestView.of(0, [], []))

    def read(self, topic: str, payload: dict[str, Any] | list[Any] | str | bytes) -> Columns:
        text = payload if isinstance(payload, str | bytes) else json.dumps(payload)
        body = text.encode() if isinstance(text, str) else text
        origins = [Origin(*place, origin) for place, origin in self.origins.items()]
        view = IngestView.of(len(origins), [self.pilot], [], origins=origins)
        self.reader.use(view)
        columns = self.reader.read([Message(topic, body, NOW, 1)], view)
        for claim in columns.claims:
            self.origins.setdefault(claim[:3], claim.origin)
        self.rows += [(row.device, row.quantity, row.value) for row in columns.batch()]
        self.rejected += [(part.device, part.reason, part.values) for part in columns.rejected]
        self.last = columns
        return columns


def take(text: str, *messages: Sent) -> Platform:
    platform = Platform(text)
    with contextlib.closing(platform.reader):
        for topic, payload in messages:
            platform.read(topic, payload)
    return platform
