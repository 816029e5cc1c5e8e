"""Who is where the operator is, without the operator's credential: a proxy, a tunnel, another user, another site."""

from __future__ import annotations

import stat
import urllib.error
import urllib.request
from pathlib import Path

import httpx
import pytest

from techport_dashboards import WebSettings
from techport_pilots.access.operator_token import LINK_LASTS, LINKS, OperatorToken, UnusableToken
from techport_storage import clock
from tests.dashboards.conftest import hourly
from tests.dashboards.web import City, serving
from tests.end_to_end.platforms import PILOT, Platform

CLOSED = """
id: lukket
title: {en: Closed to others}
question: {en: "Who sees this?"}
data_class: internal
devices:
  - {id: secret-box, interval: PT1H, streams: [{quantity: pm10}]}
"""
OPEN = """
id: apen
title: {en: Open to all}
question: {en: "Who sees this?"}
data_class: open
licence: CC0-1.0
devices:
  - {id: box, interval: PT1H, position: {lat: 63.43, lon: 10.39}, streams: [{quantity: pm10}]}
"""
SECRETS = ("lukket", "Closed to others", "secret-box")


@pytest.fixture
def city(tmp_path: Path) -> City:
    city = City.at(tmp_path)
    city.import_text(CLOSED)
    city.import_text(OPEN)
    city.write(*hourly("lukket", "secret-box", "pm10", 10), *hourly("apen", "box", "pm10", 10))
    return city


def test_a_tunnel_or_another_user_of_the_machine_reads_what_is_open_and_nothing_else(city: City) -> None:
    """`ssh -L`, a program of another user: a request from 127.0.0.1 for 127.0.0.1."""
    with serving(city.app(signed_in=False)) as address, httpx.Client(base_url=address) as client:
        for path in ("/", "/portfolio", "/explore", "/metrics", "/api/v1/audit", "/api/v1/portfolio", "/pilots/apen"):
            assert client.get(path).status_code == 401, path
        for path in ("/api/v1/pilots", "/api/v1/latest", "/api/v1/streams", "/sta/v1.1/Things", "/edr/collections"):
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert "apen" in answer.text, path
            assert not any(secret in answer.text for secret in SECRETS), path
        for path in (
            "/catalog.ttl",
            "/catalogue",
            "/api/v1/openapi.json",
            "/sta/v1.1/Datastreams",
            "/api/v1/docs",
        ):
            answer = client.get(path)
            assert answer.status_code == 200, path
            assert not any(secret in answer.text for secret in SECRETS), path
        assert client.get("/p/apen").status_code == 200
        assert client.get("/p/lukket").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/readings?pilot={}",
        "/api/v1/readings?pilot={}&format=parquet",
        "/api/v1/pilots/{}",
        "/api/v1/latest?pilot={}",
        "/api/v1/live?pilot={}",
        "/api/v1/pilots/{}/kpis",
        "/edr/collections/{}",
        "/pilots/{}?embed=1",
        "/pilots/{}/chart?quantity=pm10",
    ],
)
def test_a_pilot_that_is_not_open_looks_like_one_that_does_not_exist(city: City, path: str) -> None:
    with serving(city.app(signed_in=False)) as address:
        closed, none = (httpx.get(address + path.format(name)) for name in ("lukket", "nowhere"))
    assert closed.status_code == none.status_code == 401
    assert closed.json() == none.json()


def test_readings_of_an_open_pilot_are_had_with_the_address_alone(city: City) -> None:
    with serving(city.app(signed_in=False)) as address:
        answer = httpx.get(f"{address}/api/v1/readings?pilot=apen&limit=5")
        assert len(answer.json()["items"]) == 5
        everything = httpx.get(f"{address}/api/v1/readings?start=2025-10-21T00:00:00Z&limit=1000").json()["items"]
    assert {item["pilot"] for item in everything} == {"apen"}


