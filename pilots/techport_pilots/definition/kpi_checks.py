"""What a KPI must mean, beyond its types: checks for a definition file."""

from __future__ import annotations

from collections.abc import Iterator

from techport_pilots.definition.measures import resolve_measure, streams_of
from techport_pilots.definition.structure import Misfit, Path, did_you_mean
from techport_pilots.model import Exposure, Kpi, Measure, PilotDefinition
from techport_pilots.quantities import Vocabulary, vocabulary_of
from techport_pilots.time import WEEKDAYS, interval_micros
from techport_storage.microseconds import HOUR

Checks = Iterator[Misfit]


def check_kpis(pilot: PilotDefinition) -> Checks:
    """Everything that keeps a KPI from having one clear value. Assumes that its types are right."""
    words = vocabulary_of(pilot)
    for index, kpi in enumerate(pilot.kpis):
        path: Path = ("kpis", index)
        yield from _measure(kpi, path, pilot, words)
        if kpi.compare is not None:
            yield from _comparison(kpi, (*path, "compare"), pilot, words)
        yield from _groups(kpi.control, (*path, "control"), pilot)
        for group in set(kpi.control) & set(kpi.groups):
            yield Misfit(
                (*path, "control"), f"{group!r} is in groups too", "A control group is not in the intervention"
            )
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
        yield Misfit((*path, "slot"), f"lden is of sound levels, not of {quantity.name}", "Use slot: auto")
    for number, key in enumerate(measure.plus):
        other = words.lookup(key)
        if other is None:
            remedy = did_you_mean(key, words.near(key) or [word.name for word in words][:8])
            yield Misfit((*path, "plus", number), f"{key!r} is not in the vocabulary", remedy)
        elif quantity is not None and other.kind != "count":
            yield Misfit((*path, "plus", number), f"{key} is no count", "Only counts can be added up")
    if measure.hours is not None and not all(0 <= hour <= 24 for hour in measure.hours):
        yield Misfit((*path, "hours"), "hours of the day run from 0 to 24", "Write [7, 19], or [22, 7] across midnight")
    elif measure.hours is not None and measure.hours[0] == measure.hours[1]:
        yield Misfit((*path, "hours"), "from and to are the same", "Leave hours out for the whole day")
    if len(set(measure.weekdays)) < len(measure.weekdays):
        yield Misfit((*path, "weekdays"), "names a day twice", f"Use each of {', '.join(WEEKDAYS)} once")
    devices = {device.id for device in pilot.devices}
    known = quantity is not None and devices.issuperset(measure.devices)  # what is not is said elsewhere
    if known and not streams_of(pilot, measure):
        problem = f"none of the chosen devices measures {' and '.join([measure.quantity, *measure.plus])}"
        yield Misfit((*path, "quantity"), problem, "Choose devices or groups that have it among their streams")


def _statistic(measure: Measure, path: Path) -> Checks:
    if measure.statistic == "percentile":
        if measure.percentile is None or not 0 < measure.percentile < 100:
            yield Misfit((*path, "percentile"), "a percentile lies between 0 and 100", "Write percentile: 90", path)
    elif measure.percentile is not None:
        yield Misfit((*path, "percentile"), "goes with statistic: percentile only", "Leave it out")
    if measure.statistic in ("hours_above", "share_above"):
        if measure.threshold is None:
            yield Misfit((*path, "threshold"), f"{measure.statistic} of what?", "Write threshold: in the unit", path)
    elif measure.threshold is not None:
        yield Misfit((*path, "threshold"), "goes with hours_above and share_above only", "Leave it out")


def _interval(measure: Measure, path: Path) -> Checks:
    if measure.interval == "P1D":
        if measure.statistic in ("hours_above", "count"):
            problem = f"{measure.statistic} counts within days, not whole days"
            yield Misfit(
                (*path, "interval"), problem, "Use interval: PT1H, or statistic: share_above for a share of days"
            )
        return
    if measure.slot in ("lden", "max_8h"):
        yield Misfit((*path, "slot"), f"{measure.slot} is a value of a day", "Write interval: P1D", path)
    try:
        width = interval_micros(measure.interval)
    except ValueError as error:
        yield Misfit((*path, "interval"), str(error), "Write PT10M, PT1H or P1D")
        return
    if width > HOUR or HOUR % width:
        problem = f"{measure.interval} does not divide an hour"
        yield Misfit((*path, "interval"), problem, "Use PT1H or a part of it such as PT15M, or P1D")


