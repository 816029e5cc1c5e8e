"""Ways through the pages: to a device by touch, sorted tables, phases, what is embedded, and walls nobody touches."""

from __future__ import annotations

import datetime as dt
import json
import re
import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, expect

from techport_dashboards import WebSettings
from techport_pilots.access.accounts import Accounts
from techport_pilots.access.sessions import Sessions
from techport_storage.clock import now_datetime
from tests.browser import district
from tests.browser.conftest import Visit
from tests.browser.test_pages import PHONE, PILOT, barriers, drawn, on_the_map
from tests.dashboards.web import City, serving, wait_until_alive
from tests.servers.chromium import sign_in, window
from tests.servers.mosquitto import free_port

Visitor = Callable[..., Visit]


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_two_taps_lead_from_the_map_to_a_chart(visit: Visitor, city: City) -> None:
    district.everybody(city)
    page = visit(**PHONE).open("/")
    on_the_map(page, "school-air/lade-skole").tap()
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
    for menu, name in (("", "Faser"), ("Data", "Datakvalitet"), ("Mer", "Del")):
        if menu:
            page.locator(".tabs summary", has_text=menu).click()
        page.locator(".tabs a", has_text=name).first.click()
        expect(page.locator(".tabs [aria-current]")).to_have_text(name)
        expect(page.locator(".tabs").locator(".current, div > [aria-current]")).to_be_in_viewport()
    page.locator(".tabs summary", has_text="Data").click()
    expect(page.locator(".tabs a", has_text="Hvor er meldingen min?")).to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(page.locator(".tabs .menu[open]")).to_have_count(0)


def test_the_first_chart_begins_on_the_first_screen_of_a_phone(visit: Visitor) -> None:
    page = visit(**PHONE).open(PILOT)
    expect(page.locator("[aria-busy]")).to_have_count(0)
    expect(page.locator("figure.chart .plot").first).to_be_in_viewport()
    hidden = page.evaluate(
        "[...document.querySelectorAll('nav')].filter(n => n.scrollWidth > n.clientWidth + 1).length"
    )
    assert hidden == 0, "no menu has places that one must scroll to"
    page.get_by_role("button", name="Meny").tap()
    expect(page.locator(".main-menu a", has_text="Portefølje")).to_be_visible()


@pytest.mark.parametrize("width", [320, 761, 1060, 1061, 1240, 1440])
def test_an_administrators_bar_is_one_row(visit: Visitor, city: City, width: int) -> None:
    """With a name as long as names are, in the language whose words are longer."""
    accounts = Accounts(city.registry.database)
    if accounts.by_email("long@example.org") is None:
        accounts.create("long@example.org", "Kristin Alexandra Nordmann-Bakken", "test", administrator=True)
    user = accounts.by_email("long@example.org")
    assert user is not None
    here = visit(viewport={"width": width, "height": 700})
    name = city.cookie("administrator").partition("=")[0]
    session = Sessions(city.registry.database).start(user.id, "127.0.0.1", "test")
    here.page.context.clear_cookies()
    here.page.context.add_cookies([{"name": name, "value": session, "url": here.address}])
    for language in ("nb", "en"):
        page = here.open(f"/alerts?lang={language}")
        assert page.evaluate("document.querySelector('header.bar').offsetHeight") <= 56
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    if width <= 1060:
        page.get_by_role("button", name="Menu").click()
    page.locator(".main-menu summary").click()
    expect(page.locator(".main-menu a", has_text="Audit log")).to_be_in_viewport()
    assert barriers(page) == []


def test_the_first_chart_of_a_device_begins_on_the_first_screen_of_a_phone(visit: Visitor, city: City) -> None:
    district.everybody(city)
    page = visit(**PHONE).open(f"{PILOT}/devices/ila-skole")
    expect(page.locator("[aria-busy]")).to_have_count(0)
    expect(page.locator("figure.chart .plot").first).to_be_in_viewport()


def test_a_range_is_typed_as_people_write_it(visit: Visitor) -> None:
    page = visit(java_script_enabled=False).open(f"{PILOT}?device=ila-skole")
    page.locator(".times summary").click()
    page.locator(".times [name=from]").fill("16. nov 2026")
    page.locator(".times [name=to]").fill("17.11.2026 kl. 14.00")
    page.locator(".times form button[type=submit]").click()
    view = json.loads(page.locator("#view").text_content() or "")
    assert (view["start"], view["end"]) == ("2026-11-16T00:00:00", "2026-11-17T14:00:00")
    assert view["device"] == "ila-skole", "the rest of the address stays"


def test_a_mistake_in_a_range_keeps_what_was_typed(visit: Visitor) -> None:
    here = visit()
    page = here.open(f"{PILOT}?from=i+gaar&to=17.11.2026")
    expect(page.locator(".times .wrong")).to_contain_text("«i gaar» er ikke et tidspunkt")
    expect(page.locator(".times [name=from]")).to_have_value("i gaar")
    expect(page.locator(".times [name=to]")).to_have_value("17.11.2026")
    drawn(page)
    assert barriers(page) == []
    here.complaints.clear()  # the browser notes the status 400


def test_times_by_name_and_from_the_calendar(visit: Visitor) -> None:
    page = visit().open(PILOT)
    drawn(page)
    page.locator(".times summary").click()
    page.locator(".times a", has_text="I går").click()
    expect(page.locator("#live")).to_have_attribute("data-state", "paused")
    query = parse_qs(urlsplit(page.url).query)
    days = [dt.date.fromisoformat(query[name][0]) for name in ("start", "end")]
    assert days[1] - days[0] == dt.timedelta(days=1)
    page.locator(".times summary").click()
    page.locator('[data-picks="from"]').click()
    page.locator(".times .from-to:has([name=from]) .picker").evaluate(
        "picker => { picker.value = '2026-11-02T07:30'; picker.dispatchEvent(new Event('input')); }"
    )
    expect(page.locator(".times [name=from]")).to_have_value(re.compile(r"^2\. nov\. 2026,? (kl\. )?07:30$"))


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
