"""Devices that say where they are: as readings, and, where the pilot wants it, as moves on its time line."""

from __future__ import annotations

import pytest
from paho.mqtt.client import Client

from techport_ingest.after.relocation import RelocationDetector
from techport_pilots.definition.load import parse_definition
from techport_pilots.errors import DefinitionError
from techport_pilots.model import PilotDefinition, Position
from techport_pilots.registry.deployments import deployments, distance
from techport_pilots.registry.view import IngestView
from techport_storage.model import Batch, Reading
from tests.ingest.running import NOON, Ingest, eventually, mqtt_source

BIKES = """
id: bikes
title: Bikes
question: Where are they?
devices:
  - {id: bike-1, position: {lat: 63.43, lon: 10.39}}
  - {id: bike-2}
sources:
  - topic: bikes/+/gps
    format: native
    position: {lat: y, lon: x, moves: 100}
"""
HOME, BRIDGE = (63.43, 10.39), (63.4281, 10.4018)


def bikes() -> PilotDefinition:
    return parse_definition(BIKES)


def reports(*places: tuple[float, float], device: str = "bike-1", start: int = NOON) -> Batch:
    rows = []
    for number, pair in enumerate(places):
        time = (start + 60 * number) * 1_000_000
        for quantity, value in zip(("latitude", "longitude"), pair, strict=True):
            rows.append(Reading("bikes", device, quantity, time, value, time))
    return Batch.of(rows)


@pytest.fixture
def snapshot() -> IngestView:
    return IngestView.of(1, [bikes()], [])


def test_three_reports_in_a_row_from_one_other_place_are_a_move(snapshot: IngestView) -> None:
    moves = RelocationDetector()
    assert moves.of(reports(HOME, BRIDGE, BRIDGE), snapshot) == []
    [move] = moves.of(reports(BRIDGE, start=NOON + 600), snapshot)
    assert (move.device, move.position) == ("bike-1", Position(*BRIDGE))
    assert move.time == (NOON + 60) * 1_000_000, "it was there when it said so first"


@pytest.mark.parametrize(
    "places",
    [
        [HOME] * 5,
        [(63.4304, 10.3901)] * 5,  # 45 m: the receiver's error
        [BRIDGE, HOME, BRIDGE, HOME, BRIDGE],  # it jumps about
        [(63.40, 10.39), (63.41, 10.39), (63.42, 10.39), (63.44, 10.39)],  # on its way
        [(0.0, 0.0)] * 5,  # no fix yet
        [(95.0, 10.39)] * 5,
    ],
)
def test_what_is_no_move(snapshot: IngestView, places: list[tuple[float, float]]) -> None:
    assert RelocationDetector().of(reports(*places), snapshot) == []


def test_a_device_without_a_place_gets_one(snapshot: IngestView) -> None:
    [move] = RelocationDetector().of(reports(BRIDGE, BRIDGE, BRIDGE, device="bike-2"), snapshot)
    assert move.position == Position(*BRIDGE)


def test_the_same_batch_again_does_no_harm(snapshot: IngestView) -> None:
    moves = RelocationDetector()
    for _ in range(3):
        assert moves.of(reports(BRIDGE, BRIDGE), snapshot) == []


def test_what_is_remembered_is_bounded() -> None:
    devices = "".join(f"  - {{id: d{number}}}\n" for number in range(300))
    fleet = IngestView.of(1, [parse_definition(BIKES.replace("  - {id: bike-2}\n", devices))], [])
    moves = RelocationDetector(devices=100)
    for number in range(300):
        moves.of(reports(BRIDGE, device=f"d{number}"), fleet)
    assert len(moves._away) == 100


def test_distance_is_in_metres() -> None:
    assert distance(Position(63.0, 10.0), Position(64.0, 10.0)) == pytest.approx(111_195, rel=1e-3)
    assert distance(Position(*HOME), Position(*HOME)) == 0


def test_from_a_payload_to_the_time_line(port: int, device: Client, ingest: Ingest) -> None:
    ingest.registry.import_pilot(bikes(), "", "test")
    ingest.start(mqtt_source(port))
    eventually(lambda: "bikes/+/gps" in ((ingest.pipeline and ingest.pipeline.listening) or ()), "it listens")
    for number in range(4):
        payload = f'{{"time": {NOON + 60 * number}, "y": "63,4281", "x": 10.4018, "battery_level": 80}}'
        device.publish("bikes/bike-1/gps", payload, qos=1)
    eventually(lambda: len(ingest.rows()) == 12, "readings of three quantities are stored")
    assert {row[1]: row[3] for row in ingest.rows()} == {"latitude": 63.4281, "longitude": 10.4018, "battery_level": 80}

    def places() -> list[Position | None]:
        now = ingest.registry.pilot("bikes")
        return [one.position for one in deployments(now, now.devices[0])]

    eventually(lambda: len(places()) > 1, "it has moved")
    assert places() == [Position(*HOME), Position(63.4281, 10.4018)]
    [event] = ingest.registry.pilot("bikes").events
    assert (event.kind, event.time.timestamp()) == ("moved", NOON)
    assert not ingest.registry.note_move("bikes", "bike-1", (NOON + 900) * 1_000_000, Position(63.4281, 10.4019)), (
        "near"
    )
    assert not ingest.registry.note_move("bikes", "bike-1", (NOON - 900) * 1_000_000, Position(*HOME)), "before it came"
    assert not ingest.registry.note_move("bikes", "nobody", NOON * 1_000_000, Position(*HOME))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("{lat: y, lon: y}", "both latitude and longitude"),
        ("{lat: y, lon: x, moves: 0}", "0 metres"),
        ("{lat: y, lon: x, within: 5}", "within"),
    ],
)
def test_a_mistake_in_the_definition_is_explained(wrong: str, said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        parse_definition(BIKES.replace("{lat: y, lon: x, moves: 100}", wrong))
