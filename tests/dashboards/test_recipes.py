"""The recipes of docs/api.md in Python and sh, run as they are written against a server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from techport_dashboards import WebSettings
from tests.dashboards.conftest import AIR, hourly
from tests.dashboards.web import City, serving

PAGE = Path(__file__).resolve().parents[2] / "docs/api.md"
RECIPES = re.findall(r"```(python|sh)\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("recipes")
    city = City.at(folder)
    city.import_text(AIR.replace("kai-luft", "school-air"))
    city.write(*hourly("school-air", "kran", "pm10", 10))
    with serving(city.app(WebSettings(snapshots=folder / "snapshots"))) as address:
        yield address
    city.close()


@pytest.mark.parametrize(("language", "recipe"), RECIPES, ids=range(len(RECIPES)))
def test_recipe(address: str, tmp_path: Path, language: str, recipe: str) -> None:
    text = recipe.replace("http://127.0.0.1:8080", address)
    command = [sys.executable, "-c", text] if language == "python" else ["sh", "-ec", text]
    environment = {**os.environ, "no_proxy": "*", "NO_PROXY": "*"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def test_there_are_recipes() -> None:
    assert len(RECIPES) >= 5
