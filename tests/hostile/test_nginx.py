"""nginx in front, with its defaults and as docs/operations.md says."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest

from techport.public_url import problem_of
from techport.settings import Settings
from techport_dashboards import WebSettings
from tests.conftest import ROOT, unavailable
from tests.dashboards.conftest import AIR
from tests.dashboards.web import City, serving
from tests.servers.mosquitto import free_port

DEFAULTS = "location / { proxy_pass http://127.0.0.1:8080; }"


def documented() -> str:
    """The block of the documentation."""
    return re.findall(r"```nginx\n(.*?)```", (ROOT / "docs/operations.md").read_text("utf-8"), re.DOTALL)[0]


@contextmanager
def nginx(folder: Path, location: str, behind: str) -> Iterator[str]:
    """The address of an nginx with this block, in front of the server at `behind`."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        unavailable("nginx is not installed (Debian: apt-get install nginx-light)")
    port = free_port()
    folder.mkdir()
    paths = " ".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    server = f"server {{ listen 127.0.0.1:{port}; {location.replace('http://127.0.0.1:8080', behind)} }}"
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {paths}\n{server}\n}}\n"
    )
    process = subprocess.Popen([program, "-p", folder, "-c", folder / "nginx.conf"], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/healthz")
                break
            except httpx.TransportError:
                assert process.poll() is None, (folder / "error.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    city = City.at(tmp_path)
    city.import_text(AIR)
    yield city
    city.close()


def test_behind_an_nginx_with_its_defaults_nobody_is_the_operator(city: City, tmp_path: Path) -> None:
    """It sends Host 127.0.0.1 and nothing of where the visitor is."""
    with serving(city.app(signed_in=False)) as behind, nginx(tmp_path / "nginx", DEFAULTS, behind) as address:
        assert httpx.get(f"{address}/api/v1/portfolio").status_code == 401
        answer = httpx.post(f"{address}/api/v1/pilots/kai-luft/quarantine/replay", json={"reason": "not-a-number"})
        assert answer.status_code == 401
        assert httpx.get(f"{address}/?token={city.token.new_link()}").status_code == 303


def test_the_documented_nginx_works(city: City, tmp_path: Path) -> None:
    settings = WebSettings(public_url="https://data.example.no", trusted_proxies=[ip_network("127.0.0.1")])
    own = {"Host": "data.example.no"}
    with (
        serving(city.app(settings, signed_in=False)) as behind,
        nginx(tmp_path / "nginx", documented(), behind) as address,
        httpx.Client(base_url=address, headers=own) as client,
    ):
        signed_in = client.get(
            f"/?token={city.token.new_link()}", headers={"Forwarded": "for=1.2.3.4;host=evil.example"}
        )
        assert signed_in.status_code == 303
        session = {"Cookie": signed_in.headers["set-cookie"].partition(";")[0]}
        assert client.get("/api/v1/portfolio", headers=session).status_code == 200
        assert client.get("/api/v1/portfolio").status_code == 401
        assert client.get("/api/v1/pilots", headers={"Host": "evil.example"}).status_code == 421
        assert client.get("/api/v1/pilots", headers={"X-Forwarded-Host": "evil.example"}).status_code == 200, (
            "overwritten"
        )
        assert httpx.get(f"{behind}/api/v1/pilots", headers={"Host": "evil.example"}).status_code == 421
        with client.stream("GET", "/api/v1/live", headers=session) as live:
            assert "hello" in next(line for line in live.iter_lines() if line.startswith("event"))


def test_an_nginx_that_nobody_has_named_is_refused_with_the_setting(city: City, tmp_path: Path) -> None:
    with (
        serving(city.app(signed_in=False)) as behind,
        nginx(tmp_path / "nginx", documented(), behind) as address,
    ):
        answer = httpx.get(f"{address}/api/v1/pilots")
        assert answer.status_code == 400
        assert "trusted_proxy" in answer.json()["detail"]


def test_the_platform_asks_itself_through_its_public_address(city: City, tmp_path: Path) -> None:
    settings = WebSettings(trusted_proxies=[ip_network("127.0.0.1")])
    with (
        serving(city.app(settings, signed_in=False)) as behind,
        nginx(tmp_path / "nginx", documented(), behind) as address,
    ):
        known = Settings(data=city.folder, public_url=address)
        assert problem_of(known) is None
        (tmp_path / "other").mkdir()
        assert "another server" in str(problem_of(Settings(data=tmp_path / "other", public_url=address)))
    assert "cannot be reached" in str(problem_of(known))
    with serving(city.app(signed_in=False)) as behind, nginx(tmp_path / "again", documented(), behind) as address:
        assert "trusted_proxy" in str(problem_of(Settings(data=city.folder, public_url=address)))
