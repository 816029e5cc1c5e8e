"""What a pilot's report says, worked out from registry and store; html.py sets it in HTML.

registry ─► definition, state ─┐
store ────► evaluations, days ─┼─► Report ─► html.page(report, "nb") ─► one HTML file
ledger ────► completeness ──────┘
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec
import pandas as pd

from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter
from techport_pilots.definition.lending import borrowed_by
from techport_pilots.evaluation import Evaluation, daily_curve, evaluate, in_its_words, so_far
from techport_pilots.evaluation.event_study import event_days
from techport_pilots.evaluation.kpi import plan_of
from techport_pilots.evaluation.phases import baseline_vs_intervention, overlapping
from techport_pilots.evaluation.samples import day_numbers
from techport_pilots.model import Kpi, PilotDefinition
from techport_pilots.quality.completeness import Completeness, by_device, phase_completeness, since_start
from techport_pilots.quality.people_counts import published
from techport_pilots.registry import recommendations, registration
from techport_pilots.registry.database import Database
from techport_pilots.registry.erasures import Erasure, due_at, receipts
from techport_pilots.registry.lifecycle import State, changes, has_ended, measured_until
from techport_pilots.registry.recommendations import Recommendation
from techport_pilots.registry.registration import PlanStatus
from techport_pilots.registry.registry import Registry
from techport_pilots.registry.versioning import lock
from techport_pilots.time import date_of, day_starts, micros_of
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import Micros, Stream
from techport_storage.store import ReadingStore

_KEEP = (
    "INSERT INTO pilot_evaluations (pilot, kpi, content, at) VALUES (:pilot, :kpi, :content, :at)"
    " ON CONFLICT (pilot, kpi) DO UPDATE SET content = excluded.content, at = excluded.at"
)
_KEEP_FIGURES = (
    "INSERT INTO closing_figures (pilot, content, at) VALUES (:pilot, :content, :at)"
    " ON CONFLICT (pilot) DO UPDATE SET content = excluded.content, at = excluded.at"
)
_FIGURES = "SELECT content FROM closing_figures WHERE pilot = :pilot"
_KEPT = "SELECT pilot, content FROM pilot_evaluations ORDER BY pilot, kpi"
_FINAL = (
    "SELECT content FROM pilot_evaluations WHERE pilot = :pilot"
    " AND at >= (SELECT max(at) FROM pilot_states WHERE pilot = :pilot AND state = 'closed')"
)


_SHORTEST_DAY = 23 * HOUR  # when summer time begins


class Day(msgspec.Struct, frozen=True):
    """A local day's level of a KPI, as it was compared."""

    start: Micros
    value: float
    intervention: bool  # or, for a KPI with `after`: follows what was done
    expected: float | None = None  # without the intervention; None where nothing could be expected
    low: float | None = None  # of the band in which 95 of 100 such days would lie
    high: float | None = None
    control: float | None = None  # level of the control group


class Result(msgspec.Struct, frozen=True):
    """A KPI with its answer, and the days behind it where it is made of days."""

    kpi: Kpi
    evaluation: Evaluation
    days: list[Day]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that stands in a report. The same data gives the same report; only `made` differs."""

    pilot: PilotDefinition
    version: int  # of the definition
    state: State
    start: Micros  # of the first phase or reading
    end: Micros
    results: list[Result]
    devices: dict[str, Completeness]
    phases: dict[str, Completeness]
    whole: Completeness
    set_aside: int  # values in quarantine
    made: Micros
    erase_at: Micros | None  # when the data is to be erased at the latest; None: it is kept
    plan: PlanStatus  # how old the plan is, and what was changed of it
    recommendation: Recommendation | None = None  # of the pilot's team
    erased: list[Erasure] = []  # what of the pilot's readings was erased already


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a report is made of beside evaluations, kept at closing: it stays known when the readings are erased."""

    start: Micros
    end: Micros
    days: dict[str, list[Day]]  # by KPI
    devices: dict[str, Completeness]
    phases: dict[str, Completeness]
    whole: Completeness
    set_aside: int

    @classmethod
    def of(cls, report: Report) -> Figures:
        return cls(
            start=report.start,
            end=report.end,
            days={result.kpi.id: result.days for result in report.results},
            devices=report.devices,
            phases=report.phases,
            whole=report.whole,
            set_aside=report.set_aside,
        )


