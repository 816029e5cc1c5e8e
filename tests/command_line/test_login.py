"""techport login: the token goes to the address that was typed and to no other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from techport.cli import app
from techport.kept_tokens import kept_tokens

TOKEN = "tp_abcdefgh_secret"


class Platform(BaseHTTPRequestHandler):
    """Answers as a platform, or leads to another server."""

    def do_GET(self) -> None:
        server: Server = self.server  # type: ignore[assignment]
        server.credentials.append(self.headers.get("authorization", ""))
        self.send_response(302 if server.leads_to else server.status)
        if server.leads_to:
            self.send_header("Location", f"{server.leads_to}/api/v1/me")
        self.end_headers()
        self.wfile.write(server.body)

    def log_message(self, *_: object) -> None:
        pass


class Server(HTTPServer):
    status = 200
    body = b'{"who": "kari@example.org\\u001b[2J"}'
    leads_to = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Platform)
        self.credentials: list[str] = []
        self.address = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Server]]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    servers = Server(), Server()
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()


def login(address: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["login", address], input=f"{TOKEN}\n")
    return result.exit_code, f"{result.output} {result.exception}"


def test_the_token_is_kept_and_what_the_platform_says_is_printed_without_controls(
    servers: tuple[Server, Server],
) -> None:
    platform, _ = servers
    code, said = login(platform.address)
    assert code == 0, said
    assert "kari@example.org" in said
    assert "\x1b" not in said
    assert platform.credentials == [f"Bearer {TOKEN}"]
    assert kept_tokens() == {platform.address: TOKEN}


def test_the_token_is_not_shown_where_an_address_leads_to(servers: tuple[Server, Server]) -> None:
    platform, other = servers
    platform.leads_to = other.address
    code, said = login(platform.address)
    assert code != 0
    assert "leads elsewhere" in said
    assert other.credentials == []
    assert kept_tokens() == {}


@pytest.mark.parametrize(("status", "body"), [(401, b"{}"), (500, b"oh"), (200, b"<html>"), (200, b"[]"), (200, b"{}")])
def test_what_is_no_platform_keeps_no_token(servers: tuple[Server, Server], status: int, body: bytes) -> None:
    platform, _ = servers
    platform.status, platform.body = status, body
    code, said = login(platform.address)
    assert code != 0
    assert platform.address in said
    assert kept_tokens() == {}
