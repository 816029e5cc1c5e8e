"""What others see: the public page, embedded charts, and that nothing which is not shared comes out with them."""

from __future__ import annotations

import html
import json
import re

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from techport_dashboards import WebSettings
from techport_pilots.accounting.ledger import DeviceDay, QuarantineEntry, Tally
from techport_pilots.accounting.rejection import RecordedText, Rejection
from techport_storage.clock import now
from techport_storage.microseconds import DAY
from tests.dashboards.web import City
from tests.pilots import trial

pytestmark = pytest.mark.anyio
SECRETS = ("SERIAL-4711", "Milesight EM500", "10.39876", "63.42345", "hemmelig", "pole behind the bakery", "kjeller-2")
OPEN = """
id: apen
title: {nb: Åpen pilot, en: Open pilot}
question: {nb: "Virker det?", en: "Does it work?"}
hypothesis: {nb: "Ja, litt.", en: "Yes, a little."}
contact: {name: Bymiljø, email: bymiljo@example.org}
timezone: Europe/Oslo
data_class: open
licence: CC-BY-4.0
phases:
  - {name: before, kind: baseline, start: 2026-03-02, end: 2026-04-01}
  - {name: after, kind: intervention, start: 2026-04-01, end: 2026-05-01}
kpis:
  - {id: dust, title: {nb: Svevestøv, en: Dust}, quantity: pm10, target: 15}
events:
  - {time: 2026-04-10, kind: other, device: kjeller-2, text: {nb: stjålet, en: pole behind the bakery}}
devices:
  - id: kjeller-2
    kind: Milesight EM500
    aliases: [SERIAL-4711]
    position: {lat: 63.42345, lon: 10.39876}
    interval: PT10M
    streams: [{quantity: pm10}]
"""


