"""The rules of the check step, one by one."""

from __future__ import annotations

import math

import msgspec
import pytest

from techport_ingest.after.booking import BatchAccounting
from techport_ingest.checking.check import LONGEST_KEY, Columns
from techport_ingest.checking.values import AHEAD, EARLIEST
from techport_ingest.message import DeviceEvent, Ignored, Message, Observed
from techport_pilots.accounting.tally import DeviceDay, Tally
from techport_pilots.model import DeviceDefinition, PilotDefinition, StreamDefinition, Text
from techport_pilots.registry.view import IngestView
from techport_storage.microseconds import DAY
from techport_storage.model import Quality, Receipt

NOW = 1_777_896_000_000_000
TODAY = NOW // DAY


@pytest.fixture
def columns() -> Columns:
    streams = [StreamDefinition(quantity="pm10", range=(0.0, 100.0)), StreamDefinition(quantity="room_occupied")]
    pilot = PilotDefinition(
        id="air", title=Text(), question=Text(), devices=[DeviceDefinition(id="lamp", streams=streams)]
    )
    return Columns(IngestView.of(1, [pilot], []))


def message(number: int = 1, topic: str = "pilots/air/lamp/readings") -> Message:
    return Message(topic, b"{}", NOW, number)


def stored(columns: Columns) -> list[tuple[str, int, float, int]]:
    return [(r.quantity, r.time, r.value, r.quality) for r in columns.batch()]


def add(columns: Columns, key: str, value: object, time: int | None = NOW, device: str = "lamp") -> None:
    columns.add(message(), "air", "native", [Observed(device, time, key, value)])


@pytest.mark.parametrize(("value", "number"), [(1.5, 1.5), (7, 7.0), (0, 0.0), (5e-324, 5e-324)])
def test_numbers_become_floats(columns: Columns, value: object, number: float) -> None:
    add(columns, "pm10", value)
    assert stored(columns) == [("pm10", NOW, number, Quality.GOOD)]
    assert columns.batch().value.dtype == float


@pytest.mark.parametrize("value", ["21,5", "21.5", "on", "", None, {}, [1], True, b"1"])
def test_everything_else_is_refused(columns: Columns, value: object) -> None:
    add(columns, "pm10", value)
    assert stored(columns) == []
    assert [(p.reason, p.field, p.values) for p in columns.rejected] == [("not-a-number", "pm10", 1)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused(columns: Columns, value: float) -> None:
    add(columns, "pm10", value)
    assert [p.reason for p in columns.rejected] == ["nan"]


def test_an_integer_beyond_all_floats_is_refused(columns: Columns) -> None:
    add(columns, "pm10", 10**400)
    assert [p.reason for p in columns.rejected] == ["number-too-large"]


def test_truth_values_are_numbers_for_a_state_only(columns: Columns) -> None:
    add(columns, "room_occupied", True)
    add(columns, "room_occupied", False)
    add(columns, "pm10", False)
    assert [row[2] for row in stored(columns)] == [1.0, 0.0]
    assert [p.field for p in columns.rejected] == ["pm10"]


def test_a_hint_shows_the_number_to_send(columns: Columns) -> None:
    add(columns, "pm10", "21,5")
    assert columns.rejected[0].rejection.hint() == "Send 21.5 without quotes."


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        (NOW + AHEAD, None),
        (NOW + AHEAD + 1, "clock-future"),
        (EARLIEST, None),
        (EARLIEST - 1, "clock-past"),
        (0, "clock-past"),
        (-(10**17), "clock-past"),
        (10**17, "clock-future"),
    ],
)
@pytest.mark.dates
def test_the_clock(columns: Columns, time: int, reason: str | None) -> None:
    add(columns, "pm10", 1.0, time)
    assert [p.reason for p in columns.rejected] == ([reason] if reason else [])
    assert [row[1] for row in stored(columns)] == ([] if reason else [time])


@pytest.mark.dates
def test_a_live_message_without_a_time_is_a_good_reading_at_its_arrival(columns: Columns) -> None:
    add(columns, "pm10", 1.0, None)
    assert stored(columns) == [("pm10", NOW, 1.0, Quality.GOOD)]
    assert columns.untimed == [0]


@pytest.mark.parametrize("mark", ["delayed", "redelivered", "retained"])
@pytest.mark.dates
def test_the_arrival_of_a_message_that_may_have_waited_is_doubtful(columns: Columns, mark: str) -> None:
    late = msgspec.structs.replace(message(), **{mark: True})
    columns.add(late, "air", "native", [Observed("lamp", None, "pm10", 1.0), Observed("lamp", NOW, "pm25", 2.0)])
    assert [row[3] for row in stored(columns)] == [Quality.CLOCK, Quality.GOOD]


