"""A device that subscribes to its problems is told what was wrong, at either broker, and hears nobody else's."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from techport_ingest.after.notices import Notices
from techport_ingest.brokers.mosquitto import Mosquitto, MosquittoSettings, find_mosquitto
from techport_ingest.decoding.formats.sparkplug_b.sparkplug_b_pb2 import Payload
from techport_ingest.sources.relay import BrokerAway, Relay
from techport_ingest.sources.settings import MqttSettings
from techport_pilots.access.credentials import Credentials
from techport_pilots.accounting.rejection import RecordedText, Rejection
from techport_pilots.accounting.tally import QuarantineEntry
from tests.ingest.running import NOON, Ingest, eventually
from tests.servers.mosquitto import free_port


def listening(ingest: Ingest, port: int, device: str, five: bool) -> tuple[Client, list[dict[str, object]]]:
    """A device with a credential of its own that subscribes to everybody's problems, and what it hears."""
    issued = Credentials(ingest.registry.database).issue("air", device, "test")
    protocol = MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311
    heard: list[dict[str, object]] = []
    ready: list[object] = []
    client = Client(CallbackAPIVersion.VERSION2, device, protocol=protocol)
    client.username_pw_set(issued.username, issued.password)
    client.on_message = lambda _c, _u, message: heard.append({**json.loads(message.payload), "on": message.topic})
    client.on_subscribe = lambda *_: ready.append(1)
    client.on_connect = lambda c, *_: [c.subscribe(f"pilots/air/{name}/problems", 1) for name in ("lamp-1", "lamp-2")]
    client.reconnect_delay_set(0.1, 0.3)  # type: ignore[arg-type]  # the broker knows the credential within a second
    client.connect("127.0.0.1", port)
    client.loop_start()
    eventually(lambda: len(ready) >= 2, "it listens")
    return client, heard


@pytest.mark.parametrize("five", [True, False], ids=["5", "3.1.1"])
def test_a_device_hears_of_its_own_problems_only(platform: int, ingest: Ingest, five: bool) -> None:
    one, heard = listening(ingest, platform, "lamp-1", five)
    other, heard_by_other = listening(ingest, platform, "lamp-2", five)
    bad = f'{{"time": {NOON}, "pm10": "21,5", "pm25": 7}}'
    one.publish("pilots/air/lamp-1/readings", bad, qos=1)
    one.publish("pilots/air/lamp-1/readings", b"\xff\xfe", qos=1)
    eventually(lambda: len(heard) == 2, "it is told of both")
    other.publish("pilots/air/lamp-2/readings", "[", qos=1)
    eventually(lambda: len(heard_by_other) == 1, "the other one is told of its own")
    for client in (one, other):
        client.disconnect()
        client.loop_stop()

    first, second = heard
    assert first["on"] == second["on"] == "pilots/air/lamp-1/problems"
    assert (first["reason"], first["field"], first["values"]) == ("not-a-number", "pm10", 1)
    assert "Send 21.5 without quotes" in str(first["hint"])
    assert first["payload"] == bad
    assert second["payload_hex"] == "fffe"
    assert {one["on"] for one in heard_by_other} == {"pilots/air/lamp-2/problems"}
    total = ingest.total()
    assert (total.messages, total.stored, total.quarantined) == (3, 1, 3), "notices are nobody's messages"
    assert total.ignored == 0


def test_nothing_is_retained_and_nobody_has_to_listen(platform: int, ingest: Ingest) -> None:
    issued = Credentials(ingest.registry.database).issue("air", "lamp-1", "test")
    client = Client(CallbackAPIVersion.VERSION2, "deaf")
    client.username_pw_set(issued.username, issued.password)
    client.reconnect_delay_set(0.1, 0.3)  # type: ignore[arg-type]
    client.connect("127.0.0.1", platform)
    client.loop_start()
    eventually(client.is_connected, "it is let in")
    client.publish("pilots/air/lamp-1/readings", "[", qos=1)
    eventually(lambda: len(ingest.entries()) == 1, "it is set aside")
    client.publish("pilots/air/lamp-1/readings", f'{{"time": {NOON}, "pm10": 1}}', qos=1)
    eventually(lambda: len(ingest.rows()) == 1, "the next one is stored")
    client.disconnect()
    client.loop_stop()
    listener, heard = listening(ingest, platform, "lamp-1", five=False)
    listener.publish("pilots/air/lamp-1/readings", "{", qos=1)
    eventually(lambda: len(heard) >= 1, "it is told of what comes now")
    listener.disconnect()
    listener.loop_stop()
    assert [one["payload"] for one in heard] == ["{"]