@pytest.fixture
def shared(city: City) -> City:
    """An open pilot with something in quarantine, and the same, word for word, for internal and for personal use."""
    city.import_text(OPEN)
    city.import_text(OPEN.replace("id: apen", "id: intern").replace("data_class: open", "data_class: internal"))
    personal = "data_class: personal\npersonal_data: true\nlegal_basis: 6 (1) e\ndpia: '1'\npurpose: {en: Try}"
    closed = OPEN.replace("licence: CC-BY-4.0\n", "")  # an open licence and data about people exclude each other
    city.import_text(closed.replace("id: apen", "id: privat").replace("data_class: open", personal))
    at = now()
    for pilot in ("apen", "intern", "privat"):
        batch = trial.readings()
        streams = [stream._replace(pilot=pilot, device="kjeller-2") for stream in batch.streams[:1]]
        kept = batch.stream == 0
        city.store.write(
            type(batch)(
                streams,
                batch.stream[kept],
                *(getattr(batch, c)[kept] for c in ("time", "value", "received", "quality")),
            )
        )
        entry = QuarantineEntry(
            pilot=pilot,
            device="kjeller-2",
            topic="x",
            payload=b'{"note": "hemmelig"}',
            received=at,
            rejection=Rejection("not-a-number", recorded=RecordedText("hemmelig is no number", "send a number")),
        )
        tally = Tally(messages=1, received=1, quarantined=1)
        city.ledger.close_batch(pilot, {DeviceDay(pilot, "kjeller-2", at // DAY): tally}, [entry])
    return city


def public_routes(city: City) -> list[str]:
    found = [str(c.path) for c in iter_route_contexts(city.app().routes) if str(c.path).startswith("/p/")]
    assert len(found) >= 2
    return found


@pytest.mark.dates
async def test_an_open_pilot_has_a_page_for_everybody(shared: City, client: httpx.AsyncClient) -> None:
    text = (await client.get("/p/apen?lang=en")).text
    for words in ("Does it work?", "Yes, a little.", "bymiljo@example.org", "CC-BY-4.0", "1 device"):
        assert words in text
    assert 'class="stroke intervention"' in text
    figures = (await client.get("/p/apen/figures?lang=en")).text
    assert "95 % confidence interval" in figures


async def test_programs_find_data_and_licence_on_the_page(shared: City, client: httpx.AsyncClient) -> None:
    page = await client.get("/p/apen?lang=en")
    links: dict[str, list[str]] = {}
    for link in page.headers["link"].split(", <"):
        url, _, rest = link.lstrip("<").partition(">")
        links.setdefault(rest.split('"')[1], []).append(url)
    assert links["cite-as"] == ["http://127.0.0.1/p/apen"]
    assert links["license"] == ["https://spdx.org/licenses/CC-BY-4.0.html"]
    assert {url.rpartition("=")[2] for url in links["item"]} >= {"parquet", "csv"}
    (text,) = re.findall(r'<script type="application/ld\+json">(.*?)</script>', page.text, re.DOTALL)
    about = json.loads(text)
    assert (about["@type"], about["identifier"]) == ("Dataset", "apen")
    assert {one["contentUrl"] for one in about["distribution"]} == set(links["item"])
    assert "63.42345" not in page.text, "where a device stands is not on this page"
    for url in links["item"] + links["describedby"]:
        assert (await client.get(url, params={"limit": "1"} if "readings" in url else {})).status_code == 200


async def test_no_public_route_tells_what_is_not_shared(shared: City, client: httpx.AsyncClient) -> None:
    for route in public_routes(shared):
        for language in ("nb", "en"):
            answer = await client.get(route.format(pilot="apen"), params={"lang": language})
            assert answer.status_code == 200
            for secret in SECRETS:
                assert secret not in answer.text
            assert "/pilots/" not in answer.text.replace("/api/v1/pilots/", "")


async def test_a_pilot_that_is_not_open_answers_like_none(shared: City, client: httpx.AsyncClient) -> None:
    """Nobody can find out by asking which pilots there are."""
    for route in public_routes(shared):
        answers = []
        for pilot in ("intern", "privat", "nobody"):
            answer = await client.get(route.format(pilot=pilot))
            answers.append((answer.status_code, answer.text.replace(pilot, "")))
            assert answer.status_code == 404
        assert len(set(answers)) == 1


@pytest.mark.dates
async def test_a_chart_and_a_kpi_can_stand_alone(shared: City, client: httpx.AsyncClient) -> None:
    chart = (await client.get("/pilots/apen?embed=1&quantity=pm10&lang=en")).text
    assert chart.count('<figure class="chart"') == 1
    assert "<nav" not in chart
    assert 'href="/p/apen" target="_blank"' in chart
    kpi = (await client.get("/pilots/apen?embed=1&kpi=dust&lang=en")).text
    assert "/pilots/apen/kpis?lang=en&amp;kpi=dust" in kpi
    assert (await client.get("/pilots/apen/kpis?kpi=dust")).text.count('class="kpi"') == 1
    assert 'href="/pilots/intern" target="_blank"' in (await client.get("/pilots/intern?embed=1")).text
    for wrong in ("quantity=nothing", "kpi=nothing"):
        assert (await client.get(f"/pilots/apen?embed=1&{wrong}")).status_code == 400


async def test_other_sites_may_frame_what_is_embedded_and_nothing_else(shared: City) -> None:
    settings = WebSettings(embed_sites="https://www.example.org")
    transport = httpx.ASGITransport(shared.app(settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:

        async def ancestors(path: str) -> str:
            policy = (await client.get(path)).headers["content-security-policy"]
            return policy.partition("frame-ancestors ")[2]

        assert await ancestors("/pilots/apen?embed=1&kpi=dust") == "'self' https://www.example.org"
        for path in ("/", "/pilots/apen", "/p/apen", "/pilots/apen/share", "/pilots/apen?embed=0"):
            assert await ancestors(path) == "'self'"


async def test_the_code_to_embed_names_what_is_there(shared: City, client: httpx.AsyncClient) -> None:
    text = (await client.get("/pilots/apen/share?lang=en")).text
    snippets = [html.unescape(value) for value in re.findall(r'readonly value="([^"]+)"', text)]
    codes = [html.unescape(re.search(r'src="([^"]+)"', snippet)[1]) for snippet in snippets]  # type: ignore[index]
    assert len(codes) == 2
    for address in codes:
        assert (await client.get(address)).status_code == 200
    assert "/p/apen" in text
    assert "has no public page" in (await client.get("/pilots/intern/share?lang=en")).text


async def test_a_wall_goes_from_page_to_page(shared: City, client: httpx.AsyncClient) -> None:
    """Pilots that are over are left out; the last leads back to the overview."""
    seen, path = [], "/"
    for _ in range(5):
        text = (await client.get(f"{path}?wall=1&cycle=1")).text
        assert "js/wall.js" in text
        path = re.search(r'id="wall">\{"next":"([^"]+)"', text)[1]  # type: ignore[index]
        seen.append(path)
    assert seen == ["/pilots/kai-luft", "/pilots/stille", "/", "/pilots/kai-luft", "/pilots/stille"]
    assert '"next":null' in (await client.get("/pilots/apen?wall=1")).text
