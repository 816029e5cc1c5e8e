"""When a stream is late, when it is silent, and what that makes of devices and pilots."""

from __future__ import annotations

import datetime as dt

import msgspec
import pyarrow as pa
import pytest

from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.services.device_status import (
    GRACE,
    DeviceNow,
    Last,
    PilotNow,
    State,
    StreamNow,
    by_severity,
    by_stream,
    device_statuses,
    phase_at,
    ranks_of,
    severity,
    stream_state,
    worst_first,
)
from techport_pilots.model import DeviceDefinition, Kpi, Phase, PilotDefinition, StreamDefinition, Text
from techport_pilots.registry.registry import DeviceInfo, StreamInfo
from techport_storage.microseconds import DAY, HOUR, MINUTE, SECOND
from techport_storage.model import Stream

BEGIN = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
NOW = int((BEGIN + dt.timedelta(days=10)).timestamp()) * SECOND


def info(quantity="pm10", interval: int | None = 10 * MINUTE, device="box", pilot="p", described=True):
    stream = Stream(pilot, device, quantity)
    return StreamInfo(stream=stream, title=Text(en=quantity), described=described, interval_us=interval)


def last(age: int, value=1.0):
    """A reading that arrived `age` µs ago, and bears a time long before that."""
    return Last(NOW - age - 300 * DAY, NOW - age, value)


def pilot(pilot_id="p", devices=("box",), phases=(), kpis=(), quantities=("pm10",)):
    streams = [StreamDefinition(quantity) for quantity in quantities]
    return PilotDefinition(
        pilot_id,
        Text(en=pilot_id),
        Text(en="Q?"),
        [DeviceDefinition(device, interval="PT10M", streams=streams) for device in devices],
        phases=list(phases),
        kpis=[Kpi(id=quantity, title=Text(en="K"), quantity=quantity) for quantity in kpis],
    )


def device_info(device="box", pilot_id="p"):
    return DeviceInfo(pilot=pilot_id, device=device, title=Text(en=device), described=True)


def view(streams, devices=None, over=()):
    """A registry that knows these streams."""
    of_device = devices or sorted({(info.stream.pilot, info.stream.device) for info in streams})
    return RegistryView(
        pilots={},
        devices={key: device_info(key[1], key[0]) for key in of_device},
        streams={info.stream: info for info in streams},
        of_device={},
        device_names={},
        quantity_names={},
        over=set(over),
        assumed_open=frozenset(),
        version=1,
    )


def latest(ages):
    """The store's table of latest readings, which arrived so many µs ago."""
    rows = [(*stream, NOW - age - 300 * DAY, NOW - age, float(i), 0) for i, (stream, age) in enumerate(ages.items())]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * 7
    instant = pa.timestamp("us", tz="UTC")
    kinds = (pa.string(), pa.string(), pa.string(), instant, instant, pa.float64(), pa.uint8())
    names = ("pilot", "device", "quantity", "time", "received", "value", "quality")
    return pa.table({name: pa.array(column, kind) for name, column, kind in zip(names, columns, kinds, strict=True)})


def statuses(definition, streams, ages, *, over=(), devices=None):
    [status] = device_statuses(view(streams, devices, over), latest(ages), [definition], NOW)
    return status


def status(streams, *, state=State.LIVE, name="box", seen: int | None = NOW, of="p"):
    return DeviceNow(pilot(of), device_info(name, of), streams, state, seen)


# -- Streams


@pytest.mark.parametrize("interval", [MINUTE, 10 * MINUTE, HOUR])
@pytest.mark.parametrize(
    ("intervals", "beyond", "state"),
    [
        (0, 0, State.LIVE),
        (1, 0, State.LIVE),
        (2.9, 0, State.LIVE),
        (3, GRACE, State.LIVE),
        (3, GRACE + 1, State.LATE),
        (3.9, GRACE, State.LATE),
        (4, GRACE, State.LATE),
        (12, GRACE, State.LATE),
        (12, GRACE + 1, State.SILENT),
        (1000, 0, State.SILENT),
    ],
)
def test_three_missed_readings_are_late_and_twelve_are_silence(interval, intervals, beyond, state):
    """Half a minute of grace comes on top, for networks that are slow."""
    assert stream_state(info(interval=interval), last(int(intervals * interval) + beyond), NOW) is state


