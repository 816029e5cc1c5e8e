"""Does street cleaning lower PM10 beside the road the next day? The real hours of Trondheim, 2019 and 2020."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest

from techport_pilots.definition.load import read_definition
from techport_pilots.evaluation import evaluate
from techport_pilots.model import Covariate, Exposure, Kpi, Text
from techport_pilots.quantities import vocabulary_of
from techport_pilots.registry.registry import Registry
from techport_pilots.reports.build import build_report
from techport_pilots.reports.html import page
from techport_pilots.time import local
from techport_simulators.demo import definition_path
from techport_storage.model import Query, Selection, Stream
from techport_storage.store import open_store
from tests.pilots import trondheim

pytestmark = pytest.mark.heavy

START, END = trondheim.START, trondheim.END
WEATHER = ("precipitation", "wind_speed", "wind_from_direction", "air_temperature", "relative_humidity")


@pytest.fixture(scope="module")
def store(shared):
    store = open_store("duckdb://")
    store.write(trondheim.readings(shared))
    yield store
    store.close()


def ask(store, *, adjust=True, before=False, device="e6-tiller", street="cleaning-e6", traffic="traffic-moholtlia"):
    covariates = [Covariate(quantity, "voll") for quantity in WEATHER] + [Covariate("vehicle_count", traffic)]
    after = Exposure(quantity="street_cleaning", device=street, level_before=before)
    kpi = Kpi(
        id="cleaned",
        title=Text("cleaned"),
        quantity="pm10",
        devices=[device],
        adjust=covariates if adjust else [],
        after=after,
    )
    return evaluate(store, trondheim.definition(), kpi)


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
        assert found.verdict == "inconclusive"
        assert found.interval.low < 0 < found.interval.high
        assert found.shown == "none shown"
        assert 40 <= found.intervention.days <= 60
        assert found.baseline.days > 200
        assert found.independent_days < found.intervention.days + found.baseline.days


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


def test_a_background_station_halves_the_interval(store):
    """Torvet's level, on the day and the day before, as a control group or as a covariate: the same answer."""
    pilot = trondheim.definition()
    devices = [
        msgspec.structs.replace(device, group="background") if device.id == "torvet" else device
        for device in pilot.devices
    ]
    pilot = msgspec.structs.replace(pilot, devices=devices)
    weather = [Covariate(quantity, "voll") for quantity in WEATHER] + [Covariate("vehicle_count", "traffic-moholtlia")]
    asked = Kpi(
        id="cleaned",
        title=Text("cleaned"),
        quantity="pm10",
        devices=["e6-tiller"],
        adjust=weather,
        after=Exposure(quantity="street_cleaning", device="cleaning-e6"),
    )
    plain = evaluate(store, pilot, asked)
    group = evaluate(store, pilot, msgspec.structs.replace(asked, control=["background"]))
    covariate = evaluate(store, pilot, msgspec.structs.replace(asked, adjust=[*weather, Covariate("pm10", "torvet")]))
    assert group.interval.low == pytest.approx(covariate.interval.low)
    assert group.interval.high == pytest.approx(covariate.interval.high)
    assert (group.interval.high - group.interval.low) < 0.6 * (plain.interval.high - plain.interval.low)
    assert {"control group", "control group, day before"} <= set(group.adjusted_for)


def test_a_street_that_was_never_cleaned_gets_no_answer(store):
    found = ask(store, street="cleaning-nowhere")
    assert found.effect is None
    assert found.verdict == "insufficient data"
    assert "never took place" in found.reasons[0].en


@pytest.mark.slow
@pytest.mark.parametrize(("language", "words"), [("nb", "døgnene etter tiltaket"), ("en", "on the days after")])
def test_the_report_of_the_packaged_pilot_answers_it(shared, tmp_path, language, words):
    """The definition that comes with techport, over the same hours under its own names."""
    names = {"voll": "weather-voll", "cleaning-706": "cleaning-rv706", "traffic-bakke-kirke": "traffic-bakkekirke"}
    batch = trondheim.readings(shared)
    streams = [Stream("street-cleaning", names.get(s.device, s.device), s.quantity) for s in batch.streams]
    registry = Registry.open(f"sqlite:///{tmp_path}/registry.sqlite")
    pilot = read_definition(definition_path("street-cleaning"))
    registry.import_pilot(pilot, "", "test")
    with_names = open_store("duckdb://")
    with_names.write(dataclasses.replace(batch, streams=streams))
    report = build_report(with_names, registry, pilot, version=1, state="running", now=END)
    with_names.close()
    registry.close()
    answer = next(one for one in report.results if one.kpi.id == "pm10-day-after")
    assert answer.evaluation.effect == pytest.approx(0.40, abs=0.1)
    assert answer.evaluation.interval.low == pytest.approx(-1.1, abs=0.1), "half as wide with the background station"
    assert answer.evaluation.interval.high == pytest.approx(1.9, abs=0.1)
    assert len(answer.days) == answer.evaluation.baseline.days + answer.evaluation.intervention.days
    text = page(report, language)
    assert words in text
    for name in ("precipitation", "wind_speed", "vehicle_count"):
        assert vocabulary_of(pilot).lookup(name).title.get(language).lower() in text
