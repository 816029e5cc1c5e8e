"""Silence is told by the interval that a device was heard to keep, where nobody has said one."""

from __future__ import annotations

import pytest

from techport_ingest.after.intervals import IntervalLearner
from techport_pilots.definition.load import parse_definition
from techport_pilots.registry.view import IngestView
from techport_storage.microseconds import HOUR, MINUTE, SECOND
from techport_storage.model import Batch, Micros, Reading

NOON = 1_796_000_000_000_000
TEXT = """
id: kai
title: Kai
question: Kai?
devices:
  - {id: a, streams: [{quantity: pm10}]}
  - {id: b, interval: PT1M, streams: [{quantity: pm10}]}
"""
VIEW = IngestView.of(1, [parse_definition(TEXT)], [])


def heard(arrivals: list[Micros], delay: list[Micros] | None = None, device: str = "a") -> list[Micros]:
    learner = IntervalLearner()
    found: list[Micros] = []
    for arrival, late in zip(arrivals, delay or [0] * len(arrivals), strict=True):
        batch = Batch.of([Reading("kai", device, "pm10", NOON + arrival - late, 1.0, NOON + arrival)])
        found += [learned.interval for learned in learner.learn(batch, VIEW)]
    return found


def test_a_regular_device_is_learned_after_five_messages() -> None:
    assert heard([n * MINUTE for n in range(4)]) == []
    assert heard([n * MINUTE for n in range(30)]) == [MINUTE]


def test_one_outage_changes_nothing() -> None:
    assert heard([n * MINUTE + (HOUR if n > 7 else 0) for n in range(30)]) == [MINUTE]


def test_another_interval_is_learned_anew() -> None:
    learned = heard([n * MINUTE for n in range(10)] + [10 * MINUTE + n * 10 * MINUTE for n in range(12)])
    assert (learned[0], learned[-1]) == (MINUTE, 10 * MINUTE)


def test_a_device_that_reports_changes_is_known_by_its_longest_silence() -> None:
    irregular = [0, 5 * SECOND, 10 * SECOND, 40 * MINUTE, 41 * MINUTE, 42 * MINUTE, 80 * MINUTE]
    assert heard(irregular)[-1] >= 38 * MINUTE


def test_a_backlog_that_arrives_at_once_is_as_slow_as_it_was_measured() -> None:
    arrivals = [n * SECOND // 10 for n in range(9)]
    late = [arrival + (9 - n) * MINUTE for n, arrival in enumerate(arrivals)]
    assert heard(arrivals, late) == [MINUTE]


def test_what_the_definition_says_is_not_learned() -> None:
    assert heard([n * MINUTE for n in range(20)], device="b") == []


def test_memory_is_bounded() -> None:
    learner = IntervalLearner(streams=2)
    for number in range(5):
        reading = Reading("kai", "a", f"q{number}", NOON, 1.0, NOON)
        learner.learn(Batch.of([reading]), VIEW)
    assert len(learner._heard) == 2


@pytest.mark.parametrize(("count", "learned"), [(4, 0), (5, 1)])
def test_too_little_teaches_nothing(count: int, learned: int) -> None:
    assert len(heard([n * MINUTE for n in range(count)])) == learned
