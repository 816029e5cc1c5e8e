"""Phases compared: what a quantity was like before and during the intervention, and what the evaluation says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
import pyarrow as pa
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.charts import distribution as figures
from techport_dashboards.charts.distribution import Group
from techport_dashboards.charts.lines import PRESENTATIONS, Presentation
from techport_dashboards.pages.kpis import card_of
from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.query.question import Question, answer
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render
from techport_pilots.definition.measures import streams_of
from techport_pilots.model import Kpi, Phase, PilotDefinition
from techport_pilots.quality.completeness import earlier_promises, enough_readings, intervals_at
from techport_pilots.quantities import vocabulary_of
from techport_pilots.svg import Floats
from techport_pilots.time import local, micros_of, wanted
from techport_storage import clock
from techport_storage.microseconds import HOUR
from techport_storage.model import Micros, Stream

router = APIRouter(route_class=SlotRoute)

EVERY = "PT1H"
KINDS = ("baseline", "intervention", "control", "other")


class PhasesParameters(Parameters):
    what: str | None = Field(None, max_length=200, description="kpi:ID, or a quantity.")
    device: str | None = Field(
        None, max_length=2000, description="Devices, as a comma list; none: all that measure it."
    )
    quality: Literal["good", "all"] = "good"
    lang: str | None = Field(None, max_length=8)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is compared. `kpi` is made up for a quantity that no KPI is about; `code` is how the address names it."""

    code: str
    kpi: Kpi
    decides: bool  # one of the pilot's KPIs
    unit_label: str
    decimals: int
    how: Presentation


@dataclass(frozen=True, slots=True)
class Side:
    """A row of the table: a kind of phase, of the devices compared or of the KPI's control group."""

    kind: str
    control_group: bool
    phases: list[Phase]
    start: Micros
    end: Micros
    hours: int  # that have a value, of all devices
    expected: int
    spread: figures.Spread | None

    @property
    def completeness(self) -> float:
        return min(1.0, self.hours / self.expected) if self.expected else 0.0


@router.get("/pilots/{pilot}/phases")
@needs("see")
def phases_page(
    request: Request,
    services: ServicesDep,
    viewer: ViewerDep,
    pilot: PilotDep,
    parameters: Annotated[PhasesParameters, Query()],
) -> Response:
    """Distribution, typical day and week of each kind of phase, and what the evaluation says of the difference."""
    language = language_of(request)
    catalogue = services.registry_cache.current()
    subjects = _subjects(catalogue, pilot)
    subject = _chosen(subjects, parameters.what)
    devices = _devices(pilot, subject, parameters.device)
    groups: list[Group] = []
    sides: list[Side] = []
    if subject is not None and pilot.phases:
        groups, sides = _sides(services, viewer, pilot, subject, devices, parameters.quality, clock.now())
    shown = [group for group in groups if not group.name.endswith("-group")]
    return render(
        request,
        "phases.html",
        language,
        pilot=pilot,
        subjects=subjects,
        subject=subject,
        devices=devices,
        measuring=list(streams_of(pilot, subject.kpi)) if subject else [],
        all_devices=catalogue.devices,
        one_device=parameters.device,
        asked_language=parameters.lang,
        quality=parameters.quality,
        sides=sides,
        distribution=figures.distribution(shown, subject.how.mean) if subject else None,
        patterns={
            "day": figures.day(shown, subject.how.mean) if subject else None,
            "week": figures.week(shown, subject.how.mean) if subject else None,
        },
        weekdays=language.weekdays(),
        unit="" if subject is None else subject.unit_label,
        micros_of=lambda moment: micros_of(moment, pilot.timezone),
        compared={"baseline", "intervention"} <= {phase.kind for phase in pilot.phases},
    )


@router.get("/pilots/{pilot}/phases/difference")
@needs("see")
def difference(
    request: Request, services: ServicesDep, pilot: PilotDep, parameters: Annotated[PhasesParameters, Query()]
) -> Response:
    """A piece of the page: the difference with its interval, which takes longer to work out than the figures."""
    language = language_of(request)
    catalogue = services.registry_cache.current()
    subject = _chosen(_subjects(catalogue, pilot), parameters.what)
    if subject is None:
        raise Problem("not-found", "This pilot has nothing to compare.")
    devices = _devices(pilot, subject, parameters.device)
    kpi = subject.kpi if parameters.device is None else _narrowed(subject.kpi, devices)
    evaluation = services.evaluations.one(pilot, kpi)
    card = card_of(pilot, kpi, evaluation, language)
    return render(
        request,
        "phases_difference.html",
        language,
        card=card,
        evaluation=evaluation,
        subject=subject,
        found=services.evaluations.power(pilot, kpi) if subject.decides and not evaluation.final else None,
    )


def _subjects(catalogue: RegistryView, pilot: PilotDefinition) -> list[Subject]:
    """The pilot's KPIs, then every quantity that a mean over time says something about."""
    words = vocabulary_of(pilot)
    described = {s.quantity: info for s, info in catalogue.streams.items() if s.pilot == pilot.id and info.described}
    made_up = [
        (name, Kpi(id=name, title=info.title, quantity=name))
        for name, info in described.items()
        if info.group != "device"
    ]
    subjects = []
    for code, kpi in [*((f"kpi:{kpi.id}", kpi) for kpi in pilot.kpis), *made_up]:
        quantity = words.lookup(kpi.quantity)
        how = PRESENTATIONS[quantity.kind if quantity else "level"]
        if how.averaged:
            label, decimals = (quantity.unit_label, quantity.decimals) if quantity else ("", 2)
            subjects.append(Subject(code, kpi, code.startswith("kpi:"), label, decimals, how))
    return subjects


