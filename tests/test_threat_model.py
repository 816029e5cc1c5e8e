"""The threat model names tests: they exist, and every hostile test file is named by it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

TEXT = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", TEXT)))


def _tests(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def _missing(named: str) -> bool:
    file, _, test = named.partition("::")
    return not (ROOT / file).is_file() or bool(test and test not in _tests(ROOT / file))


@pytest.mark.parametrize("named", NAMED)
def test_the_named_test_exists(named: str) -> None:
    assert not _missing(named), f"docs/threat-model.md names {named}, which is not there"


def test_a_test_that_does_not_exist_is_noticed() -> None:
    assert _missing("tests/test_threat_model.py::test_of_nothing")
    assert _missing("tests/test_of_nothing.py")


def test_every_threat_has_a_kind_and_a_test() -> None:
    threats = [line.split(" | ") for line in TEXT.splitlines() if re.match(r"\| [STRIDE] \|", line)]
    assert len(threats) >= 25
    for threat in threats:
        assert len(threat) == 4, threat
        assert "`tests/" in threat[3], threat[1]
    assert {threat[0].strip("| ") for threat in threats} == set("STRIDE")


def test_every_hostile_test_belongs_to_a_threat() -> None:
    files = {file.relative_to(ROOT).as_posix() for file in (ROOT / "tests/hostile").glob("test_*.py")}
    unnamed = files - {named.partition("::")[0] for named in NAMED}
    assert unnamed == set(), "say in docs/threat-model.md what they hold off"
