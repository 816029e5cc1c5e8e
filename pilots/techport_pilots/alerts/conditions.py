"""What can need somebody, as data: a rule, what it is about, and the parameters of its sentence.

A condition says what is so now. It becomes an alert when it is first seen, and that alert recovers when the condition
has not been seen for a while (log.py). Its texts are `alert.<rule>.title` and `alert.<rule>` in the catalogues.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec

from techport_pilots.i18n import Message
from techport_storage.microseconds import DAY, MINUTE
from techport_storage.model import Micros

Rule = Literal[
    "device-offline",
    "battery-low",
    "limit",
    "completeness",
    "quarantine",
    "quarantine-waiting",
    "unknown-device",
    "target-met",
    "target-not-met",
    "ends-soon",
    "erasure-due",
    "messages-lost",
]
RULES: tuple[Rule, ...] = get_args(Rule)

NEWS: frozenset[Rule] = frozenset({"target-met", "ends-soon"})
"""Rules that tell something without anything being wrong."""

SHOWN_ONLY: frozenset[Rule] = frozenset({"quarantine-waiting"})
"""Rules whose alerts stand on the pages and in the weekly summary, without a message of their own: a single message
that cannot be stored has time until somebody looks."""

TOLD_RULES: tuple[Rule, ...] = tuple(rule for rule in RULES if rule not in SHOWN_ONLY)

BATTERY_LOW, BATTERY_FINE = 20.0, 25.0
"""Per cent at which a battery is low, and at which an alert about it is over: a value between them changes nothing."""

ENDS_SOON: Micros = 7 * DAY
ERASURE_SOON: Micros = 7 * DAY

COMPLETENESS_WAS, COMPLETENESS_IS = 0.9, 0.8
"""Completeness is falling when it was at least the first in the seven days before, and is below the second today."""

QUARANTINE_PER_HOUR = 20
"""Entries that quarantine got within an hour."""

RECOVERS_AFTER: Micros = 3 * MINUTE
"""How long a condition must not have been seen: what flickers is one alert."""


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is so now. `subject` tells conditions of a rule apart: a device, a KPI, a stream."""

    pilot: str
    rule: Rule
    subject: str = ""
    params: Mapping[str, Any] = {}

    @property
    def key(self) -> tuple[str, str, str]:
        return self.pilot, self.rule, self.subject

    @property
    def text(self) -> Message:
        """What is so, as one sentence."""
        case = f".{self.params['case']}" if "case" in self.params else ""
        return Message(f"alert.{self.rule}{case}", self.params)


def title_of(rule: str) -> Message:
    """The name of a rule: heading of a group of alerts, and the subject of what is sent."""
    return Message(f"alert.{rule}.title")


def still_low(level: float, *, open_already: bool) -> bool:
    """Whether a battery (per cent) is a condition, given whether there is an alert about it."""
    return level < (BATTERY_FINE if open_already else BATTERY_LOW)
