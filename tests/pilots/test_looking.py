"""Looking every morning: no verdict before the plan says so, and intervals that survive being looked at."""

from __future__ import annotations

import datetime as dt

import msgspec
import numpy as np
import pytest

from techport_pilots.definition.load import parse_definition
from techport_pilots.evaluation import evaluate
from techport_pilots.evaluation.looking import Schedule, daily_factor, planned_factors, schedule_of
from techport_pilots.time import micros_of
from techport_storage.microseconds import HOUR
from techport_storage.model import Batch, Stream
from techport_storage.store import open_store

YAML = """
id: look
title: {en: Looking}
question: {en: "Does it work?"}
phases:
  - {name: before, kind: baseline, start: 2026-03-02, end: 2026-03-30}
  - {name: during, kind: intervention, start: 2026-03-30, end: 2026-04-27}
kpis: [{id: dust, title: {en: Dust}, quantity: pm10, target: -1, target_is: change}]
devices: [{id: box, interval: PT1H, streams: [{quantity: pm10}]}]
"""
PILOT = parse_definition(YAML)
PLANNED = parse_definition(YAML + "looks: [2026-04-15]\n")
HOURS = 8 * 168


def at(date: str) -> int:
    return micros_of(dt.datetime.fromisoformat(date), "Europe/Oslo")


@pytest.fixture(scope="module")
def store():
    store = open_store("duckdb://")
    time = at("2026-03-02") + HOUR * np.arange(HOURS)
    value = 20 + np.random.default_rng(1).normal(size=HOURS) - 5 * (time >= at("2026-03-30"))
    zeros = np.zeros(HOURS, np.int32)
    store.write(Batch([Stream("look", "box", "pm10")], zeros, time, value, time, zeros.astype(np.uint8)))
    yield store
    store.close()


@pytest.mark.parametrize(
    ("date", "days", "reason"),
    [
        ("2026-03-16", 0, "evaluation.running.not-begun"),
        ("2026-04-02", 3, "evaluation.running"),
        ("2026-04-20", 21, "evaluation.running"),
        ("2026-04-26", 27, "evaluation.running"),
    ],
)
def test_while_a_phase_runs_there_is_progress_but_no_verdict(store, date, days, reason):
    answer = evaluate(store, PILOT, PILOT.kpis[0], until=at(date))
    assert (answer.verdict, answer.final, answer.shown) == ("running", False, None)
    assert (answer.progress.days, answer.progress.planned, answer.progress.decides) == (days, 28, "2026-04-27")
    assert answer.reasons[0].code == reason
    assert answer.until == dt.datetime.fromtimestamp(at(date) / 1e6, dt.UTC).isoformat().replace("+00:00", "Z")


def test_the_interval_shown_on_the_way_is_wider_than_the_same_days_would_give(store):
    running = evaluate(store, PILOT, PILOT.kpis[0], until=at("2026-04-20"))
    cut = [PILOT.phases[0], msgspec.structs.replace(PILOT.phases[1], end=dt.datetime(2026, 4, 20))]
    once = evaluate(store, msgspec.structs.replace(PILOT, phases=cut), PILOT.kpis[0])
    assert running.effect == pytest.approx(once.effect)
    assert running.widened > 1.3
    width = running.interval.high - running.interval.low
    assert width == pytest.approx(running.widened * (once.interval.high - once.interval.low))


@pytest.mark.parametrize("date", ["2026-04-27", "2026-09-01"])
def test_at_the_planned_end_the_pilot_decides_on_the_plain_interval(store, date):
    answer, whole = evaluate(store, PILOT, PILOT.kpis[0], until=at(date)), evaluate(store, PILOT, PILOT.kpis[0])
    assert (answer.verdict, answer.final, answer.widened) == ("target met", True, 1.0)
    assert answer == whole


def test_a_pilot_ended_early_decides_on_the_interval_that_may_be_looked_at(store):
    answer = evaluate(store, PILOT, PILOT.kpis[0], until=at("2026-04-20"), ended=True)
    assert (answer.verdict, answer.final) == ("target met", True)
    assert answer.widened > 1.3
    assert answer.reasons[-1].code == "evaluation.ended-early"


