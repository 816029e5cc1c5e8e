"""How often something may happen for each of many."""

from __future__ import annotations

import time

import pytest

from techport_pilots.token_bucket import TokenBuckets


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, as its only item."""
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_bucket_is_emptied_and_fills_again(clock: list[float]) -> None:
    buckets = TokenBuckets(burst=3, seconds=2.0, most=10)
    assert [buckets.take("a") for _ in range(3)] == [2, 1, 0]
    assert buckets.take("a") < 0
    clock[0] += 1.0
    assert buckets.take("a") == -0.5, "what was refused costs nothing"
    clock[0] += 1.0
    assert buckets.take("a") == 0
    clock[0] += 3_600.0
    assert buckets.take("a") == 2, "a bucket holds no more than its burst"


def test_keys_have_a_bucket_each_and_the_one_used_longest_ago_is_forgotten(clock: list[float]) -> None:
    buckets = TokenBuckets(burst=1, seconds=60.0, most=2)
    assert [buckets.take(key) for key in ("a", "b", "a")] == [0, 0, -1]
    assert buckets.take("c") == 0
    assert len(buckets) == 2
    assert buckets.take("a") < 0
    assert buckets.take("b") == 0, "b was forgotten"
