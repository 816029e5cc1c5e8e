"""Commands beside a platform that runs: which data folder they use, and which they ask for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from techport import data_dir, options
from techport.data_dir import lock, running_folders

DOCTOR = (sys.executable, "-m", "techport", "quarantine", "list")


class Context:
    """What the callback sees of a command's context."""

    resilient_parsing = False

    def __init__(self, name: str) -> None:
        self.info_name = name


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No other platform of this user is seen, and the default folder is in an empty one."""
    monkeypatch.setattr(data_dir, "_list_folder", lambda: tmp_path / "list")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("TECHPORT_DATA", raising=False)
    return here


def chosen(name: str = "doctor", folder: Path | None = None) -> Path | None:
    return options.data_folder(Context(name), folder)  # type: ignore[arg-type]


def test_a_platform_is_listed_while_it_runs(tmp_path: Path) -> None:
    with lock(tmp_path / "a", "up", None, None):
        assert running_folders() == [tmp_path / "a"]
    assert running_folders() == []
    (tmp_path / "list").chmod(0o777)
    with lock(tmp_path / "a", "up", None, None):
        assert running_folders() == [], "what others may write there is not believed"


def test_nothing_is_said_without_a_platform_or_with_a_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert chosen() is None
    with lock(tmp_path / "a", "up", None, None):
        assert chosen(folder=tmp_path / "b") == tmp_path / "b"
        assert chosen("up") is None, "it starts one of its own"
    assert capfd.readouterr().err == ""


def test_the_folder_is_named_and_another_is_asked_for(
    tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with lock(alone / "data", "up", None, None):
        assert chosen() is None
        assert capfd.readouterr().err == f"data folder: {alone / 'data'}\n"
    with lock(tmp_path / "a", "up", None, None):
        assert chosen() is None
        assert f"but in {tmp_path / 'a'}: --data names the folder" in capfd.readouterr().err
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr(typer, "confirm", lambda *_, **__: True)
        assert chosen() == tmp_path / "a"
        monkeypatch.setattr(typer, "confirm", lambda *_, **__: False)
        assert chosen() is None
        monkeypatch.setenv("TECHPORT_DATA", str(tmp_path / "c"))
        assert chosen() is None, "it was said"


@pytest.mark.slow
def test_a_command_names_it_on_its_error_output(tmp_path: Path, alone: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    code = (
        "import pathlib, subprocess, sys\nfrom techport.data_dir import lock\n"
        f"with lock(pathlib.Path({str(tmp_path / 'a')!r}), 'up', None, None):\n"
        f"    done = subprocess.run({[*DOCTOR]!r}, capture_output=True, text=True)\n"
        "print(done.stderr)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=alone, timeout=120, check=True)
    assert f"data folder: {alone / 'data'}" in done.stdout
