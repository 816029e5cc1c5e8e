"""What a KPI must mean, beyond its types: checks for a definition file."""

from __future__ import annotations

from collections.abc import Iterator

from techport_pilots.definition.measures import resolve_measure, streams_of
from techport_pilots.definition.misfit import Misfit, Path, did_you_mean, did_you_mean_any, known_device, misfit
from techport_pilots.i18n import Message
from techport_pilots.model import Exposure, Kpi, Measure, PilotDefinition
from techport_pilots.quantities import Vocabulary, vocabulary_of
from techport_pilots.time import WEEKDAYS, InvalidDuration, interval_micros
from techport_storage.microseconds import HOUR

Checks = Iterator[Misfit]


def check_kpis(pilot: PilotDefinition) -> Checks:
    """Everything that keeps a KPI from having one clear value. Assumes that its types are right."""
    words = vocabulary_of(pilot)
    primary = [index for index, kpi in enumerate(pilot.kpis) if kpi.role == "primary"]
    for index in primary[1:]:
        yield misfit(("kpis", index, "role"), "two-primary", first=pilot.kpis[primary[0]].id)
    for index, kpi in enumerate(pilot.kpis):
        path: Path = ("kpis", index)
        yield from _measure(kpi, path, pilot, words)
        if kpi.compare is not None:
            yield from _comparison(kpi, (*path, "compare"), pilot, words)
        yield from _groups(kpi.control, (*path, "control"), pilot)
        for group in set(kpi.control) & set(kpi.groups):
            yield misfit((*path, "control"), "control-in-groups", group=group)
        yield from _target(kpi, path, words)
        yield from _adjust(kpi, path, pilot, words)
        if kpi.after is not None:
            yield from _after(kpi, kpi.after, path, pilot, words)


def _measure(measure: Measure, path: Path, pilot: PilotDefinition, words: Vocabulary) -> Checks:
    yield from _statistic(measure, path)
    yield from _interval(measure, path)
    yield from _groups(measure.groups, (*path, "groups"), pilot)
    quantity = words.lookup(measure.quantity)
    if measure.slot == "lden" and quantity is not None and quantity.kind != "energy-level":
        yield misfit((*path, "slot"), "lden-of-other", quantity=quantity.name)
    for number, key in enumerate(measure.plus):
        other = words.lookup(key)
        if other is None:
            yield from _known_quantity(key, (*path, "plus", number), words)
        elif quantity is not None and other.kind != "count":
            yield misfit((*path, "plus", number), "plus-not-a-count", quantity=key)
    if measure.hours is not None and not all(0 <= hour <= 24 for hour in measure.hours):
        yield misfit((*path, "hours"), "hours-range")
    elif measure.hours is not None and measure.hours[0] == measure.hours[1]:
        yield misfit((*path, "hours"), "hours-empty")
    if len(set(measure.weekdays)) < len(measure.weekdays):
        yield misfit((*path, "weekdays"), "weekday-twice", days=list(WEEKDAYS))
    devices = {device.id for device in pilot.devices}
    names_exist = quantity is not None and devices.issuperset(measure.devices)  # what is not is said elsewhere
    if names_exist and not streams_of(pilot, measure):
        yield misfit((*path, "quantity"), "not-measured", quantities=[measure.quantity, *measure.plus])


def _statistic(measure: Measure, path: Path) -> Checks:
    if measure.statistic == "percentile":
        if measure.percentile is None or not 0 < measure.percentile < 100:
            yield misfit((*path, "percentile"), "percentile-range", near=path)
    elif measure.percentile is not None:
        yield misfit((*path, "percentile"), "percentile-unused")
    if measure.statistic in ("hours_above", "share_above"):
        if measure.threshold is None:
            yield misfit((*path, "threshold"), "threshold-missing", near=path, statistic=measure.statistic)
    elif measure.threshold is not None:
        yield misfit((*path, "threshold"), "threshold-unused")


def _interval(measure: Measure, path: Path) -> Checks:
    if measure.interval == "P1D":
        if measure.statistic in ("hours_above", "count"):
            yield misfit((*path, "interval"), "interval-of-days", statistic=measure.statistic)
        return
    if measure.slot in ("lden", "max_8h"):
        yield misfit((*path, "slot"), "slot-of-a-day", near=path, slot=measure.slot)
    try:
        width = interval_micros(measure.interval)
    except InvalidDuration as error:
        yield Misfit((*path, "interval"), error.message, Message("definition.write.kpi-interval"))
        return
    if width > HOUR or HOUR % width:
        yield misfit((*path, "interval"), "interval-not-of-an-hour", interval=measure.interval)


