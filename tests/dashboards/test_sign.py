"""The street sign: both languages, who answers for it, and a QR code where there is a page for everybody."""

from __future__ import annotations

import html

import httpx
import pytest

from techport_pilots.definition.load import parse_definition
from techport_pilots.errors import DefinitionError
from tests.dashboards.conftest import AIR, anyio_backend, city, client
from tests.dashboards.web import City

__all__ = ["anyio_backend", "city", "client"]

pytestmark = pytest.mark.anyio
COUNTED = """
id: gate
title: {nb: Gata, en: The street}
question: {nb: "Hvor mange?", en: "How many?"}
purpose: {nb: Planlegge fortau, en: Plan pavements}
personal_data: true
personal_data_classes: [number plates]
legal_basis: 6 (1) e
dpia: 2026/4711
organisations: [{name: Kommunen, role: owner}]
contact: {name: Kari Nordmann, email: kari@example.org}
sign:
  text: {nb: Her teller vi syklende., en: Bicycles are counted here.}
  link: https://example.org/gata
devices: [{id: kran, streams: [{quantity: pedestrian_count}]}]
"""


async def test_the_sign_says_in_both_languages_what_is_counted_and_who_answers(
    city: City, client: httpx.AsyncClient
) -> None:
    city.import_text(COUNTED)
    page = html.unescape((await client.get("/pilots/gate/sign", params={"lang": "en"})).text)
    for text in (
        *("Her teller vi syklende.", "Bicycles are counted here.", "Planlegge fortau", "Plan pavements", "Formål"),
        *("Kommunen", "kari@example.org", "number plates", "6 (1) e", "https://example.org/gata", 'class="qr'),
    ):
        assert text in page, text


async def test_without_a_text_it_shows_the_question_and_leads_to_the_public_page(client: httpx.AsyncClient) -> None:
    page = html.unescape((await client.get("/pilots/kai-luft/sign", params={"lang": "en"})).text)
    assert "no text for the sign" in page
    assert "http://127.0.0.1/p/kai-luft" in page


@pytest.mark.parametrize("link", ["ftp://example.org", "javascript:alert(1)", "https://a:b@example.org"])
def test_a_link_is_an_address_of_the_web(link: str) -> None:
    with pytest.raises(DefinitionError, match="link"):
        parse_definition(AIR + f"sign: {{text: Here, link: '{link}'}}\n")
