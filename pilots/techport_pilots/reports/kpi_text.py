"""A KPI in words and numbers, as pages and reports show it: one rounding, one way to write an interval and a target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from techport_pilots.evaluation import Evaluation, Interval
from techport_pilots.i18n import Language, Message
from techport_pilots.model import Kpi, PilotDefinition
from techport_pilots.quantities import Vocabulary, vocabulary_of

NOTHING = "–"


@dataclass(frozen=True, slots=True)
class KpiText:
    """One KPI in a reader's language. Numbers carry their unit where nothing else is said; "" where there is nothing.

    Attributes
    ----------
    title : str
    verdict : str
        The verdict's code; without a target it is about the effect: "effect shown" or "no wanted effect".
    unit : str
        Of the values: as people write it, "%" for shares, "" for plain ratios.
    value, value_interval : str
        Without the unit: with the intervention, or of the baseline where nothing was measured since.
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
    sentences : list of str
        Value, change and its direction.
    reasons : list of str
        What the verdict rests on.
    scale : float
        100 for shares, which are shown in per cent, else 1.
    """

    title: str
    verdict: str
    unit: str
    value: str
    value_interval: str
    before: str
    after: str
    after_interval: str
    change: str
    change_interval: str
    percent: str
    percent_interval: str
    target: str
    completeness: list[str]
    sentences: list[str]
    reasons: list[str]
    scale: float

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
    values = {
        "before": value(before.value if before else None),
        "after": value(after.value if after else None),
        "change": change(evaluation.effect),
        "percent": percent(evaluation.percent),
    }
    return KpiText(
        title=language.text(kpi.title, kpi.id),
        verdict=_headline(kpi, evaluation),
        unit=unit,
        value=NOTHING if measured is None or measured.value is None else number(measured.value),
        value_interval=_between(now_interval, number),
        **values,
        after_interval=_between(after_interval, value),
        change_interval=_between(evaluation.interval, change),
        percent_interval=_between(evaluation.percent_interval, percent),
        target=_target(kpi, unit, unit_of_change, scale, language),
        completeness=[language.share(side.completeness if side else None) for side in (before, after)],
        sentences=[language.message(message) for message in _sentences(kpi, evaluation, values, change)],
        reasons=[reason.text(language) for reason in evaluation.reasons],
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


def _headline(kpi: Kpi, evaluation: Evaluation) -> str:
    """The verdict; without a target it is about the effect alone."""
    if kpi.target is not None or evaluation.verdict not in ("target met", "target not met"):
        return evaluation.verdict
    return "effect shown" if evaluation.verdict == "target met" else "no wanted effect"


def _sentences(
    kpi: Kpi, evaluation: Evaluation, values: dict[str, str], change: Callable[[float | None], str]
) -> list[Message]:
    messages = []
    before, after = evaluation.baseline, evaluation.intervention
    if after is not None and after.value is not None:
        design = "days" if evaluation.compared == "days" else "phases"
        sides = "both" if before is not None and before.value is not None else "after"
        params: dict[str, Any] = {"value": values["after"], "before": values["before"]}
        messages.append(Message(f"kpi.value.{design}-{sides}", params))
    if evaluation.effect is not None and evaluation.interval is not None:
        percent = f" ({values['percent']})" if values["percent"] else ""
        ends = {"low": change(evaluation.interval.low), "high": change(evaluation.interval.high)}
        messages.append(Message("kpi.change", {"effect": values["change"], "percent": percent, **ends}))
    if evaluation.shown == "none shown":
        messages.append(Message("kpi.direction.none"))
    elif evaluation.shown is not None:
        wanted = evaluation.shown == kpi.direction
        messages.append(Message("kpi.direction.wanted" if wanted else "kpi.direction.unwanted"))
    return messages


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
