"""The ingest endpoint: MQTT 5 and 3.1.1 as devices speak them, and what they are told of their messages."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import mqtt5
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from techport_ingest.after.answers import AnswerSenders
from techport_ingest.brokers.auth import Authenticator
from techport_ingest.checking.budget import DeviceLimits
from techport_ingest.message import Message
from techport_ingest.sources.embedded import EmbeddedBroker, EmbeddedSettings
from techport_ingest.sources.own_relay import OwnRelay
from techport_ingest.sources.relay import BrokerAway
from techport_pilots.access.credentials import Credentials, Issued
from tests.ingest.raw_client import RawClient, connect, packet, publish, text
from tests.ingest.running import NOON, Ingest, eventually, mqtt_source, publisher, reading
from tests.ingest.test_embedded import receive
from tests.servers.mosquitto import free_port

TOPIC = "pilots/air/lamp-1/readings"
LEVELS = pytest.mark.parametrize("level", [4, 5], ids=["3.1.1", "5"])


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    running = EmbeddedBroker(EmbeddedSettings(port=free_port(), window=100, max_packet_bytes=100_000))
    yield running
    running.close()


@pytest.fixture
def endpoint(ingest: Ingest) -> Iterator[int]:
    """The port of an endpoint whose pipeline runs, for devices with a credential."""
    port = free_port()
    gate = Authenticator(Credentials(ingest.registry.database), anonymous=False)
    source = EmbeddedBroker(EmbeddedSettings(port=port), gate)
    pipeline = ingest.start(source, limits=DeviceLimits(hourly_values=10))
    pipeline.follow_with(AnswerSenders(source))
    yield port
    ingest.stop()


@pytest.fixture
def lamp(ingest: Ingest) -> Issued:
    return Credentials(ingest.registry.database).issue("air", "lamp-1", "test")


class Device:
    """A device of MQTT 5 that notes what it is told with each PUBACK."""

    def __init__(self, port: int, issued: Issued) -> None:
        self.answers: dict[int, tuple[int, str]] = {}
        self.client = Client(CallbackAPIVersion.VERSION2, "box", protocol=MQTTProtocolVersion.MQTTv5)
        self.client.username_pw_set(issued.username, issued.password)
        self.client.on_publish = self._on_publish
        self.ended: list[Any] = []
        self.client.on_disconnect = lambda _c, _u, _f, reason, _p: self.ended.append(reason)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        eventually(self.client.is_connected, "the device is connected")

    def _on_publish(self, _client: Client, _data: object, mid: int, reason: Any, properties: Any) -> None:
        self.answers[mid] = (reason.value, getattr(properties, "ReasonString", ""))

    def publish(self, payload: str, topic: str = TOPIC, qos: int = 1) -> tuple[int, str]:
        mid = self.client.publish(topic, payload, qos=qos).mid
        eventually(lambda: mid in self.answers, "it is answered")
        return self.answers[mid]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


# -- What a device is told.


def test_a_device_is_told_what_went_to_quarantine(endpoint: int, ingest: Ingest, lamp: Issued) -> None:
    device = Device(endpoint, lamp)
    assert device.publish(f'{{"time": {NOON}, "pm10": 1}}') == (0, "")
    assert len(ingest.rows()) == 1, "acknowledged is stored"
    code, why = device.publish(f'{{"time": {NOON}, "pm10": "21,5"}}')
    assert code == 0x99
    assert "Send 21.5 without quotes" in why
    assert len(ingest.entries()) == 1, "and kept"
    code, why = device.publish(f'{{"time": {NOON + 1}, "pm10": "21,5", "pm25": 7}}')
    assert code == 0, "a part of it is stored"
    assert "pm10" in why
    assert device.publish("[")[0] == 0x99
    assert not device.ended
    device.close()


def test_a_device_is_told_that_a_topic_is_not_its_own_and_stays_connected(
    endpoint: int, ingest: Ingest, lamp: Issued
) -> None:
    device = Device(endpoint, lamp)
    for topic in ("pilots/air/lamp-2/readings", "pilots/air/lamp-1/problems", "elsewhere"):
        code, why = device.publish(f'{{"time": {NOON}, "pm10": 666}}', topic)
        assert code == 0x87
        assert TOPIC in why
        device.client.publish(topic, b"{}", qos=0)
    assert device.publish(f'{{"time": {NOON}, "pm10": 1}}')[0] == 0
    assert [(row[0], row[3]) for row in ingest.rows()] == [("lamp-1", 1.0)]
    assert not device.ended
    device.close()


def test_a_device_is_told_that_it_sends_too_much(endpoint: int, ingest: Ingest, lamp: Issued) -> None:
    device = Device(endpoint, lamp)
    told = [device.publish(f'{{"time": {NOON + number}, "pm10": 1, "pm25": 2}}') for number in range(8)]
    assert [code for code, _ in told] == [0] * 5 + [0x97] * 3
    assert all("one hour" in why or "per hour" in why for _, why in told[5:]), told
    assert len(ingest.rows()) == 10
    device.close()


def test_reasons_are_left_out_where_a_device_does_not_want_them(endpoint: int, lamp: Issued) -> None:
    login = text(lamp.username) + text(lamp.password)
    # no problem information; packets of 20 bytes at most
    for properties, longest in ((b"\x17\x00", None), (b"\x27\x00\x00\x00\x14", 20)):
        with RawClient(endpoint, 5, flags=0xC2, properties=properties, more=login) as device:
            device.send(publish(TOPIC, b"[", level=5))
            answer = device.read()
            assert longest is None or len(answer) <= longest
            told = mqtt5.read(memoryview(answer))[0]
            assert isinstance(told, mqtt5.PubAckPacket)
            assert (int(told.reason_code), told.reason_str) == (0x99, None)


def test_with_quality_of_service_2_too(endpoint: int, lamp: Issued) -> None:
    with RawClient(endpoint, 5, flags=0xC2, more=text(lamp.username) + text(lamp.password)) as device:
        for topic, code in ((TOPIC, 0x99), ("pilots/air/lamp-2/readings", 0x87)):
            device.send(publish(topic, b"[", qos=2, level=5))
            told = device.read5()
            assert isinstance(told, mqtt5.PubRecPacket)
            assert int(told.reason_code) == code
            assert told.reason_str


# -- The versions, packet by packet.


@LEVELS
@pytest.mark.parametrize("at_once", [True, False])
def test_a_device_of_few_bytes(broker: EmbeddedBroker, level: int, at_once: bool) -> None:
    """As libraries for microcontrollers write it: CONNECT with a clean session, a PUBLISH, PINGREQ; byte after byte."""
    sent = connect("esp32-7", level) + publish(TOPIC, b'{"pm10": 7}', 0x1234, level=level) + b"\xc0\x00"
    with RawClient(broker.port) as device:
        if at_once:
            device.send(sent)  # without a wait for CONNACK (section 3.1.4)
        else:
            for byte in sent:
                device.send(bytes((byte,)))
        assert device.read()[:1] == b"\x20"
        assert device.read() == b"\xd0\x00", "the pong comes before an acknowledgement that nothing has earned yet"
        [message] = receive(broker, 1)
        assert (message.topic, message.payload) == (TOPIC, b'{"pm10": 7}')
        broker.ack([message])
        assert device.read() == b"\x40\x02\x12\x34"
        device.send(b"\xe0\x00")
        assert device.read() == b""


@LEVELS
def test_quality_of_service_2_is_received_when_it_is_kept(broker: EmbeddedBroker, level: int) -> None:
    with RawClient(broker.port, level) as device:
        device.send(publish(TOPIC, b"1", 7, qos=2, level=level))
        messages = receive(broker, 1)
        assert device.is_answered()
        broker.ack(messages)
        assert device.read() == b"\x50\x02\x00\x07"
        device.send(b"\x62\x02\x00\x07")
        assert device.read() == b"\x70\x02\x00\x07"


def test_the_answer_to_connect_says_what_may_be_sent(broker: EmbeddedBroker) -> None:
    with RawClient(broker.port) as device:
        device.send(connect("", 5, flags=0, keep_alive=0, properties=b"\x11\xff\xff\xff\xff"))
        told = device.read5()
        assert isinstance(told, mqtt5.ConnAckPacket)
        assert (told.receive_max, told.max_packet_size) == (50, 100_000)
        assert told.assigned_client_id
        assert told.server_keep_alive == 3_600
        assert told.session_expiry_interval == 7 * 24 * 3_600
        assert not told.subscription_id_available


def test_topics_by_number(broker: EmbeddedBroker) -> None:
    with RawClient(broker.port, 5) as device:
        device.send(publish(TOPIC, b"1", 1, level=5, properties=b"\x23\x00\x03"))
        device.send(publish("", b"2", 2, level=5, properties=b"\x23\x00\x03"))
        assert [(m.topic, m.payload) for m in receive(broker, 2)] == [(TOPIC, b"1"), (TOPIC, b"2")]
        device.send(publish("", b"3", 3, level=5, properties=b"\x23\x00\x04"))
        told = device.read5()
        assert isinstance(told, mqtt5.DisconnectPacket)
        assert told.reason_code == mqtt5.DisconnectReasonCode.TOPIC_ALIAS_INVALID


def test_properties_of_a_message_do_not_become_payload(broker: EmbeddedBroker) -> None:
    properties = (
        b"\x01\x01" + b"\x03" + text("application/json") + b"\x26" + text("unit") + text("µg") + b"\x02\0\0\0\x09"
    )
    with RawClient(broker.port, 5) as device:
        device.send(publish(TOPIC, b"1", level=5, properties=properties))
        assert [message.payload for message in receive(broker, 1)] == [b"1"]


@pytest.mark.parametrize(("level", "name"), [(3, "MQIsdp"), (6, "MQTT"), (3, "MQTT")])
def test_other_versions_are_refused(broker: EmbeddedBroker, level: int, name: str) -> None:
    with RawClient(broker.port) as device:
        device.send(packet(0x10, text(name) + bytes((level, 2, 0, 60)) + text("box")))
        assert device.read() == b"\x20\x02\x00\x01"
        assert device.read() == b""


def test_a_session_without_a_name_is_refused(broker: EmbeddedBroker) -> None:
    with RawClient(broker.port) as device:
        device.send(connect("", 4, flags=0))
        assert device.read() == b"\x20\x02\x00\x02"


def test_the_window_stops_one_client_and_no_other(broker: EmbeddedBroker) -> None:
    """What is beyond half the window waits in front of it; a client that only asks for something else is answered."""
    with RawClient(broker.port, 5, client_id="a") as noisy, RawClient(broker.port, 4, client_id="b") as other:
        noisy.send(b"".join(publish(TOPIC, reading(number), number, level=5) for number in range(1, 121)))
        taken = receive(broker, 50)
        assert other.is_answered()
        assert broker.receive(0) == []
        for expected in (50, 20):
            broker.ack(taken)
            taken = receive(broker, expected)
            assert len(taken) == expected
        broker.ack(taken)
        assert [noisy.read() for _ in range(120)] == [b"\x40\x02" + n.to_bytes(2, "big") for n in range(1, 121)]


def test_topics_that_the_pipeline_leaves_and_takes(broker: EmbeddedBroker) -> None:
    with RawClient(broker.port, 5) as device:
        device.send(publish("tele/plug/SENSOR", b"1", 1, level=5))
        assert device.read() == b"\x40\x02\x00\x01", "nobody wants it: there is nothing to wait for"
        broker.subscribe(("tele/+/SENSOR",))
        assert device.is_answered()
        device.send(publish("tele/plug/SENSOR", b"2", 2, level=5))
        assert [message.payload for message in receive(broker, 1)] == [b"2"]


# -- Sessions.


@LEVELS
def test_a_second_connection_takes_the_session_over(broker: EmbeddedBroker, level: int) -> None:
    forever = b"\x11\xff\xff\xff\xff" if level == 5 else b""
    subscribe = packet(0x82, b"\x00\x01" + (b"\x00" if level == 5 else b"") + text("probe/#") + b"\x01")
    with RawClient(broker.port, level, flags=0, properties=forever) as first:
        first.send(subscribe)
        assert first.read()[0] == 0x90
        with RawClient(broker.port, level, flags=0, properties=forever) as second:
            assert second.connack[2] == 1, "the session is there"
            if level == 5:
                told = first.read5()
                assert isinstance(told, mqtt5.DisconnectPacket)
                assert told.reason_code == mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER
            assert first.read() == b""
            with RawClient(broker.port, 4, client_id="other") as other:
                other.send(publish("probe/1", b"x", qos=0))
                assert other.is_answered()
            assert second.read()[0] == 0x30, "and its subscription with it"


def test_what_a_subscriber_did_not_acknowledge_comes_again(broker: EmbeddedBroker) -> None:
    with RawClient(broker.port, 4, flags=0, client_id="display") as display:
        display.send(packet(0x82, b"\x00\x01" + text("probe") + b"\x01"))
        assert display.read() == b"\x90\x03\x00\x01\x01"
        with RawClient(broker.port, 4, client_id="box") as box:
            box.send(publish("probe", b"1"))
            assert box.read() == b"\x40\x02\x00\x01"
            assert display.read() == packet(0x32, text("probe") + b"\x00\x01" + b"1")
            display.socket.close()
            box.send(publish("probe", b"2", 2))
            assert box.read() == b"\x40\x02\x00\x02"
    with RawClient(broker.port, 4, flags=0, client_id="display") as display:
        assert display.read() == packet(0x3A, text("probe") + b"\x00\x01" + b"1")
        second = display.read()  # which the endpoint may have sent before it noticed
        assert packet(second[0] & ~8, second[2:]) == packet(0x32, text("probe") + b"\x00\x02" + b"2")
        display.send(b"\x40\x02\x00\x01\x40\x02\x00\x02")
        assert display.is_answered()
    with RawClient(broker.port, 4, flags=0, client_id="display") as display:
        assert display.is_answered()


@LEVELS
def test_a_will_is_published_when_a_connection_is_lost_and_not_after_a_goodbye(
    broker: EmbeddedBroker, level: int
) -> None:
    will = (b"\x00" if level == 5 else b"") + text("pilots/air/lamp-1/status") + text("offline")
    with RawClient(broker.port, level, flags=6, more=will) as device:
        device.send(b"\xe0\x00")
        assert device.read() == b""
    with RawClient(broker.port, level, flags=6, more=will):
        pass
    [message] = receive(broker, 1)
    assert (message.topic, message.payload) == ("pilots/air/lamp-1/status", b"offline")
    broker.ack([message])
    with RawClient(broker.port, 4, client_id="other") as other:
        assert other.is_answered()
    assert broker.receive(0) == [], "once"


def test_a_will_waits_no_longer_than_its_session(broker: EmbeddedBroker) -> None:
    will = b"\x05\x18\x00\x00\x0e\x10" + text("gone") + text("lamp-1")  # an hour's delay
    with RawClient(broker.port, 5, client_id="another") as subscriber:
        subscriber.send(packet(0x82, b"\x00\x01\x00" + text("gone") + b"\x00"))
        assert subscriber.read()[0] == 0x90
        with RawClient(broker.port, 5, flags=6, properties=b"\x11\x00\x00\x00\x01", more=will):
            pass
        told = subscriber.read5()
        assert isinstance(told, mqtt5.PublishPacket)
        assert (told.topic, told.payload) == ("gone", b"lamp-1")


def test_workers_share_a_subscription(broker: EmbeddedBroker) -> None:
    """A worker of another process divides the topics with others, as it does behind any other broker."""
    topics = ("probe/#",)
    workers = [mqtt_source(broker.port, f"worker-{number}", topics=topics, share="group") for number in range(2)]
    device = publisher(broker.port)
    for number in range(10):
        device.publish(f"probe/{number}", reading(number), qos=1)
    got: list[list[Message]] = [[], []]

    def all_there() -> bool:
        for number, worker in enumerate(workers):
            messages = worker.receive(0.1)
            worker.ack(messages)
            got[number] += messages
        return sum(map(len, got)) == 10

    eventually(all_there, "all are dealt")
    assert [len(part) for part in got] == [5, 5]
    device.disconnect()
    device.loop_stop()
    for worker in workers:
        worker.close()


def test_retained_messages_and_options_of_subscriptions(broker: EmbeddedBroker) -> None:
    with RawClient(broker.port, 5) as device:
        device.send(packet(0x31, text("state/a") + b"\x00" + b"on"))
        for options, retained in ((0x00, True), (0x10, False), (0x20, False)):  # always; if new, and it is not; never
            device.send(packet(0x82, b"\x00\x01\x00" + text("state/+") + bytes((options,))))
            assert device.read() == b"\x90\x04\x00\x01\x00\x00"
            if retained:
                assert device.read() == packet(0x31, text("state/a") + b"\x00" + b"on")
            assert device.is_answered()
        device.send(packet(0x82, b"\x00\x02\x00" + text("state/+") + b"\x24"))  # nothing of its own (no local)
        assert device.read()[0] == 0x90
        device.send(publish("state/a", b"off", qos=0, level=5))
        assert device.is_answered()
        device.send(packet(0xA2, b"\x00\x03\x00" + text("state/+") + text("never")))
        assert device.read() == packet(0xB0, b"\x00\x03\x00" + b"\x00\x11")


# -- Clients of others.


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_mosquitto_pub(endpoint: int, ingest: Ingest, lamp: Issued, version: str, qos: str) -> None:
    command = shutil.which("mosquitto_pub")
    if command is None:
        pytest.skip("mosquitto_pub is not installed: apt-get install mosquitto-clients")
    words = ["-h", "127.0.0.1", "-p", str(endpoint), "-u", lamp.username, "-V", version, "-q", qos, "-t", TOPIC]
    payload = f'{{"time": {NOON}, "pm10": 1}}'
    subprocess.run([command, *words, "-P", lamp.password, "-m", payload], check=True, timeout=60)
    eventually(lambda: len(ingest.rows()) == 1, "it is stored")
    wrong = subprocess.run(
        [command, *words, "-P", "guess", "-m", payload], capture_output=True, text=True, timeout=60, check=False
    )
    assert wrong.returncode != 0
    assert "not authori" in wrong.stderr.lower()


@pytest.mark.parametrize("protocol", [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])
def test_paho_sends_again_what_was_not_acknowledged(broker: EmbeddedBroker, protocol: MQTTProtocolVersion) -> None:
    client = Client(CallbackAPIVersion.VERSION2, "box", protocol=protocol)
    client.reconnect_delay_set(0.1, 0.3)  # type: ignore[arg-type]
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 600
    five = protocol == MQTTProtocolVersion.MQTTv5
    client.connect("127.0.0.1", broker.port, **({"clean_start": False, "properties": properties} if five else {}))
    client.loop_start()
    eventually(client.is_connected, "the device is connected")
    acknowledged: list[int] = []
    client.on_publish = lambda _c, _u, mid, _r, _p: acknowledged.append(mid)
    client.publish(TOPIC, b"1", qos=1)
    first = receive(broker, 1)
    connection = client.socket()
    assert connection is not None
    connection.shutdown(2)
    [second] = receive(broker, 1)
    assert second.redelivered
    broker.ack([*first, second])
    eventually(lambda: len(acknowledged) == 1, "it is acknowledged once")
    client.disconnect()
    client.loop_stop()


# -- The platform's own messages, without a connection.


def test_the_platform_publishes_without_a_connection(broker: EmbeddedBroker) -> None:
    relay = OwnRelay(broker)
    assert relay.connected
    with RawClient(broker.port, 4) as display:
        display.send(packet(0x82, b"\x00\x01" + text("pilots/#") + b"\x00"))
        assert display.read() == b"\x90\x03\x00\x01\x00"
        answer = relay.send("pilots/air/lamp-1/push/native", b"1")
        [message] = receive(broker, 1)
        assert (message.topic, message.payload) == ("pilots/air/lamp-1/push/native", b"1")
        assert not answer.done()
        broker.ack([message])
        answer.result(10)
        relay.tell("elsewhere", b"2")
        assert display.read() == packet(0x30, text("pilots/air/lamp-1/push/native") + b"1")
        assert display.is_answered(), "nothing of what it did not ask for"


def test_few_messages_of_the_platform_wait(broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("techport_ingest.sources.own_relay.MOST_UNDER_WAY", 3)
    relay = OwnRelay(broker)
    waiting = [relay.send(TOPIC, b"x") for _ in range(3)]
    with pytest.raises(BrokerAway):
        relay.send(TOPIC, b"x").result(10)
    broker.ack(receive(broker, 3))
    for answer in waiting:
        answer.result(10)
    again = relay.send(TOPIC, b"x")
    receive(broker, 1)
    broker.close()
    with pytest.raises(BrokerAway):
        again.result(10)
    with pytest.raises(BrokerAway):
        relay.send(TOPIC, b"x").result(10)
