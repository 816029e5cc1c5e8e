"""A pilot written in a real browser: how the pages look, and a team's way from an empty platform to its package."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from techport_dashboards import WebSettings
from techport_simulators.demo import example_pilots
from techport_storage.clock import now, now_datetime
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import Reading
from tests.browser.conftest import SCREENSHOTS
from tests.browser.test_pages import LOOKS, PHONE, barriers
from tests.dashboards.web import City, serving
from tests.servers.chromium import chromium, sign_in, window

__all__ = ["chromium"]
PASSWORD = "fire lykter over Bakklandet"
PILOT = "/pilots/mindre-stov-pa-asveien"


class Place:
    """A platform of its own with nothing in it, and the windows that are open on it."""

    def __init__(self, city: City, address: str, browser: Browser, closing: ExitStack) -> None:
        self.city = city
        self.address = address
        self.complaints: list[str] = []
        self._browser = browser
        self._closing = closing

    def open(self, **options: object) -> Page:
        """A window in which nobody is signed in."""
        size = {"width": 1280, "height": 900}
        settings = {"locale": "nb-NO", "viewport": size, "accept_downloads": True, **options}
        page = self._closing.enter_context(window(self._browser, **settings)).new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        return page

    def open_as_operator(self, **options: object) -> Page:
        page = self.open(**options)
        sign_in(page.context, self.city.token, self.address)
        return page


@pytest.fixture
def place(chromium: Browser, tmp_path: Path) -> Iterator[Place]:
    city = City.at(tmp_path)
    settings = WebSettings(packages=tmp_path / "packages", examples=example_pilots)
    with serving(city.app(settings, signed_in=False)) as address, ExitStack() as closing:
        place = Place(city, address, chromium, closing)
        yield place
        assert place.complaints == []
    city.close()


@pytest.mark.parametrize("look", LOOKS)
def test_pages_of_the_editor_look(place: Place, look: str) -> None:
    """Nothing is wider than the screen, axe finds nothing, in both languages and with all mistakes shown."""
    page = place.open_as_operator(**LOOKS[look])
    looked_at: set[str] = set()

    def check(name: str) -> None:
        page.evaluate("document.querySelectorAll('main details').forEach(one => { one.open = true; })")
        page.screenshot(path=SCREENSHOTS / f"{name}-{look}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        if name not in looked_at:  # in the language that comes first
            assert barriers(page) == [], name
            looked_at.add(name)
        if look == "light":
            size = page.viewport_size
            assert size is not None
            page.set_viewport_size({"width": 320, "height": 700})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, 320)
            page.set_viewport_size(size)

    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for language in ("nb", "en"):
        for name, path in (("nothing-yet", "/"), ("new-pilot", "/new-pilot"), ("import-pilot", "/import-pilot")):
            page.goto(f"{place.address}{path}?lang={language}")
            check(name)
    page.locator("#text").fill("title: [")
    page.locator("form.editor button").click()
    check("import-pilot-wrong")
    page.goto(f"{place.address}/new-pilot?lang=nb")
    page.locator("#devices-0-streams").fill("støvv")
    page.get_by_role("button", name="Lagre som utkast").click()
    expect(page.get_by_role("alert")).to_contain_text("ting må rettes")
    check("new-pilot-wrong")
    place.city.import_text(example_pilots()[0])
    for language in ("nb", "en"):
        for name in ("edit", "definition"):
            page.goto(f"{place.address}/pilots/school-air/{name}?lang={language}")
            check(f"pilot-{name}")


def test_a_team_creates_runs_and_closes_its_pilot_without_a_terminal(place: Place) -> None:
    """Journey 1 from an empty platform: question, phases, KPIs, devices, invitation, start, change, report, package."""
    today = now_datetime().replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    operator = place.open_as_operator()
    operator.goto(place.address)
    operator.get_by_role("link", name="Opprett den første administratoren").click()
    operator.get_by_label("E-postadresse").fill("leder@example.org")
    operator.get_by_label("Navn", exact=True).fill("Leder")
    operator.get_by_label("Nytt passord", exact=False).first.fill(PASSWORD)
    operator.get_by_label("Gjenta det nye passordet").fill(PASSWORD)
    operator.locator("main form button").click()

    # On a phone: the pilot is written, with a mistake that keeps everything else.
    page = place.open(**PHONE)
    page.goto(place.address)
    page.get_by_role("link", name="Logg på").first.click()
    page.get_by_label("E-postadresse").fill("leder@example.org")
    page.get_by_label("Passord").fill(PASSWORD)
    page.get_by_role("button", name="Logg på").click()
    page.get_by_role("link", name="Ny pilot").click()
    page.get_by_label("Tittel (norsk)").first.fill("Mindre støv på Åsveien")
    page.get_by_label("Spørsmål (norsk)").fill("Blir det mindre svevestøv når gata vaskes?")
    change = today - dt.timedelta(days=10)
    for number, (start, end) in enumerate(
        ((change - dt.timedelta(days=40), change), (change, today + dt.timedelta(days=50)))
    ):
        page.locator(f"#phases-{number}-start").fill(start.isoformat(timespec="minutes"))
        page.locator(f"#phases-{number}-end").fill(end.isoformat(timespec="minutes"))
    page.locator("#kpis-0-quantity").select_option("pm10")
    page.locator("#kpis-0-target").fill("−10")
    page.locator("#kpis-0-target-is").select_option("percent")
    page.locator("#limit").select_option("no2022-pm10-day")
    page.get_by_role("button", name="Legg til en KPI").click()
    expect(page.locator("#kpis-1-threshold")).to_have_value("50")
    expect(page.locator("#kpis-1 input:focus, #kpis-1 select:focus")).to_have_count(1)
    page.locator("#devices-0-title-nb").fill("Øst")
    page.locator("#devices-0-streams").fill("pm100")
    page.get_by_role("button", name="Lagre som utkast").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("må rettes")
    alert.get_by_role("link", name="Enhet 1").click()
    expect(page.locator("#devices-0-streams")).to_be_in_viewport()
    expect(page.locator("#devices-0-streams")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Tittel (norsk)").first).to_have_value("Mindre støv på Åsveien")
    page.locator("#devices-0-streams").fill("pm10")
    page.locator("#devices-0-interval").select_option("PT1H")
    page.get_by_role("button", name="Anslå hvilken effekt som kan påvises").click()
    expect(page.locator(".estimate").first).to_contain_text("to uker")
    page.locator("#devices-0-streams").press("Enter")  # saves: it is what the key does in a form
    expect(page.locator(".done")).to_contain_text("Lagret som versjon 1")

    # A colleague is invited and signs in on a laptop.
    page.locator(".done").get_by_role("link", name="Inviter folk").click()
    page.locator('form[action$="/invite"] select[name="role"]').select_option("editor")
    page.get_by_role("button", name="Opprett invitasjon").click()
    link = page.locator(".credential code").inner_text()
    colleague = place.open()
    colleague.goto(link)
    colleague.get_by_label("E-postadresse").fill("kari@example.org")
    colleague.get_by_label("Navn").fill("Kari")
    colleague.get_by_label("Nytt passord", exact=False).first.fill(PASSWORD)
    colleague.get_by_label("Gjenta det nye passordet").fill(PASSWORD)
    colleague.get_by_role("button", name="Opprett konto og godta").click()
    expect(colleague.locator("h1")).to_contain_text("Blir det mindre svevestøv når gata vaskes?")

    # Readings come; the pilot starts; a change of the plan is asked for its reason, and the effect is estimated.
    write_hours(place.city)
    page.goto(f"{place.address}{PILOT}/close")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator(".life [aria-current]")).to_have_text("pågår")
    colleague.goto(f"{place.address}{PILOT}")
    colleague.locator(".tabs summary", has_text="Mer").click()
    colleague.locator(".tabs a", has_text="Rediger").click()
    expect(colleague.locator("#question")).to_contain_text("Planen ble registrert")
    expect(colleague.locator("#kpis")).to_be_hidden()
    colleague.locator("summary", has_text="2 KPI-er").click()
    colleague.get_by_role("button", name="Anslå hvilken effekt som kan påvises").click()
    expect(colleague.locator(".estimate").first).to_contain_text("ville 4 av 5 slike piloter påvise en forskjell på")
    colleague.locator("#kpis-0-target").fill("-12,5")
    colleague.get_by_role("button", name="Lagre", exact=True).last.click()
    expect(colleague.locator("#why-wrong")).to_contain_text("Skriv hvorfor")
    expect(colleague.locator("#kpis-0-target")).to_have_value("-12,5")
    colleague.locator("#why").fill("Formannskapet ba om det")
    colleague.get_by_role("button", name="Lagre", exact=True).last.click()
    expect(colleague.locator(".done")).to_contain_text("Lagret som versjon 2")
    colleague.get_by_role("link", name="Definisjonen som YAML").click()
    expect(colleague.locator("#text")).to_have_value(re.compile("target: -12.5"))
    expect(colleague.locator(".versions")).to_contain_text("Formannskapet ba om det")

    # At the end: the report and the package.
    page.goto(f"{place.address}{PILOT}/report")
    expect(page.locator("body")).to_contain_text("Formannskapet ba om det")
    page.goto(f"{place.address}{PILOT}/close")
    page.get_by_role("button", name="Avslutt", exact=True).click()
    expect(page.locator(".life [aria-current]")).to_have_text("avsluttet")
    page.get_by_label(re.compile("Skriv .* for å bekrefte")).fill(PILOT.rpartition("/")[2])
    page.locator("form.destroy button").click()
    expect(page.get_by_role("link", name=re.compile("Last ned .*zip"))).to_be_visible(timeout=90_000)
    assert place.city.registry.state(PILOT.rpartition("/")[2]) == "closed"


def test_the_editor_works_without_javascript(place: Place) -> None:
    page = place.open_as_operator(java_script_enabled=False)
    page.goto(f"{place.address}/new-pilot?lang=en")
    page.get_by_label("Title (English)").first.fill("Dust")
    page.get_by_label("Question (English)").fill("Less?")
    page.get_by_role("button", name="Add a device").click()
    page.locator("#devices-1-title-en").fill("West")
    page.get_by_role("button", name="Remove device 1").click()
    expect(page.locator("#devices-0-title-en")).to_have_value("West")
    page.get_by_role("button", name="Save as a draft").click()
    expect(page.locator(".done")).to_contain_text("Saved as version 1")
    assert [device.id for device in place.city.registry.pilot("dust").devices] == ["west"]


def write_hours(city: City) -> None:
    """An hourly reading of the device for the fifty days until now."""
    (device,) = city.registry.pilot(PILOT.rpartition("/")[2]).devices
    chance = np.random.default_rng(17)
    end = now() // HOUR * HOUR
    times = range(end - 50 * DAY, end, HOUR)
    city.write(
        *(
            Reading(PILOT.rpartition("/")[2], device.id, "pm10", time, float(value), time)
            for time, value in zip(times, 20 + chance.normal(0, 4, len(times)), strict=True)
        )
    )


def test_a_folded_part_unfolds_for_a_link_and_corners_are_tapped(place: Place) -> None:
    place.city.import_text(example_pilots()[0])
    page = place.open_as_operator(**PHONE)
    page.goto(f"{place.address}/pilots/school-air/edit?lang=en")
    height = page.evaluate("document.documentElement.scrollHeight")
    assert height < 2_500, "folded, it is no long way to the button that saves"
    page.goto(f"{place.address}/pilots/school-air/edit?lang=en#sign")
    expect(page.locator("#sign-text-en")).to_be_visible()
    expect(page.locator("#kpis")).to_be_hidden()
    page.locator("#area").fill("63.43, 10.39")
    page.locator("[data-corners]").click()
    drawing = page.locator(".place-frame svg.city")
    expect(drawing).to_be_visible()
    for x, y in ((60, 60), (120, 60), (120, 120)):
        drawing.click(position={"x": x, "y": y})
    corners = page.locator("#area").input_value().split("\n")
    assert len(corners) == 4
    assert all(re.fullmatch(r"63\.[0-9]+, 10\.[0-9]+", corner) for corner in corners)
    assert len((page.locator(".corners").get_attribute("points") or "").split()) == 8
    page.get_by_role("button", name="Save", exact=True).last.click()
    expect(page.locator(".done")).to_contain_text("Saved as version 2")
    assert len(place.city.registry.pilot("school-air").area) == 4


@pytest.mark.parametrize("where", ["new pilot", "device"])
def test_a_device_is_placed_on_the_map(place: Place, where: str) -> None:
    """A tap fills the coordinates in, zoomed or not; the pin stands where they say."""
    if where == "device":
        place.city.import_text(
            "id: quay\ntitle: {en: Quay}\nquestion: {en: Is it?}\ndevices:\n"
            "  - {id: box, position: {lat: 63.43, lon: 10.40}, streams: [{quantity: pm10}]}\n"
        )
        page = place.open_as_operator()
        page.goto(f"{place.address}/pilots/quay/devices/box/edit")
        latitude, longitude = page.locator("#position-north"), page.locator("#position-east")
        page.select_option("#position-system", "utm32")
    else:
        page = place.open_as_operator(**PHONE)
        page.goto(f"{place.address}/new-pilot")
        page.locator("#devices-0 summary").click()
        latitude, longitude = page.locator("#devices-0-position-lat"), page.locator("#devices-0-position-lon")
    page.get_by_role("button", name="Plasser på kartet").first.click()
    drawing = page.locator(".place-frame svg.city")
    expect(drawing).to_be_in_viewport(ratio=0.9)
    page.screenshot(path=SCREENSHOTS / f"placing-{where.replace(' ', '-')}.png")
    page.get_by_role("button", name="Zoom inn").click()
    box = drawing.bounding_box()
    assert box is not None
    drawing.click(position={"x": box["width"] / 4, "y": box["height"] / 4})
    lat, lon = float(latitude.input_value()), float(longitude.input_value())
    x, y, width, height = (float(part) for part in (drawing.get_attribute("viewBox") or "").split())
    edges = page.evaluate("JSON.parse(document.getElementById('map-data').textContent).edges")
    assert lon == pytest.approx(edges["west"] + (x + width / 4) / edges["per_lon"], abs=2e-4)
    assert lat == pytest.approx(edges["north"] - (y + height / 4) / edges["per_lat"], abs=2e-4)
    expect(page.locator(".place-frame .pin")).to_be_visible()
    pin = page.locator(".place-frame .pin").bounding_box()
    assert pin is not None
    box = drawing.bounding_box()
    assert box is not None
    assert pin["x"] + pin["width"] / 2 == pytest.approx(box["x"] + box["width"] / 4, abs=2)
    assert barriers(page) == []
    if where == "device":
        assert page.locator("#position-system").input_value() == "degrees"
        page.get_by_role("button", name="Lagre", exact=True).first.click()
        expect(page.locator(".outcome")).to_be_visible()
        position = place.city.registry.pilot("quay").devices[0].position
        assert position is not None
        assert (position.lat, position.lon) == (lat, lon)
