"""KPIs about days that follow something: scattered days of known worlds, from a stream and from the time line."""

from __future__ import annotations

import datetime as dt

import msgspec
import numpy as np
import pytest

from techport_pilots.definition.kpi_checks import check_kpis
from techport_pilots.evaluation import evaluate
from techport_pilots.evaluation.kpi import plan_of
from techport_pilots.model import Event, Exposure, Kpi, Phase, Text
from techport_pilots.time import local
from techport_storage.microseconds import HOUR
from techport_storage.store import open_store
from tests.pilots.test_evaluation import pilot, write

START = dt.datetime(2025, 9, 1)  # to the end of February: both changes of the clock are not in it, one is
DAYS = 180
PHASE = Phase("winter", "other", START, START + dt.timedelta(days=DAYS))
TIME = int(START.replace(tzinfo=dt.UTC).timestamp()) * 1_000_000 - 2 * HOUR + HOUR * np.arange(24 * DAYS)
DONE = frozenset(range(3, DAYS - 2, 4))  # every fourth day
CLEANED = Exposure(quantity="street_cleaning", device="log")


@pytest.fixture
def store():
    store = open_store("duckdb://")
    yield store
    store.close()


def day_of_time():
    day = local(TIME, "Europe/Oslo").day
    return day - day[0]


def world(effect, lag=1, seed=1):
    random = np.random.default_rng(seed)
    day = day_of_time()
    weather = np.zeros(DAYS + 1)
    for i in range(1, DAYS + 1):
        weather[i] = 0.5 * weather[i - 1] + random.normal()
    after = np.isin(day - lag, list(DONE))
    return 20 + weather[day] + random.normal(size=len(TIME)) + effect * after


def write_log(store):
    write(store, "log", np.isin(day_of_time(), list(DONE)).astype(float), "street_cleaning", TIME)


def asked(**more):
    return Kpi(id="k", title=Text(en="K"), quantity="pm10", **{"after": CLEANED} | more)


def street(**more):
    return pilot(("box", None, "pm10"), ("log", None, "street_cleaning"), phases=(PHASE,), **more)


def test_an_effect_on_the_day_after_is_found_on_that_day(store):
    write(store, "box", world(-3.0), times=TIME)
    write_log(store)
    found = evaluate(store, street(), asked())
    assert (found.shown, found.compared, found.verdict) == ("lower", "days", "effect shown")
    assert found.interval.low < -3 < found.interval.high < 0
    assert found.percent_interval.low < -15 < found.percent_interval.high < 0
    assert found.intervention.value < found.baseline.value - 2
    assert found.intervention.days == len(DONE)
    two_days = evaluate(store, street(), asked(after=Exposure(quantity="street_cleaning", device="log", lag=2)))
    assert two_days.shown != "lower"


@pytest.mark.parametrize(
    ("target", "what", "verdict"),
    [(-1.0, "change", "target met"), (-6.0, "change", "target not met"), (-15.0, "percent", "inconclusive")],
)
def test_targets_speak_of_the_change(store, target, what, verdict):
    write(store, "box", world(-3.0), times=TIME)
    write_log(store)
    assert evaluate(store, street(), asked(target=target, target_is=what)).verdict == verdict


def test_events_of_the_time_line_say_the_days_too(store):
    """One event of an evening, one that runs past midnight; another kind and another device do not count."""
    write(store, "box", world(-3.0), times=TIME)
    write_log(store)
    events = [Event(START + dt.timedelta(days=day, hours=22), "intervention", Text("feid")) for day in sorted(DONE)]
    others = [Event(START + dt.timedelta(days=day), "calibrated", Text("kalibrert")) for day in range(DAYS)]
    by_events = evaluate(store, street(events=[*events, *others]), asked(after=Exposure(event="intervention")))
    by_stream = evaluate(store, street(), asked())
    assert by_events.effect == pytest.approx(by_stream.effect, abs=0.05)  # of the first day only the time line knows
    assert by_events.intervention == by_stream.intervention
    nobody = evaluate(store, street(events=events), asked(after=Exposure(event="intervention", device="box")))
    assert nobody.verdict == "insufficient data"
    long = [msgspec.structs.replace(event, end=event.time + dt.timedelta(hours=4)) for event in events]
    two_days = evaluate(store, street(events=long), asked(after=Exposure(event="intervention")))
    assert two_days.intervention.days == 2 * len(DONE)


def test_the_level_before_takes_off_what_made_people_do_it(store):
    """It is done after dusty days, and dust goes away by itself: without the level before that looks like an effect."""
    random, day = np.random.default_rng(5), day_of_time()
    level = np.zeros(DAYS + 1)
    for i in range(1, DAYS + 1):
        level[i] = 0.8 * level[i - 1] + random.normal()
    done = np.append(False, level[:-1] > 0.5)  # the day after a dusty one
    write(store, "box", 20 + level[day] + 0.1 * random.normal(size=len(TIME)), times=TIME)
    write(store, "log", done[day].astype(float), "street_cleaning", TIME)
    plain = evaluate(store, street(), asked())
    before = Exposure(quantity="street_cleaning", device="log", level_before=True)
    adjusted = evaluate(store, street(), asked(after=before))
    assert plain.interval.low > 0
    assert (plain.verdict, plain.shown) == ("not settled", None), "the days were chosen because of the level before"
    assert abs(adjusted.effect) < plain.effect / 2
    assert {"level before", "event again"} <= set(adjusted.adjusted_for)


