"""The pages in a real Chromium, over a real server, store and registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route

from techport_dashboards import WebSettings
from tests.browser import district
from tests.conftest import ROOT
from tests.dashboards.web import City, serving
from tests.servers.chromium import chromium, sign_in, window

__all__ = ["chromium"]
SCREENSHOTS = ROOT / "artefacts" / "screenshots"


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    city = district.build(tmp_path_factory.mktemp("district"))
    yield city
    city.close()


@pytest.fixture(scope="session")
def address(city: City, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    packages, snapshots, photos = (tmp_path_factory.mktemp(name) for name in ("packages", "snapshots", "photos"))
    settings = WebSettings(heartbeat=1.0, packages=packages, snapshots=snapshots, photos=photos)
    with serving(city.app(settings, signed_in=False)) as address:
        yield address


@dataclass
class Visit:
    """A page and what must not happen on it."""

    page: Page
    address: str
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        self.page.goto(self.address + path)
        return self.page

    def guard(self, route: Route) -> None:
        """Let through what goes to our own server, stop and note everything else."""
        if urlsplit(route.request.url).netloc == urlsplit(self.address).netloc:
            route.continue_()
        else:
            self.elsewhere.append(route.request.url)
            route.abort()

    def shoot(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


@pytest.fixture
def visit(chromium: Browser, address: str, city: City) -> Iterator[Callable[..., Visit]]:
    """Opens a browser window, in New York as long as nothing else is asked for: the pages' times must not care.

    At the end of the test no window may have complained, nor asked any other host for anything.
    """
    visits: list[Visit] = []
    with ExitStack() as closing:

        def start(**options: object) -> Visit:
            size = {"width": 1280, "height": 900}
            defaults = {"locale": "nb-NO", "timezone_id": "America/New_York", "viewport": size}
            context = closing.enter_context(window(chromium, **{**defaults, **options}))
            sign_in(context, city.token, address)
            page = context.new_page()
            visit = Visit(page, address)
            context.route("**/*", visit.guard)
            page.on("console", lambda m: visit.complaints.append(m.text) if m.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: visit.complaints.append(str(error)))
            visits.append(visit)
            return visit

        yield start
        for visit in visits:
            assert visit.complaints == []
            assert visit.elsewhere == []
