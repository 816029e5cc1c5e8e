"""What is said to an IoTDB cluster, and what it answers, without one: addresses, tablets, blocks, SQL, refusals."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from techport_storage.administration import CannotAdminister, backup
from techport_storage.errors import StoreIncompatible, StoreUnavailable
from techport_storage.iotdb import sql
from techport_storage.iotdb.blocks import Block, Texts, block_of
from techport_storage.iotdb.connection import Address, Connection, Refused, _Again, check
from techport_storage.iotdb.doubts import LASTING, Doubts
from techport_storage.iotdb.store import _prepare
from techport_storage.iotdb.tablets import refused_names, tablet
from techport_storage.model import Batch, Reading, Selection, Stream

RATIS = "org.apache.iotdb.consensus.ratis.RatisConsensus"
URL = "iotdb://a:1,b:2,[::1]:3/city?password_file=/run/secrets/iotdb"


def test_an_address_names_nodes_and_a_database() -> None:
    address = Address.parse(f"{URL}&table=air&user=techport&copies=1&writers=several&timeout=5")
    assert address.hosts == (("a", 1), ("b", 2), ("::1", 3))
    assert (address.database, address.table, address.user) == ("city", "air", "techport")
    assert (address.copies, address.several_writers, address.timeout_s) == (1, True, 5)
    assert Address.parse("iotdb://one/city?password_env=X").hosts == (("one", 6667),)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("iotdb:///city?password_file=x", "names nodes and a database"),
        ("iotdb://a:1?password_file=x", "names nodes and a database"),
        ("iotdb://root:hidden@a:1/city", "carries no password"),
        ("iotdb://a:1/city", "say where the IoTDB password is"),
        ("iotdb://a:1/city?password=hidden", "say where the IoTDB password is"),
        (f"{URL}&password_env=X", "say where the IoTDB password is"),
        ("iotdb://a:b/city?password_file=x", "write host:port"),
        ("iotdb://a:1/City?password_file=x", "no name for a database"),
        (f"{URL}&table=a;DROP", "no name for a database or a table"),
        (f"{URL}&copies=0", "copies=0"),
        (f"{URL}&writers=two", "use one or several"),
        (f"{URL}&timeout=soon", "give seconds"),
        (f"{URL}&replicas=3", "no option replicas"),
    ],
)
def test_an_address_that_is_none_says_what_to_write(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as told:
        Address.parse(url)
    assert "hidden" not in str(told.value)


def test_the_password_is_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    address = Address.parse(f"iotdb://a:1/city?password_file={file}")
    with pytest.raises(StoreUnavailable, match="No such file"):
        address.secret.read()
    file.write_text("\n")
    with pytest.raises(StoreUnavailable, match="holds no IoTDB password"):
        address.secret.read()
    file.write_text("secret\n")
    assert address.secret.read() == "secret"


def test_another_engine_is_not_saved_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(CannotAdminister, match="store export"):
        backup(URL, tmp_path / "saved")


def test_a_tablet_has_each_text_behind_its_length_and_numbers_big_endian() -> None:
    batch = Batch.of([Reading("p", "Øya", "t", 7, 0.5, 12_345, 4), Reading("p", "b", "t", -1, -0.0, 999, 0)])
    made = tablet(batch, np.array([1, 0]))
    assert made.times == struct.pack(">qq", -1, 7)
    texts = struct.pack(">i1si1s i1si4s i1si1s", *(1, b"p", 1, b"p", 1, b"b", 4, "Øya".encode(), 1, b"t", 1, b"t"))
    numbers = struct.pack(">dd qq ii", -0.0, 0.5, 0, 12_000, 0, 4)
    assert made.values == texts + numbers
    assert (made.rows, len(made.names), made.categories) == (2, 6, [0, 0, 0, 1, 1, 1])


def test_names_that_are_none_are_refused_with_their_rows() -> None:
    batch = Batch.of([Reading("p", name, "t", 0, 1.0, 0) for name in ("a", "", "b\n", "x" * 1025, "\ud800", "a")])
    assert [row for row, _ in refused_names(batch)] == [1, 2, 3, 4]


def column(values: Sequence[Any]) -> bytes:
    """A column of a block: whole numbers, floats or texts; None where a value is missing."""
    missing = [value is None for value in values]
    there = [value for value in values if value is not None]
    flags = b"\x01" + np.packbits(missing).tobytes() if any(missing) else b"\x00"
    if there and isinstance(there[0], str):
        return flags + b"".join(struct.pack(">i", len(text.encode())) + text.encode() for text in there)
    return flags + struct.pack(f">{len(there)}{'d' if there and isinstance(there[0], float) else 'q'}", *there)


def block(rows: int, *columns: tuple[int, int, bytes]) -> bytes:
    """A block of (encoding, type, content); the column of times is one 0, repeated."""
    head = struct.pack(">i", len(columns)) + bytes(kind for _, kind, _ in columns) + struct.pack(">i", rows)
    encodings = bytes([4, *(encoding for encoding, _, _ in columns)])
    return head + encodings + b"\x02" + column([0]) + b"".join(content for *_, content in columns)


words = st.sampled_from(["", "a", "aa", "a\x00", "Øya", "b"])
stretches = st.lists(st.tuples(words, words, st.integers(1, 40)), max_size=12)


@given(stretches)
def test_blocks_are_read_stretch_by_stretch(parts: list[tuple[str, str, int]]) -> None:
    rows = [(pilot, device, "t") for pilot, device, count in parts for _ in range(count)]
    times = list(range(len(rows)))
    repeated = (4, 5, b"\x03" + column(["t"]))
    texts = [(3, 5, column([row[part] for row in rows])) for part in (0, 1)]
    read = block_of(block(len(rows), *texts, repeated, (2, 2, column(times))), None)
    assert [(*stream, time) for stream, part in read.streams() for time in read.numbers(3)[part].tolist()] == [
        (*row, time) for row, time in zip(rows, times, strict=True)
    ]
    assert read.texts(1) == [row[1] for row in rows]


def test_values_may_be_missing_and_columns_be_in_another_order() -> None:
    content = block(3, (2, 2, column([5, None, 7])), (2, 4, column([0.5, None, 1.5])), (3, 5, column(["x", None, "x"])))
    read = block_of(content, [2, 0, 1])
    assert read.values(0) == ["x", "", "x"]
    assert read.values(1) == [5, 0, 7]
    assert read.numbers(2).tolist()[::2] == [0.5, 1.5]
    assert np.isnan(read.numbers(2)[1])


def test_a_block_that_breaks_off_is_an_error() -> None:
    content = block(3, (2, 2, column([5, 6, 7])))
    with pytest.raises(StoreUnavailable, match="ends in the middle"):
        block_of(content[:-1], None)


def test_names_stay_names_in_sql() -> None:
    name = "x' OR pilot <> '"
    (condition,) = sql.selection(Selection(devices=(name,)))
    assert condition == "device = 'x'' OR pilot <> '''"
    assert sql.selection(Selection(pilots=())) == []
    streams = [Stream("p", device, quantity) for device in "ab" for quantity in "tu"]
    assert list(sql.conditions(streams)) == [
        "(pilot = 'p' AND device IN ('a', 'b') AND quantity IN ('t', 'u'))",
    ]


def test_a_deletion_goes_to_every_node_that_may_have_rows() -> None:
    (statement,) = sql.delete("reading", Selection(pilots=("p",)), 10, 20)
    assert statement.endswith("WHERE (pilot = 'p' AND time >= 10 AND time <= 20) OR (pilot = '' AND time <= 20)")
    assert len(list(sql.delete("reading", Selection(devices=tuple(map(str, range(120)))), 10, 20))) == 3


class Described:
    """A cluster that answers how it is set, and takes every statement."""

    def __init__(self, precision: str, variables: dict[str, str], copies: tuple[int, int]) -> None:
        self.address = Address.parse(URL)
        self.executed: list[str] = []
        self._precision, self._variables, self._copies = precision, variables, copies

    def settings(self) -> dict[str, str]:
        return {"timestamp_precision": self._precision}

    def query(self, statement: str) -> Iterator[Block]:
        if statement == "SHOW VARIABLES":
            columns = [list(self._variables), list(self._variables.values())]
            yield Block(len(columns[0]), [Texts(list(range(len(texts))), texts) for texts in columns])
        elif statement == "SHOW DATABASES":
            numbers = [np.array([copies]) for copies in self._copies]
            yield Block(1, [Texts([0], ["city"]), Texts([0], ["INF"]), *numbers, np.array([604_800_000])])

    def use_database(self) -> None: ...

    def execute(self, statement: str) -> None:
        self.executed.append(statement)


SAFE = {"DataRegionConsensusProtocolClass": RATIS, "SchemaRegionConsensusProtocolClass": RATIS}


def test_a_cluster_that_keeps_what_it_acknowledges_is_taken() -> None:
    cluster = Described("us", SAFE, (3, 3))
    _prepare(cluster)  # type: ignore[arg-type]
    assert [statement.split("(")[0] for statement in cluster.executed] == [
        "CREATE TABLE IF NOT EXISTS reading ",
        "CREATE TABLE IF NOT EXISTS probe ",
    ]


@pytest.mark.parametrize(
    ("precision", "variables", "copies", "remedy"),
    [
        ("ns", SAFE, (3, 3), "timestamp_precision=us"),
        ("ms", SAFE, (3, 3), "timestamp_precision=us"),
        (
            "us",
            SAFE | {"DataRegionConsensusProtocolClass": "org.apache.iotdb.consensus.iot.IoTConsensus"},
            (3, 3),
            f"data_region_consensus_protocol_class={RATIS}",
        ),
        ("us", {}, (3, 3), "data_region_consensus_protocol_class"),
        ("us", SAFE, (3, 1), "data_replication_factor to 3"),
        ("us", SAFE, (1, 3), "schema_replication_factor"),
    ],
)
def test_a_cluster_that_would_lose_readings_is_refused_with_the_remedy(
    precision: str, variables: dict[str, str], copies: tuple[int, int], remedy: str
) -> None:
    cluster = Described(precision, variables, copies)
    with pytest.raises(StoreIncompatible, match=remedy):
        _prepare(cluster)  # type: ignore[arg-type]
    assert cluster.executed == []


def test_a_node_that_keeps_silent_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("techport_storage.iotdb.connection._PING", 0.05)
    (tmp_path / "password").write_text("root")
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as closed:
        hosts = ",".join(f"127.0.0.1:{server.getsockname()[1]}" for server in (silent, closed))
        closed.close()
        address = Address.parse(f"iotdb://{hosts}/city?password_file={tmp_path}/password&timeout=0.3")
        with pytest.raises(StoreUnavailable, match="does not answer"):
            Connection(address).execute("SELECT 1")


def test_a_write_without_an_answer_may_come_again_and_nothing_else_to_its_rows() -> None:
    clock = [0.0]
    doubts = Doubts(lambda: clock[0])
    sent = Batch.of([Reading("p", "a", "t", when, 1.0, 0) for when in (1, 2)])
    other = Batch.of([Reading("p", "a", "t", 2, 5.0, 0)])
    elsewhere = Batch.of([Reading("p", "a", "t", 3, 5.0, 0)])
    one, both = np.array([0]), np.array([0, 1])
    doubts.check(other, one)
    doubts.add(sent, both)
    doubts.check(sent, both)
    doubts.check(elsewhere, one)
    doubts.check_streams(lambda stream: stream.device == "b")
    forbidden: list[Callable[[], None]] = [
        lambda: doubts.check(other, one),
        lambda: doubts.check(sent, both, same_value_is_safe=False),
        lambda: doubts.check_streams(lambda stream: stream.device == "a"),
    ]
    for change in forbidden:
        with pytest.raises(StoreUnavailable, match="may still be carried out"):
            change()
    clock[0] = LASTING + 1
    for change in forbidden:
        change()


def status(code: int, *parts: int) -> SimpleNamespace:
    listed = [SimpleNamespace(code=part, message=f"m{part}", subStatus=None) for part in parts]
    return SimpleNamespace(code=code, message=f"m{code}", subStatus=listed or None)


def test_without_the_library_the_error_names_it() -> None:
    code = "import sys; sys.modules['iotdb'] = None; import techport_storage.iotdb.store"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'techport[iotdb]'" in told.stderr


def test_what_helps_to_ask_again_and_what_does_not() -> None:
    address = Address.parse(URL)
    check(address, status(200))
    check(address, status(400))
    check(address, status(302, 200, 400))
    for code in (305, 602, 719, 720, 904):
        with pytest.raises(_Again, match=str(code)):
            check(address, status(code))
    for code in (550, 614, 700, 701, 803):
        with pytest.raises(Refused, match=str(code)):
            check(address, status(code))
    with pytest.raises(Refused, match="614"):
        check(address, status(302, 200, 719, 614))
