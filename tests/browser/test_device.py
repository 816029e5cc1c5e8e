"""In front of the box with a phone: a photo is taken, a battery changed, and a colleague reads it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

from PIL import Image
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.test_pages import DEVICE, PHONE, barriers
from tests.dashboards.web import City

ELSEWHERE = "/pilots/school-air/devices/nidarvoll-skole"


def large_photo() -> bytes:
    """More pixels than a photo keeps, and more bytes than may be sent."""
    out = io.BytesIO()
    Image.effect_noise((2_600, 2_000), 80).convert("RGB").save(out, "PNG")
    assert len(out.getvalue()) > 4_000_000
    return out.getvalue()


def test_a_visit_with_a_photo_on_a_phone(visit: Callable[..., Visit], city: City) -> None:
    here = visit(**{**PHONE, "locale": "en-GB"})
    page = here.open(f"{ELSEWHERE}/visits")
    picture = {"name": "box.png", "mimeType": "image/png", "buffer": large_photo()}
    page.locator("#take input").set_input_files(picture)  # type: ignore[arg-type]
    expect(page.locator("#photo-said img")).to_be_visible()
    page.get_by_label("Battery changed").check()
    page.get_by_label("Comment").fill("New battery, the lid is cracked")
    page.get_by_role("button", name="Save the visit").click()
    entry = page.locator(".visits li").first
    expect(entry).to_contain_text("Battery changed")
    expect(entry).to_contain_text("the lid is cracked")
    photo = entry.locator("img.photo")
    photo.scroll_into_view_if_needed()
    expect(photo).to_have_js_property("complete", True)
    assert photo.evaluate("image => Math.max(image.naturalWidth, image.naturalHeight)") == 1_600
    assert barriers(page) == []
    here.shoot("device-visit-phone")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.goto(f"{here.address}{ELSEWHERE}/edit")
    shown = page.locator("#photo-title ~ p img.photo").first
    before = shown.get_attribute("src")
    page.locator("#take input").set_input_files(picture)  # type: ignore[arg-type]
    expect(shown).not_to_have_attribute("src", str(before))
    page.goto(here.address + ELSEWHERE)
    expect(page.locator(".events")).to_contain_text("Battery changed")


def test_the_pages_of_a_device_lead_to_one_another(visit: Callable[..., Visit]) -> None:
    page = visit(locale="en-GB").open(DEVICE)
    for words, heading in (("On site", "Last messages"), ("Edit", "What it is"), ("Passwords", "Passwords in force")):
        page.locator(".device-menu").get_by_text(words, exact=True).click()
        expect(page.get_by_role("heading", name=re.compile(heading))).to_be_visible()
    page.locator(".device-menu").get_by_text("QR code").click()
    expect(page.locator(".sticker svg.qr")).to_be_visible()
