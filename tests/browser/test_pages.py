"""What a pilot team sees and does: the overview, charts, live readings, zooming, losing the server."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from techport_dashboards import WebSettings
from techport_dashboards.query.times import iso
from techport_pilots.model import PilotDefinition
from tests.browser import district
from tests.browser.conftest import Visit
from tests.conftest import ROOT
from tests.dashboards.web import City, serving, wait_until_alive
from tests.servers.chromium import sign_in, window
from tests.servers.mosquitto import free_port

Visitor = Callable[..., Visit]
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
LOOKS: dict[str, dict[str, Any]] = {"light": {}, "dark": {"color_scheme": "dark"}, "phone": PHONE}
PILOT = "/pilots/school-air"
DEVICE = "/pilots/school-air/devices/ila-skole"
PAGES = {
    "overview": "/",
    "portfolio": "/portfolio",
    "search": "/search?q=skole",
    "close": f"{PILOT}/close",
    "alerts": f"{PILOT}/alerts",
    "all-alerts": "/alerts",
    "decode": "/decode",
    "trace": f"{PILOT}/trace",
    "pilot": PILOT,
    "device": DEVICE,
    "device-visits": f"{DEVICE}/visits",
    "device-edit": f"{DEVICE}/edit",
    "device-credentials": f"{DEVICE}/credentials",
    "device-label": f"{DEVICE}/label",
    "credentials": f"{PILOT}/credentials",
    "quality": f"{PILOT}/quality?days=7&device=ila-skole",
    "explore-line": "/explore?pilot=school-air&quantity=no2&device=ila-skole&against=-P1D&start=-PT6H",
    "explore-distribution": "/explore?pilot=school-air&quantity=no2&view=distribution",
    "explore-week": "/explore?pilot=school-air&quantity=no2&view=week&start=-P7D",
    "explore-rose": "/explore?pilot=school-air&quantity=no2&view=rose",
    "explore-scatter": "/explore?pilot=school-air&quantity=no2&other=pm10&view=scatter",
    "wall": f"{PILOT}?wall=1",
    "catalogue": "/catalogue",
    "silent-device": "/pilots/school-air/devices/nidarvoll-skole",
    "phases": f"{PILOT}/phases?what=no2",
    "share": f"{PILOT}/share",
    "street-sign": f"{PILOT}/sign",
    "shares": f"{PILOT}/shares",
    "erasure": f"{PILOT}/erasure",
    "quarantine": f"{PILOT}/quarantine",
    "labels": f"{PILOT}/labels",
    "definition": f"{PILOT}/definition",
    "audit-log": f"{PILOT}/audit-log",
    "audit-log-of-all": "/audit-log",
    "import-pilot": "/import-pilot",
    "shared-feed": district.SHARED,
    "public": "/p/school-air",
    "embedded-chart": f"{PILOT}?embed=1&quantity=no2",
    "embedded-kpi": f"{PILOT}?embed=1&kpi=morning-no2",
    "nothing-here": "/pilots/school-aire",
}
MISSING = "nothing-here"  # the browser says on its console, too, that it is not there
AXE = ROOT / "dashboards" / "node_modules" / "axe-core" / "axe.min.js"


def drawn(page: Page, quantity: str = "pm10") -> Locator:
    """The figure of a quantity once its chart is there."""
    figure = page.locator(f'figure.chart[data-quantity="{quantity}"]')
    figure.scroll_into_view_if_needed()
    expect(figure.locator(".scatterlayer .trace").first).to_be_attached()
    return figure


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(("name", "path"), PAGES.items())
def test_pages_look(visit: Visitor, look: str, name: str, path: str) -> None:
    """Nothing is wider than the screen, no text is left in English, and there is a picture to look at."""
    here = visit(**LOOKS[look])
    page = here.open(path)
    if page.locator(".chart .plot").count() or name == "overview":
        expect(page.locator("#live")).to_have_attribute("data-state", "live")
    expect(page.locator("[aria-busy]")).to_have_count(0)
    for figure in page.locator("figure.chart:has(.plot)").all():
        figure.scroll_into_view_if_needed()
        expect(figure.locator(".main-svg").first).to_be_attached()
    page.evaluate("scrollTo(0, 0)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    here.shoot(f"{name}-{look}")
    assert barriers(page) == []
    if look == "light":
        for width in (320, 1920):
            page.set_viewport_size({"width": width, "height": 900})
            expect(page.locator("html")).to_have_js_property("scrollWidth", width)  # once the charts have followed
            assert barriers(page) == [], width
    if name == MISSING:
        here.complaints.clear()


def test_the_overview_shows_where_and_how_every_device_is(visit: Visitor, city: City) -> None:
    district.everybody(city)
    page = visit().open("/")
    devices = city.registry.devices()
    expect(page.locator(".mark")).to_have_count(sum(device.position is not None for device in devices))
    expect(page.locator(".needs .attention li")).to_have_count(len(district.SILENT) + len(district.NEVER))
    expect(page.locator(".needs .attention li").first).to_contain_text("har ikke sendt data ennå")
    expect(page.locator('.mark[data-device="school-air/nidarvoll-skole"]')).to_have_class(re.compile("silent"))
    mark = on_the_map(page, "school-air/ila-skole")
    mark.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(DEVICE))


def on_the_map(page: Page, device: str) -> Locator:
    """The mark of a device, once those that lie on each other are taken apart."""
    mark = page.locator(f'.mark[data-device="{device}"]')
    expect(page.locator("svg.zooms")).to_be_attached()
    for _ in range(6):
        if mark.get_attribute("hidden") is None:
            return mark
        mark.evaluate("""mark => {
            const at = element => element.getAttribute("transform").match(/-?[\\d.]+/g).map(Number);
            const [x, y] = at(mark);
            const far = cluster => Math.hypot(at(cluster)[0] - x, at(cluster)[1] - y);
            const near = [...document.querySelectorAll(".cluster")].sort((a, b) => far(a) - far(b))[0];
            near.dispatchEvent(new MouseEvent("click", { bubbles: true }));
        }""")
    raise AssertionError(f"{device} is always among others")


def test_the_map_zooms_pans_and_shows_another_quantity(visit: Visitor, city: City) -> None:
    district.everybody(city)
    page = visit().open("/?lang=nb")
    svg = page.locator("svg.zooms")
    whole = svg.get_attribute("viewBox")
    page.locator(".cluster").first.focus()
    page.keyboard.press("Enter")
    closer = svg.get_attribute("viewBox")
    assert closer != whole
    page.keyboard.press("ArrowLeft")
    assert svg.get_attribute("viewBox") != closer
    page.keyboard.press("Home")
    expect(svg).to_have_attribute("viewBox", whole or "")
    boxes = page.locator(".mark:not([hidden]) .target, .cluster .target").evaluate_all(
        "targets => targets.map(target => target.getBoundingClientRect().width)"
    )
    assert min(boxes) >= 44
    page.locator("form.map-values select").select_option("pm10")
    expect(page.locator(".mark text .unit").first).to_have_text("µg/m³")
    assert parse_qs(urlsplit(page.url).query) == {"lang": ["nb"], "map": ["pm10"]}
    quantities = page.locator(".mark text").evaluate_all("texts => [...new Set(texts.map(t => t.dataset.quantity))]")
    assert quantities == ["pm10"], "one quantity at a time"
    page.reload()
    expect(page.locator("form.map-values select")).to_have_value("pm10")


def test_pilots_are_on_the_first_screen_of_the_overview(visit: Visitor) -> None:
    for options in (PHONE, {"viewport": {"width": 1280, "height": 800}}):
        page = visit(**options).open("/")
        expect(page.locator(".pilots li").nth(2)).to_be_in_viewport(ratio=1)


def test_pages_work_without_javascript(visit: Visitor) -> None:
    page = visit(java_script_enabled=False).open("/")
    page.locator(".pilots a", has_text="Luft ved skolene").click()
    expect(page.locator("table.devices tbody tr")).to_have_count(8)
    expect(page.locator("noscript a").first).to_have_attribute("href", re.compile("format=csv"))


def test_charts_break_where_readings_are_missing(visit: Visitor) -> None:
    figure = drawn(visit().open(f"{DEVICE}?start=-PT11H&end=-PT2H"))  # other tests let the device speak again now
    strokes = figure.evaluate(
        "f => [...f.querySelectorAll('.scatterlayer .trace')].map(t => t.querySelectorAll('path.js-line').length)"
    )
    assert strokes[1] == 2, "one gap makes two strokes of the line, which comes after its band"


def test_times_are_the_pilots_in_a_browser_elsewhere(visit: Visitor) -> None:
    page = visit().open(f"{DEVICE}?start=2026-11-20T08:00&end=2026-11-20T20:00")
    expect(page.locator("#range")).to_contain_text("08:00")
    expect(page.locator("#range")).to_contain_text("Europe/Oslo, UTC+01:00")
    expect(page.locator("#live")).to_have_attribute("data-state", "paused")


def test_a_new_reading_is_drawn(visit: Visitor, city: City) -> None:
    page = visit().open(f"{PILOT}?start=-PT1H")
    figure = drawn(page)
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    readings = district.measure_now(city, pilot(city), "ila-skole")
    (pm10,) = (reading for reading in readings if reading.quantity == "pm10")
    expect(figure).to_have_attribute("data-drawn", iso(pm10.time))
    cell = page.locator('tr[data-device="school-air/ila-skole"] [data-quantity="pm10"] .value')
    expect(cell).to_have_text(f"{pm10.value:.1f}".replace(".", ","))


def test_zooming_fetches_finer_data_and_the_address_keeps_it(visit: Visitor) -> None:
    page = visit().open(PILOT)
    figure = drawn(page)
    expect(figure).to_have_attribute("data-every", "PT5M")
    drag(page, figure, 0.5, 0.54)
    expect(figure).to_have_attribute("data-every", "")  # every reading
    query = parse_qs(urlsplit(page.url).query)
    assert set(query) == {"start", "end"}
    shown = page.locator("#range").inner_text()
    page.reload()
    expect(drawn(page)).to_have_attribute("data-every", "")
    expect(page.locator("#range")).to_have_text(shown)
    page.go_back()
    expect(drawn(page)).to_have_attribute("data-every", "PT5M")


def test_a_double_click_and_the_keyboard_go_back_to_now(visit: Visitor) -> None:
    page = visit().open(PILOT)
    figure = drawn(page)
    drag(page, figure, 0.2, 0.6)
    expect(page.locator("#live")).to_have_attribute("data-state", "paused")
    figure.locator(".nsewdrag").first.dblclick()
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.locator('[data-step="earlier"]').focus()
    page.keyboard.press("Enter")
    expect(page.locator("#live")).to_have_attribute("data-state", "paused")
    page.locator('[data-step="reset"]').focus()
    page.keyboard.press("Enter")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    expect(page).to_have_url(re.compile(f"{PILOT}$"))


def test_every_chart_has_its_words_and_its_table(visit: Visitor) -> None:
    page = visit().open(PILOT)
    figure = drawn(page)
    expect(figure.locator(".plot")).to_have_attribute("aria-label", re.compile("Svevestøv PM10.*8 enheter fra .* til"))
    figure.locator(".values summary").click()
    expect(figure.locator("tbody tr")).to_have_count(8)
    figure.locator(".chart-menu summary").click()
    with page.expect_download() as download:
        figure.locator(".downloads a", has_text="CSV").click()
    text = download.value.path().read_text()
    assert text.startswith("pilot,device,quantity,time,local,mean,min,max,count,")
    assert '"pm10"' in text


def test_the_week_before_is_laid_under_and_the_link_keeps_it(visit: Visitor) -> None:
    page = visit().open(f"{DEVICE}?start=-PT2H")
    figure = drawn(page)
    expect(earlier(figure)).to_have_count(0)
    page.locator(".times summary").click()
    page.select_option("#against", "-P1D")
    expect(earlier(figure)).to_have_count(1)
    expect(figure.locator(".difference")).to_contain_text(
        re.compile(r"Ila skole: middelverdi [\d,]+, i den tidligere perioden [\d,]+ µg/m³: [+−]?[\d,]+")
    )
    assert parse_qs(urlsplit(page.url).query)["against"] == ["-P1D"]
    page.reload()
    expect(earlier(drawn(page))).to_have_count(1)


def test_two_devices_are_laid_beside_each_other(visit: Visitor) -> None:
    page = visit().open(PILOT)
    figure = drawn(page)
    for device in ("ila-skole", "kuhaugen"):
        page.locator(f'button[data-colour="{device}"]').click()
    expect(figure.locator("tbody tr")).to_have_count(2)
    expect(figure.locator(".difference")).to_contain_text("middelverdi")
    assert parse_qs(urlsplit(page.url).query)["device"] == ["ila-skole,kuhaugen"]


def test_kpis_come_with_their_verdict(visit: Visitor) -> None:
    page = visit().open(PILOT)
    expect(page.locator("#kpis .kpi")).to_have_count(2)
    expect(page.locator("#kpis .verdict-word").first).to_have_attribute("data-verdict", "running")
    page.locator("#kpis .verdict summary").first.click()
    expect(page.locator("#kpis .verdict p").first).not_to_be_empty()


def test_what_happened_is_on_the_chart(visit: Visitor) -> None:
    page = visit().open(f"{PILOT}?start=2026-11-15T12:00")
    figure = drawn(page)
    expect(figure.locator(".annotation-text", has_text="Med hjertesoner")).to_be_attached()
    for what in ("Med hjertesoner", "Hjertesonene trer i kraft"):
        expect(figure.locator(".marks li", has_text=what)).to_have_count(1)


@pytest.mark.dates
def test_a_gap_is_on_the_calendar_and_in_the_list(visit: Visitor) -> None:
    page = visit().open(f"{PILOT}/quality?days=7")
    page.locator(".calendar a", has_text="Ila skole").click()
    expect(page.locator("#gaps")).to_contain_text("Hull: ila-skole")
    expect(page.locator("table:not(.calendar) tbody")).to_contain_text("2 t")


def test_the_language_can_be_changed_and_stays(visit: Visitor) -> None:
    page = visit().open(PILOT)
    expect(page.locator("h1")).to_contain_text("Blir lufta i skolegården renere")
    page.locator('.languages a[lang="en"]').click()
    expect(page.locator("h1")).to_contain_text("Is the air in the schoolyard cleaner")
    page.locator(".brand").click()
    expect(page.locator("#attention-title")).to_contain_text("Needs attention")


def test_a_lost_server_is_said_and_found_again(chromium: Browser, city: City) -> None:
    port = free_port()
    settings = WebSettings(heartbeat=0.3)
    with window(chromium) as context:
        sign_in(context, city.token, f"http://127.0.0.1:{port}")
        page = context.new_page()
        with serving(city.app(settings), port) as address:
            page.goto(f"{address}{PILOT}")
            expect(page.locator("#live")).to_have_attribute("data-state", "live")
            drawn(page)
            shown = page.locator("#range").inner_text()
        expect(page.locator("#live")).to_have_attribute("data-state", "disconnected")
        expect(page.locator('[data-step="earlier"]')).to_be_disabled()
        page.locator('[data-range="-P7D"]').click(force=True)
        drag(page, drawn(page), 0.3, 0.6)
        assert page.url == f"{address}{PILOT}", "what needs the server is not half done"
        expect(page.locator("#range")).to_have_text(shown)
        with serving(city.app(settings), port) as address:
            wait_until_alive(address)
            expect(page.locator("#live")).to_have_attribute("data-state", "live", timeout=20_000)
            expect(page.locator('[data-step="earlier"]')).to_be_enabled()
            page.locator('[data-range="-P7D"]').click()
            expect(page).to_have_url(re.compile("start=-P7D"))


def test_a_range_that_the_server_does_not_answer_is_not_taken(visit: Visitor) -> None:
    """The page has not noticed yet that the server is away: nothing is shown that was not answered."""
    here = visit()
    page = here.open(PILOT)
    drawn(page)
    shown = page.locator("#range").inner_text()
    page.route("**/chart?*", lambda route: route.abort())
    page.locator('[data-range="-PT1H"]').click()
    expect(page.locator('[data-range="-P1D"]')).to_have_attribute("aria-current", "true")
    expect(page).to_have_url(re.compile(f"{PILOT}$"))
    expect(page.locator("#range")).to_have_text(shown)
    page.unroute("**/chart?*")
    with page.expect_response("**/chart?*"):  # it is asked for again by itself
        pass
    here.complaints.clear()  # the browser notes each request that failed


def barriers(page: Page) -> list[str]:
    """What axe-core finds against WCAG 2.2 AA."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: make assets, which needs npm")
    page.evaluate(AXE.read_text())
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = page.evaluate("tags => axe.run({ runOnly: tags })", tags)
    return [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in found["violations"]
        for node in violation["nodes"][:3]
    ]


def earlier(figure: Locator) -> Locator:
    """The lines of the earlier period, which are faint. Live readings add a trace of their own to a chart."""
    return figure.locator('.scatterlayer .trace[style*="opacity: 0.55"]')


def drag(page: Page, figure: Locator, start: float, end: float) -> None:
    """Draw a range on the plot, in shares of its width."""
    box = figure.locator(".nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + start * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"], box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()


def pilot(city: City) -> PilotDefinition:
    return city.registry.pilot("school-air")