def current_report(registry: Registry, store: ReadingStore, pilot: PilotDefinition, now: Micros) -> Report:
    """The report as things stand, whose evaluations are kept: what is known so far; of a closed pilot what was found.

    Raises StoreUnavailable or RegistryUnavailable.
    """
    store = published(store, registry)
    evaluations = final_evaluations(registry.database, pilot)
    lent = registry.lent(pilot)
    if evaluations is None:
        taken = changes(registry.database, pilot.id)
        evaluations = evaluate_all(store, pilot, measured_until(taken, now), lent, ended=has_ended(taken))
        keep_evaluations(registry.database, pilot.id, evaluations, now)
    version = registry.history(pilot.id)[0].version
    state = registry.state(pilot.id)
    return build_report(
        store, registry, pilot, version=version, state=state, now=now, evaluations=evaluations, lent=lent
    )


def build_report(
    store: ReadingStore,
    registry: Registry,
    pilot: PilotDefinition,
    *,
    version: int,
    state: State,
    now: Micros,
    evaluations: Sequence[Evaluation] | None = None,
    lent: Collection[Stream] = (),
) -> Report:
    """Work it all out; `evaluations` of the same data, where there are some already, are taken over. Of other pilots'
    streams those in `lent` are used.

    Raises StoreUnavailable or RegistryUnavailable.
    """
    ordered = sorted(pilot.events, key=lambda event: micros_of(event.time, pilot.timezone))
    pilot = msgspec.structs.replace(pilot, events=ordered)
    database = registry.database
    taken = changes(database, pilot.id)
    until = measured_until(taken, now)
    pilot_so_far = so_far(pilot, until)
    if not evaluations:
        evaluations = evaluate_all(store, pilot, until, lent, ended=has_ended(taken))
    erased = [receipt for receipt in receipts(database) if receipt.pilot == pilot.id]
    if any(not receipt.partial for receipt in erased) and (figures := kept_figures(database, pilot.id)) is not None:
        report = _from_figures(registry, pilot, figures, evaluations, now)
        return msgspec.structs.replace(report, version=version, state=state, erased=erased)
    complete = since_start(store, pilot, until)
    counts = Quarantine(database).counts(QuarantineFilter(pilot=pilot.id))
    return Report(
        pilot=pilot,
        version=version,
        state=state,
        start=complete.since,
        end=complete.until,
        results=[
            Result(kpi, answer, _whole(_days(store, pilot_so_far, kpi, lent), until))
            for kpi, answer in zip(pilot.kpis, evaluations, strict=True)
        ],
        devices=by_device(complete.streams),
        phases=phase_completeness(store, pilot, until),
        whole=complete.whole,
        set_aside=sum(count.values for count in counts),
        made=now,
        erase_at=due_at(registry, pilot),
        plan=registration.status(database, pilot),
        recommendation=recommendations.current(database, pilot.id),
        erased=erased,
    )


def _from_figures(
    registry: Registry,
    pilot: PilotDefinition,
    figures: Figures,
    evaluations: Sequence[Evaluation] | None,
    now: Micros,
) -> Report:
    """The report of a pilot whose readings are erased, as it was when it was closed."""
    answers = {evaluation.kpi: evaluation for evaluation in evaluations or ()}
    return Report(
        pilot=pilot,
        version=1,
        state="closed",
        start=figures.start,
        end=figures.end,
        results=[Result(kpi, answers[kpi.id], figures.days.get(kpi.id, [])) for kpi in pilot.kpis if kpi.id in answers],
        devices=figures.devices,
        phases=figures.phases,
        whole=figures.whole,
        set_aside=figures.set_aside,
        made=now,
        erase_at=None,
        plan=registration.status(registry.database, pilot),
        recommendation=recommendations.current(registry.database, pilot.id),
    )


def keep_figures(database: Database, report: Report) -> None:
    """Remember what the report of a pilot that is closed is made of."""
    row = {"pilot": report.pilot.id, "content": msgspec.json.encode(Figures.of(report)).decode(), "at": report.made}
    with database.writing() as transaction:
        lock(transaction)
        transaction.execute(_KEEP_FIGURES, row)


