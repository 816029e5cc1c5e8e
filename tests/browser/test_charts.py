"""What hands do with a chart: pinch, pan, keys, the crosshair, events, copies, paper."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Sequence
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit
from tests.browser.test_pages import PHONE, PILOT, drawn

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
