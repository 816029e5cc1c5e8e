"""What processes know of each other's jobs, and of the requests that clients made elsewhere."""

from __future__ import annotations

import msgspec
import pytest

from techport_pilots.access.request_limits import RequestLimits
from techport_pilots.registry import jobs
from techport_pilots.registry.jobs import Job, JobLog, Kind, forget_jobs
from techport_pilots.registry.registry import Registry
from techport_storage.microseconds import SECOND
from techport_storage.model import Micros

AT: Micros = 1_700_000_000_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[Micros]:
    """The time, as its only item."""
    time = [AT]
    monkeypatch.setattr(jobs, "now", lambda: time[0])
    monkeypatch.setattr("techport_pilots.access.request_limits.now", lambda: time[0])
    return time


def job(job_id: str, kind: Kind = "close", about: str = "air") -> Job:
    return Job(id=job_id, kind=kind, about=about, begun=AT)


def test_a_job_is_known_to_all_and_begun_once(registry: Registry, clock: list[Micros]) -> None:
    log = JobLog(registry.database)
    first = log.begin(job("1"), "a")
    assert log.begin(job("2"), "b") == first, "the same runs already"
    assert log.begin(job("3", "erase"), "b").id == "3"
    assert log.begin(job("4", about="noise"), "b").id == "4"
    half = msgspec.structs.replace(first, step="packing", done=1, total=2)
    assert log.note(half, "a")
    assert not log.note(half, "b"), "it is not theirs"
    assert log.find("1") == log.latest("close", "air") == half
    over = msgspec.structs.replace(half, state="done", ended=AT + 1, result={"rows": 7})
    assert log.note(over, "a")
    assert log.find("1") == over
    assert not log.note(half, "a"), "it is over"
    assert log.begin(job("5"), "b").id == "5"
    assert log.find("unknown") is None
    assert log.latest("open", "air") is None


def test_a_job_whose_process_is_silent_has_failed(registry: Registry, clock: list[Micros]) -> None:
    log = JobLog(registry.database)
    lost = log.begin(job("1"), "a")
    clock[0] += jobs.LOST
    assert log.note(lost, "a")
    clock[0] += jobs.LOST
    assert log.find("1") == lost, "it has just been heard of"
    clock[0] += 1
    told = log.latest("close", "air")
    assert told is not None
    assert (told.state, told.ended) == ("failed", AT + jobs.LOST)
    assert "Begin it again" in str(told.problem)
    assert log.find("1") == told
    assert log.note(lost, "a"), "it was only slow"
    assert log.find("1") == lost
    clock[0] += jobs.LOST + 1
    assert log.begin(job("2"), "b").id == "2"
    assert not log.note(lost, "a"), "another process took its place"
    assert log.find("1") == msgspec.structs.replace(told, ended=AT + 2 * jobs.LOST + 1)
    forget_jobs(registry.database, clock[0])
    assert log.find("1") is None
    assert log.find("2") is not None


def test_requests_of_all_processes_add_up(registry: Registry, clock: list[Micros]) -> None:
    limits = RequestLimits(registry.database)
    assert limits.add({"a": 3, "b": 1}, SECOND) == {"a": 3, "b": 1}
    assert limits.add({"a": 4}, SECOND) == {"a": 7}
    clock[0] += 2 * SECOND
    assert limits.add({"a": 1, "b": 1}, SECOND) == {"a": 6, "b": 1}, "they are due one every second"
    clock[0] += 60 * SECOND
    assert limits.add({"c": 1}, SECOND) == {"c": 1}
    with registry.database.reading() as transaction:
        rows = transaction.execute("SELECT subject FROM request_limits").scalars().all()
    assert len(rows) == 1, "who asked nothing for a while is forgotten"
    assert "c" not in rows, "and nobody is named"
