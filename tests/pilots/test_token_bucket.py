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


def test_what_is_taken_elsewhere_counts(clock: list[float]) -> None:
    buckets = TokenBuckets(burst=10, seconds=1.0, most=10)
    buckets.lower("a", 4)
    assert buckets.take("a") == 3
    buckets.lower("a", 8)
    assert buckets.take("a") == 2, "there are never more for that"
    buckets.lower("a", -3)
    assert buckets.take("a") < 0
    clock[0] += 3.5
    assert buckets.take("a") < 0, "what was taken too often is waited for"
    clock[0] += 0.5
    assert buckets.take("a") == 0
