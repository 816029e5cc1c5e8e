"""A few of the rounds that `make soak` has a thousand of, and what it makes of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from techport_ingest.brokers.mosquitto import find_mosquitto
from tests.conftest import unavailable
from tests.faults import rounds, soak

SEEDS = 30


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_was_acknowledged_is_kept_once(seed: int, tmp_path: Path) -> None:
    if find_mosquitto() is None:
        unavailable("mosquitto is not installed: apt-get install mosquitto")
    outcome = rounds.run(seed, tmp_path)
    assert outcome.holds, outcome


def outcome(**more: object) -> rounds.Round:
    usual = rounds.Round(1, "mosquitto", ["worker killed"], 400, 0, 0, 2.5, agrees=True)
    return msgspec.structs.replace(usual, **more)


@pytest.mark.fast
def test_only_a_killed_mosquitto_may_lose_messages() -> None:
    assert outcome().holds
    assert not outcome(lost=1).holds
    assert outcome(lost=1, faults=["worker paused", "broker killed"]).holds
    assert not outcome(duplicated=1, faults=["broker killed"]).holds
    assert not outcome(agrees=False).holds


@pytest.mark.fast
def test_the_table_is_made_from_results_that_a_kill_may_have_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "soak.jsonl"
    lines = [soak.Result("abc", outcome()), soak.Result("abd", outcome(seed=2, recovery=3.5))]
    lines.append(soak.Result("abd", outcome(seed=3, lost=7, faults=["worker killed", "broker killed"])))
    file.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines) + b'{"commit": "abd", "rou')
    results = soak.read(file)
    assert results == lines
    page = soak.with_table(f"before\n{soak.BEGIN}\nold\n{soak.END}\nafter\n", results)
    assert "| mosquitto | worker killed | 2 | 800 | 0 | 0 | 0 | 3.0 / 3.5 |" in page
    assert "| mosquitto | broker killed | 1 | 400 | 7 | 0 | 0 | 2.5 / 2.5 |" in page
    assert "old" not in page
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert soak.with_table(page, results) == page
