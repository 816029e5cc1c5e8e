"""What an evaluation says: values, effect, interval, verdict, and what it rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from techport_pilots.i18n import Language, Message, MissingText
from techport_pilots.model import Text

Verdict = Literal[
    "target met",
    "target not met",
    "effect shown",
    "no wanted effect",
    "inconclusive",
    "not settled",
    "running",
    "insufficient data",
]
"""With a target: met, or not met. Without one: whether there is an effect in the wanted direction."""

Effect = Literal["lower", "higher", "none shown"]


class Interval(msgspec.Struct, frozen=True):
    """A confidence interval, both ends in the unit of what it belongs to."""

    low: float
    high: float


class PhaseValue(msgspec.Struct, frozen=True, kw_only=True):
    """A KPI over all phases of one side. `value` is of the readings as they are; None where there is nothing."""

    phases: list[str]
    value: float | None
    interval: Interval | None = None
    days: int = 0  # local days that went into the comparison
    completeness: float = 0.0  # slots with a value ÷ slots expected, 0..1


class Reason(msgspec.Struct, frozen=True):
    """Something that an evaluation says: a code and its parameters, and the sentence in both languages.

    `code` is empty where the pilot's team wrote the sentence (the reason of an exclusion), and in evaluations that were
    stored before there were codes. `nb` and `en` are kept for programs that read them; they go in the next release.
    """

    code: str = ""
    params: Mapping[str, Any] = {}
    nb: str = ""
    en: str = ""

    @classmethod
    def of(cls, message: Message | Text) -> Reason:
        if isinstance(message, Text):
            return cls(nb=message.nb, en=message.en)
        return cls(message.code, message.params, Language("nb").message(message), Language("en").message(message))

    def text(self, language: Language) -> str:
        """The sentence in a reader's language; as it was stored, for a code that this version does not know."""
        if self.code:
            try:
                return language.message(Message(self.code, self.params))
            except MissingText:
                pass
        return language.text(Text(self.nb, self.en))


class LeftOut(msgspec.Struct, frozen=True):
    """Something that was not used, and why."""

    what: str  # a device, or a time range
    reason: Reason


class Progress(msgspec.Struct, frozen=True):
    """How far the intervention is, and when the pilot decides."""

    days: int  # local days of the intervention that have passed
    planned: int  # local days of the intervention in the definition
    decides: str  # local date, ISO 8601, on which every compared phase is over


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A day on which the definition plans to decide early, or the last day, when it decides anyway."""

    day: str  # local date, ISO 8601; readings before it count
    factor: float  # how many times as wide as an interval that is looked at once
    verdict: Verdict | None = None  # None for looks to come


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which the evaluation doubts itself.

    `code` is what was checked ("trend", "placebo", "control", "device-drift", ...). A check that "disagrees" keeps an
    effect from being called shown and a target from being called met; one that "warns" is told beside the verdict.
    """

    code: str
    outcome: Literal["agrees", "warns", "disagrees", "not possible"]
    text: Reason
    would_settle: Reason | None = None  # where it disagrees: what would


class Recalculated(msgspec.Struct, frozen=True, kw_only=True):
    """What came out for a KPI when its package was opened here and the readings were evaluated again."""

    verdict: Verdict
    value: float | None = None  # with the intervention
    effect: float | None = None
    interval: Interval | None = None


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one KPI: the same data gives the same one.

    `effect` is intervention minus baseline in the KPI's unit after adjustment (so it need not equal the difference of
    the two values), `percent` the same as a share of the baseline: None for scales without a natural zero.
    `independent_days` says how many days would tell as much if no day resembled the one before. Where `compared` is
    "days", `baseline` are days like others and `intervention` those that follow what was done (Kpi.after).

    Until every compared phase is over the evaluation is not `final`: its verdict is "running" and its intervals stay
    valid however often somebody looks (looking.py). `until` is the first instant that did not count. Where `settled` is
    False, `checks` says which check disagrees.
    `recalculated` is there where the evaluation came with a package and something else came out here.
    """

    kpi: str
    unit: str
    verdict: Verdict
    reasons: list[Reason]
    compared: Literal["phases", "days"] = "phases"
    baseline: PhaseValue | None = None
    intervention: PhaseValue | None = None
    control_change: float | None = None
    effect: float | None = None
    interval: Interval | None = None
    percent: float | None = None
    percent_interval: Interval | None = None
    shown: Effect | None = None  # None where no interval could be given
    confidence: float = 0.95
    independent_days: float | None = None
    autocorrelation: float | None = None  # from one day to the next
    degrees_of_freedom: float | None = None
    adjusted_for: list[str] = []
    method: Reason = Reason()
    left_out: list[LeftOut] = []
    final: bool = True
    until: str | None = None  # ISO 8601, UTC; None where all phases counted in full
    progress: Progress | None = None
    looks: list[Look] = []
    widened: float = 1.0  # how many times as wide the intervals are as those that are looked at once
    checks: list[Check] = []
    settled: bool = True
    recalculated: Recalculated | None = None

    @property
    def expected(self) -> float | None:
        """The value that the intervention would have had without its effect, in the KPI's unit."""
        after = self.intervention
        if after is None or after.value is None or self.effect is None:
            return None
        expected = after.value - self.effect
        return expected % 360 if self.unit == "deg" else expected


_LAST_DIGITS = 1e-9


def agree(evaluation: Evaluation, other: Evaluation) -> bool:
    """Whether two evaluations of the same data say the same, but for the last digits of their numbers.

    Stores add a sample's readings up in different orders, and processors a regression's products: that moves the
    sixteenth digit. A difference is measured against the KPI's own size too, since an effect may be near zero.
    Sentences are compared by their codes; those stored before there were codes only by how many there are.

    Parameters
    ----------
    one, other : Evaluation
        In the same unit.

    Returns
    -------
    bool
    """
    values = [
        side.value
        for side in (evaluation.baseline, evaluation.intervention)
        if side is not None and side.value is not None
    ]
    within = _LAST_DIGITS * max(map(abs, values), default=0)
    first, second = msgspec.structs.asdict(evaluation), msgspec.structs.asdict(other)
    if not (evaluation.checks and other.checks):  # stored before there were any
        for name in ("checks", "until", "progress", "looks"):
            del first[name], second[name]
    for fields in (first, second):
        del fields["recalculated"]
    return _agree(first, second, within)


def recalculated(evaluation: Evaluation) -> Recalculated:
    """What is kept of an evaluation beside that of the package from which it differs."""
    value = evaluation.intervention.value if evaluation.intervention is not None else None
    return Recalculated(verdict=evaluation.verdict, value=value, effect=evaluation.effect, interval=evaluation.interval)


def _agree(value: Any, other: Any, within: float) -> bool:
    if isinstance(value, Reason) and isinstance(other, Reason):
        if not (value.code and other.code):
            return True
        return value.code == other.code and _agree(dict(value.params), dict(other.params), within)
    if isinstance(value, msgspec.Struct) and isinstance(other, msgspec.Struct):
        return _agree(msgspec.structs.asdict(value), msgspec.structs.asdict(other), within)
    if isinstance(value, float) and isinstance(other, float):
        return math.isclose(value, other, rel_tol=_LAST_DIGITS, abs_tol=within)
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(_agree(value[key], other[key], within) for key in value)
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(_agree(a, b, within) for a, b in zip(value, other, strict=True))
    return bool(value == other)
