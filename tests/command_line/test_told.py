"""What a user can put right is told in a sentence, whole, and never in a traceback."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from techport.cli import main
from tests.pilots import trial


def told(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["techport", *words])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert said.startswith("techport: ")
    return said


def test_a_file_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, problem in (("nowhere.yaml", "No such file"), ("", "Is a directory")):
        file = tmp_path / name
        assert f"{file}: {problem}" in told(["pilot", "import", str(file)], monkeypatch, capsys)


def test_brackets_in_a_remedy_are_no_colours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pilot.yaml"
    file.write_text(trial.YAML.replace("area: [[10.38, 63.41]", "area: [[63.41, 10.38]"), "utf-8")
    said = told(["pilot", "import", "--check", str(file)], monkeypatch, capsys)
    assert "pilot.yaml:12: area[0]:" in said
    assert "Pairs are [lon, lat]" in said


def test_control_characters_in_a_problem_are_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = told(["pilot", "show", "a\x1b[2J\u202e", "--data", str(tmp_path)], monkeypatch, capsys)
    assert "a\\x1b[2J\\u202e" in said