def test_the_grace_is_half_a_minute():
    a_second = info(interval=SECOND)
    assert stream_state(a_second, last(33 * SECOND), NOW) is State.LIVE
    assert stream_state(a_second, last(34 * SECOND), NOW) is State.LATE
    assert stream_state(a_second, last(42 * SECOND), NOW) is State.LATE
    assert stream_state(a_second, last(43 * SECOND), NOW) is State.SILENT


def test_a_stream_that_promised_nothing_is_expected_every_hour():
    unpromised = info(interval=None)
    assert stream_state(unpromised, last(3 * HOUR), NOW) is State.LIVE
    assert stream_state(unpromised, last(3 * HOUR + MINUTE), NOW) is State.LATE
    assert stream_state(unpromised, last(12 * HOUR + MINUTE), NOW) is State.SILENT


def test_a_stream_without_a_reading_has_never_sent():
    assert stream_state(info(), None, NOW) is State.NEVER


def test_the_latest_readings_are_found_by_their_streams():
    ages = {Stream("p", "box", "pm10"): MINUTE, Stream("p", "box", "no2"): HOUR}
    assert by_stream(latest(ages)) == {
        Stream("p", "box", "pm10"): Last(NOW - MINUTE - 300 * DAY, NOW - MINUTE, 0.0),
        Stream("p", "box", "no2"): Last(NOW - HOUR - 300 * DAY, NOW - HOUR, 1.0),
    }


# -- Devices


@pytest.mark.parametrize(
    ("ages", "state"),
    [
        ({"pm10": MINUTE, "no2": 31 * MINUTE}, State.LIVE),
        ({"pm10": 40 * MINUTE, "no2": DAY}, State.LATE),
        ({"pm10": 3 * DAY, "no2": DAY}, State.SILENT),
        ({"pm10": 3 * DAY}, State.SILENT),
        ({}, State.NEVER),
    ],
)
def test_a_device_is_as_online_as_the_best_of_its_streams(ages, state):
    received = {Stream("p", "box", quantity): age for quantity, age in ages.items()}
    [device] = statuses(pilot(), [info("pm10"), info("no2")], received).devices
    assert device.state is state
    assert device.seen == (NOW - min(ages.values()) if ages else None)
    assert [stream.state for stream in device.streams] == [
        stream_state(stream.view, last(ages[quantity]) if quantity in ages else None, NOW)
        for quantity, stream in zip(("pm10", "no2"), device.streams, strict=True)
    ]


def test_a_device_without_streams_has_never_sent():
    [device] = statuses(pilot(), [], {}, devices=[("p", "box")]).devices
    assert (device.state, device.seen, device.streams) == (State.NEVER, None, [])
    assert device.needs_attention


@pytest.mark.parametrize(
    ("state", "attention"),
    [
        (State.NEVER, True),
        (State.SILENT, True),
        (State.LATE, True),
        (State.ENDED, False),
        (State.LIVE, False),
    ],
)
def test_what_needs_attention(state, attention):
    assert status([StreamNow(info(), last(0), State.LIVE)], state=state).needs_attention is attention


@pytest.mark.parametrize(
    ("state", "missing"), [(State.NEVER, True), (State.SILENT, True), (State.LATE, False), (State.LIVE, False)]
)
def test_a_device_that_sends_lacks_the_streams_that_do_not_come(state, missing):
    streams = [StreamNow(info("pm10"), last(0), State.LIVE), StreamNow(info("no2"), last(DAY), state)]
    online = status(streams)
    assert [stream.view.stream.quantity for stream in online.missing] == (["no2"] if missing else [])
    assert online.needs_attention is missing
    assert status(streams, state=State.LATE).missing == [], "of a device that is not online all are late"


def test_a_device_is_overdue_since_its_latest_expected_reading():
    streams = [
        StreamNow(info("pm10", 10 * MINUTE), last(90 * MINUTE), State.LATE),
        StreamNow(info("no2", None), last(2 * HOUR), State.LATE),
        StreamNow(info("o3", 10 * MINUTE), None, State.NEVER),
    ]
    for state in (State.LATE, State.SILENT):
        assert status(streams, state=state).overdue == NOW - HOUR, "no2 arrived two hours ago and is hourly"
        assert status(streams[:1], state=state).overdue == NOW - 80 * MINUTE
    for state in (State.NEVER, State.ENDED, State.LIVE):
        assert status(streams, state=state).overdue is None
    assert status(streams[2:], state=State.SILENT).overdue is None


