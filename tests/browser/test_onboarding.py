"""A device maker's ten minutes with the pages only: credential, first message, a mistake, its mending, a second box."""

from __future__ import annotations

import re
from collections.abc import Iterator

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from playwright.sync_api import Browser, Locator, Page, expect

from techport_pilots.access.operator_token import OperatorToken
from tests.browser.conftest import SCREENSHOTS
from tests.browser.test_pages import LOOKS, barriers
from tests.end_to_end.platforms import PILOT, Platform, wait_until
from tests.servers.chromium import sign_in, window

HERE = "/pilots/test-street"


@pytest.fixture(scope="module", params=["embedded", "mosquitto"])
def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "pilot.yaml").write_text(PILOT, "utf-8")
    with Platform(folder, "up", "--broker", request.param, "--pilot", str(folder / "pilot.yaml")) as platform:
        yield platform


@pytest.fixture
def page(chromium: Browser, platform: Platform) -> Iterator[Page]:
    """A browser in English, which may copy, and complains about nothing."""
    may = ["clipboard-read", "clipboard-write"]
    complaints: list[str] = []
    with window(chromium, locale="en-GB", viewport={"width": 1280, "height": 900}, permissions=may) as context:
        sign_in(context, OperatorToken.of(platform.data), f"http://{platform.http}")
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
    # A form or a file that was not right is answered so.
    assert [one for one in complaints if "422" not in one and "400" not in one] == []


def publish(
    platform: Platform, device: str, payload: str, user: str = "", password: str = "", pilot: str = "test-street"
) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    if user:
        client.username_pw_set(user, password)
    client.connect("127.0.0.1", platform.mqtt_port)
    client.loop_start()
    wait_until(client.is_connected)
    client.publish(f"pilots/{pilot}/{device}/readings", payload, qos=1).wait_for_publish(20)
    client.disconnect()
    client.loop_stop()