def entry(device: str = "lamp-1", pilot: str = "air", payload: bytes = b"x") -> QuarantineEntry:
    return QuarantineEntry(
        pilot=pilot,
        device=device,
        topic="t",
        payload=payload,
        received=NOON * 1_000_000,
        rejection=Rejection("not-json", recorded=RecordedText("d", "h")),
        field=None,
        values=1,
        redelivered=False,
        format="native",
    )


def test_a_flood_of_problems_is_told_a_few_times() -> None:
    told: list[str] = []
    notices = Notices(lambda topic, payload: told.append(topic), burst=3, every=3_600)
    notices.about([entry()] * 50)
    notices.about([entry("lamp-2")] * 2)
    assert told == ["pilots/air/lamp-1/problems"] * 3 + ["pilots/air/lamp-2/problems"] * 2


def test_what_is_remembered_of_devices_is_bounded() -> None:
    notices = Notices(lambda topic, payload: None, devices=100)
    notices.about(entry(f"box-{number}") for number in range(1_000))
    assert len(notices._problems) == 100


def test_a_sparkplug_node_whose_birth_is_not_known_is_asked_for_it_once() -> None:
    told: list[tuple[str, bytes]] = []
    notices = Notices(lambda topic, payload: told.append((topic, payload)))
    unknown = msgspec.structs.replace(
        entry("edge-pump"),
        topic="spBv1.0/plant/DDATA/edge/pump",
        rejection=Rejection("unknown-alias"),
        format="sparkplug-b",
    )
    notices.about([unknown] * 3)
    [command] = [payload for topic, payload in told if topic == "spBv1.0/plant/NCMD/edge"]
    [metric] = Payload.FromString(command).metrics
    assert (metric.name, metric.datatype, metric.boolean_value) == ("Node Control/Rebirth", 11, True)


def test_a_message_that_the_broker_does_not_allow_is_not_taken_for_kept(tmp_path: Path) -> None:
    """mosquitto acknowledges what it throws away; with MQTT 5 it says that it did."""
    executable, port = find_mosquitto(), free_port()
    assert executable is not None
    (tmp_path / "access").write_text("topic write pilots/+/+/push/#\n")
    settings = MosquittoSettings(
        folder=tmp_path / "broker", executable=executable, port=port, extra=(f"acl_file {tmp_path / 'access'}",)
    )
    broker = Mosquitto(settings)
    broker.start()
    relay = Relay(MqttSettings(client_id="test", port=port))
    try:
        eventually(lambda: relay.connected, "the relay is connected")
        relay.send("pilots/air/lamp-1/push/native", b"{}").result(20)
        with pytest.raises(BrokerAway, match="Not authorized"):
            relay.send("pilots/air/lamp-1/readings", b"{}").result(20)
        broker.stop()
        eventually(lambda: not relay.connected, "the broker is gone")
        with pytest.raises(BrokerAway):
            relay.send("pilots/air/lamp-1/push/native", b"{}").result(20)
    finally:
        relay.close()
        broker.stop()


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a\0b", "$SYS", "x" * 300])
def test_a_name_that_is_no_level_of_a_topic_is_told_nothing(name: str) -> None:
    told: list[str] = []
    Notices(lambda topic, payload: told.append(topic)).about([entry(name), entry("lamp-1", name)])
    assert told == []


def test_a_long_message_comes_back_as_its_beginning() -> None:
    told: list[bytes] = []
    Notices(lambda topic, payload: told.append(payload)).about([entry(payload=b"a" * 100_000)])
    assert len(msgspec.json.decode(told[0])["payload"]) == 200
