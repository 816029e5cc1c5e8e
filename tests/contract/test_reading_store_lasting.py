"""What a ReadingStore that lasts promises through closing, opening and being killed."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from techport_storage.microseconds import SECOND
from techport_storage.model import Batch, Query, Reading, Selection
from techport_storage.store import open_store

WRITER = """
import sys
from techport_storage.model import Batch, Reading
from techport_storage.store import open_store

store = open_store(sys.argv[1])
for number in range(int(sys.argv[2]), 1_000_000):
    rows = [
        Reading("p", f"d{device}", "t", (number * 10 + i) * 1_000_000, float(number), number * 1000)
        for device in range(3)
        for i in range(15)  # five of them are written again by the next batch
    ]
    store.write(Batch.of(rows))
    print(number, flush=True)
"""


def everything(url: str) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    store = open_store(url)
    try:
        return store.read(Query()).read_all().to_pylist(), store.latest(Selection()).to_pylist()
    finally:
        store.close()


def batches() -> Sequence[Batch]:
    dice = random.Random(5)
    truth = [
        Reading("p", f"d{i % 7}", "t", i // 7 * SECOND, i / 10, i // 7 * SECOND + 1000 * (i % 40)) for i in range(900)
    ]
    dice.shuffle(truth)
    return [Batch.of(truth[i : i + 130]) for i in range(0, len(truth), 100)]  # 30 rows of each come twice


def test_opened_again_it_is_the_same(lasting_url: str) -> None:
    for batch in batches():
        store = open_store(lasting_url)
        store.write(batch)
        before = store.read(Query()).read_all().to_pylist(), store.latest(Selection()).to_pylist()
        store.close()
        assert everything(lasting_url) == before


@pytest.mark.faults
def test_killed_at_any_moment_it_has_what_it_acknowledged(lasting_url: str) -> None:
    """Three times: a writer is killed with SIGKILL in the middle. Every acknowledged row is there, and none twice."""
    dice = random.Random()
    acknowledged = -1
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, lasting_url, str(acknowledged + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(dice.uniform(0, 0.5))
            writer.kill()
            lines = [acknowledged + 1, *(int(line) for line in writer.stdout.read().splitlines() if line.isdigit())]
        acknowledged = lines[-1]
        rows, _ = everything(lasting_url)
        keys = [(row["device"], row["time"].timestamp()) for row in rows]  # type: ignore[attr-defined]
        assert len(set(keys)) == len(keys)
        seconds = acknowledged * 10 + 15
        assert set(keys) >= {(f"d{device}", float(second)) for device in range(3) for second in range(seconds)}
        newest = {(row["device"], row["time"].timestamp()): row["value"] for row in rows}  # type: ignore[attr-defined]
        for second in range(0, acknowledged * 10, 10):
            assert newest["d0", float(second)] == second // 10  # the later of the two that wrote it


def test_erased_stays_erased(lasting_url: str) -> None:
    store = open_store(lasting_url)
    for batch in batches():
        store.write(batch)
    store.erase(Selection(devices=("d3",)))
    store.close()
    rows, latest = everything(lasting_url)
    assert len(rows) == 900 - 900 // 7 - (1 if 900 % 7 > 3 else 0)
    assert all(row["device"] != "d3" for row in (*rows, *latest))
