"""Does street cleaning lower PM10 beside the road the next day? The real hours of Trondheim, 2019 and 2020."""

from __future__ import annotations

import numpy as np
import pytest

from techport_pilots.evaluation.exposure import ExposureQuestion, evaluate_exposure
from techport_pilots.kpi_time import local
from techport_pilots.model import Covariate, Measure
from techport_storage.model import Query, Selection
from techport_storage.store import open_store
from tests.pilots import trondheim

START = int(np.datetime64("2019-01-01T00", "us").astype(np.int64)) - trondheim.HOUR
END = int(np.datetime64("2021-01-01T00", "us").astype(np.int64)) - trondheim.HOUR
WEATHER = ("precipitation", "wind_speed", "wind_from_direction", "air_temperature", "relative_humidity")


@pytest.fixture(scope="module")
def store(shared):
    store = open_store("duckdb://")
    store.write(trondheim.readings(shared))
    yield store
    store.close()


def ask(store, *, adjust=True, before=False, device="e6-tiller", street="cleaning-e6", traffic="traffic-moholtlia"):
    covariates = [Covariate(quantity, "voll") for quantity in WEATHER] + [Covariate("vehicle_count", traffic)]
    question = ExposureQuestion(
        outcome=Measure(quantity="pm10", devices=[device]),
        exposure=Covariate("street_cleaning", street),
        adjust=covariates if adjust else (),
        before=before,
    )
    return evaluate_exposure(store, trondheim.definition(), question, START, END)


def test_the_traffic_is_where_rush_hour_says_it_is(store):
    """Summer and winter rush at the same local hour only if the file's fixed UTC+1 was read as such."""
    table = store.read(Query(select=Selection(devices=("traffic-elgeseter",)), start=START, end=END)).read_all()
    when = local(table["time"].cast("int64").to_numpy(), "Europe/Oslo")
    values = table["value"].to_numpy()
    summer = (when.day % 365 > 140) & (when.day % 365 < 240)
    for season in (summer, ~summer):
        morning = [values[season & (when.hour == hour) & (when.weekday < 5)].mean() for hour in range(5, 9)]
        assert 5 + int(np.argmax(morning)) == 7


def test_cleaning_of_the_e6_shows_no_lower_pm10_the_next_day(store):
    """What these two years say: nothing that can be told from zero, with or without adjustment."""
    for adjust, before in ((False, False), (True, False), (True, True)):
        found = ask(store, adjust=adjust, before=before)
        assert found.problem is None
        assert found.interval.low < 0 < found.interval.high
        assert found.shown == "none shown"
        assert 40 <= found.exposed_days <= 60
        assert found.other_days > 200
        assert found.independent_days < found.exposed_days + found.other_days


def test_the_adjustment_is_there_and_explains_something(store):
    plain, adjusted = ask(store, adjust=False), ask(store)
    assert {"precipitation", "wind_speed", "vehicle_count", "wind_from_direction (east)"} <= set(adjusted.adjusted_for)
    assert not {"precipitation", "wind_speed"} & set(plain.adjusted_for)


def test_a_made_up_effect_in_the_real_days_is_found(store, shared):
    """The same days with 8 µg/m³ taken off after each cleaning: the method can find what is there."""
    real = ask(store).effect
    batch = trondheim.readings(shared)
    pm10, cleaning = (
        next(i for i, stream in enumerate(batch.streams) if stream.device == device)
        for device in ("e6-tiller", "cleaning-e6")
    )
    day = local(batch.time, "Europe/Oslo").day
    after = np.unique(day[(batch.stream == cleaning) & (batch.value > 0)]) + 1
    batch.value[(batch.stream == pm10) & np.isin(day, after)] -= 8
    other = open_store("duckdb://")
    other.write(batch)
    found = ask(other)
    other.close()
    assert found.shown == "lower"
    assert found.effect == pytest.approx(real - 8, abs=0.5)


def test_a_street_that_was_never_cleaned_gets_no_answer(store):
    found = ask(store, street="cleaning-nowhere")
    assert found.effect is None
    assert "needed" in found.problem
