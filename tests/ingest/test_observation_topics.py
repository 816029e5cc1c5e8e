"""New readings are published as Observations of SensorThings, to who may see them, and do not come back as messages."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from techport_ingest.after import observations
from techport_pilots.access.credentials import Credentials
from techport_pilots.devices.observation_topics import ALL, ObservationTopics, topic_of
from techport_pilots.model import PeopleCounts, SourceDefinition
from techport_pilots.registry.entity_ids import EntityKey, entity_ids
from techport_storage.model import Batch, Reading, Receipt
from tests.ingest.conftest import OWN
from tests.ingest.running import NOON, Ingest, eventually, pilot


class Subscriber:
    """Subscribes again and again until the broker knows who it is, and notes what it hears."""

    def __init__(self, port: int, username: str, password: str, *topics: str) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self._ready = 0
        self.client = Client(CallbackAPIVersion.VERSION2, f"subscriber {username.replace('/', ' ')}")
        self.client.username_pw_set(username, password)
        self.client.on_message = lambda _c, _u, m: self.heard.append((m.topic, json.loads(m.payload)))
        self.client.on_connect = lambda client, *_: [client.subscribe(topic, 0) for topic in topics]
        self.client.on_subscribe = self._count
        self.client.reconnect_delay_set(0.1, 0.3)  # type: ignore[arg-type]
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        eventually(lambda: self._ready >= len(topics), "it is subscribed")

    def _count(self, *_: object) -> None:
        self._ready += 1

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def test_a_device_hears_its_own_observations_and_the_platform_all(platform: int, ingest: Ingest) -> None:
    credentials = Credentials(ingest.registry.database)
    one, other = credentials.issue("air", "lamp-1", "test"), credentials.issue("air", "lamp-2", "test")
    keys = [EntityKey("Datastreams", "air", lamp, "pm10") for lamp in ("lamp-1", "lamp-2")]
    ids = entity_ids(ingest.registry.database, keys)
    topics = [topic_of(ids[key]) for key in keys]
    everybody = Subscriber(platform, OWN.username, OWN.password, ALL)
    lamp, neighbour = (Subscriber(platform, who.username, who.password, *topics) for who in (one, other))

    def sent() -> bool:
        """Until the first one is heard: what a platform publishes begins within a second."""
        lamp.client.publish("pilots/air/lamp-1/readings", json.dumps({"time": NOON, "pm10": len(times)}), qos=1)
        times.append(len(times))
        return bool(everybody.heard)

    times: list[int] = []
    eventually(sent, "an Observation is published")
    lamp.client.publish("pilots/air/lamp-1/readings", json.dumps({"time": NOON + 60, "pm10": 21.5}), qos=1)
    eventually(lambda: 21.5 in [body["result"] for _, body in lamp.heard], "its own device hears it")
    topic, body = next((topic, body) for topic, body in lamp.heard if body["result"] == 21.5)
    assert topic == topics[0]
    assert body["@iot.id"] == f"{ids[keys[0]]}{(NOON + 60) * 1_000_000}"
    assert body["phenomenonTime"] == body["resultTime"]
    eventually(lambda: (topic, body) in everybody.heard, "and so does the platform's user")
    assert neighbour.heard == []
    for client in (everybody, lamp, neighbour):
        client.close()
    total = ingest.total()
    assert total.messages == len(times) + 1, "Observations are nobody's messages"
    assert total.quarantined == total.ignored == 0


def test_what_has_no_topic(ingest: Ingest) -> None:
    topics = ObservationTopics(ingest.registry)
    assert {stream.quantity for stream in topics.numbers()} >= {"pm10"}
    assert topics.of_device("air", "nobody") == ()
    known = pilot()
    counting = msgspec.structs.replace(known, people_counts=PeopleCounts(quantities=["pm10"]))
    ingest.registry.import_pilot(counting, "", "test")
    assert "pm10" not in {stream.quantity for stream in topics.numbers()}
    for topic in ("v1.1/+/Observations", "#"):
        reading = msgspec.structs.replace(known, sources=[SourceDefinition(topic=topic, format="sensorthings")])
        ingest.registry.import_pilot(reading, "", "test")
        assert topics.numbers() == {}, "it would come back"


def test_what_is_known_and_what_is_too_much_is_not_published(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observations, "MOST_IN_A_SECOND", 3)
    published: list[float] = []
    follow_up = observations.PublishObservations(
        ObservationTopics(ingest.registry), lambda _, payload: published.append(json.loads(payload)["result"])
    )
    batch = Batch.of([Reading("air", "lamp-1", "pm10", NOON * 1_000_000 + i, float(i), 0) for i in range(6)])
    receipt = Receipt(3, np.array([1]), [(2, "NaN")], np.array([3]), np.array([7.0]))
    committed: Any = SimpleNamespace(accounting=SimpleNamespace(batch=batch), receipt=receipt)
    follow_up.committed(committed)
    assert published == [], "no Datastream is known yet"
    follow_up.refresh()
    follow_up.committed(committed)
    assert published == [0, 3, 4], "neither the duplicate nor what was rejected; a correction is news"
    follow_up.committed(committed)
    assert len(published) == 3
    follow_up.refresh()
    follow_up.committed(committed)
    assert len(published) == 6