def test_calm_days_that_are_left_do_not_make_a_rise(store):
    """Days on which it is begun are left out, so the other days are calm ones: beside them nothing may look dusty."""
    effects = []
    for seed in range(8):
        random, day = np.random.default_rng([6, seed]), day_of_time()
        level = np.zeros(DAYS + 1)
        for i in range(1, DAYS + 1):
            level[i] = 0.6 * level[i - 1] + random.normal()
        done = np.append(False, level[:-1] + 0.4 * random.normal(size=DAYS) > 0.6)
        write(store, f"box{seed}", 20 + level[day] + 0.1 * random.normal(size=len(TIME)), times=TIME)
        write(store, f"log{seed}", done[day].astype(float), "street_cleaning", TIME)
        world = pilot((f"box{seed}", None, "pm10"), (f"log{seed}", None, "street_cleaning"), phases=(PHASE,))
        exposure = Exposure(quantity="street_cleaning", device=f"log{seed}", level_before=True)
        effects.append(evaluate(store, world, asked(after=exposure)).effect)
    assert abs(np.mean(effects)) < 0.12, "without telling days of a second cleaning apart it is 0.5"


def test_days_of_a_second_event_are_told_apart_where_there_are_some(store):
    """Every fourth day: never two in a row, so there is nothing to tell apart."""
    write(store, "box", world(-3.0), times=TIME)
    write_log(store)
    exposure = Exposure(quantity="street_cleaning", device="log", level_before=True)
    found = evaluate(store, street(), asked(after=exposure))
    assert "event again" not in found.adjusted_for
    assert found.shown == "lower"


def test_what_is_missing_is_a_verdict(store):
    write(store, "box", world(0.0), times=TIME)
    never = evaluate(store, street(), asked())
    assert never.verdict == "insufficient data"
    assert "never took place" in never.reasons[0].en
    write(store, "log", np.isin(day_of_time(), [10, 20, 30]).astype(float), "street_cleaning", TIME)
    seldom = evaluate(store, street(), asked())
    assert "Days that follow an event: 3." in seldom.reasons[0].en
    assert "Plan more days with the event" in seldom.reasons[1].en
    assert seldom.effect is None
    short = Phase("one", "other", START - dt.timedelta(days=900), START - dt.timedelta(days=800))
    empty = evaluate(store, pilot(("box", None, "pm10"), ("log", None, "street_cleaning"), phases=(short,)), asked())
    assert empty.verdict == "insufficient data"
    unphased = evaluate(store, pilot(("box", None, "pm10"), ("log", None, "street_cleaning"), phases=()), asked())
    assert unphased.reasons[0].en == "The pilot has no phase."


def test_all_values_equal(store):
    write(store, "box", np.full(len(TIME), 7.0), times=TIME)
    write_log(store)
    found = evaluate(store, street(), asked())
    assert found.verdict == "insufficient data"
    assert [reason.code for reason in found.reasons] == ["evaluation.no-interval", "evaluation.constant.remedy"]
    assert "all values are equal" in found.reasons[0].en


def test_a_gappy_stream_is_below_the_floor(store):
    write(store, "box", world(0.0)[: len(TIME) // 2], times=TIME[: len(TIME) // 2])
    write_log(store)
    found = evaluate(store, street(), asked())
    assert found.verdict == "insufficient data"
    assert "50 % complete" in found.reasons[0].en
    assert "Data quality" in found.reasons[1].en
    assert plan_of(street(), asked()).resolved.unit == found.unit


def test_a_control_group_makes_the_event_study_narrower(store):
    """What both places share is taken off, with an estimated weight; `control` and `after` may stand together."""
    common = 3 * np.random.default_rng(8).normal(size=DAYS + 1)[day_of_time()]
    write(store, "box", world(-3.0) + common, times=TIME)
    write(store, "park", 10 + 0.5 * common + 0.3 * np.random.default_rng(9).normal(size=len(TIME)), times=TIME)
    write_log(store)
    devices = [("box", "street", "pm10"), ("park", "park", "pm10"), ("log", None, "street_cleaning")]
    definition = pilot(*devices, phases=(PHASE,))
    alone = evaluate(store, definition, asked(groups=["street"]))
    controlled = evaluate(store, definition, asked(groups=["street"], control=["park"]))
    assert not list(check_kpis(msgspec.structs.replace(definition, kpis=[asked(control=["park"])])))
    assert "control group" in controlled.adjusted_for
    assert controlled.interval.low < -3 < controlled.interval.high
    assert controlled.interval.high - controlled.interval.low < 0.6 * (alone.interval.high - alone.interval.low)
