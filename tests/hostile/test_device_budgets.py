"""A device that sends too much: too many names, values, bytes, rejected messages or invented devices."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client

from techport_ingest.checking.budget import DeviceLimits, HourlyBudgets, Owner
from techport_ingest.sources.embedded import EmbeddedBroker, EmbeddedSettings
from techport_pilots.accounting.device_budgets import DeviceBudgets
from techport_pilots.accounting.ledger import ignored_by_rule
from techport_pilots.accounting.quarantine import QuarantineFilter
from techport_storage.microseconds import HOUR
from tests.ingest.running import NOON, Ingest, eventually, hang_up, publisher
from tests.servers.mosquitto import free_port

LIMITS = DeviceLimits(
    undescribed_streams=20,
    hourly_values=500,
    hourly_bytes=100_000,
    hourly_quarantine_entries=10,
    hourly_quarantine_bytes=20_000,
)


@pytest.fixture
def ingest(tmp_path: Path) -> Iterator[Ingest]:
    side = Ingest(tmp_path)
    yield side
    side.close()


@pytest.fixture
def device(ingest: Ingest) -> Iterator[Client]:
    port = free_port()
    ingest.start(EmbeddedBroker(EmbeddedSettings(port=port)), limits=LIMITS)
    client = publisher(port)
    yield client
    hang_up(client)


def _send(device: Client, to: str, values: dict[str, object]) -> None:
    """One message, acknowledged."""
    device.publish(f"pilots/air/{to}/readings", json.dumps({"time": NOON, **values}), qos=1).wait_for_publish(20)


def _names(count: int, first: int = 0) -> dict[str, object]:
    return {f"name_{number}": 1.5 for number in range(first, first + count)}


def _reasons(ingest: Ingest, device: str = "lamp-1") -> Counter[str]:
    return Counter(entry.rejection.reason for entry in ingest.entries() if entry.device == device)


def test_names_beyond_the_limit_are_quarantined_and_the_others_stored(ingest: Ingest, device: Client) -> None:
    _send(device, "lamp-1", {"pm10": 3.5, **_names(400)})
    eventually(lambda: ingest.total().received == 401, "everything is counted")
    assert len(ingest.rows()) == 21
    assert len(ingest.registry.streams("air", "lamp-1")) == 22, "two described, twenty more"
    (entry,) = ingest.entries()
    assert (entry.rejection.reason, entry.values) == ("too-many-streams", 380)
    assert "20" in entry.rejection.detail()


def test_the_limit_holds_over_many_messages_and_for_each_device(ingest: Ingest, device: Client) -> None:
    for number in range(30):
        _send(device, "lamp-1", _names(10, first=10 * number))
    _send(device, "lamp-2", _names(15))
    eventually(lambda: ingest.total().received == 315, "everything is counted")
    assert len(ingest.registry.streams("air", "lamp-1")) == 22
    assert len(ingest.registry.streams("air", "lamp-2")) == 17
    _send(device, "lamp-1", _names(20) | {"pm10": 1.0})  # what was accepted stays so
    eventually(lambda: ingest.total().received == 336, "everything is counted")
    assert len([row for row in ingest.rows() if row[0] == "lamp-1"]) == 21


def test_values_beyond_the_budget_are_counted_and_cost_nobody_else(ingest: Ingest, device: Client) -> None:
    for number in range(700):
        device.publish("pilots/air/lamp-1/readings", json.dumps({"time": NOON + number, "pm10": 1.0}), qos=1)
    _send(device, "lamp-2", {"pm10": 2.0})
    eventually(lambda: ingest.total().received == 701, "everything is counted")
    rows = Counter(row[0] for row in ingest.rows())
    assert rows == {"lamp-1": 500, "lamp-2": 1}
    assert _reasons(ingest) == {"over-budget": 1}, "told once"
    assert ingest.entries()[0].rejection.code == "over-budget.values"
    rules = {rule: parts for (_, rule), parts in ignored_by_rule(ingest.registry.database, "air", "lamp-1").items()}
    assert rules == {"over-budget": 199}
    assert ingest.total().ignored == 199


def test_bytes_have_a_budget_too(ingest: Ingest, device: Client) -> None:
    for number in range(5):
        _send(device, "lamp-1", {"pm10": number, "note": "x" * 30_000})
    eventually(lambda: len(ingest.entries()) >= 2, "it is told")
    assert "over-budget.bytes" in {entry.rejection.code for entry in ingest.entries()}
    assert len(ingest.rows()) == 1, "the same instant: three values, of which the first was stored"


@pytest.mark.parametrize("size", [10, 4_000])
def test_rejected_messages_do_not_fill_the_registry(ingest: Ingest, device: Client, size: int) -> None:
    for number in range(200):
        device.publish("pilots/air/lamp-1/readings", f"not JSON {number:04}".ljust(size, "x"), qos=1)
    _send(device, "lamp-2", {"pm10": "warm"})
    eventually(lambda: ingest.total().received == 201, "everything is counted")
    entries = [entry for entry in ingest.entries() if entry.device == "lamp-1"]
    assert len(entries) == (11 if size == 10 else 6)
    assert [entry.rejection.reason for entry in entries if entry.rejection.reason != "not-json"] == ["over-budget"]
    assert _reasons(ingest, "lamp-2") == {"not-a-number": 1}


def test_invented_devices_share_one_budget(ingest: Ingest, device: Client) -> None:
    for number in range(200):
        device.publish(f"pilots/air/invented-{number}/readings", json.dumps({"time": NOON, "pm10": 1.0}), qos=1)
        device.publish(f"pilots/air/status-{number}/status", "online", qos=1)
        device.publish(f"pilots/nowhere-{number}/box/readings", json.dumps({"time": NOON, "pm10": 1.0}), qos=1)
    _send(device, "lamp-2", {"pm10": "warm"})
    eventually(lambda: ingest.total().received == 601, "everything is counted")
    device_days = ingest.ledger.tallies()
    assert len(device_days) <= 2 * (LIMITS.hourly_quarantine_entries + 1) + 3
    assert len(ingest.entries()) <= 2 * (LIMITS.hourly_quarantine_entries + 1) + 1
    assert _reasons(ingest, "lamp-2") == {"not-a-number": 1}


def test_a_new_hour_has_a_new_budget() -> None:
    budgets, owner = HourlyBudgets(LIMITS), Owner("air", "lamp-1")
    assert budgets.take(owner, 5 * HOUR, 500, 10) is None
    exceeded = budgets.take(owner, 6 * HOUR - 1, 1, 10)
    assert exceeded is not None
    assert exceeded.first
    assert budgets.take(owner, 6 * HOUR, 1, 10) is None


def test_what_is_reprocessed_is_not_dropped(ingest: Ingest, device: Client) -> None:
    for number in range(8):
        _send(device, "lamp-1", {"pm10": f"warm {number}"})
    eventually(lambda: len(ingest.entries()) == 8, "they are in quarantine")
    for _ in range(3):
        replay = ingest.quarantine.request_replay(QuarantineFilter())
        eventually(lambda number=replay.id: ingest.quarantine.outcome(number).done, "it is reprocessed")  # type: ignore[misc,union-attr]
    assert _reasons(ingest) == {"not-a-number": 8}
    assert ingest.total().ignored == 0


def test_streams_that_nobody_described_can_be_forgotten(ingest: Ingest, device: Client) -> None:
    _send(device, "lamp-1", {"pm10": 1.0, **_names(20)})
    eventually(lambda: ingest.total().received == 21, "everything is counted")
    gone = ingest.registry.forget_streams("air", "lamp-1", ["name_0", "name_1", "pm10", "pm25", "unheard of"])
    assert [stream.quantity for stream in gone] == ["name_0", "name_1"]
    assert len(ingest.registry.streams("air", "lamp-1")) == 20
    assert ingest.registry.forget_streams("air", "lamp-2") == []
    time.sleep(1.5)  # until ingest has looked at the registry again
    _send(device, "lamp-1", {**_names(3, first=100)})
    eventually(lambda: ingest.total().received == 24, "everything is counted")
    (entry,) = ingest.entries()
    assert (entry.rejection.reason, entry.values) == ("too-many-streams", 1)
    assert len(ingest.registry.forget_streams("air", "lamp-1")) == 20
    assert [info.stream.quantity for info in ingest.registry.streams("air", "lamp-1")] == ["pm10", "pm25"]


def _taken(budgets: HourlyBudgets, shared: DeviceBudgets, owner: Owner, messages: int) -> int:
    """How many of the messages, of ten values each, a worker takes that shares as the pipeline does."""
    taken = 0
    for _ in range(messages):
        taken += budgets.take(owner, 5 * HOUR, 10, 1) is None
        hour, used = budgets.to_share()
        if used:
            budgets.agree(hour, shared.share(hour, used), used)
    return taken


def test_several_workers_have_one_budget_for_a_device(ingest: Ingest) -> None:
    shared, owner, other = DeviceBudgets(ingest.registry.database), Owner("air", "lamp-1"), Owner("air", "lamp-2")
    limits = DeviceLimits(hourly_values=10_000)
    workers = [HourlyBudgets(limits) for _ in range(4)]
    taken = sum(_taken(worker, shared, owner, 60) for _ in range(8) for worker in workers)
    assert 1_000 <= taken <= 1_000 * 1.05, "the budget, and a hundredth for each worker"
    assert all(_taken(worker, shared, other, 20) == 20 for worker in workers), "it costs others nothing"


def test_a_restart_gives_no_new_budget(ingest: Ingest) -> None:
    shared, owner = DeviceBudgets(ingest.registry.database), Owner("air", "lamp-1")
    limits = DeviceLimits(hourly_values=10_000)
    taken = 0
    for _ in range(10):  # killed and started again, again and again
        worker = HourlyBudgets(limits)
        taken += _taken(worker, shared, owner, 300)
    assert 1_000 <= taken <= 1_000 * 1.12
    with ingest.registry.database.reading() as transaction:
        assert transaction.execute("SELECT count(*) FROM device_budgets").scalar_one() == 1
    shared.share(6, {})
    with ingest.registry.database.reading() as transaction:
        assert not transaction.execute("SELECT count(*) FROM device_budgets").scalar_one(), "the hour is over"


def test_the_pipeline_shares_what_a_device_has_used(ingest: Ingest, device: Client) -> None:
    for number in range(40):
        _send(device, "lamp-1", {"time": NOON + number, "pm10": 1.0})
    eventually(lambda: ingest.total().received == 40, "everything is counted")
    _send(device, "lamp-2", {"pm10": 1.0})  # the next batch

    def used() -> int:
        with ingest.registry.database.reading() as transaction:
            query = 'SELECT "values" FROM device_budgets WHERE device = :device'
            return int(transaction.execute(query, {"device": "lamp-1"}).scalar() or 0)

    eventually(lambda: used() >= 5, "other workers can know it")


def test_a_batch_that_is_read_again_is_taken_once() -> None:
    budgets, owner = HourlyBudgets(LIMITS), Owner("air", "lamp-1")
    budgets.take(owner, HOUR, 100, 10)
    budgets.begin()
    for _ in range(3):  # to learn who gets a stream, and in which unit
        budgets.undo()
        assert budgets.take(owner, HOUR, LIMITS.hourly_values - 100, 10) is None
        exceeded = budgets.take(owner, HOUR, 1, 10)
        assert exceeded is not None
        assert exceeded.first
    budgets.begin()
    budgets.undo()
    assert budgets.take(owner, HOUR, 1, 10) is not None, "what is kept is not given back"


def test_a_message_that_the_pipeline_reads_again_is_taken_once(ingest: Ingest, device: Client) -> None:
    """The first message that states a unit is read again, with the unit that the registry has noted."""
    pack = json.dumps([{"bt": NOON, "n": "level_of_oil", "u": "m", "v": 1.0}]).encode()
    padded = pack + b" " * (LIMITS.hourly_bytes * 6 // 10)
    device.publish("pilots/air/lamp-1/readings", padded, qos=1).wait_for_publish(20)
    eventually(lambda: ingest.total().received == 1, "it is counted")
    assert ingest.total().stored == 1
    assert not _reasons(ingest)
