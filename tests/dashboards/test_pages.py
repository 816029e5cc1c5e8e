"""The pages as a server gives them: languages, headers, escaping, addresses that are wrong."""

from __future__ import annotations

import gzip
import html
import re

import httpx
import pytest

from techport_dashboards.web.assets import PLOTLY, Assets
from techport_dashboards.web.navigation import MAIN, OF_PILOT
from techport_storage.clock import now
from techport_storage.model import Reading
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
PAGE = {"accept": "text/html"}


@pytest.mark.parametrize(
    ("asked", "accepted", "language"),
    [
        ("", "nb-NO,nb;q=0.9,en;q=0.8", "nb"),
        ("", "nn-NO", "nb"),  # there are no pages in nynorsk
        ("", "no", "nb"),
        ("", "en-US,en;q=0.9", "en"),
        ("", "de,en;q=0.5,nb;q=0.4", "en"),
        ("", "", "nb"),
        ("", "en;q=nonsense", "nb"),
        ("?lang=en", "nb-NO", "en"),
        ("?lang=xx", "en", "en"),
    ],
)
async def test_the_language_is_the_readers(client: httpx.AsyncClient, asked: str, accepted: str, language: str) -> None:
    answer = await client.get("/" + asked, headers={"accept-language": accepted})
    assert answer.headers["content-language"] == language
    assert f'<html lang="{language}">' in answer.text


async def test_scripts_come_from_our_files_only(client: httpx.AsyncClient) -> None:
    answer = await client.get("/pilots/kai-luft")
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["script-src"] == "'self'"
    assert policy["default-src"] == "'none'"
    assert "//" not in policy["connect-src"]
    assert "style=" not in answer.text
    assert "onclick" not in answer.text


async def test_assets_are_compressed_and_kept_for_good(client: httpx.AsyncClient) -> None:
    assets = Assets()
    answer = await client.get(assets.url(PLOTLY))
    assert answer.headers["content-encoding"] == "gzip"
    assert "immutable" in answer.headers["cache-control"]
    assert b"plotly.js" in answer.content[:200]
    stale = await client.get(f"/static/0123/{PLOTLY}", headers={"accept-encoding": "identity"})
    assert "immutable" not in stale.headers["cache-control"]
    assert stale.content == answer.content
    asset = assets.get(PLOTLY)
    assert asset is not None
    assert gzip.decompress(asset.compressed) == asset.content


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "css/../../app.py", "none.css"])
async def test_nothing_but_assets_is_served(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/static/0/{name}")).status_code == 404


async def test_a_wrong_address_is_a_page_for_people(client: httpx.AsyncClient) -> None:
    for path in ("/pilots/nobody", "/pilots/kai-luft/devices/nobody", "/nothing"):
        answer = await client.get(path, headers=PAGE)
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
    answer = await client.get("/pilots/kai-luft?start=then", headers=PAGE)
    assert answer.status_code == 400


async def test_what_is_nearly_right_is_suggested(client: httpx.AsyncClient) -> None:
    pilot = (await client.get("/pilots/kai-lufft/quality?lang=en", headers=PAGE)).text
    assert '<a href="/pilots/kai-luft/quality?lang=en">kai-luft</a>' in pilot
    device = (await client.get("/pilots/kai-luft/devices/krann", headers=PAGE)).text
    assert '<a href="/pilots/kai-luft/devices/kran">kran</a>' in device
    assert "Finnes ikke" in device


async def test_names_from_devices_are_escaped(city: City, client: httpx.AsyncClient) -> None:
    at = now()
    evil = '</script><script>alert("1")</script>'
    city.write(Reading("kai-luft", "port", evil, at, 1.0, at))
    for path in ("/", "/pilots/kai-luft", "/pilots/kai-luft/devices/port"):
        assert evil not in (await client.get(path)).text
    assert "&lt;/script&gt;" in (await client.get("/pilots/kai-luft")).text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("start=0001-01-01&end=9999-12-31", 200),
        ("start=9999-12-30&end=9999-12-31", 200),
        ("from=1.1.0001&to=31.12.9998", 200),
        ("to=1.1.0001", 200),  # the day before it, cut to the calendar
        ("from=9999-12-31&to=9999-12-31", 400),
        ("from=31.2.2026", 400),
        ("from=" + "9" * 64, 400),
        ("from=2.2.2026&to=1.2.2026", 400),
        ("from=%D9%A1%D9%A7.11.2026x", 400),
    ],
)
async def test_ranges_at_the_ends_of_the_calendar_and_wrong_ones_keep_the_page(
    client: httpx.AsyncClient, query: str, status: int
) -> None:
    answer = await client.get(f"/pilots/kai-luft?{query}&lang=en", headers=PAGE)
    assert answer.status_code == status
    assert 'class="charts"' in answer.text
    assert ('id="time-problem"' in answer.text) is (status == 400)


@pytest.mark.dates
async def test_old_data_opens_where_it_is(client: httpx.AsyncClient) -> None:
    """A pilot whose last reading is long ago shows its last day, not an empty chart of today."""
    text = (await client.get("/pilots/kai-luft")).text
    assert '"start":"2025-10-30' in text
    assert '"end":"2025-10-31T00:00:01"' in text


async def test_what_is_wrong_is_said_in_the_readers_language(client: httpx.AsyncClient) -> None:
    page = (await client.get("/pilots/kai-lufft?lang=nb", headers=PAGE)).text
    assert "Det finnes ingen pilot &#39;kai-lufft&#39;." in page
    page = (await client.get("/pilots/kai-luft/quality?lang=nn&days=x", headers=PAGE)).text
    assert "Verdien av days kan ikke brukes:" in page
    assert re.search(r"For eksempel:\s+7, 30 or 90", page)
    event = {"kind": "other", "time": "2025-10-22T08:00", "text": {}}
    for site, words in (("same-origin", "Beskriv med én setning hva som skjedde."), ("none", "Describe in one")):
        headers = {"Sec-Fetch-Site": site, "Accept-Language": "nb-NO"}
        answer = await client.post("/api/v1/pilots/kai-luft/events", json=event, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith(words)


async def test_every_page_of_a_pilot_leads_to_the_others(client: httpx.AsyncClient) -> None:
    """The place that one is at is marked, and no link of the bar or the tabs leads nowhere."""
    text = (await client.get("/pilots/kai-luft/quality?lang=en")).text
    links = re.findall(r'<nav class="(?:main-menu|tabs)".*?</nav>', text, re.DOTALL)
    addresses = {html.unescape(href) for nav in links for href in re.findall(r'href="([^"]+)"', nav)}
    assert len(addresses) >= len(MAIN) + len(OF_PILOT) - 1
    assert re.findall(r'aria-current="page">([^<]+)<', text) == ["Data quality"]
    for address in addresses:
        assert "lang=en" in address
        assert (await client.get(address)).status_code == 200
