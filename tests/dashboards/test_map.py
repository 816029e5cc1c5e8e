"""Which device is painted over which on the map, and which values stand beside them."""

from __future__ import annotations

from techport_dashboards.charts.map import draw
from techport_dashboards.services.basemap import Basemap
from techport_dashboards.services.device_status import DeviceNow, Last, State, StreamNow
from techport_dashboards.settings import Tiles
from techport_pilots.model import PilotDefinition, Position, Text
from techport_pilots.registry.registry import DeviceInfo, StreamInfo
from techport_storage.model import Stream

GROUND = Basemap([[(10.3, 63.4), (10.5, 63.4), (10.4, 63.5)]], [], [], "our own")
PILOT = PilotDefinition(id="p", title=Text(en="P"), question=Text(en="Q?"), devices=[])


def device(name: str, state: State, *quantities: str) -> DeviceNow:
    streams = [
        StreamNow(
            StreamInfo(stream=Stream("p", name, quantity), title=Text(en=quantity), described=True, unit="ug/m3"),
            Last(0, 0, 1.0),
            state,
        )
        for quantity in quantities
    ]
    info = DeviceInfo(pilot="p", device=name, title=Text(en=name), described=True, position=Position(63.43, 10.39))
    return DeviceNow(PILOT, info, streams, state, 0)


def test_the_worst_device_is_painted_last() -> None:
    states = [State.NEVER, State.LIVE, State.ENDED, State.LATE, State.SILENT]
    drawing = draw([device(state, state, "pm10") for state in states], GROUND)
    assert [mark.device.state for mark in drawing.marks] == ["ended", "live", "late", "silent", "never"]


def test_values_are_of_one_quantity_of_what_most_devices_measure() -> None:
    devices = [device("a", State.LIVE, "no2"), device("b", State.LIVE, "pm10"), device("c", State.LIVE, "pm10", "no2")]
    devices.append(device("d", State.LIVE, "pm10"))
    assert [one.quantity for one in draw(devices, GROUND).choices] == ["pm10", "no2"]
    for asked, shown, beside in ((None, "pm10", "bcd"), ("no2", "no2", "ac"), ("nothing", "pm10", "bcd")):
        drawing = draw(devices, GROUND, quantity=asked)
        assert drawing.chosen == shown
        assert sorted(mark.device.device.device for mark in drawing.marks if mark.value) == list(beside)
        assert {mark.value.view.stream.quantity for mark in drawing.marks if mark.value} == {shown}
    empty = draw([], GROUND)
    assert (empty.choices, empty.chosen) == ([], None)


def test_a_page_learns_where_finer_tiles_are() -> None:
    tiles = Tiles("https://tiles.example.org/{z}/{y}/{x}.png", "© Example")
    assert draw([], GROUND).closer is None
    closer = draw([device("a", State.LIVE)], GROUND, tiles).closer
    assert closer is not None
    assert closer["template"] == tiles.template
    assert closer["west"] < 10.39 < closer["west"] + 800 / closer["per_lon"]
