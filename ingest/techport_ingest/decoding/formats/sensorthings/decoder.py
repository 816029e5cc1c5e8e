"""OGC SensorThings 1.0 and 1.1 observations over MQTT.

    v1.1/Datastreams(7)/Observations     {"phenomenonTime": "2026-05-04T12:00:00Z", "result": 21.5}
    v1.1/Observations                    the same, with "Datastream": {"@iot.id": 7}

The key is "datastream.<id>", to be mapped to a quantity in the pilot's definition; the device is the topic's, or
"datastream-<id>" where there is none. An observation of an interval counts at its start, as hourly values here do.
Other entities are ignored. https://docs.ogc.org/is/18-088/18-088.html chapters 8 and 14.
"""

from __future__ import annotations

import re
from typing import Any

from techport_ingest.decoding.common import device_id, json_object, json_type, number, place
from techport_ingest.decoding.time_fields import TimeReader
from techport_ingest.message import Found, Ignored, Message, Observed, RejectedMessage
from techport_storage.model import Micros

_STREAM = re.compile(r"(?:Multi)?Datastreams\('?([^()']{1,80})'?\)")


def decode(message: Message, device: str, times: TimeReader) -> list[Found]:
    """Raises RejectedMessage."""
    if not message.topic.partition("?")[0].endswith("Observations"):
        return [Ignored(device, "not-observation")]
    observation = json_object(message.payload, "wrong-shape.sensorthings")
    stream = _stream(message.topic, observation)
    device = device or f"datastream-{device_id(stream)}"
    if "result" not in observation:
        raise RejectedMessage("wrong-shape.sensorthings-result")
    time = _time(observation.get("phenomenonTime"), message, times)
    if time is None:
        time = _time(observation.get("resultTime"), message, times)
    result = observation["result"]
    if type(result) is list:  # a MultiDatastream
        return [place(device, time, f"datastream.{stream}-{i}", item) for i, item in enumerate(result[:100])] or [
            Ignored(device, "null")
        ]
    if type(result) is str and number(result) is not None:
        return [Observed(device, time, f"datastream.{stream}", result)]  # a number in quotes: the check says so
    return [place(device, time, f"datastream.{stream}", result)]


def _stream(topic: str, observation: dict[str, Any]) -> str:
    """The datastream's id, of the topic or of the entity. Raises RejectedMessage."""
    named = _STREAM.search(topic)
    if named is not None:
        return named[1]
    linked = observation.get("Datastream", observation.get("MultiDatastream"))
    number = linked.get("@iot.id", linked.get("id")) if type(linked) is dict else None
    if type(number) is int or (type(number) is str and 0 < len(number) <= 80):
        return str(number)[:80] if type(number) is str else f"{number:d}"[:80]
    raise RejectedMessage("no-datastream")


def _time(text: object, message: Message, times: TimeReader) -> Micros | None:
    """An instant, or the start of an interval. Raises RejectedMessage."""
    if text is None:
        return None
    if type(text) is not str:
        raise RejectedMessage("bad-time.sensorthings", kind=json_type(text))
    return times.read(text.partition("/")[0], message.received)
