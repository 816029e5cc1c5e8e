"""Requests of people in the browser: what is kept of them, erasing it, and receipts that prove it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from techport_dashboards import WebSettings
from techport_pilots.access import audit_log
from tests.dashboards.conftest import hourly
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
PAGE = "/pilots/kai-luft/erasure"
API = "/api/v1/pilots/kai-luft/erasure"
MAC = "AC:23:3F:A4:C1:38"


@pytest.fixture
async def owner(city: City, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    city.write(*hourly("kai-luft", "kran", f"phone.{MAC}", 1))
    app = city.app(WebSettings(packages=tmp_path / "packages", language="en"), signed_in=False)
    headers = {"cookie": city.cookie("owner", "kai-luft")}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        yield client
    app.state.services.jobs.close()


async def test_somebody_is_answered_erased_and_given_a_receipt(city: City, owner: httpx.AsyncClient) -> None:
    asked = {"reference": "ac233fa4c138", "device": "", "start": "", "end": ""}
    counted = await owner.post(f"{PAGE}/count", data=asked)
    assert (counted.status_code, counted.headers["cache-control"]) == (200, "no-store")
    assert "<li>240 readings</li>" in counted.text
    found = await owner.post(f"{PAGE}/found", data=asked)
    assert found.headers["content-disposition"].startswith('attachment; filename="kai-luft-found-')
    assert len(found.text.splitlines()) >= 240
    assert all(MAC in line for line in found.text.splitlines() if "readings" in line)

    unconfirmed = await owner.post(PAGE, data={**asked, "confirm": "kai"})
    assert unconfirmed.status_code == 422
    assert 'value="ac233fa4c138"' in unconfirmed.text, "what was typed is kept"
    assert (await owner.post(PAGE, data={**asked, "confirm": "kai-luft"})).status_code == 303
    page = await done(owner)
    assert "<td>240</td>" in page
    receipt = (await owner.get(f"{PAGE}/receipts/1")).json()
    assert (receipt["pilot"], receipt["rows"]) == ("kai-luft", 240)
    (listed,) = (await owner.get(f"{API}/receipts")).json()["items"]
    assert listed == receipt
    assert (await owner.get(f"{PAGE}/receipts/2")).status_code == 404
    left = (await owner.post(f"{PAGE}/count", data=asked)).text
    assert "<li>0 readings</li>" in left
    assert "Erase permanently" not in left

    logged = [(one.kind, one.what.partition(" ")[2], one.about) for one in audit_log.export(city.registry.database)]
    assert ("exported", "/pilots/{pilot}/erasure/found", "") in logged
    assert ("erased", "/pilots/{pilot}/erasure", "") in logged
    assert not any("ac233f" in str(one).lower() for one in logged), "what was asked for is in no log"


async def test_a_receipt_is_verified(owner: httpx.AsyncClient) -> None:
    asked = {"device": "port", "start": "2025-10-01", "end": "2025-11-30", "confirm": "kai-luft"}
    job = (await owner.post(API, json=asked)).json()["id"]
    await done(owner)
    receipt = (await owner.get(f"{PAGE}/receipts/1")).json()
    assert (await owner.get(f"/api/v1/jobs/{job}")).json()["result"]["receipts"] == [receipt]
    other = receipt["signature"].split()
    strange = " ".join([*other[:2], "0" * 16, *other[3:]])
    for shown, origin, sentence in (
        (receipt, "this-platform", "it is as it was"),
        ({**receipt, "rows": 0}, "changed", "was changed since"),
        ({**receipt, "signature": strange}, "unknown-key", "Another platform"),
        ({"rows": 1}, "unsigned", "is not signed"),
    ):
        answer = await owner.post("/api/v1/retention/verify", json={"receipt": shown})
        assert answer.json() == {"origin": origin}
        assert sentence in (await owner.post(f"{PAGE}/verify", data={"receipt": json.dumps(shown)})).text
    for text in ("", "[1]", "{", "null"):
        answer = await owner.post(f"{PAGE}/verify", data={"receipt": text})
        assert (answer.status_code, "This is not a receipt." in answer.text) == (422, True)


@pytest.mark.parametrize(
    ("form", "wrong"),
    [
        ({"reference": ""}, "Specify what to erase"),
        ({"reference": "ab"}, "Specify what to erase"),
        ({"start": "yesterdayish"}, "yesterdayish"),
    ],
)
async def test_what_is_wrong_is_said_on_the_page(owner: httpx.AsyncClient, form: dict[str, str], wrong: str) -> None:
    answer = await owner.post(f"{PAGE}/count", data=form)
    assert (answer.status_code, wrong in answer.text) == (422, True)


async def done(owner: httpx.AsyncClient) -> str:
    """The page once the erasure is over."""
    until = time.monotonic() + 300
    while True:
        page = (await owner.get(PAGE)).text
        if re.search('id="job"', page) is None:
            assert "Erasing failed" not in page
            return page
        assert time.monotonic() < until
        time.sleep(0.02)