def test_battery_and_signal_are_the_first_that_were_sent_on_whichever_channel():
    def now(quantity, sent=True):
        return StreamNow(info(quantity), last(0) if sent else None, State.LIVE if sent else State.NEVER)

    def name(stream):
        return None if stream is None else stream.view.stream.quantity

    both = status([now("battery_voltage"), now("battery_level.2"), now("battery_level.3"), now("snr"), now("rssi")])
    assert (name(both.battery), name(both.signal)) == ("battery_level.2", "rssi")
    second = status([now("battery_level", sent=False), now("battery_voltage"), now("rssi", sent=False), now("snr.1")])
    assert (name(second.battery), name(second.signal)) == ("battery_voltage", "snr.1")
    neither = status([now("pm10"), now("battery_level", sent=False)])
    assert (neither.battery, neither.signal) == (None, None)


# -- Pilots


def test_streams_are_in_the_order_that_matters_to_the_pilot():
    definition = pilot(kpis=["no2"], quantities=["temperature", "pm10", "no2"])
    assert ranks_of(definition) == {"no2": 0, "temperature": 1, "pm10": 2}
    listed = [info(name) for name in ("pm10", "no2", "temperature")]
    ages = dict.fromkeys((Stream("p", "box", name) for name in ("zinc", "argon", "pm10")), MINUTE)
    [device] = statuses(definition, listed, ages).devices
    assert [stream.view.stream.quantity for stream in device.streams] == ["no2", "temperature", "pm10", "argon", "zinc"]


def test_a_name_that_was_only_ever_rejected_is_not_a_stream():
    streams = [info("pm10"), info("odd", described=False), info("sent", described=False)]
    ages = {Stream("p", "box", "sent"): MINUTE, Stream("elsewhere", "box", "pm10"): MINUTE}
    [device] = statuses(pilot(), streams, ages).devices
    assert [stream.view.stream.quantity for stream in device.streams] == ["pm10", "sent"]


def test_devices_of_several_pilots_are_kept_apart():
    streams = [info(pilot=name, device=device) for name in ("p", "q") for device in ("a", "b")]
    ages = {Stream("q", "b", "pm10"): MINUTE}
    first, second = device_statuses(view(streams), latest(ages), [pilot("p"), pilot("q")], NOW)
    assert [(status.device.device, status.state) for status in first.devices] == [
        ("a", State.NEVER),
        ("b", State.NEVER),
    ]
    assert [(status.device.device, status.state) for status in second.devices] == [
        ("a", State.NEVER),
        ("b", State.LIVE),
    ]
    assert (first.seen, second.seen) == (None, NOW - MINUTE)
    assert [first.count(state) for state in State] == [2, 0, 0, 0, 0]
    assert [second.count(state) for state in State] == [1, 0, 0, 0, 1]
    assert [status.device.device for status in first.attention] == ["a", "b"]
    assert [status.device.device for status in second.attention] == ["a"]


def phase(name, kind, first_day, last_day):
    return Phase(name, kind, BEGIN + dt.timedelta(days=first_day), BEGIN + dt.timedelta(days=last_day))


@pytest.mark.parametrize(
    ("phases", "over", "ended"),
    [
        ([], (), False),
        ([], ("p",), True),
        ([], ("other",), False),
        ([phase("a", "baseline", 0, 9)], (), True),
        ([phase("a", "baseline", 0, 10)], (), True),
        ([phase("a", "baseline", 0, 11)], (), False),
        ([phase("b", "intervention", 5, 11), phase("a", "baseline", 0, 5)], (), False),
        ([phase("a", "baseline", 0, 11)], ("p",), True),
    ],
)
def test_a_pilot_is_over_with_its_last_phase_or_when_it_is_ended(phases, over, ended):
    definition = pilot(phases=phases)
    silent, online = ({Stream("p", "box", "pm10"): age} for age in (3 * DAY, MINUTE))
    overview = statuses(definition, [info()], silent, over=over)
    assert overview.ended is ended
    assert overview.devices[0].state is (State.ENDED if ended else State.SILENT)
    assert overview.phase == phase_at(definition, NOW)
    sending = statuses(definition, [info()], online, over=over)
    assert sending.devices[0].state is State.LIVE, "what still sends is online, over or not"