def _chosen(subjects: Sequence[Subject], code: str | None) -> Subject | None:
    """The one asked for, else the first. Raises Problem for one that is not there."""
    if code is None:
        return next(iter(subjects), None)
    named = next((subject for subject in subjects if subject.code == code), None)
    if named is None:
        some = ", ".join(subject.code for subject in subjects[:5])
        raise Problem(
            "unknown-name", "There is no KPI or quantity {name}.", name=repr(code[:80]), parameter="what", example=some
        )
    return named


def _devices(pilot: PilotDefinition, subject: Subject | None, asked: str | None) -> list[str]:
    if subject is None:
        return []
    measuring = list(streams_of(pilot, subject.kpi, never=subject.kpi.control))
    if not asked:
        return measuring
    chosen = [name for name in asked.split(",") if name]
    names = set(streams_of(pilot, _narrowed(subject.kpi, [])))
    for name in chosen:
        if name not in names:
            raise Problem(
                "unknown-name",
                "{name} does not measure this quantity.",
                name=repr(name[:80]),
                parameter="device",
                example=", ".join(sorted(names)[:5]),
            )
    return chosen


def _narrowed(kpi: Kpi, devices: Sequence[str]) -> Kpi:
    """The KPI of these devices only, without its target: what was set for all of them says nothing of some."""
    return msgspec.structs.replace(kpi, devices=list(devices), groups=[], target=None)


def _sides(
    services: Services,
    viewer: Viewer,
    pilot: PilotDefinition,
    subject: Subject,
    devices: Sequence[str],
    quality: Literal["good", "all"],
    now: Micros,
) -> tuple[list[Group], list[Side]]:
    """Hourly values of each kind of phase up to now; the control groups' after them."""
    control = list(streams_of(pilot, subject.kpi, only=subject.kpi.control)) if subject.kpi.control else []
    groups, sides = [], []
    for names, suffix in ((list(devices), ""), (control, "-group")):
        for kind in KINDS:
            some = [
                phase for phase in pilot.phases if phase.kind == kind and micros_of(phase.start, pilot.timezone) < now
            ]
            if not some or not names:
                continue
            spans = [(micros_of(p.start, pilot.timezone), min(micros_of(p.end, pilot.timezone), now)) for p in some]
            parts = [_hours(services, viewer, pilot, subject, names, quality, span) for span in spans]
            value, at = (np.concatenate(column) for column in zip(*parts, strict=True))
            group, expected = _group(pilot, subject.kpi, kind + suffix, value, at, spans, len(names))
            groups.append(group)
            sides.append(
                Side(
                    kind,
                    bool(suffix),
                    some,
                    spans[0][0],
                    spans[-1][1],
                    len(group.value),
                    expected,
                    figures.spread(group.value, subject.how.mean),
                )
            )
    return groups, sides


def _hours(
    services: Services,
    viewer: Viewer,
    pilot: PilotDefinition,
    subject: Subject,
    devices: Sequence[str],
    quality: Literal["good", "all"],
    span: tuple[Micros, Micros],
) -> tuple[Floats, figures.Ints]:
    """Hours that hold enough of the readings they should, as in the evaluation: values and when they begin (µs)."""
    question = Question(
        pilots=[pilot.id],
        devices=devices,
        quantities=[subject.kpi.quantity],
        start=times.iso(span[0]),
        end=times.iso(span[1]),
        every=EVERY,
        aggregate=[subject.how.statistic],
        quality=quality,
    )
    rows = answer(services, viewer, question).rows
    table = rows if isinstance(rows, pa.Table) else rows.read_all()
    value = table.column(subject.how.statistic).to_numpy()
    catalogue = services.registry_cache.current()
    time = table.column("time").cast(pa.int64()).to_numpy()
    device, earlier = np.array(table.column("device").to_pylist(), object), earlier_promises(pilot)
    intervals = np.full(len(time), HOUR, np.int64)
    for name in devices:
        stream = Stream(pilot.id, name, subject.kpi.quantity)
        rows_of = device == name
        interval = catalogue.stream(stream).interval_us or HOUR
        intervals[rows_of] = intervals_at(time[rows_of], interval, earlier.get(stream, ()))
    enough = np.isfinite(value) & enough_readings(table.column("count").to_numpy(), HOUR / intervals)
    return value[enough], time[enough]


def _group(
    pilot: PilotDefinition,
    kpi: Kpi,
    name: str,
    value: Floats,
    at: figures.Ints,
    spans: Sequence[tuple[Micros, Micros]],
    devices: int,
) -> tuple[Group, int]:
    """The values within the KPI's hours and weekdays, and how many there should be."""
    when = local(at, pilot.timezone)
    in_group = wanted(when, kpi.hours, kpi.weekdays)
    grid = np.concatenate([np.arange(start, end, HOUR, dtype=np.int64) for start, end in spans])
    expected = int(wanted(local(grid, pilot.timezone), kpi.hours, kpi.weekdays).sum()) * devices
    return Group(name, value[in_group], when.hour[in_group].astype(np.int64), when.weekday[in_group]), expected
