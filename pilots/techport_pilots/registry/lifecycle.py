"""The life of a pilot: draft ─► running ─► ended ─► closed, every step with who, when and why.

A draft accepts readings, so that devices can be tested; one with personal data counts them and keeps none (`collects`).
`ended` still accepts late readings, and can be resumed.
`closed` is final: its data no longer changes, late messages are quarantined, and no definition, event or exclusion
changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from techport_pilots.errors import WrongState
from techport_pilots.i18n import Message
from techport_pilots.model import PilotDefinition, Text
from techport_pilots.registry import registration
from techport_pilots.registry.database import Database, Transaction
from techport_pilots.registry.versioning import bump, lock
from techport_storage.clock import now
from techport_storage.model import Micros

State = Literal["draft", "running", "ended", "closed"]

NEXT: dict[State, tuple[State, ...]] = {
    "draft": ("running",),
    "running": ("ended",),
    "ended": ("running", "closed"),
    "closed": (),
}

_STATES = (
    "SELECT pilot, state FROM pilot_states AS s"
    " WHERE number = (SELECT max(number) FROM pilot_states WHERE pilot = s.pilot)"
)
_CHANGES = "SELECT pilot, number, state, who, why, at FROM pilot_states WHERE pilot = :pilot ORDER BY number"
_ADD = "INSERT INTO pilot_states (pilot, number, state, who, why, at) VALUES (:pilot, :number, :state, :who, :why, :at)"


class Change(msgspec.Struct, frozen=True):
    """A step of a pilot's life."""

    pilot: str
    number: int  # from 1
    state: State
    who: str
    why: str
    at: Micros


def changes(database: Database, pilot: str) -> list[Change]:
    """Every step the pilot has taken, oldest first; none for a draft."""
    with database.reading() as transaction:
        return _changes(transaction, pilot)


def measured_until(taken: Sequence[Change], now: Micros) -> Micros:
    """Until when a pilot's days count: its end where it has ended, else `now`. Days after that are not missing ones."""
    if not taken or taken[-1].state not in ("ended", "closed"):
        return now
    return max((change.at for change in taken if change.state == "ended"), default=now)


def has_ended(taken: Sequence[Change]) -> bool:
    """Whether a pilot has ended, by its plan or before."""
    return bool(taken) and taken[-1].state in ("ended", "closed")


def with_note(why: str, name: str) -> str:
    """The reason with a name that somebody typed. Who made a change is known otherwise: anybody can type any name."""
    return f"{why} ({name.strip()[:200]})".lstrip() if name.strip() else why


def transition(database: Database, pilot: PilotDefinition, to: State, who: str, why: str = "") -> Change:
    """Take the step. Raises WrongState when it cannot be taken from here, or the definition lacks what it needs.

    Running again after the end needs a reason.
    """
    with database.writing() as transaction:
        lock(transaction)
        taken = _changes(transaction, pilot.id)
        state: State = taken[-1].state if taken else "draft"
        _check(pilot, state, to, why)
        change = Change(pilot.id, len(taken) + 1, to, who, why, now())
        transaction.execute(_ADD, msgspec.structs.asdict(change))
        if to == "running":
            registration.freeze(transaction, pilot, change.at)
        bump(transaction)
    return change


def restore(database: Database, pilot: str, taken: list[Change]) -> None:
    """Write down the steps a pilot took elsewhere. Raises WrongState when it has taken some here."""
    with database.writing() as transaction:
        lock(transaction)
        if _changes(transaction, pilot):
            raise WrongState(Message("lifecycle.other-history", {"pilot": pilot}))
        for change in taken:
            transaction.execute(_ADD, {**msgspec.structs.asdict(change), "pilot": pilot})
        bump(transaction)


def obstacles(pilot: PilotDefinition, to: State) -> list[Message]:
    """What the definition lacks for that step, each with its remedy."""
    if to != "running":
        return []
    missing = [] if pilot.devices else [Message("lifecycle.no-devices")]
    if pilot.personal_data:
        missing += [Message(f"lifecycle.needs.{field}") for field in _NEEDED if _is_blank(getattr(pilot, field))]
    return missing


NOT_COLLECTED = "not collected (draft)"
"""The rule by which the messages of a draft with personal data are counted; nothing else of them is kept."""


def collects(pilot: PilotDefinition, state: State) -> bool:
    """Whether messages are kept: nothing about people is, before purpose, legal basis, assessment and retention are
    there and somebody has started the pilot."""
    return not (pilot.personal_data and state == "draft")


def refuse_if_closed(transaction: Transaction, pilot: str) -> None:
    """Raises WrongState for a closed pilot."""
    if states(transaction).get(pilot) == "closed":
        raise WrongState(Message("lifecycle.closed", {"pilot": pilot}))


def refuse_incomplete(transaction: Transaction, pilot: PilotDefinition) -> None:
    """Raises WrongState for a definition without which the pilot, which collects personal data, could not go on."""
    if pilot.personal_data and states(transaction).get(pilot.id, "draft") != "draft":
        missing = [message for message in obstacles(pilot, "running") if message.code.startswith("lifecycle.needs.")]
        if missing:
            params = {"pilot": pilot.id, "obstacles": msgspec.to_builtins(missing)}
            raise WrongState(Message("lifecycle.record-incomplete", params))


def states(transaction: Transaction) -> dict[str, State]:
    """The states of all pilots that are no drafts."""
    return {row.pilot: row.state for row in transaction.execute(_STATES)}


_NEEDED = ("purpose", "legal_basis", "dpia", "retention")
"""Fields that a pilot with personal data does not start without."""


def _is_blank(value: Text | str | None) -> bool:
    text = (value.nb or value.en) if isinstance(value, Text) else value
    return not (text and text.strip())


def _check(pilot: PilotDefinition, state: State, to: State, why: str) -> None:
    if state == to:
        state_name = {"code": f"lifecycle.state.{state}"}
        raise WrongState(Message("lifecycle.already", {"pilot": pilot.id, "state": state_name}))
    if to not in NEXT[state]:
        raise WrongState(Message(f"lifecycle.only-next.{state}", {"pilot": pilot.id}))
    if (state, to) == ("ended", "running") and not why.strip():
        raise WrongState(Message("lifecycle.why-again", {"pilot": pilot.id}))
    missing = obstacles(pilot, to)
    if missing:
        params = {"pilot": pilot.id, "obstacles": msgspec.to_builtins(missing)}
        raise WrongState(Message("lifecycle.not-ready", params))


def _changes(transaction: Transaction, pilot: str) -> list[Change]:
    return [Change(*row) for row in transaction.execute(_CHANGES, {"pilot": pilot})]
