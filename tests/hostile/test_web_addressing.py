"""A reverse proxy in front, forged names and forwarding headers, and pages of other sites."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest

from techport_dashboards import WebSettings
from tests.dashboards.conftest import AIR
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
PUBLIC = "https://data.example.no"
PROXY = ("192.0.2.10", 40_000)
TRUSTING = WebSettings(public_url=PUBLIC, trusted_proxies=[ip_network("192.0.2.0/28")], rate_limit=5)
CATALOGUE = "/catalog.ttl"


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    city = City.at(tmp_path)
    city.import_text(AIR)
    yield city
    city.close()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


def client(city: City, settings: WebSettings | None = None, peer: tuple[str, int] = PROXY) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(city.app(settings, signed_in=False), client=peer)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080")


def kind(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition("/")[2]


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Real-IP", "Forwarded"]
)
@pytest.mark.parametrize("peer", [("127.0.0.1", 50_000), ("192.0.2.99", 50_000)])
async def test_forwarding_headers_are_refused_from_whom_nobody_has_named(
    city: City, header: str, peer: tuple[str, int]
) -> None:
    async with client(city, TRUSTING, peer) as visitor:
        for path in ("/api/v1/pilots", "/healthz", "/", "/push/native"):
            answer = await visitor.get(path, headers={header: "127.0.0.1"})
            assert kind(answer) == (400, "untrusted-proxy"), path
            assert "trusted_proxy" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "secure"),
    [
        ({"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.5", "X-Forwarded-Host": "data.example.no"}, True),
        ({"Forwarded": 'for="[2001:db8::1]:4711";proto=https;host=data.example.no'}, True),
        ({"Host": "data.example.no", "X-Forwarded-For": "203.0.113.5"}, True),  # public_url says https
        ({"X-Forwarded-For": "203.0.113.5"}, False),  # nginx that passes only this on
    ],
)
async def test_the_cookie_is_secure_where_the_visitor_has_https(
    city: City, headers: dict[str, str], secure: bool
) -> None:
    async with client(city, TRUSTING) as visitor:
        answer = await visitor.get(f"/?token={city.token.new_link()}", headers=headers)
    assert answer.status_code == 303
    assert ("secure" in answer.headers["set-cookie"].lower()) is secure


async def test_the_rate_limit_counts_visitors_and_not_the_proxy(city: City) -> None:
    async def ask(chain: str) -> int:
        return (await visitor.get("/api/v1/pilots", headers={"X-Forwarded-For": chain})).status_code

    async with client(city, TRUSTING) as visitor:
        # What stands before the address that the proxy added, the visitor has made up.
        statuses = [await ask(f"198.51.100.{made_up}, 203.0.113.5") for made_up in range(8)]
        assert statuses[:5] == [200] * 5
        assert 429 in statuses[5:]
        assert await ask("203.0.113.6") == 200
        assert await ask("203.0.113.7, 192.0.2.11") == 200, "a second proxy of ours stands between"


async def test_what_the_proxy_only_passes_on_is_not_believed(city: City) -> None:
    async with client(city, TRUSTING) as visitor:
        both = {"X-Forwarded-For": "203.0.113.5", "Forwarded": "host=data.example.no"}
        assert kind(await visitor.get("/api/v1/pilots", headers=both)) == (400, "untrusted-proxy")
        forged = {"X-Forwarded-For": "203.0.113.5", "X-Forwarded-Host": "evil.example"}
        assert kind(await visitor.get("/api/v1/pilots", headers=forged)) == (421, "wrong-host")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "data.example.no.evil"]
)
async def test_a_forged_host_is_refused(city: City, host: str) -> None:
    """DNS rebinding: the visitor's browser is made to ask this machine under a name of the attacker."""
    async with client(city, TRUSTING) as visitor:
        for path in ("/api/v1/pilots", "/p/kai-luft", CATALOGUE, "/healthz", "/push/native"):
            answer = await visitor.get(path, headers={"Host": host})
            assert kind(answer) == (421, "wrong-host"), path
            assert "public_url" in answer.json()["detail"]


@pytest.mark.parametrize(
    "host", ["", "a b", "127.0.0.1/x", "evil.example@127.0.0.1", "[::1", "127.0.0.1:x", 'x"><script>']
)
async def test_a_host_that_cannot_be_read_is_refused(city: City, host: str) -> None:
    async with client(city) as visitor:
        assert kind(await visitor.get("/api/v1/pilots", headers={"Host": host})) == (400, "bad-host")
        two = [("Host", "127.0.0.1"), ("Host", "localhost")]
        assert kind(await visitor.get("/api/v1/pilots", headers=two)) == (400, "bad-host")


