"""The pictures of the documentation: pages of the default demo, as a reader of the README would see them.

    python -m tests.browser.pictures            # starts a demo, looks at it, and writes docs/pictures (make pictures)

tests/end_to_end/test_demo_story.py takes the same pictures of the demo that it starts, into artefacts/pictures.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from techport_pilots.access.operator_token import OperatorToken
from tests.conftest import ROOT
from tests.end_to_end.platforms import Platform, wait_until
from tests.servers.chromium import ARGUMENTS, PATIENCE_MS, find_chromium, sign_in, window

FOLDER = ROOT / "docs" / "pictures"
ARTEFACTS = ROOT / "artefacts" / "pictures"


@dataclass(frozen=True)
class Picture:
    """A page in a window of this size; `look_at` is scrolled to the top of it."""

    path: str
    width: int = 1280
    height: int = 800
    look_at: str = ""
    window: Mapping[str, Any] = field(default_factory=dict)


SCHOOL = "/pilots/school-air"
PICTURES = {
    "overview": Picture("/", height=780),
    "pilot": Picture(SCHOOL, height=1240),
    "phone": Picture(SCHOOL, 390, 844, window={"is_mobile": True, "has_touch": True}),
    "device": Picture(f"{SCHOOL}/devices/lade-skole"),
    "phases": Picture("/pilots/quiet-asphalt/phases?what=kpi:homes", height=960),
    "quality": Picture(f"{SCHOOL}/quality?days=7", height=700),
    "explore": Picture(f"/explore?pilot={SCHOOL.split('/')[-1]}&quantity=no2&view=week&start=-P28D", height=780),
    "quarantine": Picture("/pilots/nidelva-water/quarantine", height=860),
    "portfolio": Picture("/portfolio", height=860),
    "public": Picture("/p/quiet-asphalt", height=900),
}


def evaluated(platform: Platform) -> bool:
    """Whether the KPIs of all pilots are worked out, which the demo does in the background."""
    items = platform.get("/api/v1/portfolio")["items"]
    return all(sum(item["verdicts"].values()) == item["kpis"] for item in items)


def take(browser: Browser, address: str, data: Path, folder: Path) -> list[Path]:
    """Take all pictures of the demo at the address into the folder, in English and light."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, picture in PICTURES.items():
        size = {"width": picture.width, "height": picture.height}
        with window(browser, viewport=size, locale="en-GB", timezone_id="Europe/Oslo", **picture.window) as context:
            sign_in(context, OperatorToken.of(data), address)
            page = context.new_page()
            answer = page.goto(address + picture.path)
            assert answer is not None
            assert answer.ok, picture.path
            _settle(page)
            if picture.look_at:
                page.locator(picture.look_at).first.scroll_into_view_if_needed()
            files.append(folder / f"{name}.png")
            page.screenshot(path=files[-1])
    return files


def _settle(page: Page) -> None:
    """Until nothing is being calculated any more, and the charts in sight are drawn."""
    expect(page.locator(".calculating")).to_have_count(0, timeout=120_000)
    page.wait_for_function(
        # A function: an expression that is not true at once is evaluated again, which the page's policy forbids.
        "() => [...document.querySelectorAll('figure.chart .plot')].filter((plot) => {"
        " const box = plot.getBoundingClientRect(); return box.top < innerHeight && box.bottom > 0; })"
        ".every((plot) => plot.querySelector('svg, canvas') || plot.textContent === 'no readings in this range')",
        timeout=PATIENCE_MS,
    )
    page.wait_for_timeout(300)  # transitions


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="techport-pictures-") as folder, Platform(Path(folder), "demo") as platform:
        wait_until(lambda: evaluated(platform))
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        with sync_playwright() as playwright:
            arguments = [*ARGUMENTS, *(["--no-sandbox"] if root else [])]
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=arguments)
            files = take(browser, f"http://{platform.http}", platform.data, FOLDER)
            browser.close()
    sys.stdout.write("".join(f"{file.relative_to(ROOT)}\n" for file in files))


if __name__ == "__main__":
    main()