@pytest.mark.parametrize(
    ("phases", "name"),
    [
        ([], None),
        ([phase("later", "baseline", 11, 20)], None),
        ([phase("past", "baseline", 0, 5)], "past"),
        ([phase("past", "baseline", 0, 5), phase("older", "intervention", 0, 4)], "past"),
        ([phase("past", "baseline", 0, 5), phase("running", "baseline", 5, 11)], "running"),
        ([phase("until now", "baseline", 0, 10), phase("from now", "other", 10, 11)], "from now"),
        ([phase("beside", "other", 0, 20), phase("base", "baseline", 0, 20)], "base"),
        ([phase("beside", "other", 0, 20), phase("control", "control", 0, 20)], "control"),
        ([phase("control", "control", 0, 20), phase("base", "baseline", 0, 20)], "base"),
        ([phase("base", "baseline", 0, 20), phase("change", "intervention", 9, 20)], "change"),
    ],
)
def test_the_phase_of_a_moment(phases, name):
    """The one that runs, the intervention before all others; else the latest that has begun."""
    current = phase_at(pilot(phases=phases), NOW)
    assert (current and current.name) == name


# -- The worst first


def test_devices_that_need_attention_come_worst_first():
    half = [StreamNow(info("pm10"), last(0), State.LIVE), StreamNow(info("no2"), None, State.NEVER)]
    devices = [
        status([], name="fine"),
        status(half, name="half"),
        status([], name="late", state=State.LATE, seen=NOW - 5),
        status([], name="later", state=State.LATE, seen=NOW - 9),
        status([], name="over", state=State.ENDED),
        status([], name="silent", state=State.SILENT, seen=NOW - 7),
        status([], name="never-b", state=State.NEVER, seen=None),
        status([], name="never-a", state=State.NEVER, seen=None, of="z"),
        status([], name="never-a", state=State.NEVER, seen=None),
    ]
    overview = PilotNow(pilot(), devices, None, False)
    order = [(status.pilot.id, status.device.device) for status in worst_first([overview])]
    assert order == [
        ("p", "never-a"),
        ("p", "never-b"),
        ("z", "never-a"),
        ("p", "silent"),
        ("p", "later"),
        ("p", "late"),
        ("p", "half"),
    ]
    everything = sorted(devices, key=severity)
    assert [status.device.device for status in everything[6:]] == ["half", "fine", "over"]


def test_devices_that_do_well_keep_their_places_as_they_send():
    first = [status([], name="a", seen=NOW - 1), status([], name="b", seen=NOW - 2)]
    then = [status([], name="a", seen=NOW - 5), status([], name="b", seen=NOW)]
    for devices in (first, then):
        assert [status.device.device for status in sorted(devices, key=severity)] == ["a", "b"]


def test_pilots_are_ordered_by_the_share_of_their_devices_that_need_attention():
    def overview(pilot_id, silent, online, ended=False):
        silent_devices = [status([], name=f"s{i}", state=State.SILENT, of=pilot_id) for i in range(silent)]
        devices = [*silent_devices, *(status([], name=f"o{i}", of=pilot_id) for i in range(online))]
        return PilotNow(pilot(pilot_id), devices, None, ended)

    pilots = [
        overview("fine", 0, 3),
        overview("all-over", 2, 0, ended=True),
        overview("one-of-ten", 1, 9),
        overview("nobody", 0, 0),
        overview("half", 2, 2),
        overview("half-too", 1, 1),
        overview("all", 1, 0),
    ]
    order = [status.pilot.id for status in by_severity(pilots)]
    assert order == ["all", "half", "half-too", "one-of-ten", "fine", "nobody", "all-over"]


@pytest.mark.parametrize(("minutes", "state"), [(3, State.LIVE), (4, State.SILENT), (18, State.SILENT)])
def test_a_learned_interval_tells_silence_after_three_missed(minutes: int, state: State) -> None:
    learned = msgspec.structs.replace(info(interval=None), learned_interval_us=60 * SECOND)
    assert stream_state(learned, last(minutes * 60 * SECOND), NOW) is state