@pytest.mark.parametrize(
    ("host", "settings"),
    [
        ("127.0.0.1:8080", WebSettings()),
        ("localhost:9000", WebSettings()),  # ssh -L 9000:localhost:8080
        ("[::1]:8080", WebSettings()),
        ("DATA.example.no", TRUSTING),
        ("data.example.no:443", TRUSTING),
        ("localhost", TRUSTING),
        ("web:8080", WebSettings(host_names=("web",))),
        ("192.0.2.7:8080", WebSettings(listens_on="192.0.2.7")),
        ("198.51.100.1:8080", WebSettings(listens_on="0.0.0.0")),
    ],
)
async def test_names_of_ours_are_answered(city: City, host: str, settings: WebSettings) -> None:
    async with client(city, settings) as visitor:
        assert (await visitor.get("/api/v1/pilots", headers={"Host": host})).status_code == 200


async def test_the_number_of_another_machine_is_no_name_of_ours(city: City) -> None:
    async with client(city) as visitor:
        assert kind(await visitor.get("/api/v1/pilots", headers={"Host": "198.51.100.1"})) == (421, "wrong-host")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize(
    ("mode", "dest", "path"),
    [
        ("no-cors", "image", "/sta/v1.1/Things?$filter=length('%25300000000d'%20mod%205)%20eq%201"),
        ("no-cors", "script", "/api/v1/readings"),
        ("cors", "empty", "/api/v1/readings"),
        ("no-cors", "image", "/explore"),
        ("navigate", "iframe", "/api/v1/readings"),
        ("navigate", "object", CATALOGUE),
    ],
)
async def test_pages_of_other_sites_put_no_load_on_us(city: City, site: str, mode: str, dest: str, path: str) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
    async with client(city) as visitor:
        session = {city.token.cookie: city.token.new_session()}
        for cookies in ({}, session):
            answer = await visitor.get(path, headers=headers, cookies=cookies)
            if mode == "cors" and not cookies:  # open data, which any script may read: docs/api.md
                assert answer.status_code == 200
                assert answer.headers["access-control-allow-origin"] == "*"
                continue
            assert kind(answer) == (403, "forbidden")
            assert "access-control-allow-origin" not in answer.headers or not cookies


async def test_scripts_of_other_sites_read_nothing_that_a_credential_was_shown_for(city: City) -> None:
    """A page of the session's own host at another port, an extension or a cache may send the credential along."""
    session = {"Cookie": f"{city.token.cookie}={city.token.new_session()}"}
    operator = {"Authorization": f"Bearer {(city.folder / 'token').read_text().strip()}"}
    other = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    async with client(city) as visitor:
        for path in ("/api/v1/pilots", "/api/v1/nothing-here", "/sta/v1.1/Things", "/catalog.ttl"):
            open_data = await visitor.get(path, headers=other)
            assert open_data.headers["access-control-allow-origin"] == "*", path
            for credential in (session, operator):
                plain = await visitor.get(path, headers=credential)
                assert plain.status_code in (200, 404), path
                for answer in (plain, await visitor.get(path, headers={**other, **credential})):
                    assert "access-control-allow-origin" not in answer.headers, path
                    assert answer.headers["cross-origin-resource-policy"] == "same-origin", path
                assert (await visitor.get(path, headers={**other, **credential})).status_code in (403, 404)
        assert kind(await visitor.get("/explore", headers=other)) == (403, "forbidden")


async def test_without_the_setting_no_script_of_another_site_is_answered(city: City) -> None:
    other = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    async with client(city, WebSettings(cors=False)) as visitor:
        assert kind(await visitor.get("/api/v1/readings", headers=other)) == (403, "forbidden")


async def test_links_of_other_sites_are_followed(city: City) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with client(city) as visitor:
        for path in ("/api/v1/pilots", CATALOGUE, "/p/kai-luft"):
            assert (await visitor.get(path, headers=headers)).status_code == 200, path
        framed = {**headers, "Sec-Fetch-Dest": "iframe"}
        assert (await visitor.get("/pilots/kai-luft?embed=1", headers=framed)).status_code == 200


async def test_a_form_on_another_site_changes_nothing(city: City) -> None:
    """With the cookie, as a browser without SameSite would send it."""
    session = {city.token.cookie: city.token.new_session()}
    form = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with client(city) as visitor:
        for headers in (form, {"Origin": "https://evil.example"}, {"Origin": "null"}):
            answer = await visitor.post(
                "/pilots/kai-luft/state", headers=headers, cookies=session, data={"to": "running"}
            )
            assert answer.status_code == 403
    assert city.registry.state("kai-luft") == "draft"


async def test_no_other_site_may_load_what_we_answer(city: City) -> None:
    """Except what needs no credential, which scripts of other sites may read (the setting `cors`)."""
    async with client(city) as visitor:
        for path in ("/healthz", "/", "/static/x/css/base.css"):
            assert (await visitor.get(path)).headers["cross-origin-resource-policy"] == "same-origin"
        assert (await visitor.get("/api/v1/pilots")).headers["cross-origin-resource-policy"] == "cross-origin"
