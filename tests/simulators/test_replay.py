"""A CSV through a real broker arrives as it was: each value, each instant, and counted."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path

import msgspec
import pytest

from techport_ingest.brokers.mosquitto import Mosquitto
from techport_simulators.gateway import Broker
from techport_simulators.mapping import Mapping, MappingError, load_mapping
from techport_simulators.replay import Memory, Pace, ReplayError, publish_file, replay
from tests.servers.mosquitto import free_port, mosquitto  # noqa: F401 (a fixture)
from tests.simulators.listener import listening, take

ROWS = 50


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "square.csv"
    lines = [f"2020-01-01T{i // 60:02}:{i % 60:02}:00,{0.1 * i!r},{'' if i % 10 == 0 else i}" for i in range(ROWS)]
    path.write_text("when,pm,cars\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture
def mapping(tmp_path: Path) -> Mapping:
    path = tmp_path / "square.toml"
    path.write_text(
        """
        pilot = "square"
        columns = [
          { column = "pm", device = "a", quantity = "pm10" },
          { column = "cars", device = "b", quantity = "vehicle_count" },
        ]
        [time]
        column = "when"
        offset = "+01:00"
        """
    )
    return load_mapping(path)


@pytest.mark.parametrize("size", [1, 7, None])
def test_everything_arrives_once_and_exactly(
    csv: Path,
    mapping: Mapping,
    mosquitto: Mosquitto,  # noqa: F811
    size: int | None,
) -> None:
    seen: list[tuple[int, int]] = []
    with listening(mosquitto) as arrived:
        done = replay(
            csv,
            mapping,
            Broker(port=mosquitto.settings.port),
            Pace(records_per_message=size),
            progress=lambda rows, total: seen.append((rows, total)),
        )
        objects = take(arrived, done.messages)
        assert arrived.empty()
    dust = [one for topic, one in objects if topic == "pilots/square/a/readings"]
    cars = [one for topic, one in objects if topic == "pilots/square/b/readings"]
    assert [one["pm10"] for one in dust] == [0.1 * i for i in range(ROWS)]
    assert [one["vehicle_count"] for one in cars] == [i for i in range(ROWS) if i % 10]
    assert dust[0]["time"] == "2019-12-31T23:00:00Z"
    assert done.complete
    assert (done.rows, done.values, done.missing) == (ROWS, 95, 5)
    assert done.messages == {1: 95, 7: 8 + 7, None: 2}[size]
    assert done.counts() == {("a", "pm10"): 50, ("b", "vehicle_count"): 45}
    assert done.sums()["a", "pm10"] == math.fsum(0.1 * i for i in range(ROWS))
    assert seen[-1] == (ROWS, ROWS)


def test_pace_is_kept(csv: Path, mapping: Mapping, mosquitto: Mosquitto) -> None:  # noqa: F811
    with listening(mosquitto) as arrived:
        began = time.monotonic()
        done = replay(csv, mapping, Broker(port=mosquitto.settings.port), Pace(speed=60 * (ROWS - 1) / 0.5))
        assert time.monotonic() - began >= 0.5
        assert len(take(arrived, done.messages)) == done.messages == 95


def test_a_stop_ends_it_and_says_that_it_is_not_complete(
    csv: Path,
    mapping: Mapping,
    mosquitto: Mosquitto,  # noqa: F811
) -> None:
    stop = threading.Event()
    stop_soon = threading.Timer(0.3, stop.set)
    stop_soon.start()
    done = replay(csv, mapping, Broker(port=mosquitto.settings.port), Pace(speed=1.0), stop=stop)
    assert not done.complete
    assert done.rows < ROWS


def test_a_broker_that_is_not_there_is_told(csv: Path, mapping: Mapping) -> None:
    with pytest.raises(ReplayError, match="2 of 2 messages were not acknowledged"):
        replay(csv, mapping, Broker(port=free_port()), Pace(timeout=0.5))


def test_a_broker_that_is_restarted_still_gets_everything(
    csv: Path,
    mapping: Mapping,
    mosquitto: Mosquitto,  # noqa: F811
) -> None:
    with listening(mosquitto) as arrived:
        port = mosquitto.settings.port
        pace = Pace(speed=60 * ROWS / 3)
        publishing = threading.Thread(target=replay, args=(csv, mapping, Broker(port=port), pace))
        publishing.start()
        seen = {one[1]["time"] for one in take(arrived, 20) if "pm10" in one[1]}
        mosquitto.stop()
        mosquitto.start()
        publishing.join(60)
        while len(seen) < ROWS:  # at least once: some may come again
            seen |= {one[1]["time"] for one in take(arrived, 1) if "pm10" in one[1]}
    assert len(seen) == ROWS


def test_a_replay_that_is_resumed_leaves_out_what_was_acknowledged(
    csv: Path,
    mapping: Mapping,
    mosquitto: Mosquitto,  # noqa: F811
    tmp_path: Path,
) -> None:
    memory = Memory(tmp_path / "how-far.json")
    memory.note(csv, ROWS - 3)
    broker = Broker(port=mosquitto.settings.port)
    with listening(mosquitto) as arrived:
        done = replay(csv, mapping, broker, Pace(records_per_message=1), memory=Memory(tmp_path / "how-far.json"))
        assert (done.rows, done.messages) == (3, 6)
        take(arrived, done.messages)
        assert arrived.empty()
    assert Memory(tmp_path / "how-far.json").lines(csv) == ROWS


def test_a_file_is_published_in_parts_for_the_platform_to_read(
    tmp_path: Path,
    mosquitto: Mosquitto,  # noqa: F811
) -> None:
    file = tmp_path / "målinger.csv"
    lines = [f"{'Sluppen' if i % 2 else 'Øya'};04.05.2026 {i // 60:02}:{i % 60:02};{i},5" for i in range(600)]
    file.write_bytes("\n".join(["stasjon;tidspunkt;PM10 (µg/m³)", *lines]).encode("latin-1"))
    with listening(mosquitto) as arrived:
        done = publish_file(file, "square", "mast", Broker(port=mosquitto.settings.port))
        messages = [arrived.get(timeout=10) for _ in range(done.messages)]
        assert arrived.empty()
    assert done.rows == 600
    assert {topic for topic, _ in messages} == {"pilots/square/Sluppen/push/csv", "pilots/square/Oya/push/csv"}
    assert all(payload.decode().startswith("stasjon;tidspunkt;PM10 (µg/m³)\n") for _, payload in messages)


def test_a_file_that_is_no_table_is_told_with_its_line(tmp_path: Path, mosquitto: Mosquitto) -> None:  # noqa: F811
    (tmp_path / "odd.csv").write_text("time,pm10\n2026-05-04T12:00:00Z,1\n2026-05-04T12:10:00Z\n")
    with pytest.raises(MappingError, match="line 3: 1 cells"):
        publish_file(tmp_path / "odd.csv", "square", "mast", Broker(port=mosquitto.settings.port))


def test_lines_that_are_added_later_are_published(
    tmp_path: Path,
    mapping: Mapping,
    mosquitto: Mosquitto,  # noqa: F811
) -> None:
    """Also where a cell of the file has had a line break in it, so that there are fewer records than lines."""
    broker, memory = Broker(port=mosquitto.settings.port), Memory(tmp_path / "how-far.json")
    text = 'when,pm,cars,note\n2020-01-01T00:00:00,1.5,1,"two\nlines"\n'
    path = tmp_path / "noted.csv"
    path.write_text(text)
    plan = msgspec.structs.replace(mapping, ignore=["note"])
    assert replay(path, plan, broker, memory=memory).rows == 1
    path.write_text(text + "2020-01-01T00:01:00,2.5,2,\n")
    assert replay(path, plan, broker, memory=memory).rows == 1
