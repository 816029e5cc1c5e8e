"""The numbers of evaluations stay what they were: equal to twelve digits, over every statistic and design."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from techport_pilots.evaluation import evaluate
from techport_pilots.evaluation.kpi import kpi_value
from tests.pilots.evaluation_cases import numbers

RECORDED = Path(__file__).with_name("evaluation_recorded.json")
DIGITS = 1e-12


def differences(place: str, recorded: Any, found: Any, size: float) -> list[str]:
    """Where two answers differ. `size` is the KPI's own: an effect near zero has no digits of its own."""
    if isinstance(recorded, float) and isinstance(found, float):
        same = math.isclose(recorded, found, rel_tol=DIGITS, abs_tol=DIGITS * size)
        return [] if same else [f"{place}: {recorded!r} was recorded, {found!r} found"]
    if isinstance(recorded, dict) and isinstance(found, dict) and recorded.keys() <= found.keys():
        return [line for key in recorded for line in differences(f"{place}.{key}", recorded[key], found[key], size)]
    return [] if recorded == found else [f"{place}: {recorded!r} was recorded, {found!r} found"]


@pytest.mark.heavy
def test_evaluations_are_equal_to_those_recorded():
    recorded = json.loads(RECORDED.read_text("utf-8"))
    found = dict(numbers(evaluate, kpi_value))
    assert recorded.keys() == found.keys()
    lines = []
    for name, answer in recorded.items():
        values = [(answer.get(side) or {}).get("value") or 0.0 for side in ("baseline", "intervention")]
        lines += differences(name, answer, found[name], max(map(abs, values), default=0.0))
    assert lines == []
