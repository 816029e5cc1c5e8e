"""What hands do with a chart: pinch, pan, keys, the crosshair, events, copies, paper."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from techport_dashboards.charts.palette import DARK, LIGHT
from techport_pilots.model import Event, Text
from techport_pilots.registry.events import add_event
from techport_storage.clock import now, now_datetime
from techport_storage.microseconds import HOUR
from techport_storage.model import Quality, Reading, Selection, Stream
from tests.browser.conftest import Visit
from tests.browser.test_pages import PHONE, PILOT, barriers, drag, drawn
from tests.dashboards.web import City

Visitor = Callable[..., Visit]


def test_two_fingers_fetch_finer_data(visit: Visitor) -> None:
    page = visit(**PHONE).open(PILOT)
    figure = drawn(page)
    expect(figure).to_have_attribute("data-every", "PT5M")
    touch(page, figure, [(0.45, 0.55), (0.02, 0.98)])
    expect(figure).to_have_attribute("data-every", "PT20S")
    query = parse_qs(urlsplit(page.url).query)
    start, end = query["start"][0], query["end"][0]
    assert hours(start, end) < 4, "two and a half hours lay between the fingers when they came down"
    page.reload()
    expect(drawn(page)).to_have_attribute("data-every", "PT20S")
    expect(page.locator("#live")).to_have_attribute("data-state", "paused")


def test_one_finger_moves_the_chart_in_time(visit: Visitor) -> None:
    page = visit(**PHONE).open(PILOT)
    figure = drawn(page)
    touch(page, figure, [(0.3,), (0.8,)])
    expect(page.locator("#live")).to_have_attribute("data-state", "paused")
    query = parse_qs(urlsplit(page.url).query)
    assert 23.5 < hours(query["start"][0], query["end"][0]) < 24.5


def test_one_line_goes_through_all_charts(visit: Visitor) -> None:
    page = visit().open(PILOT)
    figure = drawn(page)
    drawn(page, "no2")
    box = figure.locator(".nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    lines = page.locator(".cross")
    expect(lines.nth(1)).to_be_attached()
    places = page.locator("figure.chart:has(.cross)").evaluate_all(
        "figures => figures.map(f => f.querySelector('.cross').offsetLeft / f.querySelector('.plot').offsetWidth)"
    )
    assert max(places) - min(places) < 0.01
    page.mouse.move(5, 5)
    expect(lines).to_have_count(0)


def test_pointing_and_tapping_tell_every_device_the_same_until_another_range_is_shown(visit: Visitor) -> None:
    page = visit().open(PILOT)
    figure = drawn(page)
    figure.evaluate("figure => figure.scrollIntoView({ block: 'center' })")
    box = figure.locator(".nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    expect(figure.locator(".tip li")).to_have_count(8)
    pointed = figure.locator(".tip li").all_inner_texts()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 50)
    expect(figure.locator(".readout li")).to_have_count(8)
    assert figure.locator(".readout li").all_inner_texts() == pointed
    drag(page, figure, 0.3, 0.6)
    expect(page.locator("#live")).to_have_attribute("data-state", "paused")
    expect(page.locator(".tip, .readout:not([hidden])")).to_have_count(0)


def test_flagged_readings_are_marked_and_can_be_left_out(visit: Visitor, city: City) -> None:
    at = now() - 3 * HOUR - 7
    city.write(Reading("school-air", "kuhaugen", "pm10", at, 4000.0, at, int(Quality.RANGE)))
    page = visit().open(PILOT)
    figure = drawn(page)
    marks = figure.locator(".scatterlayer .points path")
    shown = figure.locator(".shown")
    expect(shown).to_contain_text("1 flagget måling")
    switch = page.get_by_label("Flaggede målinger")
    with_it = marks.count()
    highest = figure.locator(".ytick text").last.text_content() or ""
    assert float(highest.replace(",", ".").replace("\u2212", "-")) < 1000, "it does not set the scale"
    switch.uncheck()
    expect(marks).to_have_count(with_it - 1)
    assert city.store.erase(Selection(streams=(Stream("school-air", "kuhaugen", "pm10"),)), at, at + 1) == 1


def test_a_chart_has_the_whole_screen_and_gives_it_back(visit: Visitor) -> None:
    page = visit().open(PILOT)
    figure = drawn(page)
    plot = figure.locator(".main-svg").first
    before = plot.bounding_box()
    assert before is not None
    figure.locator(".chart-menu summary").click()
    figure.locator("[data-full]").click()
    expect(figure).to_have_class(re.compile("full"))
    expect(plot).not_to_have_attribute("height", str(int(before["height"])))
    assert (plot.bounding_box() or before)["width"] > 1.5 * before["width"]
    page.keyboard.press("Escape")
    expect(figure).not_to_have_class(re.compile("full"))
    expect(plot).to_have_attribute("height", str(int(before["height"])))


def test_keys_read_a_chart_and_move_it(visit: Visitor) -> None:
    page = visit().open(PILOT)
    figure = drawn(page)
    figure.locator(".plot").focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    expect(figure.locator(".readout")).to_contain_text("Ila skole")
    expect(figure.locator(".readout")).to_contain_text("µg/m³")
    page.keyboard.press("+")
    expect(page.locator("#live")).to_have_attribute("data-state", "paused")
    assert parse_qs(urlsplit(page.url).query).keys() == {"start", "end"}
    figure.locator(".plot").focus()
    page.keyboard.press("Home")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")


@pytest.mark.dates
def test_air_has_classes_in_words_and_a_limit_with_its_unit(visit: Visitor) -> None:
    figure = drawn(visit().open(PILOT))
    expect(figure.locator(".annotation-text", has_text="moderat")).to_be_attached()
    expect(figure.locator(".limit")).to_have_text("pilotens mål 15 µg/m³")
    figure.locator(".values summary").click()
    names = ("god", "ganske god", "moderat", "dårlig", "svært dårlig", "ekstremt dårlig")
    classes = figure.locator("tbody tr td:nth-child(2)").all_inner_texts()
    assert len(classes) == 8
    assert set(classes) <= set(names)


def test_what_is_shown_can_be_taken_away(visit: Visitor) -> None:
    here = visit()
    here.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = here.open(PILOT)
    figure = drawn(page)
    figure.locator(".chart-menu summary").click()
    figure.locator('[data-copy="data"]').click()
    expect(figure.locator(".chart-menu .done")).to_have_text("dataene er kopiert")
    rows = [line.split("\t") for line in page.evaluate("navigator.clipboard.readText()").split("\n")]
    assert rows[0][0] == "pm10 µg/m³"
    assert {len(row) for row in rows} == {9}
    figure.locator('[data-copy="link"]').click()
    expect(figure.locator(".chart-menu .done")).to_have_text("lenken er kopiert")
    link = page.evaluate("navigator.clipboard.readText()")
    page.goto(link)
    drawn(page)
    for name in ("start", "end"):
        (at,) = parse_qs(urlsplit(link).query)[name]
        expect(page.locator("#range")).to_contain_text(at[11:16])
    figure.locator(".chart-menu summary").click()
    for kind, begin in (("png", b"\x89PNG"), ("svg", b"<svg")):
        with page.expect_download() as download:
            figure.locator(f'[data-copy="{kind}"]').click()
        content = download.value.path().read_bytes()
        assert content.startswith(begin)
        assert len(content) > 20_000


def test_an_event_is_written_down_where_it_is_seen(visit: Visitor, city: City) -> None:
    here = visit()
    page = here.open(PILOT)
    figure = drawn(page)
    box = figure.locator(".nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 60)
    figure.locator(".add-event").click()
    dialog = page.locator("#event")
    expect(dialog.locator('[name="time"]')).not_to_have_value("")
    pointed_at = dialog.locator('[name="time"]').input_value()
    dialog.locator('[name="time"]').fill("2026-12-03T08:15:00")
    expect(dialog.locator('[name="described"]')).to_have_text(re.compile(r"^3\. des\. 2026,? (kl\. )?08:15$"))
    dialog.locator('[name="time"]').fill(pointed_at)
    dialog.locator('[name="kind"]').select_option("exclusion")
    dialog.locator('[name="nb"]').fill("Brannøvelse i skolegården")
    dialog.locator('[name="end"]').fill("2020-01-01T00:00:00")
    with page.expect_console_message(lambda message: "400" in message.text):  # the browser notes what is refused
        dialog.locator('[type="submit"]').click()
    expect(dialog.locator(".wrong")).to_contain_text("før starttidspunktet")
    assert len(here.complaints) == 1
    here.complaints.clear()
    dialog.locator('[name="kind"]').select_option("intervention")
    dialog.locator('[name="end"]').fill("")
    assert barriers(page) == []
    here.shoot("event-light")
    dialog.locator('[type="submit"]').click()
    expect(dialog).to_be_hidden()
    mark = figure.locator(".annotation-text", has_text="Brannøvelse")
    expect(mark).to_be_attached()
    (event,) = (event for event in city.registry.pilot("school-air").events if event.text.nb.startswith("Brann"))
    assert event.kind == "intervention"
    page.locator("#toast button").click()
    expect(mark).not_to_be_attached()


def test_an_event_can_be_deleted_later(visit: Visitor, city: City) -> None:
    pilot = city.registry.pilot("school-air")
    event = Event(now_datetime() - dt.timedelta(hours=2), "other", Text(nb="Feil dag"))
    add_event(city.registry.database, pilot, event, "test")
    page = visit().open(PILOT)
    figure = drawn(page)
    mark = figure.locator(".annotation-text", has_text="Feil dag")
    expect(mark).to_be_attached()
    figure.locator(".plot").focus()
    page.keyboard.press("Enter")
    page.locator("#event .added summary").click()
    button = page.locator("#event .added li", has_text="Feil dag").locator("button")
    button.click()
    expect(button).to_have_text("Vil du virkelig slette?")
    button.click()
    expect(mark).not_to_be_attached()
    assert "Feil dag" not in [one.text.nb for one in city.registry.pilot("school-air").events]


def test_every_chart_is_on_paper(visit: Visitor) -> None:
    """Also those that nobody has scrolled to, in the colours of paper, and none wider than the sheet."""
    page = visit(color_scheme="dark").open(PILOT)
    drawn(page)
    figures = page.locator("figure.chart")
    for i in range(figures.count()):
        expect(figures.nth(i).locator(".summary")).not_to_be_empty(timeout=20_000)
    page.evaluate("""() => addEventListener('beforeprint', () => {
        window.onPaper = [...document.querySelectorAll('figure.chart')].map(figure => ({
          width: figure.querySelector('.main-svg')?.getAttribute('width'),
          ink: figure.querySelector('.xtick text')?.style.fill }));
    }, { once: true })""")
    page.pdf(prefer_css_page_size=True)
    printed = page.evaluate("window.onPaper")
    assert {one["width"] for one in printed} == {"668"}
    assert {one["ink"] for one in printed} == {"rgb(77, 93, 105)"}, "the quiet ink of light pages"


def test_charts_take_the_colours_of_the_theme_and_change_with_it(visit: Visitor) -> None:
    page = visit(color_scheme="light").open(PILOT)
    ink = drawn(page).locator(".xtick text").first
    for scheme, quiet, ila in (("dark", DARK.text, DARK.series[2]), ("light", LIGHT.text, LIGHT.series[2])):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        expect(ink).to_have_css("fill", rgb(quiet))
        page.wait_for_function(STROKES, arg=rgb(ila))


STROKES = """colour => [...document.querySelectorAll('.scatterlayer .trace .js-line')]
    .some(line => getComputedStyle(line).stroke === colour)"""


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))})"


def test_a_reading_beyond_the_axis_stretches_it(visit: Visitor, city: City) -> None:
    page = visit().open(PILOT)
    drawn(page)
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    beyond = "() => document.querySelector('figure[data-quantity=\"pm10\"] .plot').layout.yaxis.range[1] > 400"
    assert page.evaluate(beyond) is False
    at = now()
    city.write(Reading("school-air", "ila-skole", "pm10", at, 400.0, at))
    try:
        page.wait_for_function(beyond, timeout=20_000)
    finally:
        stream = Stream("school-air", "ila-skole", "pm10")
        assert city.store.erase(Selection(streams=(stream,)), at, at + 1) == 1


def test_a_figure_is_kept_as_a_file_that_opens_without_a_network(
    visit: Visitor, chromium: Browser, tmp_path: Path
) -> None:
    page = visit().open(PILOT)
    figure = drawn(page)
    figure.locator(".chart-menu summary").click()
    expect(figure.locator(".downloads")).to_contain_text("Figur: plotly, HTML")
    with page.expect_download() as download:
        figure.get_by_role("link", name="HTML").click()
    assert download.value.suggested_filename.startswith("school-air-pm10-")
    file = tmp_path / "figure.html"
    download.value.save_as(file)
    asked, complaints = [], []
    context = chromium.new_context(offline=True)
    alone = context.new_page()
    alone.on("request", lambda request: asked.append(request.url))
    alone.on("console", lambda message: complaints.append(message.text))
    alone.on("pageerror", lambda error: complaints.append(str(error)))
    alone.goto(file.as_uri())
    expect(alone.locator(".scatterlayer .trace")).to_have_count(16)  # eight lines, each with its band
    expect(alone.locator(".gtitle")).to_contain_text("PM10")
    expect(alone.locator(".legendtext").first).to_be_visible()
    assert (asked, complaints) == ([file.as_uri()], [])
    context.close()


def touch(page: Page, figure: Locator, steps: Sequence[Sequence[float]]) -> None:
    """Fingers that come down on shares of the plot's width, move to the next ones, and leave."""
    figure.evaluate("figure => figure.scrollIntoView({ block: 'center' })")
    box = figure.locator(".nsewdrag").first.bounding_box()
    assert box is not None
    session = page.context.new_cdp_session(page)

    def points(shares: Sequence[float]) -> list[dict[str, float]]:
        y = box["y"] + box["height"] / 2
        return [{"x": box["x"] + share * box["width"], "y": y, "id": i} for i, share in enumerate(shares)]

    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points(steps[0])})
    for here, there in itertools.pairwise(steps):
        for part in (0.25, 0.5, 0.75, 1.0):
            between = [a + (b - a) * part for a, b in zip(here, there, strict=True)]
            session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": points(between)})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def hours(start: str, end: str) -> float:
    return (dt.datetime.fromisoformat(end) - dt.datetime.fromisoformat(start)).total_seconds() / 3600
