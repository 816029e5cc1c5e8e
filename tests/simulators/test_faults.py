"""Each fault does what it says, and the truth log says what each message must become."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from techport_ingest.checking.check import Columns
from techport_ingest.decoding.decoder import make_decoder
from techport_ingest.message import Message, RejectedMessage
from techport_pilots.definition.load import read_definition
from techport_pilots.registry.registry import Registry
from techport_simulators.demo import definition_path, demo_definitions
from techport_simulators.devices import devices_of, micros
from techport_simulators.faults import EPISODE, Faults, FaultyDevice, Outgoing, bundle, everyday_faults
from techport_simulators.truth import Truth, TruthLog, read_truth
from techport_storage.microseconds import HOUR

PILOT = read_definition(definition_path("hospital-noise"))
DEVICE = devices_of(PILOT, seed=3)[0]
START = micros(dt.datetime(2026, 11, 23, tzinfo=dt.UTC))
INSTANTS = DEVICE.instants(START, START + 2000 * DEVICE.interval)
SINGLE = ("duplicate", "late", "spike", "flip", "broken")
LASTING = ("gap", "reboot", "stuck", "drift")


def messages(faults: Faults) -> list[Outgoing]:
    return FaultyDevice(DEVICE, faults).messages(INSTANTS)


def hit(faults: Faults, name: str) -> list[Outgoing]:
    return [m for m in messages(faults) if name in m.truth.faults]


def test_without_faults_everything_is_sent_once_as_it_is() -> None:
    for message, instant, values in zip(messages(Faults()), INSTANTS.tolist(), DEVICE.measure(INSTANTS), strict=True):
        assert message.due == instant
        assert message.truth == Truth(DEVICE.pilot, DEVICE.id, instant, values, "stored", instant, values)
        sent = json.loads(message.payload)
        assert micros(dt.datetime.fromisoformat(sent.pop("time"))) == instant
        assert sent == values


@pytest.mark.parametrize("name", [*SINGLE, *LASTING])
def test_rate_is_the_share_that_is_hit(name: str) -> None:
    rate, expected = (0.1, 200.0) if name in SINGLE else (0.5, 1000.0)
    if name == "reboot":
        expected = 50 * 3
    assert len(hit(Faults(**{name: rate}), name)) == pytest.approx(expected, rel=0.4)
    assert hit(Faults(**{name: 0.0}), name) == []


def test_an_ordinary_week_troubles_some_devices_and_leaves_most_alone() -> None:
    pilots = [read_definition(path) for path in demo_definitions()]
    names = [(pilot.id, device.id) for pilot in pilots for device in pilot.devices]
    troubled = [name for name in names if everyday_faults(*name) != Faults()]
    assert len(names) / 5 < len(troubled) < len(names) / 2
    assert everyday_faults(*troubled[0]) == everyday_faults(*troubled[0])
    assert any(message.truth.outcome == "quarantined" for message in messages(everyday_faults(*troubled[0])))


def test_faults_are_the_same_for_one_instant_and_for_many() -> None:
    device = FaultyDevice(DEVICE, Faults(**dict.fromkeys((*SINGLE, *LASTING), 0.2)))
    together = device.messages(INSTANTS[:60])
    alone = [device.messages(INSTANTS[i : i + 1])[0] for i in range(60)]
    assert together == alone
    assert [m.truth for m in together] == [m.truth for m in alone]


def test_gap_sends_nothing_and_keeps_the_truth() -> None:
    lost = hit(Faults(gap=0.5), "gap")
    assert all(m.truth.outcome == "lost" and m.truth.sent is None and m.truth.true for m in lost)


def test_reboot_loses_two_readings_and_sends_one_from_1970() -> None:
    outcomes = [m.truth.outcome for m in hit(Faults(reboot=1.0), "reboot")][:6]
    assert outcomes == ["lost", "lost", "quarantined"] * 2
    reset = next(m for m in hit(Faults(reboot=1.0), "reboot") if m.truth.outcome == "quarantined")
    assert json.loads(reset.payload)["time"].startswith("1970-01-01T00:00:12")


def test_stuck_repeats_the_first_value_of_its_stretch() -> None:
    stretch = messages(Faults(stuck=1.0))[: 4 * EPISODE]
    sent = [m.truth.sent for m in stretch]
    true = [m.truth.true for m in stretch]
    assert len({json.dumps(values) for values in sent}) <= 5
    assert len({json.dumps(values) for values in true}) > 60


def test_drift_runs_away_and_is_set_right() -> None:
    ahead = [(m.truth.sent_time or 0) - m.truth.time for m in messages(Faults(drift=1.0, drift_rate=0.02))]
    assert max(ahead) == pytest.approx(0.02 * (EPISODE - 1) * DEVICE.interval, abs=1000)
    assert min(ahead) == 0
    behind = [(m.truth.sent_time or 0) - m.truth.time for m in messages(Faults(drift=1.0, drift_rate=-0.02))]
    assert min(behind) < 0


def test_a_clock_far_ahead_is_quarantined_when_it_is_live_and_stored_when_it_is_history() -> None:
    device = FaultyDevice(DEVICE, Faults(drift=1.0, drift_rate=10.0))
    assert "quarantined" in {m.truth.outcome for m in device.messages(INSTANTS[:40])}
    later = int(INSTANTS[-1]) + HOUR
    assert {m.truth.outcome for m in device.messages(INSTANTS[:40], now=later)} == {"stored"}


def test_late_comes_after_its_followers() -> None:
    late = hit(Faults(late=0.1), "late")[0]
    assert late.due > late.truth.time + 2 * DEVICE.interval


def test_spike_flip_and_broken_change_the_payload_as_they_say() -> None:
    spiked = hit(Faults(spike=0.1), "spike")[0].truth
    assert spiked.sent is not None
    changed = [name for name in spiked.true if spiked.sent[name] != spiked.true[name]]
    assert len(changed) == 1
    assert spiked.sent[changed[0]] > 100
    flipped = json.loads(hit(Faults(flip=0.1), "flip")[0].payload)
    assert all(type(value) is int for name, value in flipped.items() if name != "time")
    with pytest.raises(json.JSONDecodeError):
        json.loads(hit(Faults(broken=0.1), "broken")[0].payload)


def test_battery_runs_down_and_then_there_is_silence() -> None:
    life = dt.timedelta(microseconds=500 * DEVICE.interval)
    levels = [m.truth.true["battery_level"] for m in messages(Faults(battery=life))]
    drops = np.diff(levels)
    assert max(levels) > 95
    assert (drops > 50).sum() == 4  # changed once every 500 readings
    silent = hit(Faults(battery=life), "battery")
    assert silent
    assert {m.truth.outcome for m in silent} == {"lost"}


def test_bundles_hold_every_message_once_and_leave_bad_ones_alone() -> None:
    sent = messages(Faults(broken=0.02, duplicate=0.02, gap=0.1))
    bundles = bundle(sent, most=50)
    assert len(bundles) < len(sent) / 5
    for one in bundles:
        if one.payload.startswith(b"["):
            assert one.truth.copies == 1
            assert 1 < len(json.loads(one.payload)) <= 50
    objects = [
        o
        for b in bundles
        if b.truth.outcome == "stored"
        for o in msgspec.json.decode(b"[" + b.payload.strip(b"[]") + b"]")
    ]
    assert len(objects) == sum(m.truth.outcome == "stored" for m in sent)


def test_the_log_gives_back_what_was_written(tmp_path: Path) -> None:
    truths = [m.truth for m in messages(Faults(broken=0.2, gap=0.2, stuck=0.5, duplicate=0.1))]
    with TruthLog(tmp_path / "truth.ndjson") as log:
        for truth in truths:
            log.write(truth)
    assert list(read_truth(tmp_path / "truth.ndjson")) == truths


def test_the_check_step_agrees_with_the_truth_about_every_message(tmp_path: Path) -> None:
    """What the log says must become of a message is what the platform's own decoder and rules make of it."""
    registry = Registry.open(f"sqlite:///{tmp_path / 'registry.sqlite'}")
    registry.import_pilot(PILOT, "", who="test")
    snapshot = registry.snapshot()
    everything = Faults(**dict.fromkeys((*SINGLE, *LASTING), 0.15))
    for message in messages(dataclasses.replace(everything, drift_rate=4.0)):
        if message.truth.outcome == "lost":
            continue
        arrived = Message(message.topic, message.payload, message.due, 1)
        columns = Columns(snapshot)
        try:
            columns.add(arrived, DEVICE.pilot, "native", make_decoder("native")(arrived, DEVICE.id))
        except RejectedMessage as problem:
            columns.reject(arrived, DEVICE.pilot, DEVICE.id, "native", problem.rejection)
        kept = {r.quantity: (r.time, r.value) for r in columns.batch()}
        if message.truth.outcome == "quarantined":
            assert kept == {}
            assert columns.rejected
        else:
            assert columns.rejected == []
            assert kept == {q: (message.truth.sent_time, v) for q, v in (message.truth.sent or {}).items()}
    registry.close()