def test_a_one_time_token_is_good_once(city: City) -> None:
    with serving(city.app(signed_in=False)) as address:
        link = f"{address}/?token={city.token.new_link()}"
        first = httpx.get(link)
        assert first.status_code == 303
        assert first.headers["location"] == "/"
        assert first.headers["cache-control"] == "no-store"
        cookie = first.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "secure" not in cookie, "a browser would not send it over plain http"
        again = httpx.get(link, headers={"Accept": "text/html"})
        assert again.status_code == 401
        assert "techport operator-link" in again.text
        assert "set-cookie" not in again.headers
        with httpx.Client(base_url=address, cookies=dict(first.cookies)) as client:
            assert client.get("/").status_code == 200
            assert client.get(link).status_code == 303, "who is signed in goes on to the page"
            with client.stream("GET", "/api/v1/live?pilot=lukket") as live:
                assert live.status_code == 200


def test_a_one_time_token_expires(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    token = city.token.new_link()
    later = clock.now() + LINK_LASTS
    monkeypatch.setattr("techport_pilots.access.operator_token.now", lambda: later)
    assert not city.token.redeem(token)
    city.token.new_link()
    assert len(list((city.folder / LINKS).iterdir())) == 1, "what has expired is removed"


@pytest.mark.parametrize("wrong", ["", "x", "../token", "x" * 5000, "\u00e6", "a/../../token"])
def test_no_other_text_is_a_one_time_token(city: City, wrong: str) -> None:
    with serving(city.app(signed_in=False)) as address:
        assert httpx.get(address, params={"token": wrong}).status_code == 401
    assert (city.folder / "token").exists()


def test_attempts_to_sign_in_are_limited(city: City) -> None:
    with serving(city.app(signed_in=False)) as address, httpx.Client(base_url=address) as client:
        statuses = [client.get("/?token=guess").status_code for _ in range(12)]
    assert statuses[:10] == [401] * 10
    assert statuses[-1] == 429


@pytest.mark.parametrize("forge", [lambda c: c + "0", lambda c: "9" + c, lambda c: c.replace(".", ""), lambda c: ".."])
def test_cookies_cannot_be_made_up(city: City, forge: object) -> None:
    session = forge(city.token.new_session())  # type: ignore[operator]
    with serving(city.app(signed_in=False)) as address:
        assert httpx.get(address, cookies={city.token.cookie: session}).status_code == 401


def test_a_cookie_of_another_data_folder_is_none(city: City, tmp_path: Path) -> None:
    other = OperatorToken.of(tmp_path / "other")
    assert other.cookie != city.token.cookie
    assert not city.token.accepts(other.new_session())


def test_a_session_ends(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    session = city.token.new_session()
    assert city.token.accepts(session)
    later = clock.now() + 31 * 86_400_000_000
    monkeypatch.setattr("techport_pilots.access.operator_token.now", lambda: later)
    assert not city.token.accepts(session)


def test_only_its_owner_may_read_the_token(tmp_path: Path) -> None:
    token = OperatorToken.of(tmp_path)
    token.new_link()
    file = tmp_path / "token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / LINKS).stat().st_mode) == 0o700
    assert all(stat.S_IMODE(link.stat().st_mode) == 0o600 for link in (tmp_path / LINKS).iterdir())
    assert file.read_text() not in f"{token!r} {token} {WebSettings(token=token)!r}"
    file.chmod(0o644)  # as a restored backup may have it
    OperatorToken.of(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "short", "two words of a text that is long enough to be a token"])
def test_a_file_without_a_token_is_no_empty_password(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    with pytest.raises(UnusableToken, match="Remove it"):
        OperatorToken.of(tmp_path)


@pytest.mark.slow
def test_the_platform_prints_an_address_that_signs_in(tmp_path: Path) -> None:
    file = tmp_path / "pilot.yaml"
    file.write_text(PILOT)
    with Platform(tmp_path, "up", "--pilot", str(file), "--broker", "embedded") as platform:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://{platform.http}/api/v1/portfolio")
        assert refused.value.code == 401
        log = platform.log.read_text()
        assert platform.token not in log
        [printed] = [word for word in log.split() if "/?token=" in word]
        made = platform.run("link").strip()
        for address in (printed, made):
            assert address.startswith(f"http://{platform.http}/?token=")
            assert httpx.get(address).status_code == 303, address
            assert httpx.get(address).status_code == 401, address
        assert platform.get("/api/v1/portfolio")["items"]
        platform.run("audit")
        platform.run("doctor")
