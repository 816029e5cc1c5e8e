"""Finding and keeping: the key / from any page, favourites that stay, and a report that fits a phone and a sheet."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit, chromium
from tests.browser.test_pages import PHONE, barriers
from tests.dashboards.web import City

__all__ = ["chromium"]
Visitor = Callable[..., Visit]


def test_the_slash_goes_to_the_search_and_finds_a_device(visit: Visitor) -> None:
    visited = visit()
    page = visited.open("/portfolio?lang=en")
    page.keyboard.press("/")
    field = page.get_by_role("searchbox", name="Search pilots, devices and places")
    expect(field).to_be_focused()
    page.keyboard.type("bispehaugen/")  # a second one is a letter
    expect(field).to_have_value("bispehaugen/")
    field.fill("skole ila")
    field.press("Enter")
    page.get_by_role("link", name="Ila school").click()
    page.wait_for_url("**/pilots/school-air/devices/ila-skole?lang=en")


def test_on_a_phone_the_slash_opens_the_menu_that_the_search_is_in(visit: Visitor) -> None:
    page = visit(**PHONE).open("/portfolio?lang=en")
    field = page.get_by_role("searchbox", name="Search pilots, devices and places")
    expect(field).to_be_hidden()
    page.keyboard.press("/")
    expect(field).to_be_focused()


def test_a_favourite_stands_first_on_the_next_visit(visit: Visitor) -> None:
    visited = visit()
    page = visited.open("/portfolio?lang=en&sort=-name")
    first = page.locator("table.portfolio tbody tr[data-pilot]").first
    star = page.get_by_role("button", name="Favourite: Air at schools")
    assert first.get_attribute("data-pilot") != "school-air"
    expect(star).to_have_attribute("aria-pressed", "false")
    star.click()
    expect(star).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(first).to_have_attribute("data-pilot", "school-air")
    visited.open("/?lang=en")
    expect(page.locator(".pilots li[data-pilot]").first).to_have_attribute("data-pilot", "school-air")
    page.get_by_role("button", name="Favourite: Air at schools").click()
    page.reload()
    expect(page.get_by_role("button", name="Favourite: Air at schools")).to_have_attribute("aria-pressed", "false")


@pytest.mark.parametrize("language", ["nb", "en"])
def test_a_report_fits_a_phone_and_leads_back(visit: Visitor, language: str) -> None:
    visited = visit(viewport={"width": 320, "height": 700})
    page = visited.open(f"/pilots/school-air/report?lang={language}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert barriers(page) == []
    page.locator("a.back").click()
    page.wait_for_url(f"**/pilots/school-air?lang={language}")


def test_a_printed_page_says_of_what_when_and_by_whom(visit: Visitor) -> None:
    visited = visit()
    page = visited.open("/pilots/school-air/quality?lang=en")
    line = page.locator(".on-paper")
    expect(line).to_be_hidden()
    page.emulate_media(media="print")
    expect(line).to_be_visible()
    expect(line).to_contain_text("Air at schools · printed ")
    assert page.evaluate("getComputedStyle(document.querySelector('.bar')).display") == "none"


def test_a_favourite_of_an_account_is_there_in_another_browser(visit: Visitor, city: City) -> None:
    cookie = city.cookie("viewer", "school-air").split("=", 1)
    pages = []
    for _ in range(2):
        visited = visit()
        visited.page.context.clear_cookies()
        visited.page.context.add_cookies([{"name": cookie[0], "value": cookie[1], "url": visited.address}])
        pages.append(visited)
    star = "Favourite: Air at schools"
    with pages[0].page.expect_response("**/account/favourites") as answer:
        pages[0].open("/?lang=en").get_by_role("button", name=star).click()
    assert answer.value.status == 204
    expect(pages[1].open("/?lang=en").get_by_role("button", name=star)).to_have_attribute("aria-pressed", "true")