def test_a_planned_look_decides_and_says_which_one_it_was(store):
    before = evaluate(store, PLANNED, PLANNED.kpis[0], until=at("2026-04-14"))
    assert before.verdict == "running"
    assert [(look.day, look.verdict) for look in before.looks] == [("2026-04-15", None), ("2026-04-27", None)]
    after = evaluate(store, PLANNED, PLANNED.kpis[0], until=at("2026-04-18"))
    assert (after.verdict, after.final) == ("target met", False)
    assert after.until == "2026-04-14T22:00:00Z"
    assert after.reasons[-1].code == "evaluation.planned-look"
    final = evaluate(store, PLANNED, PLANNED.kpis[0], until=at("2026-05-18"))
    assert final.final
    assert 1 < final.widened < after.widened


def test_a_planned_look_claims_nothing_that_its_checks_do_not_bear_out():
    """Falls of that size came and went all year, so the checks disagree: at the look as at the end."""
    store = open_store("duckdb://")
    time = at("2025-06-02") + HOUR * np.arange((at("2026-04-27") - at("2025-06-02")) // HOUR)
    four_weeks = (time - at("2025-06-02")) // (28 * 24 * HOUR)
    swings = np.where(time < at("2026-03-02"), 10.0 * (four_weeks % 2), 0.0)
    value = 20 + np.random.default_rng(1).normal(size=len(time)) + swings - 5 * (time >= at("2026-03-30"))
    zeros = np.zeros(len(time), np.int32)
    store.write(Batch([Stream("look", "box", "pm10")], zeros, time, value, time, zeros.astype(np.uint8)))
    after = evaluate(store, PLANNED, PLANNED.kpis[0], until=at("2026-04-18"))
    assert [look.verdict for look in after.looks] == ["not settled", None]
    assert after.verdict == "running", "it goes on to its end"
    final = evaluate(store, PLANNED, PLANNED.kpis[0], until=at("2026-05-18"))
    assert [look.verdict for look in final.looks] == ["not settled", "not settled"]
    assert (final.verdict, final.shown) == ("not settled", None)
    store.close()


@pytest.mark.parametrize("persistence", [0.0, 0.5, 0.8])
def test_daily_and_planned_boundaries_leave_the_truth_out_as_seldom_as_they_say(persistence):
    """Fresh noise of known variance: the plain interval is left by one pilot in six on some day, the daily one by one
    in a hundred; the planned ones by one in twenty together."""
    days = np.arange(56)
    random = np.random.default_rng(5)
    noise = random.standard_normal((56 + 100, 3000))
    for step in range(1, len(noise)):
        noise[step] += persistence * noise[step - 1]
    noise = noise[100:]
    ratios = {}
    for look in range(42, 57):
        during = days[28:look]
        weights = np.zeros(56)
        weights[:28], weights[during] = -1 / 28, 1 / len(during)
        effect = weights @ noise
        ratios[look] = np.abs(effect) / (1.96 * effect.std())
    plain = np.mean(np.max(list(ratios.values()), axis=0) > 1)
    schedule = schedule_of(PLANNED, None)
    daily = np.mean(np.max(list(ratios.values()), axis=0) > daily_factor(schedule, persistence))
    factors = planned_factors(schedule, persistence)
    planned = np.mean((ratios[44] > factors[0]) | (ratios[56] > factors[1]))
    assert plain > 0.08
    assert daily < 0.01
    assert planned < 0.06


@pytest.mark.parametrize("years", [3, 80, 1000])
def test_a_very_long_schedule_costs_no_more_than_a_long_one(years):
    baseline, intervention = tuple(range(182 * years)), tuple(range(182 * years, 365 * years))
    schedule = Schedule(baseline, intervention, 0, (), intervention[-1], intervention[-1] + 1)
    year = Schedule(tuple(range(182)), tuple(range(182, 365)), 0, (), 364, 365)
    assert 0.9 * daily_factor(year, 0.4) <= daily_factor(schedule, 0.4) <= 1.25 * daily_factor(year, 0.4)
    looks = msgspec.structs.replace(schedule, looks=(intervention[len(intervention) // 2],))
    half, end = planned_factors(looks, 0.4)
    assert 1 <= end < half < 3
