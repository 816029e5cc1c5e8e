"""Functions of an expression are what the caller says, whatever the package's own table holds."""

from __future__ import annotations

import pytest
from odata_query import grammar

from techport_dashboards.problems import Problem
from techport_dashboards.sta import filters, odata

FUNCTIONS: dict[str, odata.Arity] = {"length": 1, "substringof": 2, "substring": (2, 3), "geo.length": 1}


@pytest.mark.parametrize(
    "text",
    [
        "length(name) gt 5",
        "substringof('a', name)",
        "substring(name, 1) eq 'b'",
        "substring(name, 1, 2) eq 'b'",
        "geo.length(x) gt 1",
    ],
)
def test_functions_with_the_right_number_of_arguments(text: str) -> None:
    assert odata.parse(text, FUNCTIONS) is not None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("contains(name, 'a')", "Unknown function: 'contains'"),  # the package knows it, the caller does not
        ("geo.distance(a, b) gt 1", "Unknown function: 'geo.distance'"),
        ("length() gt 5", "takes 1 arguments. 0 given"),
        ("substring(name)", "takes between 2 and 3 arguments. 1 given"),
        ("substring(name, 1, 2, 3)", "takes between 2 and 3 arguments. 4 given"),
        ("name eq", "Failed to parse"),
        ("name eq #", "Failed to tokenize"),
    ],
)
def test_what_is_wrong_is_said(text: str, problem: str) -> None:
    with pytest.raises(odata.BadExpression, match=problem):
        odata.parse(text, FUNCTIONS)


def test_the_packages_table_is_neither_written_nor_read(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(grammar.ODATA_FUNCTIONS)
    filters.parse("substringof('a', name) and st_relate(a, b, 'T********')")
    assert before == grammar.ODATA_FUNCTIONS
    assert "substringof" not in before
    for name in list(before):
        monkeypatch.delitem(grammar.ODATA_FUNCTIONS, name)
    monkeypatch.setitem(grammar.ODATA_FUNCTIONS, "surprise", 1)
    assert filters.parse("contains(name, 'a')") is not None
    with pytest.raises(Problem, match="Unknown function: 'surprise'"):
        filters.parse("surprise(name)")


def test_every_function_that_is_evaluated_can_be_parsed() -> None:
    for name, arity in filters._ARITIES.items():
        least = arity if isinstance(arity, int) else arity[0]
        assert filters.parse(f"{name}({', '.join(['name'] * least)}) eq 1") is not None
    assert filters._ARITIES.keys() == filters._FUNCTIONS.keys()
