"""The system's Chromium, driven by Playwright. Import the fixture `chromium` to use it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from techport_pilots.access.operator_token import OperatorToken
from tests.conftest import unavailable
from tests.dates import browser_clock

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_MS = 30_000  # for what a page shall show: machines may be busy
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str:
    """Path of the browser. Skips the test (fails it in CI) where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        unavailable("Chromium is not installed: apt-get install chromium")
    return found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless browser with a profile of its own that goes when it closes.

    For one module only: while Playwright runs, its thread has an event loop, and asynchronous tests cannot have theirs.
    """
    executable = find_chromium()
    expect.set_options(timeout=PATIENCE_MS)
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=[*ARGUMENTS, *(["--no-sandbox"] if root else [])]
        )
        yield browser
        browser.close()


@contextmanager
def window(browser: Browser, **options: object) -> Iterator[BrowserContext]:
    """A browser window, with a profile and the server's clock, that closes at the end. Options as of `new_context`."""
    context = browser.new_context(**options)  # type: ignore[arg-type]
    context.add_init_script(browser_clock())
    try:
        yield context
    finally:
        context.close()


def sign_in(context: BrowserContext, token: OperatorToken, address: str) -> None:
    """Give a window the cookie that somebody gets who opens the link which `up` prints."""
    session = {"name": token.cookie, "value": token.new_session(), "url": address}
    context.add_cookies([{**session, "httpOnly": True, "sameSite": "Strict"}])  # type: ignore[typeddict-item]
