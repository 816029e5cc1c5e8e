"""KPIs over a store: slots, local hours and days, both changes of the clock, combinations."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from techport_pilots.definition.checks import check
from techport_pilots.definition.kpi_checks import check_kpis
from techport_pilots.definition.limits import built_ins
from techport_pilots.evaluation.kpi import kpi_value
from techport_pilots.model import (
    Comparison,
    DeviceDefinition,
    Exclusion,
    Exposure,
    Kpi,
    Measure,
    PilotDefinition,
    StreamDefinition,
    Text,
)
from techport_pilots.quantities import lookup
from techport_pilots.time import day_starts, local, micros_of
from techport_storage.microseconds import HOUR
from techport_storage.model import Batch, Stream
from techport_storage.store import open_store

pytestmark = pytest.mark.dates

OSLO = "Europe/Oslo"


@pytest.fixture
def store():
    store = open_store("duckdb://")
    yield store
    store.close()


def at(*parts):
    return micros_of(dt.datetime(*parts, tzinfo=ZoneInfo(OSLO)), OSLO)


def write(store, device, quantity, times, values):
    times = np.asarray(times, np.int64)
    values = np.broadcast_to(np.asarray(values, float), times.shape).copy()
    zeros = np.zeros(len(times), np.int32)
    store.write(Batch([Stream("p", device, quantity)], zeros, times, values, times, zeros.astype(np.uint8)))


def pilot(*devices, kpi=None, **more):
    return PilotDefinition(
        "p",
        Text(en="P"),
        Text(en="Q?"),
        [
            DeviceDefinition(name, group=group, interval=interval, streams=[StreamDefinition(q) for q in quantities])
            for name, group, interval, quantities in devices
        ],
        kpis=[kpi] if kpi else [],
        **more,
    )


def kpi(quantity, **more):
    return Kpi(id="k", title=Text(en="K"), quantity=quantity, **more)


BOX = ("box", None, "PT1H", ["pm10", "laeq", "bicycle_count", "wind_from_direction"])


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2028, 2, 29), 24)])
def test_a_local_day_has_the_hours_it_has(store, day, hours):
    start = at(*day)
    end = int(day_starts(np.array([local(np.array([start]), OSLO).day[0] + 1]), OSLO)[0])
    assert (end - start) // HOUR == hours
    write(store, "box", "bicycle_count", start + HOUR * np.arange(hours), 10)
    sums = kpi("bicycle_count", statistic="sum", interval="P1D")
    found = kpi_value(store, pilot(BOX), sums, start, end)
    assert (found.value, found.completeness, found.samples) == (10 * hours, 1.0, 1)


def test_hours_of_the_day_follow_the_clock_on_the_wall_through_both_changes(store):
    for first, last in (((2026, 3, 28), (2026, 3, 31)), ((2026, 10, 24), (2026, 10, 27))):
        start, end = at(*first), at(*last)
        times = np.arange(start, end, HOUR)
        write(store, "box", "pm10", times, local(times, OSLO).hour)
        rush = kpi("pm10", hours=(7, 9))
        assert kpi_value(store, pilot(BOX), rush, start, end).value == 7.5
        night = kpi("pm10", hours=(22, 2), statistic="max")
        assert kpi_value(store, pilot(BOX), night, start, end).value == 23


def test_weekdays_are_local(store):
    start, end = at(2026, 3, 2), at(2026, 3, 9)
    times = np.arange(start, end, HOUR)
    write(store, "box", "pm10", times, local(times, OSLO).weekday)
    assert kpi_value(store, pilot(BOX), kpi("pm10", weekdays=["sat", "sun"]), start, end).value == 5.5


def test_sound_is_averaged_as_energy_and_wind_as_vectors(store):
    start, end = at(2026, 3, 2), at(2026, 3, 3)
    times = np.arange(start, end, HOUR)
    write(store, "box", "laeq", times, np.where(np.arange(24) % 2, 70.0, 40.0))
    write(store, "box", "wind_from_direction", times, np.where(np.arange(24) % 2, 350.0, 20.0))
    assert kpi_value(store, pilot(BOX), kpi("laeq"), start, end).value == pytest.approx(67.0, abs=0.05)
    assert kpi_value(store, pilot(BOX), kpi("wind_from_direction"), start, end).value == pytest.approx(5.0)


def test_many_readings_in_a_slot_are_averaged_as_their_kind_asks(store):
    start, end = at(2026, 3, 2), at(2026, 3, 2, 2)
    times = np.arange(start, end, HOUR // 6)
    write(store, "box", "laeq", times, np.tile([80.0, 0, 0, 0, 0, 0], 2))
    write(store, "box", "bicycle_count", times, 3)
    fast = pilot(("box", None, "PT10M", ["laeq", "bicycle_count"]))
    assert kpi_value(store, fast, kpi("laeq"), start, end).value == pytest.approx(80 - 7.78, abs=0.01)
    assert kpi_value(store, fast, kpi("bicycle_count", statistic="sum", interval="PT1H"), start, end).value == 36


def test_lden_of_a_quiet_night(store):
    start, end = at(2026, 3, 2), at(2026, 3, 3)
    times = np.arange(start, end, HOUR)
    hour = local(times, OSLO).hour
    write(store, "box", "laeq", times, np.where((hour >= 7) & (hour < 23), 60.0, 40.0))
    found = kpi_value(store, pilot(BOX), kpi("laeq", interval="P1D", slot="lden"), start, end)
    expected = 10 * np.log10((12 * 1e6 + 4 * 10**6.5 + 8 * 1e5) / 24)
    assert found.value == pytest.approx(expected)


def test_the_highest_running_mean_of_eight_hours(store):
    start, end = at(2026, 7, 1), at(2026, 7, 2)
    values = np.zeros(24)
    values[10:18] = 160
    write(store, "box", "o3", np.arange(start, end, HOUR), values)
    station = pilot(("box", None, "PT1H", ["o3"]))
    assert kpi_value(store, station, kpi("o3", interval="P1D", slot="max_8h"), start, end).value == 160


def test_a_slot_with_too_few_of_its_readings_is_missing(store):
    start, end = at(2026, 3, 2), at(2026, 3, 2, 2)
    times = start + HOUR // 6 * np.array([0, 1, 2, 3, 4, 6, 7])
    write(store, "box", "pm10", times, [10, 10, 10, 10, 10, 90, 90])
    found = kpi_value(store, pilot(("box", None, "PT10M", ["pm10"])), kpi("pm10"), start, end)
    assert (found.value, found.completeness) == (10.0, 0.5)


def test_modal_share_and_ratio_and_difference(store):
    start, end = at(2026, 3, 2), at(2026, 3, 4)
    times = np.arange(start, end, HOUR)
    street = pilot(("bike", None, "PT1H", ["bicycle_count"]), ("car", None, "PT1H", ["vehicle_count"]))
    write(store, "bike", "bicycle_count", times, 25)
    write(store, "car", "vehicle_count", times, 75)
    cars = Measure(quantity="vehicle_count", statistic="sum")
    found = {
        kind: kpi_value(
            store, street, kpi("bicycle_count", statistic="sum", compare=Comparison(kind, cars)), start, end
        )
        for kind in ("share", "ratio", "difference")
    }
    assert found["share"].value == 0.25
    assert found["ratio"].value == pytest.approx(1 / 3)
    assert found["difference"].value == (25 - 75) * 24
    assert (found["share"].unit, found["share"].completeness) == ("1", 1.0)


def test_no_readings_make_no_number(store):
    found = kpi_value(store, pilot(BOX), kpi("pm10"), at(2026, 3, 2), at(2026, 3, 9))
    assert (found.value, found.completeness) == (None, 0.0)
    other = Measure(quantity="bicycle_count", statistic="sum")
    write(store, "box", "bicycle_count", np.arange(at(2026, 3, 2), at(2026, 3, 3), HOUR), 0)
    ratio = kpi("bicycle_count", statistic="sum", compare=Comparison("ratio", other))
    assert kpi_value(store, pilot(BOX), ratio, at(2026, 3, 2), at(2026, 3, 3)).value is None


def test_silence_of_a_device_that_lives_is_a_count_of_none(store):
    start, end = at(2026, 3, 2), at(2026, 3, 5)
    litter_bin = pilot(("bin", None, None, ["emptied", "battery_level"]))
    write(store, "bin", "battery_level", np.arange(start, at(2026, 3, 4), HOUR), 90)  # dead on the third day
    write(store, "bin", "emptied", [start + 5 * HOUR, start + 30 * HOUR, start + 31 * HOUR], 1)
    found = kpi_value(store, litter_bin, kpi("emptied", statistic="count"), start, end)
    assert (found.value, found.completeness) == (1.5, pytest.approx(2 / 3))


def test_excluded_windows_are_neither_used_nor_expected(store):
    start, end = at(2026, 3, 2), at(2026, 3, 4)
    times = np.arange(start, end, HOUR)
    write(store, "box", "pm10", times, np.where(np.arange(48) < 24, 10.0, 500.0))
    zone = ZoneInfo(OSLO)
    out = Exclusion(dt.datetime(2026, 3, 3, tzinfo=zone), dt.datetime(2026, 3, 4, tzinfo=zone), Text(en="Fire"))
    found = kpi_value(store, pilot(BOX, exclusions=[out]), kpi("pm10"), start, end)
    assert (found.value, found.completeness) == (10.0, 1.0)


AFTER = Exposure(event="other")
WRONG = [
    (kpi("pm10", statistic="percentile"), "percentile"),
    (kpi("pm10", statistic="percentile", percentile=120.0), "percentile"),
    (kpi("pm10", statistic="hours_above"), "threshold"),
    (kpi("pm10", threshold=3.0), "threshold"),
    (kpi("pm10", interval="PT7M"), "interval"),
    (kpi("pm10", interval="hourly"), "interval"),
    (kpi("pm10", interval="P1D", statistic="hours_above", threshold=1.0), "interval"),
    (kpi("pm10", slot="lden", interval="P1D"), "slot"),
    (kpi("laeq", slot="lden"), "slot"),
    (kpi("pm10", hours=(7, 25)), "hours"),
    (kpi("pm10", hours=(7, 7)), "hours"),
    (kpi("pm10", weekdays=["mon", "mon"]), "weekdays"),
    (kpi("pm10", groups=["strete"]), "groups[0]"),
    (kpi("pm10", plus=["laeq"]), "plus[0]"),
    (kpi("bicycle_count", plus=["unicorns"]), "plus[0]"),
    (kpi("no2"), "quantity"),
    (kpi("pm10", compare=Comparison("difference", Measure(quantity="laeq"))), "compare.kind"),
    (kpi("pm10", compare=Comparison("ratio", Measure(quantity="nonsense"))), "compare.measure.quantity"),
    (kpi("laeq", target=-5.0, target_is="percent"), "target_is"),
    (kpi("pm10", target=-120.0, target_is="percent"), "target"),
    (kpi("pm10", target=5.0, target_is="change"), "target"),
    (kpi("pm10", control=["nobody"]), "control[0]"),
    (kpi("pm10", after=AFTER), "after"),  # without a phase nobody knows which days are compared
    (kpi("pm10", after=AFTER, compare=Comparison("ratio", Measure(quantity="pm10"))), "compare"),
    (kpi("pm10", after=AFTER, statistic="max"), "statistic"),
    (kpi("pm10", after=AFTER, target=20.0), "target"),
]


@pytest.mark.parametrize(("wrong", "field"), WRONG, ids=[f"{field}-{i}" for i, (_, field) in enumerate(WRONG)])
def test_a_kpi_that_means_nothing_is_told_with_a_remedy(wrong, field):
    from techport_pilots.definition.misfit import field_name

    findings = list(check_kpis(pilot(BOX, ("gate", "street", None, ["pm10"]), kpi=wrong)))
    assert f"kpis[0].{field}" in [field_name(one.path) for one in findings]
    assert all(str(one.remedy) and str(one.problem) for one in findings)


def test_an_exclusion_needs_an_order_a_device_a_quantity_and_a_reason():
    moment = dt.datetime(2026, 3, 3, tzinfo=dt.UTC)
    wrong = pilot(BOX, exclusions=[Exclusion(moment, moment, Text(), device="bax", quantity="pm11")])
    found = [one.path[-1] for one in check(wrong) if one.path[0] == "exclusions"]
    assert sorted(found) == ["device", "end", "quantity", "reason"], "each said once"


def test_a_built_in_limit_is_named_in_both_languages():
    assert built_ins()["eu2024-benzene-year"].kpi.title == Text(nb="Benzen, middelverdi", en="Benzene, mean")


def test_every_built_in_limit_passes_the_checks_where_its_quantity_is_measured():
    for name, one in built_ins().items():
        measured = {one.kpi.quantity, *one.kpi.plus}
        if one.kpi.compare:
            measured |= {one.kpi.compare.measure.quantity, *one.kpi.compare.measure.plus}
        assert all(lookup(quantity) for quantity in measured), name
        assert one.source, name
        assert list(check_kpis(pilot(("box", None, "PT1H", sorted(measured)), kpi=one.kpi))) == [], name
