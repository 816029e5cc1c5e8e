"""What can go wrong at the registry and the ledger.

PilotsError
├── RegistryUnavailable   not now: the database is down, locked or full; the same call again is safe
├── WorkerReplaced        never: another process has begun under the same worker's name; end this one
├── ReplayTaken           never: somebody else took an entry of the quarantine again; look at what is left
├── UnknownPilot          never: no pilot of that id; names the ones that are near
├── WrongState            never, while the pilot is in the state it is in; says what to do first
├── BadPackage            never: a file that is no package of ours, or was changed since it was made
└── DefinitionError       never: a pilot definition that cannot be used; lists every finding
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import msgspec

from techport_pilots.i18n import Message


class PilotsError(Exception):
    """Base of everything this package raises on purpose."""


class RegistryUnavailable(PilotsError):
    """The database behind the registry cannot answer now. Worth a retry of the same call."""


class RegistryDamaged(PilotsError, ValueError):
    """The registry's file is none, or not whole. Trying again does not help; the file is left as it is."""


class WorkerReplaced(PilotsError):
    """Another process has begun under this worker's name, and books in its place. Nothing was booked; end."""


class ReplayTaken(PilotsError):
    """An entry of the quarantine was dealt with by somebody else meanwhile; nothing was booked."""


class UnknownPilot(PilotsError, KeyError):
    """No pilot has this id. `near` holds the ids that look like it, best first."""

    def __init__(self, pilot: str, names: Iterable[str]) -> None:
        names = list(names)
        self.pilot = pilot
        self.near = difflib.get_close_matches(pilot, names, n=3, cutoff=0.6)
        accepted = self.near or sorted(names)[:10]
        hint = (
            f"did you mean {' or '.join(accepted)}?" if self.near else f"there are: {', '.join(accepted) or 'none yet'}"
        )
        super().__init__(f"no pilot {pilot!r}: {hint}")

    def __str__(self) -> str:  # a KeyError would show the repr of its message
        return str(self.args[0])


class WrongState(PilotsError):
    """What was asked does not go with the state that the pilot is in. `message` says what to do first."""

    def __init__(self, message: Message) -> None:
        self.message = message
        super().__init__(str(message))


class BadPackage(PilotsError, ValueError):
    """A package that cannot be opened: what is wrong with it."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong in a definition file, where, and what to write instead."""

    file: str
    line: int  # from 1; 0 where the file has no such place
    field: str  # "devices[3].position.lat"; "" for the file as a whole
    problem: Message
    remedy: Message

    @property
    def message(self) -> Message:
        """What is wrong and what to write instead, for a reader who sees where."""
        params = {"problem": msgspec.to_builtins(self.problem), "remedy": msgspec.to_builtins(self.remedy)}
        return Message("definition.finding", params)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:" if self.line else f"{self.file}:"
        field = f" {self.field}:" if self.field else ""
        return f"{place}{field} {self.message}"


class DefinitionError(PilotsError, ValueError):
    """A definition that cannot be used, or something that was to be added to one. `findings` has one entry for each
    thing to fix, in the order of the file."""

    def __init__(self, findings: Sequence[Finding], kind: str = "pilot definition") -> None:
        self.findings = sorted(findings, key=lambda finding: finding.line)
        count = "1 thing" if len(findings) == 1 else f"{len(findings)} things"
        super().__init__("\n  ".join([f"{count} to fix in the {kind}:", *map(str, self.findings)]))

    @property
    def message(self) -> Message:
        """All findings with their fields, without file and lines."""
        findings = [
            Message("definition.finding-in", {"field": finding.field, **finding.message.params})
            if finding.field
            else finding.message
            for finding in self.findings
        ]
        return Message("definition.findings", {"findings": msgspec.to_builtins(findings)})
