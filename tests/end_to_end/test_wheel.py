"""The wheel is complete: installed into an empty environment, away from the checkout, it runs the demo."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, unavailable
from tests.end_to_end.platforms import Platform, wait_until


def _uv() -> str:
    found = shutil.which("uv", path=f"{os.environ['PATH']}:{ROOT / '.bootstrap/bin'}")
    if found is None:
        unavailable("uv is not here: run `make install` first")
    return found


@pytest.mark.slow
def test_a_wheel_in_an_empty_environment_runs_the_demo(tmp_path: Path) -> None:
    def run(*command: str) -> None:
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
        assert result.returncode == 0, f"{command}:\n{result.stdout}{result.stderr}"

    uv = _uv()
    run(uv, "build", "--quiet", "--wheel", "--out-dir", str(tmp_path / "dist"), str(ROOT))
    (wheel,) = (tmp_path / "dist").glob("techport-*.whl")
    run(uv, "venv", "--quiet", "--python", sys.executable, str(tmp_path / "environment"))
    run(uv, "pip", "install", "--quiet", "--python", str(tmp_path / "environment"), str(wheel))

    command = (str(tmp_path / "environment/bin/techport"),)
    with Platform(tmp_path, "demo", "--no-history", command=command) as platform:
        wait_until(lambda: len(platform.get("/api/v1/latest")["items"]) > 50)
        page = platform.read("/").decode()
        assert "<svg" in page
        assert platform.interrupt() == 0