@pytest.mark.parametrize(
    ("value", "flag"), [(-0.1, Quality.RANGE), (0.0, Quality.GOOD), (100.0, Quality.GOOD), (100.1, Quality.RANGE)]
)
def test_outside_the_range_is_kept_and_flagged(columns: Columns, value: float, flag: Quality) -> None:
    add(columns, "pm10", value)
    assert stored(columns) == [("pm10", NOW, value, flag)]


def test_flags_add_up(columns: Columns) -> None:
    late = msgspec.structs.replace(message(), delayed=True)
    columns.add(late, "air", "native", [Observed("lamp", None, "pm10", -1.0)])
    assert stored(columns)[0][3] == Quality.RANGE | Quality.CLOCK


def test_a_name_nobody_described_is_kept_and_noted_once(columns: Columns) -> None:
    add(columns, "støv.2", 1.0)
    add(columns, "støv.2", 2.0)
    assert [row[0] for row in stored(columns)] == ["støv.2", "støv.2"]
    assert [stream.quantity for stream in columns.undescribed] == ["støv.2"]


def test_a_flag_stays_with_its_own_value(columns: Columns) -> None:
    late = msgspec.structs.replace(message(), delayed=True)
    values: list[tuple[object, int | None]] = [("refused", None), (1.0, NOW - 1), (2.0, None), (3, NOW - 2)]
    columns.add(late, "air", "native", [Observed("lamp", time, "pm10", value) for value, time in values])
    assert [row[3] for row in stored(columns)] == [Quality.GOOD, Quality.CLOCK, Quality.GOOD]


@pytest.mark.parametrize("key", ["", " pm10", "pm10 ", "pm\n10", "\x00", "p" * (LONGEST_KEY + 1), "pm\u202e10"])
def test_a_name_that_cannot_be_one_is_refused(columns: Columns, key: str) -> None:
    add(columns, key, 1.0)
    assert [p.reason for p in columns.rejected] == ["bad-name"]


def test_unknown_pilots_and_devices(columns: Columns) -> None:
    add(columns, "pm10", 1.0, device="other")
    columns.add(message(), "water", "native", [Observed("lamp", NOW, "pm10", 1.0)] * 2)
    assert columns.names_unknown
    assert [(p.pilot, p.device, p.reason, p.values) for p in columns.rejected] == [
        ("air", "other", "unknown-device", 1),
        ("water", "lamp", "unknown-pilot", 2),
    ]


def test_one_entry_for_each_message_and_reason(columns: Columns) -> None:
    for _ in range(2):
        values = [
            Observed("lamp", NOW, key, value) for key, value in [("a", "x"), ("b", None), ("c", math.nan), ("d", 1.0)]
        ]
        columns.add(message(), "air", "native", values)
    assert [(p.reason, p.field, p.values) for p in columns.rejected] == [
        ("not-a-number", "a", 2),
        ("nan", "c", 1),
    ] * 2
    assert [row[0] for row in stored(columns)] == ["d", "d"]


def test_the_books_add_up_for_every_device_day(columns: Columns) -> None:
    yesterday = NOW - DAY
    columns.add(
        message(1), "air", "native", [Observed("lamp", NOW, "pm10", 1.0), Observed("lamp", yesterday, "pm10", 1.0)]
    )
    columns.add(message(2), "air", "native", [Observed("lamp", NOW, "pm10", "x"), Observed("lamp", NOW, "pm10", 3.0)])
    columns.add(message(3), "air", "native", [Observed("lamp", NOW, "pm10", "x")])
    columns.ignore(message(4, "pilots/air/lamp/status"), "air", "lamp", "status")
    account = BatchAccounting(columns)
    assert account.device_days == [DeviceDay("air", "lamp", TODAY - 1), DeviceDay("air", "lamp", TODAY)]

    tallies, quarantined = account.close(Receipt(1, duplicate_rows=columns.batch().stream[:1].astype("int64")))
    assert tallies == {
        DeviceDay("air", "lamp", TODAY - 1): Tally(received=1, stored=1),
        DeviceDay("air", "lamp", TODAY): Tally(
            messages=4, received=5, stored=1, duplicates=1, quarantined=2, ignored=1
        ),
    }
    assert [entry.reason for entry in quarantined] == ["not-a-number", "not-a-number"]


def test_events_and_ignored_parts_are_counted(columns: Columns) -> None:
    columns.add(
        message(),
        "air",
        "native",
        [DeviceEvent("lamp", NOW, "button"), Observed("lamp", NOW, "pm10", 1.0), Ignored("lamp", "text", "mode")],
    )
    columns.add(message(2), "air", "native", [Ignored("lamp", "downlink")])
    tallies, _ = BatchAccounting(columns).close(Receipt(1))
    assert tallies == {DeviceDay("air", "lamp", TODAY): Tally(messages=2, received=4, stored=1, ignored=3)}


