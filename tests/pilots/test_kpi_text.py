"""A KPI in words and numbers, on pages and in reports: rounded by its uncertainty, shares in per cent."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from techport_pilots.evaluation import Evaluation, Interval, PhaseValue, Reason, Recalculated, Verdict
from techport_pilots.evaluation.checks import check
from techport_pilots.evaluation.messages import message
from techport_pilots.i18n import Language
from techport_pilots.model import Comparison, Kpi, Measure, Text
from techport_pilots.reports.kpi_text import KpiText, describe_kpi, verdict_text
from tests.pilots import trial

NB, EN = Language("nb"), Language("en")
PM10 = Kpi(id="dust", title=Text(nb="Støv", en="Dust"), quantity="pm10", target=20.0)


def evaluated(**fields: Any) -> Evaluation:
    values: dict[str, Any] = {
        "baseline": PhaseValue(phases=["before"], value=31.234, interval=Interval(28.0, 34.5), completeness=0.9996),
        "intervention": PhaseValue(phases=["sweeping"], value=24.871, interval=Interval(21.63, 28.11), completeness=1),
        "effect": -6.363,
        "interval": Interval(-9.12, -3.61),
        "percent": -20.37,
        "percent_interval": Interval(-29.0, -11.7),
        "shown": "lower",
    }
    values |= {"reasons": []} | fields
    return Evaluation(kpi="dust", unit="ug/m3", verdict="inconclusive", **values)


def text(kpi: Kpi = PM10, language: Language = EN, **fields: Any) -> KpiText:
    return describe_kpi(trial.definition(), kpi, evaluated(**fields), language)


def test_numbers_have_the_digits_that_the_interval_leaves_standing() -> None:
    found = text()
    assert (found.before, found.after, found.change) == ("31.2 µg/m³", "24.9 µg/m³", "−6.4 µg/m³")
    assert (found.value, found.value_interval, found.unit) == ("24.9", "21.6 … 28.1", "µg/m³")
    assert found.effect == "−20.4 % (−29.0 % … −11.7 %)"
    assert text(interval=Interval(-66.0, 53.0)).change == "−6 µg/m³"


def test_a_norwegian_reads_commas() -> None:
    found = text(language=NB)
    assert found.title == "Støv"
    assert found.after == "24,9 µg/m³"
    assert found.sentence[0] == "Uten tiltaket var 31,2 µg/m³ å vente; målt ble 24,9 µg/m³."


def test_whole_is_only_what_lacks_nothing() -> None:
    assert text().completeness == ["99.9 %", "100 %"]
    assert text(baseline=None).completeness == ["–", "100 %"]


@pytest.mark.parametrize(
    ("target_is", "target", "shown"),
    [("value", 20.0, "≤ 20 µg/m³"), ("change", -2.5, "≤ −2.5 µg/m³"), ("percent", -10.0, "≤ −10 %")],
)
def test_a_target_has_the_sign_of_the_better_side(target_is: Any, target: float, shown: str) -> None:
    assert text(msgspec.structs.replace(PM10, target_is=target_is, target=target)).target == shown


def test_a_share_is_in_per_cent_and_its_change_in_percentage_points() -> None:
    share = msgspec.structs.replace(PM10, statistic="share_above", threshold=50.0, target=0.1)
    low, high = Interval(-0.02, 0.21), Interval(-0.08, -0.02)
    after = PhaseValue(phases=["sweeping"], value=0.06, interval=low)
    found = describe_kpi(
        trial.definition(),
        share,
        msgspec.structs.replace(evaluated(intervention=after, effect=-0.05, interval=high), unit="1"),
        EN,
    )
    assert (found.after, found.change, found.target) == ("6.0 %", "−5.0 pp", "≤ 10 %")
    assert found.after_interval == "0.0 % … 21.0 %", "no share is below nothing"


def test_a_ratio_of_two_measures_is_not_in_per_cent() -> None:
    ratio = msgspec.structs.replace(PM10, compare=Comparison("ratio", Measure(quantity="pm25")), target=None)
    after = PhaseValue(phases=["sweeping"], value=2.345, interval=None)
    found = describe_kpi(
        trial.definition(), ratio, msgspec.structs.replace(evaluated(intervention=after), unit="1"), EN
    )
    assert (found.after, found.unit) == ("2.3", "")


def test_before_the_intervention_the_value_is_that_of_the_baseline() -> None:
    found = text(intervention=None, effect=None, interval=None, percent=None, percent_interval=None, shown=None)
    assert (found.value, found.value_interval) == ("31.2", "28.0 … 34.5")
    assert (found.after, found.change, found.effect, found.sentence) == ("–", "–", "", [])


def test_without_anything_there_is_nothing_to_say() -> None:
    found = text(
        baseline=None,
        intervention=None,
        effect=None,
        interval=None,
        percent=None,
        percent_interval=None,
        shown=None,
    )
    assert (found.value, found.value_interval, found.completeness) == ("–", "", ["–", "–"])


WHY = [Reason.of(message("verdict.effect")), Reason.of(message("caveat.no-control"))]


def test_one_sentence_in_one_order() -> None:
    """Expected, measured, difference, how sure, what it cannot show; raw values apart, and named so."""
    found = text(adjusted_for=["wed", "wind_speed (mast)"], reasons=WHY)
    expected, difference, condition, verdict = found.sentence
    assert expected.startswith(
        "Without the intervention, 31.2 µg/m³ would have been expected (given day of the week and"
    )
    assert expected.endswith("week and wind speed); 24.9 µg/m³ was measured.")
    assert difference == "The difference is −6.4 µg/m³ (−20.4 %), with an interval from −9.1 µg/m³ to −3.6 µg/m³."
    assert condition.endswith("95 % confidence, provided that nothing but the intervention changed between the phases.")
    assert verdict == "The whole interval of the difference lies on the wanted side of zero: an effect is shown."
    assert [limit[:16] for limit in found.limits] == ["No control group"]
    assert found.raw == "Raw values, not adjusted: 31.2 µg/m³ before, 24.9 µg/m³ during the intervention."
    assert found.whole == " ".join([*found.sentence, *found.limits])


def test_checks_that_agree_are_named_and_those_that_do_not_limit_the_verdict() -> None:
    agrees = check("weather", "agrees", message("check.weather.agrees", share=0.1, covariate="wind_speed"))
    doubt = check("control", "warns", message("check.control.unrelated"))
    against = check("trend", "disagrees", message("check.trend.disagrees", effect=-1.0), message("settle.longer"))
    found = text(checks=[agrees, doubt, against], reasons=WHY)
    assert [(made.agrees, made.outcome) for made in found.checks] == [
        (True, "agrees"),
        (False, "note"),
        (False, "disagrees"),
    ]
    assert found.agreeing == [agrees.text.en]
    assert found.limits[1:] == [doubt.text.en, against.text.en, against.would_settle.en]


def test_what_was_expected_is_the_measured_value_without_the_effect() -> None:
    """The raw values may say the opposite: they are neither adjusted nor compared with a control group."""
    counted = evaluated(
        baseline=PhaseValue(phases=["before"], value=5752.0),
        intervention=PhaseValue(phases=["after"], value=3544.0),
        effect=36.0,
        interval=Interval(-210.0, 282.0),
        percent=None,
    )
    assert counted.expected == 3508.0
    found = describe_kpi(trial.definition(), PM10, counted, EN)
    assert "3,508" in found.sentence[0]
    assert "3,544" in found.sentence[0]
    assert "5,752" not in " ".join(found.sentence)
    assert "5,752" in found.raw


def test_the_condition_names_the_control_group() -> None:
    found = text(msgspec.structs.replace(PM10, control=["park"]))
    assert "the control group park" in found.sentence[0]
    assert "as in the control group" in found.sentence[2]
    assert "not chosen because of the value" in text(compared="days").sentence[2]


def test_a_direction_turns_round() -> None:
    wind = evaluated(intervention=PhaseValue(phases=[], value=10.0), effect=30.0)
    assert msgspec.structs.replace(wind, unit="deg").expected == 340.0


def test_what_differs_from_its_package_is_never_said_without_the_difference() -> None:
    here = Recalculated(verdict="inconclusive", effect=-2.5, interval=Interval(-9.2, 4.1))
    found = describe_kpi(
        trial.definition(), PM10, msgspec.structs.replace(evaluated(recalculated=here), verdict="target met"), EN
    )
    assert (found.verdict, found.verdict_text) == ("differs", "differs from the package")
    (warning,) = found.warnings
    for said in ("“target met”", "−6.4 µg/m³", "“inconclusive”", "−2.5 µg/m³"):
        assert said in warning
    assert found.whole.startswith(warning)


@pytest.mark.parametrize("verdict", get_args(Verdict))
def test_every_verdict_has_its_word(verdict: Verdict) -> None:
    for language in (NB, EN):
        assert verdict_text(verdict, language)
