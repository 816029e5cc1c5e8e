"""Planned before, compared after: what a pilot's start froze of its definition, and what was changed since.

    start ─► question, hypothesis, KPIs, phases and exclusions as they are ─► SHA-256 and time, once and for all
    later versions ─► what of them differs from the version before, who changed it, when and why

A pilot that was never started, or whose first version is younger than its intervention, is compared as well: then what
was written after the intervention began is late, and what was changed after it a change.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from techport_pilots.model import Exclusion, Kpi, Phase, PilotDefinition, Text
from techport_pilots.registry.database import Database, Transaction
from techport_pilots.time import micros_of
from techport_storage.microseconds import DAY
from techport_storage.model import Micros

_FREEZE = (
    "INSERT INTO registrations (pilot, version, sha256, content, at) VALUES (:pilot, :version, :sha256, :content, :at)"
    " ON CONFLICT (pilot) DO NOTHING"
)
_FROZEN = "SELECT version, sha256, content, at FROM registrations WHERE pilot = :pilot"
_VERSION = "SELECT coalesce(max(version), 1) FROM pilot_versions WHERE pilot = :pilot"
_VERSIONS = "SELECT version, definition, who, at, why FROM pilot_versions WHERE pilot = :pilot ORDER BY version"
_ADD_EARLIER = (
    "INSERT INTO pilot_versions (pilot, version, definition, source, who, at, why)"
    " VALUES (:pilot, :version, :definition, '', :who, :at, :why)"
)
_MEASURED = "SELECT 1 FROM ledger WHERE pilot = :pilot AND day >= :day AND stored > 0 LIMIT 1"


OPENED = "opened from "  # begins the reason of a version that came out of a package


class Plan(msgspec.Struct, frozen=True):
    """What a result depends on besides the readings."""

    question: Text
    hypothesis: Text
    kpis: list[Kpi]
    phases: list[Phase]
    exclusions: list[Exclusion]

    @classmethod
    def of(cls, pilot: PilotDefinition) -> Plan:
        return cls(pilot.question, pilot.hypothesis, pilot.kpis, pilot.phases, pilot.exclusions)


class Registration(msgspec.Struct, frozen=True):
    """The plan as it was when the pilot was started. `sha256` is that of `content`, the plan as JSON."""

    version: int
    sha256: str
    content: str
    at: Micros

    @property
    def plan(self) -> Plan:
        return msgspec.json.decode(self.content, type=Plan)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One field of the plan that a version changed; `kpi` where it is of one. Values as JSON, "" for none."""

    version: int
    at: Micros
    who: str
    why: str
    kpi: str | None
    field: str
    before: str
    after: str


class Version(msgspec.Struct, frozen=True):
    """A version of the definition with who, when and why."""

    version: int
    definition: PilotDefinition
    who: str
    at: Micros
    why: str


class Past(msgspec.Struct, frozen=True):
    """What a package tells of a pilot before it came here: its versions, and what its start froze elsewhere."""

    versions: list[Version] = []
    registration: Registration | None = None


class PlanStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How old the plan is, and what became of it. `changes` are those after the start, or after the intervention
    began where nobody started the pilot before it."""

    registration: Registration | None
    written: Micros  # when its first version came
    intervention: Micros | None  # when that began, as planned
    changes: list[Change]
    opened: bool = False  # it came with a package that does not tell its versions

    @property
    def days_late(self) -> int:
        """Whole days from the beginning of the intervention to the first version; 0 where it was written before."""
        if self.opened or self.intervention is None or self.written <= self.intervention:
            return 0
        return max(1, (self.written - self.intervention) // DAY)

    def concerning(self, kpi: str) -> list[Change]:
        """Changes that the result of this KPI depends on."""
        return [change for change in self.changes if change.kpi in (kpi, None) and change.field not in _WORDS]


_WORDS = ("question", "hypothesis", "title")
"""Fields that change no number."""


def freeze(transaction: Transaction, pilot: PilotDefinition, at: Micros) -> None:
    """Freeze the plan; once: a pilot that runs again keeps its first."""
    content = msgspec.json.encode(Plan.of(pilot), order="deterministic").decode()
    version = transaction.execute(_VERSION, {"pilot": pilot.id}).scalar_one()
    row = {"pilot": pilot.id, "version": version, "content": content, "at": at}
    transaction.execute(_FREEZE, {**row, "sha256": hashlib.sha256(content.encode()).hexdigest()})


def restore(transaction: Transaction, pilot: str, past: Past) -> None:
    """Write down what was planned elsewhere, before the version under which the pilot comes here."""
    for earlier in past.versions:
        content = msgspec.json.encode(earlier.definition).decode()
        row = {"pilot": pilot, "version": earlier.version, "definition": content, "who": earlier.who}
        transaction.execute(_ADD_EARLIER, {**row, "at": earlier.at, "why": earlier.why})
    if past.registration is not None:
        transaction.execute(_FREEZE, {"pilot": pilot, **msgspec.structs.asdict(past.registration)})


def registration_of(database: Database, pilot: str) -> Registration | None:
    """What was frozen when the pilot was started; None for a draft, and for pilots that earlier versions started."""
    with database.reading() as transaction:
        row = transaction.execute(_FROZEN, {"pilot": pilot}).first()
    return None if row is None else Registration(*row)


def versions(database: Database, pilot: str) -> list[Version]:
    """Every version of the definition, oldest first."""
    with database.reading() as transaction:
        rows = transaction.execute(_VERSIONS, {"pilot": pilot}).all()
    return [Version(n, msgspec.json.decode(text, type=PilotDefinition), who, at, why) for n, text, who, at, why in rows]


def status(database: Database, pilot: PilotDefinition) -> PlanStatus:
    """How old the plan is and what was changed of it. May raise RegistryUnavailable."""
    frozen, history = registration_of(database, pilot.id), versions(database, pilot.id)
    began = intervention_start(history[0].definition if history else pilot)
    written = history[0].at if history else 0
    limits = [time for time in (frozen.at if frozen else None, began) if time is not None]
    changes: list[Change] = []
    for earlier, later in itertools.pairwise(history):
        if limits and later.at > min(limits):
            changes += differences(earlier.definition, later)
    opened = len(history) == 1 and history[0].why.startswith(OPENED)
    return PlanStatus(registration=frozen, written=written, intervention=began, changes=changes, opened=opened)


def intervention_start(pilot: PilotDefinition) -> Micros | None:
    starts = [micros_of(phase.start, pilot.timezone) for phase in pilot.phases if phase.kind == "intervention"]
    return min(starts, default=None)


def needs_reason(transaction: Transaction, before: PilotDefinition, after: PilotDefinition, started: bool) -> bool:
    """Whether a change of the plan has to say why: once the pilot was started, or its intervention has readings."""
    return Plan.of(before) != Plan.of(after) and _is_binding(transaction, before, started)


def is_binding(database: Database, pilot: PilotDefinition, started: bool) -> bool:
    """Whether every change of the plan has to say why. May raise RegistryUnavailable."""
    with database.reading() as transaction:
        return _is_binding(transaction, pilot, started)


def _is_binding(transaction: Transaction, pilot: PilotDefinition, started: bool) -> bool:
    if started:
        return True
    began = intervention_start(pilot)
    if began is None:
        return False
    return transaction.execute(_MEASURED, {"pilot": pilot.id, "day": began // DAY}).first() is not None


def differences(before: PilotDefinition, later: Version) -> Iterator[Change]:
    """Every field of the plan that the later version changed."""
    after = later.definition

    def change(field: str, old: Any, new: Any, kpi: str | None = None) -> Change:
        return Change(
            version=later.version,
            at=later.at,
            who=later.who,
            why=later.why,
            kpi=kpi,
            field=field,
            before=_shown(old),
            after=_shown(new),
        )

    for field in ("question", "hypothesis"):
        if getattr(before, field) != getattr(after, field):
            yield change(field, getattr(before, field), getattr(after, field))
    yield from _of_list("phase", before.phases, after.phases, change)
    if before.exclusions != after.exclusions:
        yield change("exclusions", before.exclusions, after.exclusions)
    old, new = ({kpi.id: kpi for kpi in kpis} for kpis in (before.kpis, after.kpis))
    for name in dict.fromkeys([*old, *new]):
        if name not in old or name not in new:
            yield change("kpi", old.get(name), new.get(name), name)
            continue
        for field in Kpi.__struct_fields__:
            if getattr(old[name], field) != getattr(new[name], field):
                yield change(field, getattr(old[name], field), getattr(new[name], field), name)


def _of_list(field: str, before: Sequence[Phase], after: Sequence[Phase], change: Any) -> Iterator[Change]:
    """Phases that came, went or changed, by name."""
    old, new = ({phase.name: phase for phase in phases} for phases in (before, after))
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) != new.get(name):
            yield change(field, old.get(name), new.get(name))


def _shown(value: Any) -> str:
    """A value as a reader of a table sees it."""
    if value is None:
        return ""
    if isinstance(value, Phase):
        return f"{value.name} ({value.kind}): {value.start.isoformat()} – {value.end.isoformat()}"
    if isinstance(value, Text):
        return value.get("en")
    if isinstance(value, Kpi):
        return value.title.get("en")
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(_shown(item) for item in value)
    if isinstance(value, Exclusion):
        return f"{value.start.isoformat()} – {value.end.isoformat()}"
    if isinstance(value, msgspec.Struct):
        return msgspec.json.encode(value).decode()
    return str(value)
