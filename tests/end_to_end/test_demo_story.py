"""The default demo tells a finished story from its first minute, and the documentation's pictures are of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.pictures import ARTEFACTS, FOLDER, PICTURES, evaluated, take
from tests.end_to_end.platforms import Platform, wait_until
from tests.servers.chromium import chromium

__all__ = ["chromium"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with Platform(tmp_path_factory.mktemp("demo"), "demo") as platform:
        wait_until(lambda: evaluated(platform))
        yield platform


def test_the_first_start_has_months_behind_it(demo: Platform) -> None:
    items = {item["id"]: item for item in demo.get("/api/v1/portfolio")["items"]}
    assert len(items) == 7
    finished = items.pop("quiet-asphalt")
    assert (finished["state"], finished["verdicts"]) == ("closed", {"target met": 1})
    for pilot, item in items.items():
        assert item["state"] == "running"
        assert item["day"] > 100
        assert item["verdicts"] == {"running": item["kpis"]}, f"{pilot} has enough data for an interval, and runs"
    assert "the sums agree" in demo.run("audit")


def test_what_is_wrong_is_shown(demo: Platform) -> None:
    overview = demo.read("/?lang=en").decode()
    assert "lade-skole" in overview
    assert demo.get("/api/v1/pilots/nidelva-water/quarantine")["items"]
    unknown = demo.get("/api/v1/pilots/school-air/unknown-devices")
    assert "rosenborg-skole" in {device["device"] for device in unknown}


def test_pictures_of_the_documentation_are_of_this_demo(demo: Platform, chromium: Browser) -> None:
    files = take(chromium, f"http://{demo.http}", demo.data, ARTEFACTS)
    assert all(file.stat().st_size > 10_000 for file in files)
    assert {file.name for file in FOLDER.glob("*.png")} == {f"{name}.png" for name in PICTURES}, "make pictures"
    mentioned = "".join((FOLDER.parent / name).read_text("utf-8") for name in ("pages.md", "../README.md"))
    assert all(f"pictures/{Path(file).name}" in mentioned for file in files)
