"""Ways through the pages: to a device by touch, sorted tables, phases, what is embedded, and walls nobody touches."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Browser, expect

from techport_dashboards import WebSettings
from techport_storage.clock import now_datetime
from tests.browser import district
from tests.browser.conftest import Visit
from tests.browser.test_pages import PHONE, PILOT, drawn
from tests.dashboards.web import City, serving, wait_until_alive
from tests.servers.chromium import sign_in, window
from tests.servers.mosquitto import free_port

Visitor = Callable[..., Visit]


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_two_taps_lead_from_the_map_to_a_chart(visit: Visitor, city: City) -> None:
    district.everybody(city)
    page = visit(**PHONE).open("/")
    page.locator('.mark[data-device="school-air/lade-skole"]').tap()
    expect(page.locator("h1")).to_contain_text("Lade skole")
    expect(drawn(page).locator(".plot")).to_be_visible()


@pytest.mark.dates
def test_a_red_device_says_what_to_do_in_one_tap(visit: Visitor) -> None:
    page = visit(**PHONE).open(PILOT)
    page.locator(".needs a", has_text="Nidarvoll").tap()
    expect(page.locator(".trouble h2")).to_contain_text("Frakoblet: ingen data siden")
    expect(page.locator(".trouble ol li").first).to_be_in_viewport()


def test_tabs_lead_on_and_show_where_one_is(visit: Visitor) -> None:
    page = visit(viewport={"width": 320, "height": 640}).open(PILOT)
    for name in ("Faser", "Datakvalitet", "Del"):
        page.locator(".tabs a", has_text=name).first.click()
        expect(page.locator(".tabs [aria-current]")).to_have_text(name)
        expect(page.locator(".tabs [aria-current]")).to_be_in_viewport()


def test_the_table_is_sorted_by_links_that_keep_the_range(visit: Visitor) -> None:
    page = visit().open(PILOT)
    drawn(page)
    page.locator('[data-range="-P7D"]').click()
    page.locator("table.devices th a", has_text="Enhet").click()
    expect(page).to_have_url(re.compile(r"start=-P7D.*sort=name"))
    first = page.locator("table.devices tbody th a").first
    expect(first).to_have_text("Bispehaugen skole")
    page.locator("table.devices th a", has_text="Enhet").click()
    expect(first).to_have_text("Singsaker skole")
    expect(page.locator("table.devices th[aria-sort=descending]")).to_have_count(1)


@pytest.mark.dates
def test_phases_are_chosen_without_javascript(visit: Visitor) -> None:
    page = visit(java_script_enabled=False).open(f"{PILOT}/phases")
    page.select_option("select[name=what]", "air_temperature")
    page.get_by_role("button", name="Vis").click()
    expect(page).to_have_url(re.compile("what=air_temperature"))
    expect(page.locator("svg.drawing")).to_have_count(3)


def test_the_embed_code_is_copied(visit: Visitor) -> None:
    here = visit(permissions=["clipboard-read", "clipboard-write"])
    page = here.open(f"{PILOT}/share")
    page.locator("button[data-copy]").first.click()
    expect(page.locator("button[data-copy]").first).to_have_text("kopiert")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator(".copy input").first.input_value()


def test_a_wall_goes_on_by_itself_also_after_the_server_was_away(chromium: Browser, city: City) -> None:
    """Nobody touches it: it pages down, waits while nothing answers, and goes on to the next pilot afterwards."""
    port = free_port()
    settings = WebSettings(heartbeat=0.3)
    with window(chromium, viewport={"width": 1280, "height": 720}) as context:
        sign_in(context, city.token, f"http://127.0.0.1:{port}")
        page = context.new_page()
        page.clock.install(time=now_datetime())
        with serving(city.app(settings), port) as address:
            page.goto(f"{address}{PILOT}?wall=1&cycle=1")
            drawn(page)
            page.evaluate("scrollTo(0, 0)")
            page.clock.run_for(21_000)
            wait_until(lambda: page.evaluate("scrollY") > 100)
            page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        page.clock.run_for(21_000)
        wait_until(lambda: page.evaluate("scrollY") == 0)
        expect(page).to_have_url(re.compile("school-air"))
        with serving(city.app(settings), port) as address:
            wait_until_alive(address)
            # The page waits ten seconds for the next one: on a busy machine a new server takes longer for its first.
            cookies = {city.token.cookie: city.token.new_session()}
            httpx.get(f"{address}/pilots/smart-bins?wall=1&cycle=1", cookies=cookies, timeout=90).raise_for_status()
            page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
            page.clock.run_for(21_000)
            page.wait_for_url(re.compile(r"/pilots/smart-bins\?wall=1&cycle=1"), timeout=90_000)
