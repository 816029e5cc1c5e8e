"""A KPI in words and numbers, as pages and reports show it: one rounding, one way to write an interval and a target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from techport_pilots.evaluation import Check, Evaluation, Interval, Reason
from techport_pilots.evaluation.messages import adjusted_for
from techport_pilots.i18n import Language, Message
from techport_pilots.model import Kpi, PilotDefinition
from techport_pilots.quantities import Vocabulary, vocabulary_of

NOTHING = "–"


@dataclass(frozen=True, slots=True)
class CheckText:
    """One way in which the evaluation checked itself, in a reader's language."""

    agrees: bool
    outcome: str  # in a word
    text: str


@dataclass(frozen=True, slots=True)
class KpiText:
    """One KPI in a reader's language. Numbers carry their unit where nothing else is said; "" where there is nothing.

    Attributes
    ----------
    title : str
    verdict : str
        The verdict's code; "differs" where the evaluation came with a package and something else came out here.
    verdict_text : str
        The verdict in the reader's words: the same on every page, in reports and embedded.
    unit : str
        Of the values: as people write it, "%" for shares, "" for plain ratios.
    value, value_interval : str
        Without the unit: with the intervention, or of the baseline where nothing was measured since.
    expected : str
        The value that the intervention would have had without its effect; "" where nothing can be expected.
    before, after : str
        The value without and with the intervention, "–" where there is none. Rounded to two digits of the half width of
        the confidence interval, so that no digit is shown that chance decides.
    after_interval : str
        95 % confidence interval of `after`.
    change, change_interval : str
        Signed; of shares in percentage points.
    percent, percent_interval : str
        The change as a share of the baseline, where the scale has a zero.
    target : str
        With the sign of the better side, such as "≤ 20 µg/m³".
    completeness : list of str
        Before and after, in per cent; 100 % only where nothing is missing.
    sentence : list of str
        What is to be believed, in this order: expected without the intervention and measured; the difference with its
        interval; how sure that is. Empty before there is a value of the intervention.
    limits : list of str
        What the comparison cannot show, and what limits the verdict.
    raw : str
        The two values as they were measured, named as such: their difference is not the effect.
    warnings : list of str
        What a reader has to know before the verdict: that it came out otherwise here.
    reasons : list of str
        What the verdict rests on.
    checks : list of CheckText
        How the evaluation checked itself, those that agree with it too.
    scale : float
        100 for shares, which are shown in per cent, else 1.
    """

    title: str
    verdict: str
    verdict_text: str
    unit: str
    value: str
    value_interval: str
    expected: str
    before: str
    after: str
    after_interval: str
    change: str
    change_interval: str
    percent: str
    percent_interval: str
    target: str
    completeness: list[str]
    sentence: list[str]
    limits: list[str]
    raw: str
    warnings: list[str]
    reasons: list[str]
    checks: list[CheckText]
    scale: float

    @property
    def whole(self) -> str:
        """The sentence with what it cannot show: what every place says of the KPI."""
        return " ".join([*self.warnings, *self.sentence, *self.limits])

    @property
    def agreeing(self) -> list[str]:
        """The checks that agree with the evaluation; what the others say is among the limits."""
        return [check.text for check in self.checks if check.agrees]

    @property
    def effect(self) -> str:
        """The change and its interval, in per cent where the scale has a zero."""
        text, interval = (
            (self.percent, self.percent_interval) if self.percent_interval else (self.change, self.change_interval)
        )
        return f"{text} ({interval})" if interval else ""


