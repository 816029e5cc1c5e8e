"""A district at a real broker: everybody speaks at once, history follows, and a second life is the first one's."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from techport_ingest.brokers.mosquitto import Mosquitto
from techport_pilots.definition.load import read_definition
from techport_simulators.city import CitySettings, Clock, Progress, run_city
from techport_simulators.demo import definition_path, demo_definitions
from techport_simulators.devices import micros
from techport_simulators.gateway import Broker
from techport_simulators.truth import read_truth
from techport_storage.clock import now, now_datetime
from techport_storage.microseconds import HOUR, MINUTE
from tests.servers.mosquitto import free_port, mosquitto  # noqa: F401 (a fixture)
from tests.simulators.listener import listening, take

Message = tuple[str, dict[str, Any]]


def live(broker: Mosquitto, until: Callable[[Progress], bool], **how: Any) -> tuple[Progress, list[Message]]:
    """Let pilots live until a condition holds; what went out, and what was heard of it."""
    stop = threading.Event()
    paths = how.pop("paths", demo_definitions())

    def look(progress: Progress) -> None:
        if until(progress):
            stop.set()

    with listening(broker) as arrived:
        done = run_city(
            [read_definition(path) for path in paths],
            Broker(port=broker.settings.port),
            CitySettings(**how),
            stop_event=stop,
            progress=look,
        )
        return done, take(arrived, done.live + done.history)


def test_every_device_speaks_at_once(mosquitto: Mosquitto) -> None:  # noqa: F811
    began = now() / 1e6
    done, messages = live(mosquitto, lambda progress: progress.live >= 46)
    heard = {topic for topic, _ in messages}  # 46 go out first: one device has two intervals
    assert done.devices == len(heard) == 45
    assert all(topic.startswith("pilots/") and topic.endswith("/readings") for topic in heard)
    for _, reading in messages:
        measured = dt.datetime.fromisoformat(reading["time"]).timestamp()
        assert began - 3601 < measured <= now() / 1e6
        assert len(reading) > 1


@pytest.mark.dates
def test_history_is_whole_and_goes_back_from_the_present(mosquitto: Mosquitto) -> None:  # noqa: F811
    hours = 3
    start = now_datetime()
    _, messages = live(
        mosquitto,
        lambda progress: progress.history_done == 1.0,
        paths=[definition_path("nidelva-water")],
        backfill=dt.timedelta(hours=hours),
        start=start,
    )
    times: dict[str, list[int]] = {}
    for topic, reading in messages:
        times.setdefault(topic, []).append(micros(dt.datetime.fromisoformat(reading["time"])))
    assert len(times) == 4
    for heard in times.values():
        assert len(set(heard)) == len(heard), "nothing goes out twice"
        ordered = sorted(heard)
        assert {after - before for before, after in itertools.pairwise(ordered)} == {10 * MINUTE}
        assert micros(start) - hours * HOUR <= ordered[0] < micros(start) - hours * HOUR + 10 * MINUTE
        past = [at for at in heard if at <= micros(start)]  # on a busy machine the next reading is due meanwhile
        assert max(past[1:7]) > max(past[7:13]) > max(past[13:])


@pytest.mark.dates
def test_devices_that_read_seldom_have_a_longer_past(mosquitto: Mosquitto) -> None:  # noqa: F811
    _, messages = live(
        mosquitto,
        lambda progress: progress.history_done == 1.0,
        paths=[definition_path("smart-bins"), definition_path("elgeseter-bridge")],
        backfill=dt.timedelta(minutes=10),
        seldom_backfill=dt.timedelta(days=3),
        start=(start := now_datetime()),
    )
    oldest: dict[str, dt.timedelta] = {}
    for topic, reading in messages:
        age = start - dt.datetime.fromisoformat(reading["time"])
        oldest[topic] = max(oldest.get(topic, age), age)
    assert dt.timedelta(days=2, hours=22) < oldest["pilots/smart-bins/torvet/readings"] <= dt.timedelta(days=3)
    assert oldest["pilots/elgeseter-bridge/prinsens-gate/readings"] <= dt.timedelta(minutes=10)


def test_a_second_life_is_the_first_one_s(mosquitto: Mosquitto, tmp_path: Path) -> None:  # noqa: F811
    start = dt.datetime(2026, 3, 2, 7, tzinfo=dt.UTC)

    def once(name: str) -> dict[tuple[str, int], dict[str, float | int]]:
        live(
            mosquitto,
            lambda progress: progress.live > 60,
            paths=[definition_path("hospital-noise")],
            start=start,
            speed=60.0,
            truth_path=tmp_path / name,
        )
        return {(t.device, t.time): t.true for t in read_truth(tmp_path / name)}

    first, second = once("first"), once("second")
    both = first.keys() & second.keys()
    assert len(both) > 50
    assert all(first[key] == second[key] for key in both)


def test_a_city_without_a_broker_waits_and_can_be_stopped() -> None:
    stop = threading.Event()
    patience = threading.Timer(30, stop.set)
    patience.start()
    done = run_city(
        [read_definition(definition_path("nidelva-water"))],
        Broker(port=free_port()),
        stop_event=stop,
        progress=lambda progress: stop.set() if progress.live >= 4 else None,
    )
    patience.cancel()
    assert done.live >= 4  # handed over, waiting for the broker


def test_the_clock_catches_up_with_the_present_and_stays_there() -> None:
    present = now()
    behind = Clock(present - HOUR, speed=1.0)
    assert behind.now() < present - 3_500_000_000
    fast = Clock(present - 1000, speed=1e9)
    time.sleep(0.002)
    assert abs(fast.now() - now()) < 1_000_000
