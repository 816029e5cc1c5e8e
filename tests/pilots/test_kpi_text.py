"""A KPI in words and numbers, on pages and in reports: rounded by its uncertainty, shares in per cent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from techport_pilots.evaluation import Evaluation, Interval, PhaseValue
from techport_pilots.i18n import Language
from techport_pilots.model import Comparison, Kpi, Measure, Text
from techport_pilots.reports.kpi_text import KpiText, describe_kpi
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
    return Evaluation(kpi="dust", unit="ug/m3", verdict="inconclusive", reasons=[], **(values | fields))


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
    assert found.sentences[-1] == "Endringen går i ønsket retning."


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
    assert (found.after, found.change, found.effect, found.sentences) == ("–", "–", "", [])


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