def _comparison(kpi: Kpi, path: Path, pilot: PilotDefinition, words: Vocabulary) -> Checks:
    assert kpi.compare is not None
    other = kpi.compare.measure
    if words.lookup(other.quantity) is None:
        remedy = did_you_mean(other.quantity, words.near(other.quantity) or ["a quantity of the vocabulary"])
        yield Misfit((*path, "measure", "quantity"), f"{other.quantity!r} is not in the vocabulary", remedy)
        return
    yield from _measure(other, (*path, "measure"), pilot, words)
    mine, theirs = resolve_measure(kpi, words), resolve_measure(other, words)
    counts = all(unit.startswith("{") for unit in (mine.unit, theirs.unit))  # bicycles and people are both counts
    if kpi.compare.kind != "ratio" and mine.unit != theirs.unit and not counts:
        problem = f"{mine.unit} and {theirs.unit} do not convert"
        yield Misfit((*path, "kind"), problem, "Compare like with like, or use kind: ratio")
    if "vector" in (mine.scale, theirs.scale):
        yield Misfit((*path, "kind"), "directions have no ratio", "Use a KPI for each direction")


def _target(kpi: Kpi, path: Path, words: Vocabulary) -> Checks:
    if kpi.target is None:
        return
    if kpi.target_is == "percent":
        if not resolve_measure(kpi, words).has_zero and kpi.compare is None:
            yield Misfit((*path, "target_is"), "per cent of this unit mean nothing", "Use change, in the unit itself")
        elif kpi.target <= -100:
            yield Misfit((*path, "target"), f"{kpi.target:g} % is less than nothing", "Write -10 for ten per cent less")
    if kpi.target_is != "value" and kpi.target != 0 and (kpi.target < 0) != (kpi.direction == "lower"):
        problem = f"a change of {kpi.target:+g} is not {kpi.direction}"
        yield Misfit((*path, "target"), problem, "A change is signed: -10 is ten less")


def _adjust(kpi: Kpi, path: Path, pilot: PilotDefinition, words: Vocabulary) -> Checks:
    devices = [device.id for device in pilot.devices]
    for number, covariate in enumerate(kpi.adjust):
        here = (*path, "adjust", number)
        if words.lookup(covariate.quantity) is None:
            remedy = did_you_mean(
                covariate.quantity, words.near(covariate.quantity) or ["a quantity of the vocabulary"]
            )
            yield Misfit((*here, "quantity"), f"{covariate.quantity!r} is not in the vocabulary", remedy)
        if covariate.pilot is None and covariate.device not in devices:
            remedy = did_you_mean(covariate.device, devices)
            yield Misfit((*here, "device"), f"the pilot has no device {covariate.device!r}", remedy)


def _after(kpi: Kpi, after: Exposure, path: Path, pilot: PilotDefinition, words: Vocabulary) -> Checks:
    here = (*path, "after")
    devices = [device.id for device in pilot.devices]
    if (after.event is None) == (after.quantity is None):
        remedy = "Give one of event: (a kind of events:) and quantity: (a stream that is above zero when it is done)"
        yield Misfit(here, "names both an event and a quantity" if after.event else "names nothing", remedy)
    elif after.quantity is not None:
        if words.lookup(after.quantity) is None:
            remedy = did_you_mean(after.quantity, words.near(after.quantity) or ["a quantity of the vocabulary"])
            yield Misfit((*here, "quantity"), f"{after.quantity!r} is not in the vocabulary", remedy)
        if after.device is None:
            yield Misfit((*here, "device"), "is missing", "Name the device whose stream it is", here)
    elif after.pilot is not None:
        yield Misfit((*here, "pilot"), "goes with quantity only", "Leave it out: events are this pilot's own")
    if after.pilot is None and after.device is not None and after.device not in devices:
        yield Misfit(
            (*here, "device"), f"the pilot has no device {after.device!r}", did_you_mean(after.device, devices)
        )
    if not 0 <= after.lag <= 28:
        yield Misfit((*here, "lag"), f"{after.lag} days are not looked at", "Write a number of days from 0 to 28")
    if not pilot.phases:
        yield Misfit(
            here, "needs a phase that says which days are compared", "Add one under phases:, kind: other will do"
        )
    for field, given in (("control", kpi.control), ("compare", kpi.compare)):
        if given:
            yield Misfit((*path, field), "does not go with after", "Leave one of the two out")
    if kpi.statistic in ("min", "max"):
        yield Misfit(
            (*path, "statistic"), f"the {kpi.statistic} of a day has no interval", "Use mean or percentile", path
        )
    if kpi.target is not None and kpi.target_is == "value":
        remedy = "Write target_is: change or target_is: percent"
        yield Misfit((*path, "target"), "with after, a target speaks of the change", remedy)


def _groups(groups: list[str], path: Path, pilot: PilotDefinition) -> Checks:
    known = sorted({device.group for device in pilot.devices if device.group is not None})
    for number, group in enumerate(groups):
        if group not in known:
            yield Misfit((*path, number), f"no device is in group {group!r}", did_you_mean(group, known))
