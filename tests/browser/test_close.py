"""A pilot team closes its pilot: start, end, the checklist, the id in writing, the bar, the package."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from playwright.sync_api import Browser, expect

from techport_dashboards import WebSettings
from tests.dashboards.web import City, serving
from tests.pilots import trial
from tests.servers.chromium import sign_in, window


def test_from_start_to_package(chromium: Browser, tmp_path: Path) -> None:
    city = City.at(tmp_path)
    city.import_text(trial.YAML)
    city.store.write(trial.readings())
    with (
        serving(city.app(WebSettings(packages=tmp_path / "packages"))) as address,
        window(chromium, locale="nb-NO", accept_downloads=True) as context,
    ):
        sign_in(context, city.token, address)
        page = context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.goto(f"{address}/pilots/elgeseter/close")
        for button, state in (("Start", "pågår"), ("Avslutt", "avsluttet")):
            page.get_by_label("Navnet ditt").first.fill("Kari")
            page.get_by_role("button", name=button, exact=True).click()
            expect(page.locator(".life [aria-current]")).to_have_text(state)
        form = page.locator("form.destroy")
        form.get_by_label("Navnet ditt").fill("Kari")
        form.get_by_label("Skriv elgeseter for å bekrefte").fill("elgesæter")
        form.get_by_role("button").click()
        expect(page.locator(".life [aria-current]")).to_have_text("avsluttet")  # the browser refuses it
        form.get_by_label("Skriv elgeseter for å bekrefte").fill("elgeseter")
        form.get_by_role("button").click()
        link = page.get_by_role("link", name=re.compile("Last ned elgeseter-.*zip"))
        expect(page.locator("#job progress").or_(link).first).to_be_visible()
        expect(link).to_be_visible(timeout=90_000)  # the page loads itself again when the job is over
        with page.expect_download() as download:
            link.click()
        assert "report-nb.html" in zipfile.ZipFile(download.value.path()).namelist()
        assert complaints == []
    assert city.registry.state("elgeseter") == "closed"
    city.close()
