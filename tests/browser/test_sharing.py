"""An owner shares hours of a pilot's air: looks at it first, publishes it, reads the address, and ends it."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.conftest import Visit


def test_somebody_shares_and_ends_it(visit: Callable[..., Visit]) -> None:
    here = visit()
    page = here.open("/pilots/school-air/shares?lang=en")
    page.get_by_label("Title, as others will see it").fill("Hours of air")
    page.get_by_label("Nitrogen dioxide NO₂").check()
    page.get_by_role("button", name="Look at it first").click()
    shared = page.locator(".shared", has_text="Hours of air")
    expect(shared).to_contain_text("not published")
    address = shared.get_by_role("textbox").input_value()
    shared.get_by_role("button", name="Publish to: whoever has the link").click()
    expect(shared).not_to_contain_text("not published")
    shared.get_by_role("link", name="See it as others see it").click()
    expect(page).to_have_url(f"{address}?lang=en")
    expect(page.get_by_role("heading", level=1)).to_have_text("Hours of air")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    expect(page.locator("figure.chart .scatterlayer .trace").first).to_be_attached()
    page.go_back()
    shared.locator("summary").click()
    shared.get_by_label("Nobody can read it any more").check()
    shared.get_by_role("button", name="Revoke").click()
    expect(page.locator(".shared", has_text="Hours of air")).to_have_count(0)
    answer = page.request.get(address)
    assert answer.status == 404