def shoot(platform: Platform, page: Page, name: str) -> None:
    """A picture to look at in each look, and no barrier in any; behind one of the brokers, as they look the same."""
    if "mosquitto" in platform.folder.name:
        return
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    before = page.viewport_size
    for look, options in LOOKS.items():
        page.emulate_media(color_scheme=options.get("color_scheme", "light"))
        page.set_viewport_size(options.get("viewport", before))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than a {look}"
        page.screenshot(path=SCREENSHOTS / f"onboarding-{name}-{look}.png", full_page=True)
        assert barriers(page) == []
    page.set_viewport_size({"width": 320, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than 320 px"
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(before)


def rows(platform: Platform, device: str) -> list[tuple[str, float]]:
    items = platform.get(f"/api/v1/readings?pilot=test-street&device={device}&start=2026-05-01&end=2026-06-01")["items"]
    return [(item["quantity"], item["value"]) for item in items]


@pytest.mark.slow
def test_from_the_form_to_a_fixed_message_and_a_claimed_device(platform: Platform, page: Page) -> None:
    page.goto(f"http://{platform.http}{HERE}")
    page.locator(".tabs summary", has_text="More").click()
    page.get_by_role("link", name="New devices").click()
    page.get_by_label("Id", exact=False).first.fill("box-1")
    page.get_by_label("Air temperature").check()
    shoot(platform, page, "form")
    page.get_by_role("button", name="Add").click()

    user, password = page.locator("#username").inner_text(), page.locator("#password").inner_text()
    assert password not in page.url
    page.locator('[data-copy="snippet-1"]').click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert f"-p {platform.mqtt_port} -u '{user}' -P '{password}'" in copied
    expect(page.locator("#waiting")).to_contain_text("Waiting for the first message")
    publish(platform, "box-1", '{"time": "2026-05-04T12:00:00Z", "air_temperature": 20.5}', user, password)
    expect(page.locator("#waiting")).to_contain_text("First message received!")
    stored = arrival(page, "20.5")
    expect(stored).to_contain_text("Received and stored")

    publish(platform, "box-1", '{"time": "2026-05-04T12:03:00Z", "air_temperature": 999}', user, password)
    expect(arrival(page, "999")).to_contain_text("outside the valid range")
    publish(platform, "box-1", '{"time": "2026-05-04T12:04:00Z", "temp": "21,5"}', user, password)
    wrong = arrival(page, "21,5")
    expect(wrong).to_contain_text("A number was expected")
    expect(wrong).to_contain_text("Send 21.5 without quotes")
    shoot(platform, page, "arrivals")

    wrong.get_by_role("link", name="Fix and reprocess").click()
    group = page.locator(".group")
    expect(group).to_have_count(1)
    shoot(platform, page, "quarantine")
    group.get_by_label("Quantity").fill("air_temperature")
    expect(group.get_by_label("Read numbers that come as text")).to_be_checked()
    group.get_by_label("Why").fill("the firmware writes a comma")
    group.get_by_role("button", name="Save and reprocess").click()
    expect(page.locator("#outcome")).to_contain_text("1 reading stored")
    expect(page.locator("#outcome")).to_contain_text("0 still rejected")
    expect(page.locator(".all-clear")).to_contain_text("The quarantine is empty")
    assert sorted(rows(platform, "box-1"))[:2] == [("air_temperature", 20.5), ("air_temperature", 21.5)]

    second_box(platform, page)
    where_is_it(platform, page)
    assert "the sums agree" in platform.run("audit")


def second_box(platform: Platform, page: Page) -> None:
    """It has a name that nobody registered, and is claimed from the pilot's page on."""
    for minute in range(3):
        publish(platform, "Boks 2", f'{{"time": "2026-05-04T12:0{minute}:00Z", "pm10": {minute}}}')
    address = "/api/v1/pilots/test-street/unknown-devices"
    wait_until(lambda: [one["messages"] for one in platform.get(address)] == [3])
    page.goto(f"http://{platform.http}{HERE}")
    waiting = page.locator(".new-devices")
    expect(waiting).to_contain_text("3 messages")
    waiting.get_by_role("link", name="Boks 2").click()
    unknown = page.locator("[aria-labelledby=unknown-title] li")
    expect(unknown).to_contain_text('"pm10": 2')
    shoot(platform, page, "unknown")
    unknown.get_by_role("button", name="Register").click()
    expect(page.locator("#outcome")).to_contain_text("3 readings stored")
    expect(page.locator("#unknown-title")).to_have_count(0)
    assert rows(platform, "Boks-2") == [("pm10", 0), ("pm10", 1), ("pm10", 2)]
    page.reload()  # repeats nothing
    assert len(rows(platform, "Boks-2")) == 3


def where_is_it(platform: Platform, page: Page) -> None:
    where = "devices/box-1/trace?time=2026-05-04T12:03:00Z"
    wait_until(lambda: platform.get(f"/api/v1/pilots/test-street/{where}")["arrivals"][0]["workers"])
    page.goto(f"http://{platform.http}{HERE}/trace?device=box-1&time=2026-05-04T12:03:00Z")
    expect(page.locator("#answer-title")).to_contain_text("Found")
    expect(page.locator(".answer table")).to_contain_text("21.5")
    expect(page.locator(".answer tbody td").nth(5)).to_have_text(re.compile("ingest"))
    shoot(platform, page, "trace")
    page.goto(f"http://{platform.http}{HERE}/trace?device=box-1&time=2020-05-04T12:03:00Z")
    expect(page.locator("#answer-title")).to_contain_text("Nothing was received from it")


@pytest.mark.parametrize("platform", ["embedded"], indirect=True)
def test_a_pasted_message_is_explained(platform: Platform, page: Page) -> None:
    page.goto(f"http://{platform.http}/decode")
    page.get_by_role("button", name="Check it").click()
    expect(page.locator("#result")).to_contain_text("It would be rejected")
    expect(page.locator("#result")).to_contain_text("Send 21.5 without quotes")
    shoot(platform, page, "decode")
    page.get_by_label("Message").fill("01 67 00 D7")
    page.get_by_label("Written as").select_option("hex")
    page.get_by_label("Format").select_option("cayenne-lpp")
    page.get_by_role("button", name="Check it").click()
    expect(page.locator("#result")).to_contain_text("1 reading would be stored")
    expect(page.locator("#result table")).to_contain_text(re.compile(r"21[.,]5"))


@pytest.mark.parametrize("platform", ["embedded"], indirect=True)
def test_a_mistake_in_the_form_is_said_and_what_was_written_stays(platform: Platform, page: Page) -> None:
    platform.run("device", "add", "test-street", "box-9")
    page.goto(f"http://{platform.http}{HERE}/onboarding")
    page.get_by_label("Id", exact=False).first.fill("box-9")
    page.get_by_label("Display name").fill("The ninth")
    page.get_by_role("button", name="Add").click()
    expect(page.locator(".wrong")).to_contain_text("already has a password")
    expect(page.get_by_label("Display name")).to_have_value("The ninth")
    page.get_by_label("Replace the current password").check()
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#username")).to_have_text("test-street/box-9")


def arrival(page: Page, text: str) -> Locator:
    return page.locator(".arrival", has=page.locator("pre", has_text=text)).first


@pytest.mark.slow
def test_a_file_is_sent_from_the_page(platform: Platform, page: Page) -> None:
    """As a Norwegian spreadsheet saves it; one that is no table is refused with its line, and the page can go on."""
    page.goto(f"http://{platform.http}{HERE}/onboarding")
    page.get_by_label("Device, where no column names it").select_option("lamp-1")
    chosen, said = page.get_by_label("CSV file"), page.locator("#uploaded")

    def send(name: str, content: bytes) -> None:
        chosen.set_input_files({"name": name, "mimeType": "text/csv", "buffer": content})
        page.get_by_role("button", name="Send the file").click()

    send("broken.csv", b"time;pm10\n2026-05-04T12:00:00Z;1\n2026-05-04T12:01:00Z;2;3\n")
    expect(said).to_have_text("Line 3 has 3 cells, but the heading has 2.")
    table = "Dato;Kl;Svevestøv PM10 [µg/m³]\n04.05.2026;14:00;8,5\n04.05.2026;14:01;9,25\n04.05.2026;14:02;-\n"
    send("målinger.csv", table.encode("latin-1"))
    expect(said).to_have_text("sent, lines: 3")
    wait_until(lambda: rows(platform, "lamp-1") != [])
    assert sorted(value for quantity, value in rows(platform, "lamp-1")) == [8.5, 9.25]