def test_what_the_store_refuses_is_quarantined_with_its_message(columns: Columns) -> None:
    for number in range(3):
        columns.add(message(number), "air", "native", [Observed("lamp", NOW + number, "pm10", 1.0)] * number)
    tallies, quarantined = BatchAccounting(columns).close(Receipt(2, rejected=[(1, "too large")]))
    assert tallies == {DeviceDay("air", "lamp", TODAY): Tally(messages=2, received=3, stored=2, quarantined=1)}
    assert [(entry.reason, entry.rejection.params, entry.field) for entry in quarantined] == [
        ("store-refused", {"text": "too large"}, "pm10")
    ]


def test_rows_of_a_message_that_failed_halfway_are_forgotten(columns: Columns) -> None:
    add(columns, "pm10", 1.0)
    with pytest.raises(AttributeError):
        columns.add(message(), "air", "native", [Observed("lamp", NOW, "pm10", 2.0), None])  # type: ignore[list-item]
    columns.drop_unfinished()
    add(columns, "pm10", 3.0)
    assert [row[2] for row in stored(columns)] == [1.0, 3.0]


@pytest.mark.parametrize(
    "second",
    [
        [("b", NOW, 1.0), ("a", NOW, 1.0), ("b", NOW, 2.0)],  # not in the order of the message before
        [("b", NOW, 1.0), ("b", int(str(NOW)), 2.0)],  # equal times that are not one object
        [("b", NOW, 1.0), ("a", NOW + 1, 1.0), ("b", NOW, 2.0)],  # the time of an earlier record again
        [("b", NOW + 1, 1.0), ("a", NOW, 1.0), ("b", NOW + 1, 2.0)],
    ],
)
def test_two_values_for_one_place_are_found_in_any_order(
    columns: Columns, second: list[tuple[str, int, float]]
) -> None:
    columns.add(message(1), "air", "native", [Observed("lamp", NOW - 9, key, 0.0) for key in ("a", "b")])
    columns.add(message(2), "air", "native", [Observed("lamp", time, key, value) for key, time, value in second])
    assert [(part.reason, part.values) for part in columns.rejected] == [("conflict", 2)]
    assert [row[0] for row in stored(columns)] == ["a", "b", *(key for key, _, _ in second if key == "a")]


def test_the_same_key_of_several_records_is_no_conflict(columns: Columns) -> None:
    records = [Observed("lamp", NOW + at, key, float(at)) for at in (0, 1, 2) for key in ("b", "a")]
    columns.add(message(1), "air", "native", records)
    columns.add(message(2), "air", "native", list(reversed(records)))
    assert (len(stored(columns)), columns.rejected) == (12, [])


def test_a_unit_that_was_understood_before_is_converted_the_next_time_too(columns: Columns) -> None:
    observed = [("pm10", 2.0, "µg/m³"), ("pm10", 3.0, "mg/m3"), ("pm10", 4.0, "µg/m³"), ("pm10", 0.05, "mg/m3")]
    for number, (key, value, unit) in enumerate(observed):
        columns.add(message(number), "air", "senml", [Observed("lamp", NOW + number, key, value, unit)])
    rows = stored(columns)
    assert [row[2] for row in rows] == pytest.approx([2.0, 3000.0, 4.0, 50.0])
    assert [row[3] for row in rows] == [Quality.GOOD, Quality.RANGE, Quality.GOOD, Quality.GOOD]


@pytest.mark.parametrize(("value", "unit"), [(-999, None), (-999.0, "Cel"), (-999.0, "°F")])
def test_a_mark_of_absence_is_one_in_any_unit_where_no_range_is_known(
    columns: Columns, value: float, unit: str | None
) -> None:
    columns.add(message(1), "air", "senml", [Observed("lamp", NOW, "glitter", 20.0, unit and "Cel")])
    columns.add(message(2), "air", "senml", [Observed("lamp", NOW + 1, "glitter", value, unit)])
    columns.add(message(3), "air", "senml", [Observed("lamp", NOW + 2, "glitter", -998.0, unit and "Cel")])
    assert [row[2] for row in stored(columns)] == [20.0, -998.0]
    assert [part.rule for part in columns.ignored] == ["missing"]


@pytest.mark.parametrize("time", [0, 1, -1, EARLIEST - 1])
def test_a_clock_that_was_never_set_is_refused_in_every_message_of_a_batch(columns: Columns, time: int) -> None:
    for value in (1.0, 2.0, 3.0):
        add(columns, "pm10", value, time)
    assert stored(columns) == []
    assert [part.reason for part in columns.rejected] == ["clock-past"] * 3