def describe_kpi(pilot: PilotDefinition, kpi: Kpi, evaluation: Evaluation, language: Language) -> KpiText:
    """An evaluation in words and numbers.

    Parameters
    ----------
    pilot : PilotDefinition
        Whose vocabulary has the KPI's quantity.
    kpi : Kpi
    evaluation : Evaluation
        Of that KPI.
    language : Language
        Of the reader.
    """
    vocabulary = vocabulary_of(pilot)
    is_share = _is_share(kpi, evaluation, vocabulary)
    scale = 100.0 if is_share else 1.0
    unit = "%" if is_share else unit_text(vocabulary, evaluation.unit, language)
    # A change from 6 % to 11 % is one of five percentage points.
    unit_of_change = language.message(Message("kpi.percentage-points")) if is_share else unit
    before, after = evaluation.baseline, evaluation.intervention
    after_interval = after.interval if after else None
    if is_share and after_interval is not None:  # a share is none below nothing and none above all
        after_interval = Interval(max(after_interval.low, 0.0), min(after_interval.high, 1.0))
    half = scale * _half_width(evaluation.interval or (after.interval if after else None))

    def value(number: float | None) -> str:
        return NOTHING if number is None else f"{language.to_precision(scale * number, half)} {unit}".rstrip()

    def change(number: float | None) -> str:
        if number is None:
            return NOTHING
        text = f"{_sign(number)}{language.to_precision(scale * number, half)} {unit_of_change}"
        return text.rstrip()

    def percent(number: float | None) -> str:
        if number is None:
            return ""
        return f"{_sign(number)}{language.to_precision(number, _half_width(evaluation.percent_interval))} %"

    def number(value: float) -> str:
        return language.to_precision(scale * value, half)

    measured = after if after is not None and after.value is not None else before
    now_interval = after_interval if measured is after else before.interval if before else None
    verdict = "differs" if evaluation.recalculated is not None else evaluation.verdict
    shown = _Shown(value, change, percent)
    values = {
        "before": value(before.value if before else None),
        "after": value(after.value if after else None),
        "change": change(evaluation.effect),
        "percent": percent(evaluation.percent),
    }
    return KpiText(
        title=language.text(kpi.title, kpi.id),
        verdict=verdict,
        verdict_text=verdict_text(verdict, language),
        unit=unit,
        value=NOTHING if measured is None or measured.value is None else number(measured.value),
        value_interval=_between(now_interval, number),
        expected="" if evaluation.expected is None else value(evaluation.expected),
        **values,
        after_interval=_between(after_interval, value),
        change_interval=_between(evaluation.interval, change),
        percent_interval=_between(evaluation.percent_interval, percent),
        target=_target(kpi, unit, unit_of_change, scale, language),
        completeness=[language.share(side.completeness if side else None) for side in (before, after)],
        sentence=[language.message(message) for message in _sentence(kpi, evaluation, shown, vocabulary, language)],
        limits=_limits(evaluation, language),
        raw=language.message(_raw(evaluation, values)) if measured is not None and measured.value is not None else "",
        warnings=[language.message(message) for message in _warnings(evaluation, shown, language)],
        reasons=[reason.text(language) for reason in evaluation.reasons],
        checks=[_check(check, language) for check in evaluation.checks],
        scale=scale,
    )


def unit_text(vocabulary: Vocabulary, unit: str, language: Language) -> str:
    """A UCUM unit as people write it; sums are per local day. "" for plain numbers."""
    if not unit.endswith("/d"):
        label = vocabulary.label(unit)
        return "" if label == "1" else label
    of_a_day = unit.removesuffix("/d")
    label = vocabulary.label(of_a_day) if of_a_day != "1" else ""
    return f"{label} {language.message(Message('kpi.per-day'))}".strip()


def _is_share(kpi: Kpi, evaluation: Evaluation, vocabulary: Vocabulary) -> bool:
    """Whether the value is read in per cent: a share of days, of counts, or of the time in a state."""
    if evaluation.unit == "1" and (kpi.statistic == "share_above" or (kpi.compare and kpi.compare.kind == "share")):
        return True
    quantity = vocabulary.lookup(kpi.quantity)
    return quantity is not None and quantity.kind == "state" and quantity.range == (0, 1) and kpi.statistic == "mean"


def verdict_text(verdict: str, language: Language) -> str:
    """A verdict in the reader's words."""
    return language.message(Message(_verdict_code(verdict)))


@dataclass(frozen=True, slots=True)
class _Shown:
    """How the numbers of one KPI are written."""

    value: Callable[[float | None], str]
    change: Callable[[float | None], str]
    percent: Callable[[float | None], str]


