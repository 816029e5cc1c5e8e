"""Nodes of an IoTDB cluster are killed, frozen and restarted while readings come in: what was acknowledged is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from techport_storage.errors import StoreUnavailable
from techport_storage.iotdb.connection import Address, Connection
from techport_storage.microseconds import SECOND
from techport_storage.model import Batch, Query, Reading
from techport_storage.store import open_store
from tests.servers.iotdb import Cluster, Node, start_cluster

pytestmark = [pytest.mark.cluster, pytest.mark.faults]

NOON = 1_700_049_600 * SECOND
STREAMS = 20
ROWS = 10  # of each stream in a batch
ENOUGH = 300  # s; for what takes some seconds on a machine that does nothing else


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose nodes the tests may kill; each leaves it whole."""
    cluster = start_cluster(tmp_path_factory.mktemp("iotdb"))
    yield cluster
    cluster.stop()


def batch(number: int) -> Batch:
    """Ten seconds of twenty streams; the first second is that of the batch before once more."""
    seconds = range(number * (ROWS - 1), number * (ROWS - 1) + ROWS)
    return Batch.of(
        Reading("p", f"d{device}", "t", NOON + second * SECOND, float(second), number * SECOND)
        for device in range(STREAMS)
        for second in seconds
    )


@dataclass
class Ingest:
    """Writes batch after batch, and again until it is acknowledged, as the pipeline does."""

    url: str
    acknowledged: int = 0
    longest: float = 0  # s between two acknowledgements, of which benchmarks/iotdb_store.py tells
    refusals: int = 0
    problem: BaseException | None = None
    _done: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Ingest:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        if self.problem is not None:
            raise self.problem

    def _run(self) -> None:
        try:
            store = open_store(self.url)
            last = time.monotonic()
            while not self._done.is_set():
                try:
                    store.write(batch(self.acknowledged))
                except StoreUnavailable:
                    self.refusals += 1
                    continue
                self.acknowledged += 1
                self.longest = max(self.longest, time.monotonic() - last)
                last = time.monotonic()
            store.close()
        except BaseException as problem:  # noqa: BLE001 - raised in the test's thread
            self.problem = problem

    def go_on(self, batches: int) -> None:
        """Wait until so many more batches are acknowledged."""
        wanted, deadline = self.acknowledged + batches, time.monotonic() + ENOUGH
        while self.acknowledged < wanted:
            assert self.problem is None, self.problem
            assert time.monotonic() < deadline, f"{self.acknowledged} of {wanted} batches, {self.refusals} refused"
            time.sleep(0.02)


def check(ingest: Ingest) -> None:
    """Every acknowledged row is there, once, with its value."""
    store = open_store(ingest.url)
    rows = store.read(Query()).read_all()
    store.close()
    keys = zip(rows["device"].to_pylist(), rows["time"].cast("int64").to_pylist(), strict=True)
    stored = dict(zip(keys, rows["value"].to_pylist(), strict=True))
    assert len(stored) == rows.num_rows
    expected = {(r.device, r.time): r.value for number in range(ingest.acknowledged) for r in batch(number)}
    missing = expected.keys() - stored.keys()
    assert not missing, f"{len(missing)} of {len(expected)} acknowledged readings are missing"
    assert {key: stored[key] for key in expected} == expected


def leading(cluster: Cluster) -> Node:
    """A node that leads data; there are several parts of it, each led by one node."""
    port = next(port for _, _, port, role in parts(cluster) if role == "Leader")
    return next(node for node in cluster.datanodes if node.port == port)


def whole(cluster: Cluster) -> None:
    """Wait until every copy of the data is kept by a node that runs, and each part of it is led by one."""
    deadline = time.monotonic() + ENOUGH
    while True:
        copies = parts(cluster)
        led = [part for part, _, _, role in copies if role == "Leader"]
        if sorted(led) == sorted({part for part, *_ in copies}) and all(copy[1] == "Running" for copy in copies):
            return
        assert time.monotonic() < deadline, copies
        time.sleep(0.2)


def parts(cluster: Cluster) -> list[tuple[int, str, int, str]]:
    """Part, state, port and role of each copy of the data."""
    connection = Connection(Address.parse(cluster.tables.url()))
    copies = []
    for block in connection.query("SHOW DATA REGIONS FROM techport"):
        columns = [block.values(number) for number in range(len(block.columns))]
        copies += [(row[0], row[2], row[8], row[10]) for row in zip(*columns, strict=True)]
    connection.close()
    return copies


def test_rows_older_than_the_ttl_are_rejected_and_the_others_stored(cluster: Cluster) -> None:
    url = cluster.tables.url()
    store = open_store(url)
    now = time.time_ns() // 1_000_000_000 * SECOND
    times = [now - days * 86_400 * SECOND for days in (0, 100, 1, 99)]
    rows = [Reading("p", device, "t", when, 1.0, now) for device in "ab" for when in times]
    connection = Connection(Address.parse(url))
    connection.use_database()
    connection.execute(f"ALTER TABLE {connection.address.table} SET PROPERTIES TTL={30 * 86_400_000}")
    receipt = store.write(Batch.of(rows))
    assert [(row, "TTL" in reason) for row, reason in receipt.rejected] == [(row, True) for row in (1, 3, 5, 7)]
    assert receipt.written == 4
    assert store.read(Query()).read_all().num_rows == 4
    connection.close()
    store.close()


def test_the_node_that_leads_is_killed(cluster: Cluster) -> None:
    with Ingest(cluster.tables.url()) as ingest:
        ingest.go_on(5)
        leader = leading(cluster)
        leader.kill()
        ingest.go_on(30)
        leader.start()
        whole(cluster)
        ingest.go_on(5)
    check(ingest)


@pytest.mark.parametrize("leads", [False, True])
def test_a_node_stands_still(cluster: Cluster, leads: bool) -> None:
    with Ingest(cluster.tables.url()) as ingest:
        ingest.go_on(5)
        leader = leading(cluster)
        node = leader if leads else next(node for node in cluster.datanodes if node is not leader)
        node.freeze()
        try:
            ingest.go_on(20)
        finally:
            node.thaw()
        whole(cluster)
        ingest.go_on(5)
    check(ingest)


def test_nothing_is_acknowledged_that_one_node_alone_has(cluster: Cluster) -> None:
    """Both followers stand still, and the leader is lost for good as far as anybody knows: with the default consensus
    of IoTDB, nine of ten acknowledged rows were gone then."""
    with Ingest(cluster.tables.url(timeout="3")) as ingest:
        ingest.go_on(5)
        leader = leading(cluster)
        followers = [node for node in cluster.datanodes if node is not leader]
        for node in followers:
            node.freeze()
        time.sleep(1)  # for the request that is under way
        before = ingest.acknowledged
        time.sleep(4)
        assert ingest.acknowledged <= before + 1
        leader.kill()
        for node in followers:
            node.thaw()
        ingest.go_on(10)
    check(ingest)
    leader.start()
    whole(cluster)


def test_all_nodes_are_restarted_one_after_the_other(cluster: Cluster) -> None:
    with Ingest(cluster.tables.url()) as ingest:
        ingest.go_on(5)
        for node in cluster.datanodes:
            node.stop()
            node.start()
            whole(cluster)
            ingest.go_on(5)
    check(ingest)