def _comparison(kpi: Kpi, path: Path, pilot: PilotDefinition, words: Vocabulary) -> Checks:
    assert kpi.compare is not None
    other = kpi.compare.measure
    if words.lookup(other.quantity) is None:
        yield from _known_quantity(other.quantity, (*path, "measure", "quantity"), words)
        return
    yield from _measure(other, (*path, "measure"), pilot, words)
    first, second = resolve_measure(kpi, words), resolve_measure(other, words)
    counts = all(unit.startswith("{") for unit in (first.unit, second.unit))  # bicycles and people are both counts
    if kpi.compare.kind != "ratio" and first.unit != second.unit and not counts:
        yield misfit((*path, "kind"), "units-differ", first=first.unit, second=second.unit)
    if "vector" in (first.scale, second.scale):
        yield misfit((*path, "kind"), "ratio-of-directions")


def _target(kpi: Kpi, path: Path, words: Vocabulary) -> Checks:
    if kpi.target is None:
        return
    if kpi.target_is == "percent":
        if not resolve_measure(kpi, words).has_zero and kpi.compare is None:
            yield misfit((*path, "target_is"), "percent-of-no-zero")
        elif kpi.target <= -100:
            yield misfit((*path, "target"), "percent-below-nothing", target=f"{kpi.target:g}")
    if kpi.target_is != "value" and kpi.target != 0 and (kpi.target < 0) != (kpi.direction == "lower"):
        yield misfit((*path, "target"), f"target-not-{kpi.direction}", target=f"{kpi.target:+g}")


def _adjust(kpi: Kpi, path: Path, pilot: PilotDefinition, words: Vocabulary) -> Checks:
    devices = [device.id for device in pilot.devices]
    for number, covariate in enumerate(kpi.adjust):
        place = (*path, "adjust", number)
        yield from _known_quantity(covariate.quantity, (*place, "quantity"), words)
        if covariate.pilot is None:
            yield from known_device(covariate.device, devices, (*place, "device"))


def _after(kpi: Kpi, after: Exposure, path: Path, pilot: PilotDefinition, words: Vocabulary) -> Checks:
    place = (*path, "after")
    devices = [device.id for device in pilot.devices]
    if (after.event is None) == (after.quantity is None):
        yield misfit(place, "exposure.both" if after.event else "exposure.neither")
    elif after.quantity is not None:
        yield from _known_quantity(after.quantity, (*place, "quantity"), words)
        if after.device is None:
            yield misfit((*place, "device"), "exposure.no-device", near=place)
    elif after.pilot is not None:
        yield misfit((*place, "pilot"), "exposure.pilot-of-events")
    if after.pilot is None and after.device is not None:
        yield from known_device(after.device, devices, (*place, "device"))
    if not 0 <= after.lag <= 28:
        yield misfit((*place, "lag"), "exposure.lag", given=str(after.lag))
    if not pilot.phases:
        yield misfit(place, "exposure.no-phase")
    if kpi.compare is not None:
        yield misfit((*path, "compare"), "exposure.with-other-design")
    if kpi.statistic in ("min", "max"):
        yield misfit((*path, "statistic"), "exposure.extreme", near=path, statistic=kpi.statistic)
    if kpi.target is not None and kpi.target_is == "value":
        yield misfit((*path, "target"), "exposure.target-value")


def _groups(groups: list[str], path: Path, pilot: PilotDefinition) -> Checks:
    names = sorted({device.group for device in pilot.devices if device.group is not None})
    for number, group in enumerate(groups):
        if group not in names:
            yield misfit((*path, number), "unknown-group", remedy=did_you_mean(group, names, "use-group"), group=group)


def _known_quantity(key: str, path: Path, words: Vocabulary) -> Checks:
    """A quantity must be in the pilot's vocabulary."""
    if words.lookup(key) is None:
        near = words.near(key)
        yield misfit(path, "unknown-quantity", remedy=did_you_mean_any(near) if near else None, quantity=key)
