"""Everything that a broken device may send, through a real broker into the real store, between good messages."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from paho.mqtt.client import Client

from techport_ingest.brokers.mosquitto import MAX_PACKET_BYTES
from techport_ingest.decoding.formats.native import decoder as native
from techport_ingest.message import Message, RejectedMessage
from techport_storage.clock import now
from tests.ingest.running import NOON, Ingest, eventually, mqtt_source, reading

HERE = "pilots/air/lamp-1/readings"
MEGABYTE = b'{"time": 1777896000, "pm10": "' + b"x" * 1_000_000 + b'"}'

# name: (topic, payload, reason of the quarantine entry, a word of its hint)
BAD = {
    "truncated JSON": (HERE, b'{"time": 1777896000, "pm10": 21.', "truncated", "buffer"),
    "not JSON": (HERE, b"pm10=21.5", "not-json", "Send one object"),
    "text for a number": (HERE, b'{"time": 1777896000, "pm10": "21,5"}', "not-a-number", "21.5 without quotes"),
    "object for a number": (HERE, b'{"time": 1777896000, "pm10": {"v": 1}}', "not-a-number", "one number"),
    "null for a number": (HERE, b'{"time": 1777896000, "pm10": null}', "not-a-number", "Leave the key out"),
    "true for a number": (HERE, b'{"time": 1777896000, "pm10": true}', "not-a-number", "1 or 0"),
    "NaN": (HERE, b'{"time": 1777896000, "pm10": NaN}', "nan", "leave the key out"),
    "infinity": (HERE, b'{"time": 1777896000, "pm10": 1e400}', "number-too-large", "1.8e308"),
    "one megabyte": (HERE, MEGABYTE, "not-a-number", "only numbers"),
    "unknown pilot": ("pilots/aire/lamp-1/readings", reading(1), "unknown-pilot", "import"),
    "unknown device": ("pilots/air/lamp-9/readings", reading(1), "unknown-device", "definition"),
    "unknown topic": ("pilots/air/lamp-1/reading", reading(1), "unknown-topic", "pilots/<pilot>/<device>/readings"),
    "year 1970": (HERE, b'{"time": 12, "pm10": 1}', "clock-past", "NTP"),
    "year 2100": (HERE, b'{"time": "2100-01-01T00:00:00Z", "pm10": 1}', "clock-future", "years fast"),
    "local time": (HERE, b'{"time": "2026-05-04T14:30:00", "pm10": 1}', "local-time", "offset"),
    "deep nesting": (HERE, b'{"a":' * 50_000, "too-deep", "one object"),
    "duplicate keys": (HERE, b'{"time": 1777896000, "pm10": 1, "pm10": 2}', "duplicate-key", "once"),
    "invalid UTF-8 payload": (HERE, b'{"st\xf8v": 1}', "not-utf8", "UTF-8"),
    "empty payload": (HERE, b"", "empty", "Send one object"),
    "impossible name": (HERE, b'{"time": 1777896000, "\\u0000": 1}', "bad-name", "visible"),
}


@pytest.fixture(autouse=True)
def running(port: int, ingest: Ingest) -> None:
    ingest.start(mqtt_source(port))


def test_each_is_in_quarantine_and_the_good_ones_around_it_are_stored(device: Client, ingest: Ingest) -> None:
    before = now()
    for number, (topic, payload, _, _) in enumerate(BAD.values()):
        device.publish("pilots/air/lamp-2/readings", reading(number), qos=1)
        device.publish(topic, payload, qos=1)
    device.publish("pilots/air/lamp-2/readings", reading(len(BAD)), qos=1)
    eventually(lambda: ingest.total().messages == 2 * len(BAD) + 1, "all messages are booked")

    entries = ingest.entries()
    assert [(e.topic, e.payload, e.reason) for e in entries] == [bad[:3] for bad in BAD.values()]
    for entry, (name, (_, _, _, hint)) in zip(entries, BAD.items(), strict=True):
        assert hint.lower() in entry.rejection.hint().lower(), name
        assert entry.rejection.detail(), name
        assert before <= entry.received <= now(), name
    assert ingest.rows() == [("lamp-2", "pm10", NOON + number, number + 0.5, 0) for number in range(len(BAD) + 1)]
    total = ingest.total()
    assert (total.stored, total.quarantined) == (len(BAD) + 1, len(BAD))


def test_the_good_values_of_a_partly_bad_message_are_stored(device: Client, ingest: Ingest) -> None:
    payload = json.dumps(
        [
            {"time": NOON, "pm10": 1, "pm25": "2", "battery": "full"},
            {"time": NOON + 1, "pm10": 3},
            {"time": 5, "pm10": 4},
        ]
    ).encode()
    device.publish(HERE, payload, qos=1)
    eventually(lambda: ingest.total().messages == 1, "the message is booked")
    assert [row[1:4] for row in ingest.rows()] == [("pm10", NOON, 1.0), ("pm10", NOON + 1, 3.0)]
    assert [(e.reason, e.field, e.values) for e in ingest.entries()] == [
        ("not-a-number", "pm25", 2),
        ("clock-past", "pm10", 1),
    ]
    assert ingest.total().received == 5


def test_an_invalid_topic_is_between_its_sender_and_the_broker(port: int, device: Client, ingest: Ingest) -> None:
    """mosquitto hangs up on a topic that is not UTF-8. Other devices do not notice."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as rude:
        rude.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04rude")
        assert rude.recv(4)[0] == 0x20
        rude.sendall(b"\x32\x0b\x00\x06pilo\xff\xfe\x00\x01{}"[:13])
        assert rude.recv(16) == b""
    device.publish(HERE, reading(1), qos=1)
    eventually(lambda: ingest.total().stored == 1, "the good one is stored")


def test_every_shared_payload_is_stored_or_in_quarantine(device: Client, ingest: Ingest, shared: Path) -> None:
    every = (file for file in sorted((shared / "payloads").rglob("*")) if file.is_file())
    files = [file for file in every if file.stat().st_size < MAX_PACKET_BYTES - 1_000]  # the broker takes no more
    for file in files:
        device.publish(HERE, file.read_bytes(), qos=1)
    device.publish(HERE, reading(7), qos=1)
    eventually(lambda: ingest.total().messages == len(files) + 1, "all messages are booked")
    assert ingest.alive
    total = ingest.total()
    assert total.received == 1 + sum(values_in(file.read_bytes()) for file in files)
    assert total.balanced
    assert ("lamp-1", "pm10", NOON + 7, 7.5, 0) in ingest.rows()


def values_in(payload: bytes) -> int:
    """How many values the ledger has to show for a message; one that cannot be read counts as one."""
    try:
        return len(native.decode(Message(HERE, payload, received=0, id=0), "lamp-1"))
    except RejectedMessage:
        return 1
