"""Who goes away is worked for no longer; who asks for too much is told before the store begins."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from techport_dashboards import WebSettings
from techport_storage.duckdb import read
from techport_storage.duckdb.store import DuckStore
from techport_storage.microseconds import SECOND
from techport_storage.model import Batch, Stream
from tests.dashboards.conftest import START
from tests.dashboards.web import City, serving

DEVICES, ROWS = 40, 5_000
SLICES = DEVICES * ROWS // 50


@pytest.fixture
def wide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[City]:
    """A store that is read in thousands of steps."""
    city = City.at(tmp_path)
    devices = "\n".join(f"  - {{id: d{i}, interval: PT1S, streams: [{{quantity: pm10}}]}}" for i in range(DEVICES))
    city.import_text(f'id: p\ntitle: {{en: P}}\nquestion: {{en: "P?"}}\ndevices:\n{devices}\n')
    at = np.tile(START + np.arange(ROWS) * SECOND, DEVICES)
    index = np.repeat(np.arange(DEVICES, dtype=np.int32), ROWS)
    streams = [Stream("p", f"d{i}", "pm10") for i in range(DEVICES)]
    city.store.write(Batch(streams, index, at, at / SECOND, at, np.ones(len(at), np.uint8)))  # all flagged
    for constant in ("SLICE", "SCANNED", "SMALLEST_SLICE"):
        monkeypatch.setattr(read, constant, 50)
    yield city
    city.close()


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every step."""
    taken: list[int] = []
    table = read.Fetch.table

    def counted(fetch: read.Fetch) -> object:
        taken.append(1)
        return table(fetch)

    monkeypatch.setattr(read.Fetch, "table", counted)
    return taken


@pytest.mark.parametrize(
    "question",
    [
        "every=PT1S&quality=good",  # no row comes out, for long
        "every=PT1S&quality=good&start=2025-10-21&end=2025-10-21T12:00Z&fill=null&aggregate=max",
        "downsample=lttb&points=10",
        "format=csv",
        "format=parquet",
        "format=ndjson&every=PT1S",
    ],
)
def test_who_goes_away_is_worked_for_no_longer(wide: City, steps: list[int], question: str) -> None:
    assert isinstance(wide.store, DuckStore)
    with serving(wide.app(WebSettings(query_seconds=600))) as address:
        with socket.create_connection(("127.0.0.1", urlsplit(address).port or 0)) as client:
            client.sendall(f"GET /api/v1/readings?{question} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            wait_for(lambda: len(steps) >= 3)
        wait_for(lambda: not wide.store._file._cursors)
        assert len(steps) < SLICES


def test_a_question_over_more_than_may_be_read_is_refused_before_the_store_begins(wide: City, steps: list[int]) -> None:
    """Also of a pilot without phases, of which the registry cannot tell how much it has."""
    with serving(wide.app(WebSettings(max_scan=DEVICES * ROWS - 1000))) as address:
        port = urlsplit(address).port or 0
        with socket.create_connection(("127.0.0.1", port)) as client:
            path = "/api/v1/readings?every=PT1S&pilot=p&device=d*&quantity=*"
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            answer = client.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 422")
    assert b"format=parquet" in answer
    assert steps == []


def wait_for(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
