"""Journeys of an operator and a device maker on an empty platform, with pages and a box, and without a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from techport_pilots.access.operator_token import OperatorToken
from tests.browser.test_onboarding import arrival, publish
from tests.browser.test_pages import PHONE, barriers
from tests.end_to_end.platforms import Platform, wait_until
from tests.servers.chromium import chromium, sign_in, window

__all__ = ["chromium"]
PASSWORD = "four lamps above Bakklandet"
PILOT = "/pilots/dust-in-the-street"


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with Platform(tmp_path, "up", "--broker", "embedded") as platform:
        yield platform


def new_account(page: Page, email: str, name: str) -> None:
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("New password", exact=False).first.fill(PASSWORD)
    page.get_by_label("Repeat the new password").fill(PASSWORD)


def send(platform: Platform, secret: tuple[str, str], payload: str) -> None:
    publish(platform, "box-1", payload, *secret, pilot="dust-in-the-street")


@pytest.mark.slow
def test_an_operator_and_a_device_maker_begin_on_an_empty_platform(platform: Platform, chromium: Browser) -> None:
    """Journey 4: accounts, who is told, a team, what was done. Journey 2: a credential, a first message, two that are
    wrong, one with two thermometers, a box that nobody registered, and where a message went."""
    with ExitStack() as windows:

        def browser(**options: object) -> Page:
            settings = {"locale": "en-GB", "viewport": {"width": 1280, "height": 900}, **options}
            return windows.enter_context(window(chromium, **settings)).new_page()

        address = f"http://{platform.http}"

        # Journey 4. The first administrator, who is told of all pilots, and a pilot with somebody who edits it.
        operator = browser()
        sign_in(operator.context, OperatorToken.of(platform.data), address)
        operator.goto(address)
        operator.get_by_role("link", name="Create the first administrator").click()
        new_account(operator, "it@example.org", "IT")
        operator.locator("main form button").click()
        operator.goto(address)
        operator.locator(".main-menu summary").click()
        operator.locator(".main-menu").get_by_role("link", name="Alerts").click()
        operator.get_by_label("E-mail address, or address of a webhook").fill("it@example.org")
        operator.get_by_role("button", name="Add", exact=True).click()
        expect(operator.locator(".messages")).to_contain_text("it@example.org")
        expect(operator.locator("main")).to_contain_text("No mail server is set up")
        operator.goto(address)
        operator.get_by_role("link", name="New pilot").click()
        operator.get_by_label("Title (English)").first.fill("Dust in the street")
        operator.get_by_label("Question (English)").fill("Is there dust here?")
        operator.get_by_role("button", name="Save as a draft").click()
        operator.locator(".done").get_by_role("link", name="Invite people").click()
        operator.locator('form[action$="/invite"] select[name="role"]').select_option("editor")
        operator.get_by_role("button", name="Create invitation").click()
        invitation = operator.locator(".credential code").inner_text()

        # Journey 2. The maker of a device opens the invitation and gets a credential.
        maker = browser(permissions=["clipboard-read", "clipboard-write"])
        maker.goto(invitation)
        new_account(maker, "maker@example.org", "Maker")
        maker.get_by_role("button", name="Create account and accept").click()
        maker.locator(".tabs summary", has_text="More").click()
        maker.get_by_role("link", name="New devices").click()
        maker.get_by_label("Id", exact=False).first.fill("box-1")
        maker.locator('input[name="quantity"][value="air_temperature"]').check()
        maker.get_by_role("button", name="Add", exact=True).click()
        secret = (maker.locator("#username").inner_text(), maker.locator("#password").inner_text())
        send(platform, secret, '{"time": "2026-05-04T12:00:00Z", "air_temperature": 20.5}')
        expect(maker.locator("#waiting")).to_contain_text("First message received!")
        expect(arrival(maker, "20.5")).to_contain_text("Received and stored")

        # Two that are wrong: the page says which and why, and offers the mapping.
        send(platform, secret, '{"time": "2026-05-04T12:03:00Z", "status": "ok"}')
        expect(arrival(maker, '"ok"')).to_be_visible()
        send(platform, secret, '{"time": "2026-05-04T12:04:00Z", "temp": "21,5"}')
        wrong = arrival(maker, "21,5")
        expect(wrong).to_contain_text("A number was expected")
        wrong.get_by_role("link", name="Fix and reprocess").click()
        group = maker.locator(".group", has_text="21,5")
        group.locator("summary", has_text="Define what temp means").click()
        group.get_by_label("Quantity").fill("air_temperature")
        group.get_by_label("Why").fill("the firmware writes a comma")
        group.get_by_role("button", name="Save and reprocess").click()
        expect(maker.locator("#outcome")).to_contain_text("1 reading stored")
        maker.goto(f"{address}{PILOT}/trace?device=box-1&time=2026-05-04T12:04:00Z")
        expect(maker.locator("#answer-title")).to_contain_text("Found")

        # Two thermometers in one message are two streams, and a box that nobody registered is claimed.
        two = '{"time": "2026-05-04T13:00:00Z", "air_temperature.inlet": 4.5, "air_temperature.outlet": 6.5}'
        publish(platform, "box-2", two, pilot="dust-in-the-street")
        maker.goto(f"{address}{PILOT}")
        waiting = maker.locator(".new-devices")
        wait_until(lambda: maker.reload() is not None and waiting.count() == 1)
        waiting.get_by_role("link", name="box-2").click()
        maker.locator(".unknown-devices li").get_by_role("button", name="Register").click()
        expect(maker.locator("#outcome")).to_contain_text("2 readings stored")
        maker.goto(f"{address}{PILOT}/devices/box-2")
        expect(maker.locator(".cards")).to_contain_text("4.5")
        expect(maker.locator(".cards")).to_contain_text("6.5")
        phone = browser(**PHONE, storage_state=maker.context.storage_state())
        phone.goto(f"{address}{PILOT}/devices/box-2/visits")
        assert barriers(phone) == []

        # Journey 4 goes on: the operator sees what was done, and by whom.
        operator.goto(f"{address}/audit-log")
        expect(operator.locator("main")).to_contain_text(re.compile("maker@example.org|Maker"))
    assert "the sums agree" in platform.run("audit")
