"""Logs hold no secrets and nothing of what a frame had in hand, whatever went wrong."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from techport import logs

CANARY = "kanari-7f3a91"


@pytest.fixture(params=["json", "console"])
def written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the platform's logging writes."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    level = root.level
    logs.configure(request.param, "info")
    yield stream
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


async def _fail(request: Request) -> Response:
    form = {"password": CANARY, "payload": (await request.body()).decode()}
    raise RuntimeError(f"cannot work with {len(form)} fields")


def test_a_500_logs_where_it_happened_and_no_locals(written: io.StringIO) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(Starlette(routes=[Route("/", _fail, methods=["POST"])]), port=port, log_config=None)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
        answer = httpx.post(
            f"http://127.0.0.1:{port}/?token={CANARY}",
            headers={"Authorization": f"Bearer {CANARY}", "Cookie": f"techport={CANARY}"},
            content=f"reading {CANARY}" * 10_000,
        )
    finally:
        server.should_exit = True
        thread.join()
    assert answer.status_code == 500
    assert "_fail" in written.getvalue()
    assert "cannot work with 2 fields" in written.getvalue()
    assert CANARY not in written.getvalue()
    assert len(written.getvalue()) < 20_000


@pytest.mark.parametrize(
    "fields",
    [
        {"mqtt_password": CANARY},
        {"request": {"headers": {"X-Api-Key": CANARY, "Authorization": f"Basic {CANARY}"}}},
        {"a": [{"b": ({"accessToken": CANARY},)}]},
        {"headers": [(b"cookie", f"s={CANARY}".encode()), [b"authorization", CANARY.encode()]]},
        {"url": f"postgresql://techport:{CANARY}@db.example/techport"},
        {"url": f"postgresql://techport:p@ss/{CANARY}@db.example/techport"},
        {"url": f"https://{CANARY}@example.org/x"},
        {"line": f"GET /x?access_token={CANARY}&y=1"},
        {"line": f'{{"password": "a b {CANARY}"}}'},
        {"line": f"Set-Cookie: a=1; b={CANARY}"},
        {"line": f"scope {{'headers': [(b'authorization', b'Bearer {CANARY}')]}}"},
        {"body": f"client_secret={CANARY}".encode()},
        {"path": Path(f"http://u:{CANARY}@h")},
    ],
)
def test_secrets_are_hidden_at_any_depth(fields: dict[str, Any], written: io.StringIO) -> None:
    structlog.get_logger("test").warning("signing in failed", **fields)
    structlog.get_logger("test").warning(f"signing in failed: {fields}")
    logging.getLogger("another").error("signing in failed: %s", fields)
    assert written.getvalue().count("signing in failed") == 3
    assert CANARY not in written.getvalue()


def test_an_error_that_quotes_a_password_is_logged_without_it(written: io.StringIO) -> None:
    try:
        try:
            raise ValueError(f"cannot open influxdb://admin:{CANARY}@127.0.0.1/readings")
        except ValueError as error:
            raise RuntimeError(f"no store (token={CANARY})") from error
    except RuntimeError:
        structlog.get_logger("test").exception("failed")
        logging.getLogger("another").exception("failed")
    assert "127.0.0.1/readings" in written.getvalue()
    assert CANARY not in written.getvalue()


def test_long_and_deep_records_are_cut(written: io.StringIO) -> None:
    deep: dict[str, Any] = {"password": CANARY}
    for _ in range(500):
        deep = {"next": deep}
    log = structlog.get_logger("test")
    log.warning("x" * 1_000_000, deep=deep, many=list(range(1_000_000)), payload=b"y" * 1_000_000)
    for repeated in ("password", "://a:", "password='", "bearer ", "a://"):
        log.warning(repeated * 100_000)
    assert CANARY not in written.getvalue()
    assert len(written.getvalue()) < 120_000


def test_a_record_that_cannot_be_written_is_not_shown_with_its_arguments(written: io.StringIO) -> None:
    record = logging.LogRecord("another", logging.ERROR, __file__, 1, "%d devices signed in", (CANARY,), None)
    (handler,) = (one for one in logging.getLogger().handlers if type(one).__module__ == logs.__name__)
    handler.handle(record)
    assert "another" in written.getvalue()
    assert CANARY not in written.getvalue()


def test_what_is_no_secret_stays_readable() -> None:
    event = {"event": "serving", "address": "http://127.0.0.1:8080/u/a@b.no", "count": 3, "devices": ["kran", None]}
    assert logs.hide_secrets(None, "info", dict(event)) == event


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.parametrize("variable", ["TECHPORT_REGISTRY", "TECHPORT_STORE"])
def test_the_command_line_shows_no_password_of_a_bad_url(variable: str, tmp_path: Path) -> None:
    for url in (f"postgresql://techport:{CANARY}@127.0.0.1:1/x", f"mysql://techport:{CANARY}@127.0.0.1/x"):
        command = [sys.executable, "-m", "techport", "audit", "--data", str(tmp_path)]
        environment = {**os.environ, variable: url}
        ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
        assert ended.returncode != 0
        assert json.dumps(url)[1:20] in ended.stdout + ended.stderr or "127.0.0.1" in ended.stdout + ended.stderr
        assert CANARY not in ended.stdout + ended.stderr
