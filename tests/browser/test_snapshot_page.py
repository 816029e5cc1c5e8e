"""A snapshot at the address that papers cite: readable on every screen, with the file behind it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.test_pages import LOOKS, barriers
from tests.dashboards.web import City

Visitor = Callable[..., Visit]


@pytest.fixture(scope="module")
def snapshot(address: str, city: City) -> dict[str, str]:
    question = {"pilot": ["school-air"], "quantity": ["pm10"], "every": "PT1H", "start": "-PT6H"}
    answer = httpx.post(
        f"{address}/api/v1/snapshots", json=question, cookies={city.token.cookie: city.token.new_session()}
    )
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("look", [*LOOKS, "narrow"])
def test_the_page_is_readable(visit: Visitor, snapshot: dict[str, str], look: str) -> None:
    here = visit(**LOOKS.get(look, {"viewport": {"width": 320, "height": 700}}))
    page = here.open(snapshot["page"].removeprefix(here.address))
    expect(page.locator("h1")).to_contain_text("Øyeblikksbilde")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    here.shoot(f"snapshot-{look}")
    assert barriers(page) == []


def test_the_file_has_the_checksum_that_the_page_shows(visit: Visitor, snapshot: dict[str, str]) -> None:
    here = visit()
    page = here.open(snapshot["page"].removeprefix(here.address))
    with page.expect_download() as download:
        page.get_by_role("link", name="Parquet").click()
    digest = hashlib.sha256(download.value.path().read_bytes()).hexdigest()
    expect(page.locator(".about")).to_contain_text(digest)
