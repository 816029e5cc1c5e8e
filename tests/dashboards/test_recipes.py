"""The recipes of docs/api.md: programs run as they are written, and what other tools send is sent, to a real server."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pandas as pd
import pytest
import shapely

from techport_dashboards import WebSettings
from tests.conftest import unavailable
from tests.dashboards.conftest import AIR, HOURS, hourly
from tests.dashboards.web import City, serving

pytestmark = pytest.mark.heavy

PAGE = Path(__file__).resolve().parents[2] / "docs/api.md"
HERE = "http://127.0.0.1:8080"
FENCED = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
PROGRAMS = {"python": [sys.executable, "-c"], "sh": ["sh", "-ec"], "r": ["Rscript", "-e"]}
RECIPES = [(language, text) for language, text in FENCED if language in PROGRAMS]


def fenced(language: str) -> str:
    (text,) = [text for other, text in FENCED if other == language]
    return text


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("recipes")
    city = City.at(folder)
    city.import_text(AIR.replace("kai-luft", "school-air"))
    city.write(*hourly("school-air", "kran", "pm10", 10))
    with serving(city.app(WebSettings(snapshots=folder / "snapshots"))) as address:
        yield address
    city.close()


@pytest.mark.parametrize(("language", "recipe"), RECIPES, ids=[f"{n}-{one[0]}" for n, one in enumerate(RECIPES)])
def test_recipe(address: str, tmp_path: Path, language: str, recipe: str) -> None:
    command = PROGRAMS[language]
    if shutil.which(command[0]) is None:
        unavailable(f"{command[0]} is not installed: apt-get install r-base-core")
    text = recipe.replace(HERE, address)
    environment = {**os.environ, "no_proxy": "*", "NO_PROXY": "*"}
    done = subprocess.run([*command, text], cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def test_there_are_recipes() -> None:
    assert {language for language, _ in FENCED} >= {*PROGRAMS, "powerquery", "geojson", "json"}


def test_a_norwegian_spreadsheet_reads_numbers_and_letters(address: str) -> None:
    """By a reader of CSV that is not ours, told what Excel in Norwegian takes for granted."""
    answer = httpx.get(f"{address}/api/v1/readings?pilot=school-air&every=PT1H&format=csv-nb")
    assert answer.content.startswith("\ufeff".encode())
    table = pd.read_csv(io.BytesIO(answer.content), sep=";", decimal=",", encoding="utf-8-sig")
    assert table["mean"].dtype == float
    assert table["mean"].iloc[1] == pytest.approx(10 + 1 / 7)
    assert len(table) == HOURS


def test_power_query_finds_its_columns(address: str) -> None:
    text = fenced("powerquery")
    url, record = re.findall(r'Web.Contents\("([^"]+)",\s*\[Query = \[(.*?)\]\]', text, re.DOTALL)[0]
    query = dict(re.findall(r'(\w+) = "([^"]*)"', record))
    answer = httpx.get(url.replace(HERE, address), params=query)
    assert answer.status_code == 200, answer.text
    table = pd.read_csv(io.StringIO(answer.text))
    typed = dict(re.findall(r'\{"(\w+)", type (\w+)\}', text))
    assert typed == {"time": "datetimezone", "mean": "number"}
    assert table["mean"].dtype == float
    assert dt.datetime.fromisoformat(table["time"].iloc[0]).tzinfo is not None


@pytest.mark.parametrize("url", fenced("geojson").split())
def test_qgis_gets_features_with_a_place(address: str, url: str) -> None:
    answer = httpx.get(url.replace(HERE, address))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/geo+json")
    body = answer.json()
    assert body["type"] == "FeatureCollection"
    places = [feature["geometry"] for feature in body["features"] if feature["geometry"] is not None]
    assert places
    for place in places:
        assert shapely.from_geojson(json.dumps(place)).within(shapely.box(10, 63, 11, 64))
    for feature in body["features"]:
        assert all(not isinstance(value, dict) for value in feature["properties"].values()), "no columns within columns"


def test_grafana_finds_its_root_and_columns(address: str) -> None:
    asked = json.loads(fenced("json"))
    url = asked["url"].replace(HERE, address)
    for name, moment in (("from", "2025-10-21T00:00:00.000Z"), ("to", "2025-10-22T00:00:00.000Z")):
        url = url.replace(f"${{__{name}:date:iso}}", moment)
    answer = httpx.get(url)
    assert answer.status_code == 200, answer.text
    rows = answer.json()[asked["root_selector"]]
    assert len(rows) == 24
    types = {"timestamp": dt.datetime.fromisoformat, "string": str, "number": float}
    for column in asked["columns"]:
        for row in rows:
            types[column["type"]](row[column["selector"]])
