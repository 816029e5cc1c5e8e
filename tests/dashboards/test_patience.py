"""Who goes away is worked for no longer; who asks for too much is told before the store begins."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from techport_dashboards import WebSettings
from techport_dashboards.api import readings
from techport_dashboards.problems import Problem
from techport_dashboards.query.limits import Deadline, Turns
from techport_storage.duckdb import read
from techport_storage.duckdb.store import DuckStore
from techport_storage.microseconds import SECOND
from techport_storage.model import Batch, Stream
from tests.dashboards.conftest import START, anyio_backend, city
from tests.dashboards.web import City, serving

__all__ = ["anyio_backend", "city"]

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


@pytest.mark.slow
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
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("turns", "question"),
    [
        ("_IN_MEMORY", "start=2025-10-21&end=2025-10-22&every=PT1H&fill=null"),
        ("_IN_MEMORY", "downsample=lttb&points=10&start=2025-10-21&end=2025-10-22"),
        ("_NETCDF", "start=2025-10-21&end=2025-10-22&device=kran&format=netcdf"),
    ],
)
async def test_what_takes_memory_waits_for_its_turn(
    city: City, monkeypatch: pytest.MonkeyPatch, turns: str, question: str
) -> None:
    """However many ask at once, of an open pilot without a credential."""
    only = Turns(1)
    monkeypatch.setattr(readings, turns, only)
    app = city.app(WebSettings(query_seconds=0.3))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        with only.taken(Deadline(10)):
            answer = await client.get(f"/api/v1/readings?pilot=kai-luft&{question}")
            assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (422, "too-costly"), answer.text
            assert (await client.get("/api/v1/readings?pilot=kai-luft&limit=1")).status_code == 200, (
                "others do not wait"
            )
        assert (await client.get(f"/api/v1/readings?pilot=kai-luft&{question}")).status_code == 200


def test_a_turn_is_given_back_however_it_ends() -> None:
    turns, left = Turns(1), Event()
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), turns.taken(Deadline(10)):
            raise ValueError("broken")
    with turns.taken(Deadline(10)):
        left.set()
        with pytest.raises(Problem, match="disconnected"), turns.taken(Deadline(10, left)):
            pass
