"""benchmarks/evaluation_worlds.py: a run goes on where it stopped, and shards make what one process makes."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT


@pytest.fixture
def worlds(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("evaluation_worlds", ROOT / "benchmarks" / "evaluation_worlds.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # its dataclasses look their module up
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "BLOCK", 2)
    outcomes = {"shown": True, "plain": True, "lower": False, "withheld": False, "covers": True, "width": 1.0}

    def judged(days: object, truth: float) -> dict[str, object]:
        return outcomes | {"against": []}

    monkeypatch.setattr(module, "judged", judged)  # verdicts have tests of their own
    return module


def test_a_run_goes_on_where_it_stopped_and_shards_add_up(
    worlds: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lines(results: Path, *more: str) -> list[str]:
        arguments = ("worlds", "--pilots", "3", "--looks", "0", "--only", "control", "--results", str(results), *more)
        monkeypatch.setattr(sys, "argv", list(arguments))
        worlds.main()
        return results.read_text("utf-8").splitlines()

    whole, shards = tmp_path / "whole.jsonl", tmp_path / "shards.jsonl"
    made = lines(whole)
    names = [world.name for world in worlds.WORLDS if "control" in world.name]
    of_blocks = [(line["name"], line["size"]) for line in map(json.loads, made)]
    assert of_blocks == [*((name, 2) for name in names), *((name, 1) for name in names)], "all worlds advance together"
    whole.write_text("\n".join(made[:2]) + "\n", "utf-8")
    assert sorted(lines(whole)) == sorted(made)
    lines(shards, "--shard", "1/2")
    assert sorted(lines(shards, "--shard", "0/2")) == sorted(made)
    capsys.readouterr()
    lines(whole, "--table")
    said = capsys.readouterr().out
    assert all(f"| {name} | 3 |" in said for name in names)
    monkeypatch.setattr(worlds, "program", lambda: "another")
    assert len(lines(whole)) == 2 * len(made), "what another version judged is judged again"
