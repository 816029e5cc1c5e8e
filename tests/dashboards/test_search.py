"""Search: by any words of a name, in both languages, near coordinates, and only what the reader may see."""

from __future__ import annotations

import httpx
import pytest

from techport_dashboards.query.registry_cache import RegistryCache, RegistryView
from techport_dashboards.services.search import MOST, folded, search
from techport_dashboards.viewer import OPERATOR, Viewer
from techport_pilots.access.policy import Rights
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio

SECRET = """
id: oya-stue
title: {nb: Stue på Øya, en: Living room at Øya}
question: {nb: "Er det varmt?", en: "Is it warm?"}
organisations: [{name: St. Olavs hospital}]
devices:
  - {id: kran-stue, title: {nb: Kranført måler, en: Meter}, aliases: [a81758fffe0312ab], streams: [{quantity: pm10}]}
  - {id: vindu, kind: air-quality station, tags: {street: Elgeseter gate}, group: south, streams: [{quantity: pm10}]}
"""


@pytest.fixture
def view(city: City) -> RegistryView:
    city.import_text(SECRET)
    return RegistryCache(city.registry).current()


def names(view: RegistryView, text: str, viewer: Viewer = OPERATOR) -> tuple[list[str], list[str], list[str]]:
    found = search(view, viewer, text)
    devices = [f"{one.pilot.id}/{one.device.id}" for one in found.devices if one.device is not None]
    return [one.pilot.id for one in found.pilots], devices, [place.name for place in found.places]


@pytest.mark.parametrize(
    ("text", "pilots", "devices", "places"),
    [
        ("kran", [], ["kai-luft/kran", "stille/kran", "oya-stue/kran-stue"], []),
        ("KRANA", [], ["kai-luft/kran"], []),
        ("crane the", [], ["kai-luft/kran"], []),
        ("oya", ["oya-stue"], [], []),
        ("ØYA stue", ["oya-stue"], [], []),
        ("olavs", ["oya-stue"], [], []),
        ("A81758", [], ["oya-stue/kran-stue"], []),
        ("luftmålestasjon", [], ["oya-stue/vindu"], []),
        ("elgeseter", [], [], ["Elgeseter gate"]),
        ("south", [], [], ["south"]),
        ("quiet", ["stille"], [], []),
        ("nothing of this", [], [], []),
        ("   ", [], [], []),
        ("%", [], [], []),
    ],
)
def test_every_word_of_a_name_finds_it(
    view: RegistryView, text: str, pilots: list[str], devices: list[str], places: list[str]
) -> None:
    assert names(view, text) == (pilots, devices, places)


@pytest.mark.parametrize("text", ["63.4385, 10.41", "63,4385 10,41", "63,4385; 10,41", "63.4385° N, 10.41° E"])
def test_coordinates_find_the_nearest_devices(view: RegistryView, text: str) -> None:
    [found] = search(view, OPERATOR, text).devices
    assert found.device is not None
    assert found.device.id == "kran"
    assert found.metres == pytest.approx(497, abs=5)
    assert search(view, OPERATOR, "98.1, 10.4").devices == [], "no latitude, so words"


def test_only_what_the_reader_may_see_is_found(view: RegistryView) -> None:
    nobody = Viewer("nobody", open_pilots=lambda: frozenset({"stille"}))
    assert names(view, "kran", nobody) == ([], ["stille/kran"], [])
    assert names(view, "elgeseter", nobody) == ([], [], [])
    assert search(view, nobody, "63.4385, 10.41").devices == []
    viewer = Viewer("somebody", Rights(by_pilot={"oya-stue": frozenset({"see"})}))
    assert names(view, "kran", viewer)[1] == ["oya-stue/kran-stue"]
    assert names(view, "a81758", viewer)[1] == [], "a name that only messages use"


def test_long_lists_are_cut_and_counted(city: City) -> None:
    devices = "\n".join(f"  - {{id: post-{n}, streams: [{{quantity: pm10}}]}}" for n in range(MOST + 5))
    city.import_text(f"id: mange\ntitle: Mange\nquestion: {{en: 'Many?'}}\ndevices:\n{devices}\n")
    found = search(RegistryCache(city.registry).current(), OPERATOR, "post")
    assert (len(found.devices), found.device_count) == (MOST, MOST + 5)


async def test_favourites_are_kept_in_the_account(city: City) -> None:
    city.import_text(SECRET)
    transport = httpx.ASGITransport(city.app(caller="viewer", pilot="kai-luft"))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        form = {"pilot": "kai-luft", "marked": "yes"}
        headers = {"Sec-Fetch-Site": "same-origin"}
        assert (await client.post("/account/favourites", data=form, headers=headers)).status_code == 204
        for page in ("/", "/portfolio"):
            assert '{"account":["kai-luft"]}' in (await client.get(page)).text
        hidden = {"pilot": "oya-stue", "marked": "yes"}
        assert (await client.post("/account/favourites", data=hidden, headers=headers)).status_code == 404
        form["marked"] = ""
        assert (await client.post("/account/favourites", data=form, headers=headers)).status_code == 204
        assert '{"account":[]}' in (await client.get("/")).text
    async with httpx.AsyncClient(transport=httpx.ASGITransport(city.app()), base_url="http://127.0.0.1") as client:
        assert '{"account":null}' in (await client.get("/")).text, "the operator has no account"


def test_texts_are_compared_without_accents_and_case() -> None:
    assert folded(" Ørland-Æ_Å  É ") == "orland ae a e"


async def test_the_page_shows_links_and_escapes_what_was_asked(city: City, client: httpx.AsyncClient) -> None:
    city.import_text(SECRET)
    page = (await client.get("/search", params={"q": "kran", "lang": "en"})).text
    assert 'href="/pilots/kai-luft/devices/kran?lang=en"' in page
    assert "The crane" in page
    assert '<input type="hidden" name="lang" value="en">' in page
    nothing = (await client.get("/search", params={"q": '"><script>x', "lang": "en"})).text
    assert "Nothing that you may see is called" in nothing
    assert "<script>x" not in nothing
    assert (await client.get("/search", params={"q": "x" * 201})).status_code == 400
    portfolio = (await client.get("/portfolio?lang=en")).text
    assert 'aria-keyshortcuts="/"' in portfolio
    assert 'data-favourite="stille"' in portfolio