def kept_figures(database: Database, pilot: str) -> Figures | None:
    """What was kept when the pilot was closed last; None where nothing was."""
    with database.reading() as transaction:
        content = transaction.execute(_FIGURES, {"pilot": pilot}).scalar()
    return None if content is None else msgspec.json.decode(content, type=Figures)


def evaluate_all(
    store: ReadingStore, pilot: PilotDefinition, until: Micros, lent: Collection[Stream] = (), *, ended: bool
) -> list[Evaluation]:
    """The answer to each KPI, in their order. A phase counts up to `until`: see lifecycle.measured_until."""
    return [evaluate(store, pilot, kpi, lent=lent, until=until, ended=ended) for kpi in pilot.kpis]


def keep_evaluations(database: Database, pilot: str, evaluations: Iterable[Evaluation], at: Micros) -> None:
    """Remember them, for pages that cannot wait for an evaluation."""
    rows = [
        {"pilot": pilot, "kpi": evaluation.kpi, "content": msgspec.json.encode(evaluation).decode(), "at": at}
        for evaluation in evaluations
    ]
    if rows:
        with database.writing() as transaction:
            lock(transaction)
            transaction.execute(_KEEP, rows)


def kept_evaluations(database: Database) -> Mapping[str, list[Evaluation]]:
    """The last evaluations that were kept, by pilot."""
    by_pilot: dict[str, list[Evaluation]] = {}
    with database.reading() as transaction:
        for pilot, content in transaction.execute(_KEPT):
            by_pilot.setdefault(pilot, []).append(msgspec.json.decode(content, type=Evaluation))
    return by_pilot


def final_evaluations(database: Database, pilot: PilotDefinition) -> list[Evaluation] | None:
    """What was found when the pilot was closed, in the order of its KPIs: it stays, since the data stays.

    None for a pilot that is not closed, or that nobody evaluated since.
    """
    with database.reading() as transaction:
        rows = transaction.execute(_FINAL, {"pilot": pilot.id})
        by_kpi = {
            evaluation.kpi: evaluation
            for evaluation in (msgspec.json.decode(content, type=Evaluation) for (content,) in rows)
        }
    return (
        [in_its_words(kpi, by_kpi[kpi.id]) for kpi in pilot.kpis]
        if by_kpi.keys() >= {kpi.id for kpi in pilot.kpis}
        else None
    )


def _days(store: ReadingStore, pilot: PilotDefinition, kpi: Kpi, lent: Collection[Stream]) -> list[Day]:
    """The days that were compared; none for a comparison of two measures, whose days are only shares of its change."""
    if not set(borrowed_by(kpi, pilot.id)) <= set(lent):
        return []
    if kpi.after is not None:
        observed = event_days(store, pilot, kpi) if pilot.phases else None
        return [] if observed is None else _as_days(pilot, observed.days, "exposed")
    plan = plan_of(pilot, kpi, never=kpi.control)
    if kpi.compare is not None or not plan.streams or overlapping(pilot) is not None:
        return []
    curve = daily_curve(store, pilot, kpi)
    if curve is not None:
        return _as_curve(pilot, curve)
    sides = baseline_vs_intervention(store, pilot, plan)
    return [] if sides.days is None else _as_days(pilot, sides.days, "intervention")


def _whole(days: list[Day], until: Micros) -> list[Day]:
    """Without the day that is not over: a part of a day is no day."""
    return [day for day in days if day.start + _SHORTEST_DAY <= until]


def _as_curve(pilot: PilotDefinition, curve: pd.DataFrame) -> list[Day]:
    starts = day_starts(day_numbers(pd.DatetimeIndex(curve.index)), pilot.timezone).tolist()
    columns = [curve[name].tolist() for name in ("measured", "intervention", "expected", "low", "high", "control")]
    rows = zip(starts, *columns, strict=True)
    return [
        Day(start, value, side, expected, low, high, None if math.isnan(control) else control)
        for start, value, side, expected, low, high, control in rows
    ]


def _as_days(pilot: PilotDefinition, days: pd.DataFrame, side: str) -> list[Day]:
    starts = day_starts(day_numbers(pd.DatetimeIndex(days.index)), pilot.timezone)
    return [Day(*row) for row in zip(starts.tolist(), days["level"].tolist(), days[side].tolist(), strict=True)]


def year_of(report: Report) -> int:
    """The year that a citation names: that of the last measurement."""
    return date_of((report.end - 1) // DAY).year
