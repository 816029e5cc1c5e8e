"""A store that another process holds: who may use it, what is written through it, and when it is away."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from techport_storage.errors import StoreUnavailable
from techport_storage.model import Batch, Query, Reading, Selection
from techport_storage.shared.server import StoreServer
from techport_storage.shared.wire import Call
from techport_storage.store import ReadingStore, open_store, read_with_extent
from tests.contract.conftest import holder, shared_url
from tests.servers.mosquitto import free_port

__all__ = ["holder", "shared_url"]
NOON = 1_700_049_600_000_000
READING = Reading("air", "lamp-1", "pm10", NOON, 1.5, NOON)


def test_what_is_written_through_it_is_there(holder: ReadingStore, shared_url: str) -> None:
    """As when a package is opened by a web process. A worker, which has to know what is replaced, cannot be there."""
    store = open_store(shared_url)
    assert store.write(Batch.of([READING])).written == 1
    receipt = store.write(Batch.of([READING, Reading("air", "lamp-1", "pm10", NOON, 2.5, NOON)]))
    assert (receipt.duplicate_rows.tolist(), receipt.correction_rows.tolist()) == ([0], [1])
    assert receipt.replaced.tolist() == [1.5]
    assert holder.read(Query()).read_all()["value"].to_pylist() == [2.5]
    with pytest.raises(StoreUnavailable, match="holds the store"):
        store.write(Batch.of([READING]), lambda rows, before: None)
    store.close()


def test_a_page_of_readings_takes_one_trip(holder: ReadingStore, tmp_path: Path) -> None:
    """What a short answer costs is the way."""
    trips: list[str] = []

    class Counting(StoreServer):
        def answer(self, connection: Connection, call: Call) -> None:
            trips.append(call.method)
            super().answer(connection, call)

    token, port = tmp_path / "token", free_port()
    token.write_text("secret")
    server = Counting(holder, "127.0.0.1", port, lambda shown: shown == "secret")
    store = open_store(f"shared://127.0.0.1:{port}?token_file={token}")
    store.write(Batch.of([READING]))
    trips.clear()
    extent, reader = read_with_extent(store, Query(limit=100))
    assert (extent.readings, reader.read_all().num_rows, trips) == (1, 1, ["page"])
    trips.clear()
    extent, reader = read_with_extent(store, Query())
    assert (extent.readings, reader.read_all().num_rows, trips) == (1, 1, ["extent", "read"])
    store.close()
    server.shutdown()


def test_who_has_not_the_token_is_sent_away(holder: ReadingStore, shared_url: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("guessed")
    with pytest.raises(StoreUnavailable, match="the token is not the one"):
        open_store(shared_url)
    (tmp_path / "token").unlink()
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        open_store(shared_url)
    for url in ("shared://127.0.0.1:1", "shared://:7?token_file=x", "shared://127.0.0.1:1?token=x"):
        with pytest.raises(ValueError, match="token_file"):
            open_store(url)


def test_nobody_there_is_not_now(holder: ReadingStore, tmp_path: Path) -> None:
    token, port = tmp_path / "token", free_port()
    token.write_text("secret")
    url = f"shared://127.0.0.1:{port}?token_file={token}"
    with pytest.raises(StoreUnavailable, match="does not answer"):
        open_store(url)
    server = StoreServer(holder, "127.0.0.1", port, lambda shown: shown == "secret")
    store = open_store(url)
    server.shutdown()
    with pytest.raises(StoreUnavailable):
        store.latest(Selection())
    with pytest.raises(StoreUnavailable):
        store.read(Query())
    store.close()


def test_a_caller_that_goes_away_or_a_server_that_comes_back(holder: ReadingStore, tmp_path: Path) -> None:
    """Connections are kept for the next call: one that has ended is no error. Rows that nobody takes bind nothing."""
    token, port = tmp_path / "token", free_port()
    token.write_text("secret")
    holder.write(Batch.of(Reading("air", "lamp-1", "pm10", NOON + row, 1.5, NOON) for row in range(120_000)))
    server = StoreServer(holder, "127.0.0.1", port, lambda shown: shown == "secret")
    store = open_store(f"shared://127.0.0.1:{port}?token_file={token}")
    for _ in range(3):
        with store.read(Query()) as reader:
            assert reader.read_next_batch().num_rows > 0
    assert store.read(Query()).read_all().num_rows == 120_000
    server.shutdown()
    server = StoreServer(holder, "127.0.0.1", port, lambda shown: shown == "secret")
    assert store.latest(Selection()).num_rows == 1
    assert holder.erase(Selection()) == 120_000, "no reader holds the rows any more"
    store.close()
    server.shutdown()
