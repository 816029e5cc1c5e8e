"""The demo's definitions, moved to today; and the effect that its interventions have."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest

from techport_pilots.definition.load import read_definition
from techport_pilots.model import PilotDefinition
from techport_simulators.demo import DEMO_PILOTS, HISTORY, SINCE, definition_path, demo_in, finished_in
from techport_simulators.devices import Device, devices_of, micros
from techport_storage.microseconds import DAY

pytestmark = pytest.mark.dates


@pytest.mark.parametrize("today", [dt.date(2026, 11, 23), dt.date(2027, 4, 1), dt.date(2031, 7, 6)])
def test_phases_lie_around_today(tmp_path: Path, today: dt.date) -> None:
    for path in demo_in(tmp_path, today):
        pilot = read_definition(path)
        before, during = pilot.phases
        age = today - during.start.date()
        assert SINCE <= age < SINCE + dt.timedelta(weeks=1)
        assert before.end == during.start
        assert (before.start.hour, during.start.hour, during.start.utcoffset()) == (
            0,
            0,
            _offset_in_trondheim(during.start),
        )
        assert today - before.start.date() >= HISTORY
        assert during.end.date() > today
        packaged = read_definition(definition_path(path.stem))
        assert [device.id for device in pilot.devices] == [device.id for device in packaged.devices]
        yesterday = dt.datetime.combine(today - dt.timedelta(days=1), dt.time(), ZoneInfo("Europe/Oslo"))
        changed = {before.until for device in pilot.devices for before in device.previous}
        assert changed <= {yesterday}, "hourly means before, every reading since yesterday"


@pytest.mark.parametrize("today", [dt.date(2026, 11, 23), dt.date(2027, 4, 1), dt.date(2031, 7, 6)])
def test_the_finished_pilot_is_over(tmp_path: Path, today: dt.date) -> None:
    before, during = read_definition(finished_in(tmp_path, today)).phases
    assert before.end == during.start
    assert today - dt.timedelta(weeks=3) <= during.end.date() <= today - dt.timedelta(weeks=2)


def test_a_demo_keeps_its_dates(tmp_path: Path) -> None:
    first = [path.read_text("utf-8") for path in demo_in(tmp_path, dt.date(2026, 11, 23))]
    again = [path.read_text("utf-8") for path in demo_in(tmp_path, dt.date(2027, 1, 23))]
    assert len(first) == len(DEMO_PILOTS)
    assert again == first


def test_interventions_move_what_their_kpis_measure_and_nothing_else() -> None:
    pilot = read_definition(definition_path("nidelva-water"))
    start = micros(pilot.phases[1].start)
    unmoved = devices_of(_without_kpis(pilot), 1)
    for device, same in zip(devices_of(pilot, 1), unmoved, strict=True):
        for span in (range(start - DAY, start, device.interval), range(start, start + DAY, device.interval)):
            now, otherwise = (_columns(d, span) for d in (device, same))
            for quantity in now:
                moved = quantity == "turbidity" and device.id in ("nidaro-elv", "gamle-bybro") and span.start == start
                share = now[quantity].mean() / otherwise[quantity].mean()
                assert share == pytest.approx(0.8 if moved else 1.0, abs=0.01), (device.id, quantity)


def test_sound_falls_by_decibels() -> None:
    pilot = read_definition(definition_path("hospital-noise"))
    start = micros(pilot.phases[1].start)
    home = pilot.kpis[0].devices[0]
    device, same = (next(d for d in devices_of(p, 1) if d.id == home) for p in (pilot, _without_kpis(pilot)))
    span = range(start, start + DAY, 100 * device.interval)
    fall = _columns(same, span)["lamax"] - _columns(device, span)["lamax"]
    assert fall == pytest.approx(np.full(len(span), 3.0), abs=0.11)


def _without_kpis(pilot: PilotDefinition) -> PilotDefinition:

    return msgspec.structs.replace(pilot, kpis=[])


def _columns(device: Device, span: range) -> dict[str, np.ndarray]:
    rows = device.measure(np.array(span, np.int64))
    return {quantity: np.array([row[quantity] for row in rows], float) for quantity in rows[0]}


def _offset_in_trondheim(when: dt.datetime) -> dt.timedelta | None:

    return when.astimezone(ZoneInfo("Europe/Oslo")).utcoffset()
