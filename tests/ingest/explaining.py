"""What becomes of one message of one source, as `techport decode` tells it."""

from __future__ import annotations

import json
from typing import Any

from techport_ingest.decoding.lint import explain
from techport_pilots.definition.load import parse_definition
from techport_pilots.devices.explanation import Explanation

NOW = 1_777_897_900_000_000  # 2026-05-04T12:31:40Z


def read(source: dict[str, Any], topic: str, payload: object, device: str = "x", **more: Any) -> Explanation:
    definition = {
        "id": "p",
        "title": "P",
        "question": "Is it?",
        "devices": [{"id": device}],
        "sources": [source],
        **more,
    }
    text = payload if isinstance(payload, str) else json.dumps(payload)
    return explain(text.encode(), topic, NOW, pilot=parse_definition(json.dumps(definition)))


def uplink(decoded: dict[str, Any], fields: dict[str, Any] | None = None, brand: str = "", **more: Any) -> Explanation:
    message = {"f_port": 2, "f_cnt": 1, "received_at": "2026-05-04T12:31:39Z", "decoded_payload": decoded}
    if brand:
        message["version_ids"] = {"brand_id": brand}
    source = {"topic": "v3/+/devices/+/up", "format": "tts-v3", "fields": fields or {}}
    return read(
        source, "v3/a@t/devices/x/up", {"end_device_ids": {"device_id": "x"}, "uplink_message": message}, **more
    )


def stored(explanation: Explanation) -> dict[str, tuple[float, str | None]]:
    return {reading.quantity: (round(reading.value, 6), reading.unit) for reading in explanation.readings}


def reasons(explanation: Explanation) -> list[str]:
    return [part.rejection.code for part in explanation.rejected]