def _sentence(
    kpi: Kpi, evaluation: Evaluation, shown: _Shown, vocabulary: Vocabulary, language: Language
) -> list[Message]:
    """Expected and measured, difference and interval, how sure: in that order."""
    after = evaluation.intervention
    if after is None or after.value is None:
        return [_reason(evaluation.reasons[0])] if evaluation.reasons else []
    design = "days" if evaluation.compared == "days" else "phases"
    measured = {"measured": shown.value(after.value)}
    if evaluation.effect is None or evaluation.interval is None:
        return [Message(f"kpi.measured.{design}", measured), *map(_reason, evaluation.reasons[:1])]
    columns = [column for column in evaluation.adjusted_for if not column.startswith("control group")]  # named below
    given = [*adjusted_for(columns, vocabulary, language), *kpi_control(kpi, language)]
    expected = {"expected": shown.value(evaluation.expected), **measured, "given": given}
    first = Message(f"kpi.expected.{design}" + ("" if given else ".plain"), expected)
    ends = {"low": shown.change(evaluation.interval.low), "high": shown.change(evaluation.interval.high)}
    percent = f" ({shown.percent(evaluation.percent)})" if evaluation.percent is not None else ""
    confidence = {"confidence": round(100 * evaluation.confidence)}
    difference = Message(
        "kpi.difference", {"effect": shown.change(evaluation.effect), "percent": percent, **ends, **confidence}
    )
    condition = "days" if design == "days" else "control" if kpi.control else "phases"
    certainty = [Message(f"kpi.condition.{condition}", confidence)]
    return [first, difference, *certainty, *map(_reason, evaluation.reasons[:1])]


def kpi_control(kpi: Kpi, language: Language) -> list[str]:
    """The control groups that are taken into account, in words."""
    if not kpi.control:
        return []
    return [language.message(Message("kpi.control-group", {"groups": list(kpi.control)}))]


def _limits(evaluation: Evaluation, language: Language) -> list[str]:
    """Every reason but the first, which says how the verdict came about, and what the evaluation's checks found."""
    doubts = [check for check in evaluation.checks if check.outcome in ("disagrees", "warns")]
    reasons = [*evaluation.reasons[1:], *(check.text for check in doubts)]
    reasons += [check.would_settle for check in doubts if check.would_settle is not None]
    return list(dict.fromkeys(reason.text(language) for reason in reasons))


def _check(check: Check, language: Language) -> CheckText:
    outcome = language.message(Message(f"kpi.check.{check.outcome.replace(' ', '-')}"))
    return CheckText(check.outcome == "agrees", outcome, check.text.text(language))


def _raw(evaluation: Evaluation, values: dict[str, str]) -> Message:
    design = "days" if evaluation.compared == "days" else "phases"
    return Message(f"kpi.raw.{design}", {"before": values["before"], "after": values["after"]})


def _warnings(evaluation: Evaluation, shown: _Shown, language: Language) -> list[Message]:
    recalculated = evaluation.recalculated
    if recalculated is None:
        return []
    params = {
        "said": {"code": _verdict_code(evaluation.verdict)},
        "said_change": shown.change(evaluation.effect),
        "here": {"code": _verdict_code(recalculated.verdict)},
        "here_change": shown.change(recalculated.effect),
    }
    return [Message("kpi.differs", params)]


def _verdict_code(verdict: str) -> str:
    return f"kpi.verdict.{verdict.replace(' ', '-')}"


def _reason(reason: Reason) -> Message:
    """A reason as a message; one that an earlier version stored without a code as it stands."""
    if reason.code:
        return Message(reason.code, reason.params)
    return Message("kpi.as-stored", {"text": {"nb": reason.nb, "en": reason.en}})


def _target(kpi: Kpi, unit: str, unit_of_change: str, scale: float, language: Language) -> str:
    if kpi.target is None:
        return ""
    sign = "≤" if kpi.direction == "lower" else "≥"
    plus = "+" if kpi.target_is != "value" and kpi.target > 0 else ""
    if kpi.target_is == "percent":
        return f"{sign} {plus}{language.plain(kpi.target)} %"
    name = unit if kpi.target_is == "value" else unit_of_change
    return f"{sign} {plus}{language.plain(scale * kpi.target)} {name}".rstrip()


def _between(interval: Interval | None, text: Callable[[float], str]) -> str:
    return "" if interval is None else f"{text(interval.low)} … {text(interval.high)}"


def _half_width(interval: Interval | None) -> float:
    return (interval.high - interval.low) / 2 if interval is not None else 0.0


def _sign(number: float) -> str:
    return "+" if number > 0 else ""
