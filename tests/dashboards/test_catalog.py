"""The catalogue: what a portal harvests and what people read, of what may be shared and of nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyshacl import validate
from rdflib import DCAT, DCTERMS, RDF, Graph, URIRef
from rdflib.compare import isomorphic

from techport_dashboards import WebSettings
from tests.dashboards.conftest import AIR, hourly
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
PUBLIC = "https://data.example.no"
SECRET = """
id: lukket
title: {en: Shut away}
question: {en: "Who is at home?"}
data_class: internal
devices: [{id: kran, interval: PT1H, streams: [{quantity: pm10}]}]
"""
EMPTY = AIR.replace("kai-luft", "uten-malinger")


@pytest.fixture
async def harvester(city: City) -> AsyncIterator[httpx.AsyncClient]:
    """Of a platform that knows its own address and has a pilot that is not open, and one without readings."""
    city.import_text(SECRET)
    city.import_text(EMPTY)
    city.write(*hourly("lukket", "kran", "pm10", 1))
    settings = WebSettings(public_url=PUBLIC, publisher="Trondheim kommune", publisher_email="data@example.no")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(city.app(settings)), base_url="http://127.0.0.1") as it:
        yield it


async def graph(client: httpx.AsyncClient, path: str, **headers: str) -> Graph:
    answer = await client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    media_type = answer.headers["content-type"].partition(";")[0]
    return Graph().parse(data=answer.text, format={"text/turtle": "turtle"}.get(media_type, "json-ld"))


async def test_both_forms_say_the_same_under_addresses_that_stay(harvester: httpx.AsyncClient) -> None:
    one, other = [await graph(harvester, f"/catalog.{form}") for form in ("ttl", "jsonld")]
    assert isomorphic(one, other)
    assert set(one.subjects(RDF.type, DCAT.Dataset)) == {
        URIRef(f"{PUBLIC}/pilots/{pilot}#dataset") for pilot in ("kai-luft", "stille")
    }
    ours = {str(s) for s in one.subjects() if isinstance(s, URIRef) and "127.0.0.1" in s}
    assert ours == set(), "a name that only this request's host has"
    here = URIRef(f"{PUBLIC}/pilots/kai-luft#dataset")
    assert str(one.value(here, DCTERMS.accrualPeriodicity)).endswith("frequency/UPDATE_CONT")
    for predicate in (DCTERMS.modified, DCTERMS.publisher, DCAT.contactPoint, DCTERMS.spatial, DCTERMS.temporal):
        assert one.value(here, predicate) is not None, predicate


@pytest.mark.parametrize("form", ["ttl", "jsonld"])
@pytest.mark.heavy
async def test_it_conforms_to_dcat_ap_no(harvester: httpx.AsyncClient, shared: Path, form: str) -> None:
    rules = Graph().parse(shared / "schemas" / "shacl" / "dcat-ap-no-2.00-shapes.ttl")
    found = await graph(harvester, f"/catalog.{form}")
    good, _, said = validate(found, shacl_graph=rules, advanced=True, allow_warnings=True)
    assert good, said


async def test_every_way_to_the_data_leads_to_data(harvester: httpx.AsyncClient) -> None:
    found = await graph(harvester, "/catalog.ttl")
    services = set(found.subjects(RDF.type, DCAT.DataService))
    assert len(services) == 3
    ways = list(found.subjects(RDF.type, DCAT.Distribution))
    assert len(ways) == 2 * 6 + 1  # both pilots in five formats and SensorThings; one has positions, so EDR too
    formats = set()
    for way in ways:
        assert found.value(way, DCAT.accessService) in services
        url = str(found.value(way, DCAT.accessURL)).removeprefix(PUBLIC)
        answer = await harvester.get(url)
        assert (answer.status_code, len(answer.content) > 200) == (200, True), url
        declared = found.value(way, DCAT.mediaType)
        sent = answer.headers["content-type"].partition(";")[0]
        assert declared is None or str(declared).endswith(sent), (url, declared, sent)
        formats.add(sent)
    assert len(formats) == 5
    for service in services:
        for predicate in (DCAT.endpointURL, DCAT.endpointDescription):
            if str(found.value(service, predicate)).endswith("/api/v1"):
                continue  # where all addresses of the service begin
            answer = await harvester.get(str(found.value(service, predicate)).removeprefix(PUBLIC))
            assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/catalog.ttl", "/catalog.jsonld", "/catalogue", "/catalogue?lang=en"])
async def test_what_is_not_shared_is_not_named(harvester: httpx.AsyncClient, path: str) -> None:
    text = (await harvester.get(path)).text
    assert "kai-luft" in text
    assert not re.search("lukket|Shut away|uten-malinger", text)


@pytest.mark.parametrize(
    ("accept", "sent"),
    [
        ("*/*", "text/turtle"),
        ("text/turtle", "text/turtle"),
        ("application/ld+json", "application/ld+json"),
        ("text/turtle;q=0.5, application/ld+json;q=0.9", "application/ld+json"),
        ("application/rdf+xml, */*;q=0.1", "text/turtle"),
    ],
)
async def test_the_form_is_negotiated(harvester: httpx.AsyncClient, accept: str, sent: str) -> None:
    answer = await harvester.get("/catalog", headers={"accept": accept})
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, sent)
    assert "Accept" in answer.headers["vary"]


async def test_people_are_sent_to_the_page_and_others_told(harvester: httpx.AsyncClient) -> None:
    answer = await harvester.get("/catalog", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/catalogue")
    answer = await harvester.get("/catalog", headers={"accept": "application/rdf+xml"})
    assert (answer.status_code, answer.json()["type"]) == (406, "/api/v1/problems/not-acceptable")


async def test_a_harvester_of_version_3_says_so(harvester: httpx.AsyncClient) -> None:
    category = "http://data.europa.eu/r5r/hvdCategory"
    for path in ("/catalog.ttl", "/catalog.jsonld", "/catalog"):
        newer = await harvester.get(path, params={"profile": "3"})
        assert 'rel="profile"' in newer.headers["link"]
        form = "json-ld" if "json" in newer.headers["content-type"] else "turtle"
        assert (None, URIRef(category), None) in Graph().parse(data=newer.text, format=form)
        assert "hvdCategory" not in (await harvester.get(path)).text
    assert (await harvester.get("/catalog.ttl", params={"profile": "4"})).status_code == 400


async def test_a_harvester_that_has_it_is_told_so(city: City, harvester: httpx.AsyncClient) -> None:
    for path in ("/catalog.ttl", "/catalog.jsonld", "/catalog"):
        tag = (await harvester.get(path)).headers["etag"]
        assert (await harvester.get(path, headers={"if-none-match": tag})).status_code == 304
    city.import_text(AIR.replace("Air on the quay", "Air at the quay"))
    assert (await harvester.get("/catalog.ttl", headers={"if-none-match": tag})).status_code == 200


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("nb", ("Åpne data", "Luft på kaia", "720 målinger", "CC-BY-4.0")),
        ("en", ("Open data", "Air on the quay", "720 readings", "% of expected data since 21 Oct 2025")),
    ],
)
async def test_the_page_says_what_there_is(harvester: httpx.AsyncClient, language: str, words: tuple[str, ...]) -> None:
    text = (await harvester.get("/catalogue", params={"lang": language})).text
    for word in words:
        assert word in text, word


async def test_search_engines_find_the_data_sets(harvester: httpx.AsyncClient) -> None:
    text = (await harvester.get("/catalogue?lang=en")).text
    (embedded,) = re.findall(r'<script type="application/ld\+json">(.*?)</script>', text, re.DOTALL)
    about: dict[str, Any] = json.loads(embedded)
    assert [one["identifier"] for one in about["dataset"]] == ["kai-luft", "stille"]
    first = about["dataset"][0]
    assert first["temporalCoverage"] == "2025-10-21/.."
    assert first["license"] == "https://spdx.org/licenses/CC-BY-4.0.html"
    assert 50 <= len(first["description"]) <= 5000
    for way in first["distribution"]:
        assert (await harvester.head(way["contentUrl"].removeprefix(PUBLIC))).status_code in (200, 405)


async def test_texts_of_a_pilot_stay_texts(city: City, client: httpx.AsyncClient) -> None:
    scripts = (await client.get("/catalogue?lang=en")).text.count("<script")
    evil = "</script><script>alert(1)</script>"
    city.import_text(AIR.replace("Air on the quay", evil))
    text = (await client.get("/catalogue?lang=en")).text
    assert evil not in text
    assert text.count("<script") == scripts > 0
