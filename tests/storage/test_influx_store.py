"""What is particular to InfluxStore: refusals, several writers, outages, tokens. The contract suite has the rest."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import httpx
import numpy as np
import pytest

from techport_storage import clock
from techport_storage.errors import StoreUnavailable
from techport_storage.influxdb.connection import Address, Connection, RefusedLines, stream_bytes
from techport_storage.influxdb.setup import init
from techport_storage.microseconds import DAY, HOUR, SECOND
from techport_storage.model import Batch, Query, Reading, Receipt, Selection, Stream
from techport_storage.store import ReadingStore, open_store
from tests.servers.influxd import ORG, Influxd, influxd, own_influxd
from tests.servers.mosquitto import free_port

__all__ = ["influxd", "own_influxd"]

WEEK = 7 * DAY
NOON = 1_700_049_600 * SECOND
A = Stream("luft", "a", "pm10")


def reading(stream: Stream = A, time: int = NOON, value: float = 1.0) -> Reading:
    return Reading(*stream, time=time, value=value, received=time + SECOND)


def put(store: ReadingStore, *readings: Reading) -> Receipt:
    return store.write(Batch.of(readings))


def times(store: ReadingStore) -> list[int]:
    return sorted(int(t) for t in store.read(Query()).read_all()["time"].cast("int64").to_pylist())


def counts(receipt: Receipt) -> tuple[int, list[int], list[int]]:
    return receipt.written, receipt.duplicate_rows.tolist(), [row for row, _ in receipt.rejected]


def write_lines(server: Influxd, bucket: str, lines: str) -> None:
    where = {"org": ORG, "bucket": bucket, "precision": "us"}
    headers = {"Authorization": f"Token {server.token}"}
    answer = httpx.post(f"{server.address}/api/v2/write", params=where, content=lines, headers=headers, timeout=30)
    answer.raise_for_status()


@pytest.fixture
def url(influxd: Influxd) -> str:
    return influxd.url(influxd.new_bucket())


@pytest.fixture
def store(url: str) -> Iterator[ReadingStore]:
    store = open_store(url)
    yield store
    store.close()


# Refusals


def test_rows_that_the_server_refuses_are_named_and_the_others_are_in(influxd: Influxd) -> None:
    """A stranger made `quality` a text in one shard; there InfluxDB refuses ours, a week later it does not."""
    bucket = influxd.new_bucket()
    write_lines(influxd, bucket, f'reading,device=x,pilot=x,quantity=x quality="good" {NOON}')
    store = open_store(influxd.url(bucket))
    later = [reading(time=NOON + 2 * WEEK + i * SECOND) for i in range(3)]
    put(store, later[0])
    receipt = put(store, reading(time=NOON), later[0], reading(time=NOON + SECOND), later[1], later[2])
    assert counts(receipt) == (2, [1], [0, 2])
    assert all("field type conflict" in reason for _, reason in receipt.rejected)
    assert times(store) == [r.time for r in later]
    store.close()


def test_rows_beyond_retention_are_named_and_the_others_are_in(influxd: Influxd) -> None:
    store = open_store(influxd.url(influxd.new_bucket(retention_s=86_400)))
    now = clock.now()
    receipt = put(store, reading(time=now - 30 * DAY), reading(time=now), reading(time=now - 40 * DAY))
    assert counts(receipt) == (1, [], [0, 2])
    assert all("retention" in reason for _, reason in receipt.rejected)
    assert times(store) == [now]
    store.close()


def test_what_influxdb_cannot_keep_is_rejected_with_the_reason(store: ReadingStore) -> None:
    receipt = put(
        store,
        reading(),
        reading(Stream("luft", "two\nlines", "pm10")),
        reading(Stream("luft", "", "pm10")),
        reading(time=9_300_000_000 * SECOND),
        reading(Stream("luft", "n" * 2000, "pm10")),
    )
    assert counts(receipt) == (1, [], [1, 2, 3, 4])
    assert [reason.split()[0] for _, reason in receipt.rejected] == ["device", "device", "time", "device"]
    assert times(store) == [NOON]


def test_a_row_that_is_only_half_there_is_not_read(influxd: Influxd) -> None:
    """InfluxDB makes the fields of a point visible one after the other."""
    bucket = influxd.new_bucket()
    store = open_store(influxd.url(bucket))
    put(store, reading(), reading(time=NOON + SECOND))
    write_lines(influxd, bucket, f"reading,device=a,pilot=luft,quantity=pm10 value=7 {NOON + 2 * SECOND}")
    assert times(store) == [NOON, NOON + SECOND]
    store.close()


# Several writers


def test_one_writer_knows_what_a_process_before_it_wrote(url: str) -> None:
    for written, duplicates in ((3, []), (0, [0, 1, 2])):
        store = open_store(url)
        receipt = put(store, *(reading(time=NOON + i * SECOND) for i in range(3)))
        assert counts(receipt) == (written, duplicates, [])
        store.close()


def test_several_writers_see_each_other(influxd: Influxd) -> None:
    bucket = influxd.new_bucket()
    one, two = (open_store(influxd.url(bucket, writers="several")) for _ in range(2))
    for turn in range(5):
        readings = [reading(time=NOON + i * SECOND, value=turn) for i in range(turn, turn + 4)]
        assert counts(put(one, *readings[:3])) == ((3, [], []) if turn == 0 else (0, [], []))
        last = put(two, *readings)
        assert counts(last) == (1, [0, 1, 2], [])
    assert len(times(one)) == 8
    one.close()
    two.close()


def test_as_the_only_writer_it_counts_what_it_does_not_know_of_as_written_and_never_the_other_way(url: str) -> None:
    """docs/influxdb.md says so: `written` is then an upper bound, which the audit compares with the store."""
    one, two = open_store(url), open_store(url)
    put(one, reading())
    put(two, reading(time=NOON - SECOND))  # from here on `two` believes to know this stream
    put(one, reading(time=NOON + SECOND))
    receipt = put(two, reading(time=NOON + SECOND))
    assert counts(receipt) == (1, [], [])
    assert times(one) == [NOON - SECOND, NOON, NOON + SECOND]
    one.close()
    two.close()


def test_late_rows_over_a_long_time_are_looked_up(store: ReadingStore) -> None:
    """More clusters of times than a look-up has statements."""
    old = [reading(time=NOON - i * DAY, value=i) for i in range(300)]
    put(store, *old)
    mixed = [r for i in range(0, 300, 2) for r in (old[i], reading(time=old[i].time + 7 * HOUR))]
    receipt = put(store, *mixed)
    assert receipt.duplicate_rows.tolist() == [i for i, r in enumerate(mixed) if r in old]
    assert receipt.written == len(mixed) - receipt.duplicates


# Outages


@pytest.mark.faults
def test_down_and_up_again(own_influxd: Influxd) -> None:
    store = open_store(own_influxd.url(own_influxd.new_bucket()))
    put(store, reading())
    own_influxd.kill()
    batch = Batch.of([reading(), reading(time=NOON + SECOND), reading(Stream("luft", "new", "pm10"))])
    for call in (
        lambda: store.write(batch),
        lambda: store.read(Query()),
        store.probe,
        lambda: store.latest(Selection()),
    ):
        with pytest.raises(StoreUnavailable, match="does not answer"):
            call()
    own_influxd.start()
    assert counts(store.write(batch)) == (2, [0], [])
    store.probe()
    assert len(times(store)) == 3
    store.close()


@pytest.mark.faults
def test_what_was_acknowledged_survives_kill_9(own_influxd: Influxd) -> None:
    store = open_store(own_influxd.url(own_influxd.new_bucket()))
    for i in range(20):
        put(store, *(reading(time=NOON + (i * 50 + k) * SECOND, value=k) for k in range(50)))
    own_influxd.kill()
    own_influxd.start()
    assert times(store) == [NOON + i * SECOND for i in range(1000)]
    store.close()


def test_a_reader_left_early_does_not_keep_the_server_busy(store: ReadingStore) -> None:
    rows = 40_000
    time = NOON + np.arange(rows, dtype=np.int64) * SECOND
    store.write(Batch([A], np.zeros(rows, np.int32), time, time / 3, time, np.zeros(rows, np.uint8)))
    for _ in range(40):  # more than there are connections in the pool
        reader = store.read(Query())
        assert reader.read_next_batch().num_rows > 0
        reader.close()
        del reader
    table = store.read(Query()).read_all()
    assert table["value"].to_numpy().tobytes() == (time / 3).tobytes()


# What the server answers


class Answering(BaseHTTPRequestHandler):
    """A server in front of which a proxy, a quota or a full disk stands: the same answer to everything."""

    status, body, delay_s = 204, "", 0.0
    requests: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.requests.append(self.path)
        time.sleep(self.delay_s)
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(self.body)))
        self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(self.body.encode())

    def log_message(self, message: str, *args: object) -> None:
        """Nothing: tests read what was asked from `requests`."""


@contextmanager
def answering(status: int, body: str = "", delay_s: float = 0.0) -> Iterator[tuple[Connection, list[str]]]:
    """A connection to a server that answers so, and the paths that were asked of it."""
    requests: list[str] = []
    answers = {"status": status, "body": body, "delay_s": delay_s, "requests": requests}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Chosen", (Answering,), answers))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"influxdb://127.0.0.1:{server.server_port}/city/readings?token_env=T&timeout=0.5"
    connection = Connection(Address.parse(url), token="t")
    try:
        yield connection, requests
    finally:
        connection.close()
        server.shutdown()
        server.server_close()
        thread.join()


def every_call(connection: Connection) -> dict[str, Callable[[], object]]:
    compressed = Connection(replace(connection.address, gzip=True), token="t")
    return {
        "/api/v2/write": lambda: connection.write(b"reading,device=d value=1 1"),
        "/api/v2/write, gzip": lambda: compressed.write(b"reading,device=d value=1 1"),
        "/api/v2/query": lambda: connection.flux("buckets()"),
        "/query": lambda: connection.influxql(["SHOW SERIES"]),
        "/api/v2/delete": lambda: connection.delete("1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z", ""),
    }


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            401,
            '{"code":"unauthorized","message":"unauthorized access"}',
            "does not know the token: unauthorized access",
        ),
        (403, '{"code":"forbidden","message":"not yours"}', "does not let this token do that: not yours"),
        (404, '{"code":"not found","message":"no bucket"}', "'city' with a bucket 'readings'.*: no bucket"),
        (413, '{"code":"request too large","message":"too many bytes"}', "answered 413: too many bytes"),
        (429, '{"code":"too many requests","message":"slow down"}', "answered 429: slow down"),
        (500, '{"code":"internal error","message":"no space left on device"}', "answered 500: no space left"),
        (503, "<html>maintenance</html>", "answered 503: <html>maintenance"),
    ],
)
def test_a_refusal_is_said_in_words_and_nothing_is_asked_twice(status: int, body: str, said: str) -> None:
    with answering(status, body) as (connection, requests):
        for name, call in every_call(connection).items():
            requests.clear()
            with pytest.raises(StoreUnavailable, match=said):
                call()
            assert [path.partition("?")[0] for path in requests] == [name.partition(",")[0]]


@pytest.mark.parametrize("status", [400, 422])
def test_a_write_of_which_some_lines_are_refused_is_told_from_a_failed_one(status: int) -> None:
    with answering(status, '{"code":"invalid","message":"partial write: dropped=1"}') as (connection, _):
        for name, call in every_call(connection).items():
            expected = RefusedLines if name.startswith("/api/v2/write") else StoreUnavailable
            with pytest.raises(expected, match="partial write: dropped=1"):
                call()


def test_a_server_that_says_nothing_counts_as_down() -> None:
    with answering(204, delay_s=1.5) as (connection, _):
        for call in every_call(connection).values():
            with pytest.raises(StoreUnavailable, match="does not answer"):
                call()


def test_rows_are_read_without_holding_them(influxd: Influxd) -> None:
    """Answers of some 11 MB of MessagePack and 38 MB of CSV. At a million rows the peaks are the same."""
    url = influxd.url(influxd.new_bucket())
    store, connection = open_store(url), Connection(Address.parse(url))
    rows, part = 300_000, 100_000
    for begin in range(0, rows, part):
        when = NOON + np.arange(begin, begin + part, dtype=np.int64) * SECOND
        store.write(Batch([A], np.zeros(part, np.int32), when, when / 3, when, np.zeros(part, np.uint8)))
    script = f'from(bucket: "{connection.address.bucket}") |> range(start: 0) |> filter(fn: (r) => r._field == "value")'
    tracemalloc.start()
    try:
        read = sum(batch.num_rows for batch in store.read(Query()))
        of_influxql = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        size = sum(map(len, stream_bytes(connection.address, connection.flux(script))))
        of_flux = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read == rows
    assert size > 50 * rows
    assert of_influxql < 6_000_000
    assert of_flux < 2_000_000
    connection.close()
    store.close()


# Address, token, set-up


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("influxdb://host:8086/org", "organisation and bucket"),
        ("influxdb://host/org/bucket/more?token_env=T", "organisation and bucket"),
        ("influxdb://me:secret@host/org/bucket", "no password"),
        ("influxdb://host/org/bucket", "token_file"),
        ("influxdb://host/org/bucket?token_file=a&token_env=b", "token_file"),
        ("influxdb://host/org/bucket?token=secret", "belongs in a file"),
        ("influxdb://host/org/bucket?token_env=T&gzip=maybe", "gzip"),
        ("influxdb://host/org/bucket?token_env=T&timeout=soon", "timeout"),
    ],
)
def test_wrong_addresses(wrong: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        open_store(wrong)
    assert "secret" not in str(caught.value)


def test_address() -> None:
    address = Address.parse("influxdb://db.example:9999/city%20lab/readings?token_env=T&tls=on&writers=several")
    assert (address.url, address.org, address.bucket) == ("https://db.example:9999", "city lab", "readings")
    assert address.gzip
    assert address.several_writers
    assert not Address.parse("influxdb://[::1]:8086/o/b?token_env=T").gzip


def test_errors_never_show_the_token(influxd: Influxd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = influxd.new_bucket()
    token = tmp_path / "token"
    place = f"influxdb://127.0.0.1:{influxd.port}/{ORG}"
    with pytest.raises(StoreUnavailable, match="No such file"):
        open_store(f"{place}/{bucket}?token_file={token}")
    token.write_text("\n")
    with pytest.raises(StoreUnavailable, match="holds no InfluxDB token"):
        open_store(f"{place}/{bucket}?token_file={token}")
    token.write_text("not-a-token-of-this-server\n")
    with pytest.raises(StoreUnavailable, match="does not know the token") as caught:
        open_store(f"{place}/{bucket}?token_file={token}")
    assert "not-a-token" not in str(caught.value)
    monkeypatch.setenv("TOKEN_FOR_TEST", influxd.token)
    with pytest.raises(StoreUnavailable, match="no-such-bucket") as caught:
        open_store(f"{place}/no-such-bucket?token_env=TOKEN_FOR_TEST")
    assert influxd.token not in str(caught.value)
    open_store(f"{place}/{bucket}?token_env=TOKEN_FOR_TEST").close()


def test_nobody_there() -> None:
    with pytest.raises(StoreUnavailable, match="does not answer"):
        open_store(f"influxdb://127.0.0.1:{free_port()}/o/b?token_env=PATH")


def test_compressed_and_not_are_the_same(influxd: Influxd) -> None:
    bucket = influxd.new_bucket()
    for gzip, device in (("on", "a"), ("off", "b")):
        store = open_store(influxd.url(bucket, gzip=gzip))
        assert (
            put(store, *(reading(Stream("p", device, "t"), NOON + i * SECOND, i / 7) for i in range(500))).written
            == 500
        )
        store.close()
    store = open_store(influxd.url(bucket))
    values = store.read(Query()).read_all()["value"].to_pylist()
    assert values == [i / 7 for i in range(500)] * 2
    store.close()


def test_init_makes_a_bucket_and_a_token_that_can_do_no_more_than_it_must(influxd: Influxd, tmp_path: Path) -> None:
    name = f"made-{time.time_ns()}"
    token, reader = tmp_path / "token", tmp_path / "reader"
    place = f"influxdb://127.0.0.1:{influxd.port}/{ORG}"
    url = f"{place}/{name}?token_file={token}"
    made = init(url, influxd.token, retention_s=30 * 86_400, token_file=token)
    again = init(f"{place}/{name}?token_file={reader}", influxd.token, token_file=reader, read_only=True)
    assert (made.created, again.created, made.bucket_id) == (True, False, again.bucket_id)
    assert token.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        init(url, influxd.token, token_file=token)

    store = open_store(url)
    assert put(store, reading()).written == 1  # kept for ever now, as init() was last told
    store.probe()
    assert len(times(store)) == store.latest(Selection()).num_rows == store.erase(Selection()) == 1
    put(store, reading())
    store.close()
    with pytest.raises(StoreUnavailable):
        open_store(f"{place}/{influxd.new_bucket()}?token_file={token}")

    store = open_store(f"{place}/{name}?token_file={reader}")
    assert times(store) == [NOON]
    for refused in (store.probe, lambda: put(store, reading(time=NOON + SECOND)), lambda: store.erase(Selection())):
        with pytest.raises(StoreUnavailable):
            refused()
    store.close()


def test_init_refuses_a_retention_that_influxdb_does_not_have(influxd: Influxd) -> None:
    with pytest.raises(ValueError, match="an hour"):
        init(influxd.url("x"), influxd.token, retention_s=60)
