"""Two web processes behind one address over PostgreSQL: sessions, jobs, limits and live pages hold across them, and
when one is killed the other goes on."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, Any

import paho.mqtt.publish
import pytest

from techport_pilots.access.accounts import Accounts
from techport_pilots.access.operator_token import OperatorToken
from techport_pilots.access.sessions import Sessions
from techport_pilots.registry.leases import Leases
from techport_pilots.registry.registry import Registry
from tests.conftest import unavailable
from tests.end_to_end.platforms import PILOT, Platform, Web, wait_until
from tests.servers import postgres
from tests.servers.mosquitto import free_port
from tests.servers.round_robin import round_robin

pytestmark = pytest.mark.cluster
LIMIT = 300


class Site:
    """The platform that holds the store, two web processes beside it, and the address in front of these."""

    def __init__(self, folder: Path, opened: ExitStack, registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
        file = folder / "pilot.yaml"
        file.write_text(PILOT, "utf-8")
        address = f"127.0.0.1:{free_port()}"
        store = f"shared://{address}?token_file={folder / 'data' / 'token'}"
        monkeypatch.setenv("TECHPORT_STORE_ADDRESS", address)
        monkeypatch.setenv("TECHPORT_RATE_LIMIT", str(LIMIT))
        arguments = ("up", "--pilot", str(file), "--broker", "embedded", "--registry", registry)
        self.holder = opened.enter_context(Platform(folder, *arguments))
        monkeypatch.delenv("TECHPORT_STORE_ADDRESS")
        self.web = [
            opened.enter_context(Web(folder, "serve", "--store", store, "--registry", registry)) for _ in range(2)
        ]
        self.registry = opened.enter_context(closing(Registry.open(registry)))
        self.address = opened.enter_context(round_robin([process.http for process in self.web])).address

    def send(self, value: float) -> None:
        topic = "pilots/test-street/lamp-1/readings"
        paho.mqtt.publish.single(topic, json.dumps({"pm10": value}), 1, port=self.holder.mqtt_port)

    def open(self, path: str, body: object = None, cookie: str | None = None, server: str | None = None) -> IO[bytes]:
        """The answer at the common address, or of one server, to the operator or the owner of a cookie."""
        headers = {"Cookie": cookie} if cookie else {"Authorization": f"Bearer {self.holder.token}"}
        data = None if body is None else json.dumps(body).encode()
        headers |= {"Content-Type": "application/json"} if data else {}
        request = urllib.request.Request(f"http://{server or self.address}{path}", data, headers)
        answer: IO[bytes] = urllib.request.urlopen(request, timeout=60)
        return answer

    def ask(self, path: str, body: object = None, cookie: str | None = None, server: str | None = None) -> Any:
        with self.open(path, body, cookie, server) as answer:
            return json.loads(answer.read())


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    programs = postgres.find()
    if programs is None:
        unavailable("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with ExitStack() as opened:
        server = opened.enter_context(postgres.running(programs))
        yield Site(tmp_path, opened, server.database(), monkeypatch)


def test_what_visitors_began_at_one_process_goes_on_at_the_other(site: Site) -> None:
    first, second = site.web

    # A session that was begun anywhere is one everywhere.
    accounts = Accounts(site.registry.database)
    user = accounts.create("kari@example.org", "Kari", "test", administrator=True)
    session = Sessions(site.registry.database).start(user.id, "127.0.0.1", "test")
    cookie = f"techport_session_{OperatorToken.of(site.holder.data).instance[:8]}={session}"
    assert [site.ask("/api/v1/me", cookie=cookie)["who"] for _ in range(4)] == 4 * ["kari@example.org"]

    # A live page at each of them is told of what the platform stores, and comes back to the other one.
    with site.open("/api/v1/live?pilot=test-street") as one, site.open("/api/v1/live?pilot=test-street") as other:
        pages = [one, other]
        assert [next_event(page) for page in pages] == 2 * ["hello"]
        site.send(21.5)
        assert [told(page, 21.5) for page in pages] == [True, True]

        # A job that waits for its turn is known to both, and begun once.
        leases = Leases(site.registry.database)
        assert leases.acquire("retention", "test", 600)
        erasure = {"confirm": "test-street", "device": "lamp-1"}
        job = site.ask("/api/v1/pilots/test-street/erasure", erasure, server=first.http)
        assert site.ask("/api/v1/pilots/test-street/erasure", erasure, server=second.http)["id"] == job["id"]
        assert {site.ask(f"/api/v1/jobs/{job['id']}")["state"] for _ in range(4)} == {"running"}

        first.kill()
        ended = [page for page in pages if not goes_on(page)]
        assert len(ended) == 1, "that of the process that was killed"
        with site.open("/api/v1/live?pilot=test-street") as again:
            assert next_event(again) == "hello"
            site.send(22.5)
            assert told(again, 22.5)

    # The job of the process that was killed has failed, and what to do about it is said; then it is done.
    assert site.ask("/api/v1/me", cookie=cookie)["who"] == "kari@example.org"
    failed = wait_until(lambda: _when_over(site.ask(f"/api/v1/jobs/{job['id']}")))
    assert failed["state"] == "failed"
    assert "Begin it again" in failed["problem"]
    leases.release("retention", "test")
    job = site.ask("/api/v1/pilots/test-street/erasure", erasure)
    first.start()
    done = wait_until(lambda: _when_over(site.ask(f"/api/v1/jobs/{job['id']}", server=first.http)))
    assert done["state"] == "done", done
    assert done["result"]["receipts"][0]["rows"] == 2

    # Both together answer a client no more than one of them would.
    begun = time.monotonic()
    answered = sum(is_answered(site) for _ in range(2 * LIMIT))
    assert answered <= LIMIT + 4 * LIMIT / 20 + (time.monotonic() - begun) * LIMIT / 60


def _when_over(job: dict[str, Any]) -> dict[str, Any] | None:
    return None if job["state"] == "running" else job


def next_event(page: IO[bytes]) -> str:
    """The name of the next event of a live page; "" at its end."""
    for line in page:
        if line.startswith(b"event:"):
            return line[6:].strip().decode()
    return ""


def told(page: IO[bytes], value: float) -> bool:
    """Whether the page is told of this reading, before it ends."""
    return any(line.startswith(b"data:") and str(value).encode() in line for line in page)


def is_answered(site: Site) -> bool:
    """False for one request too many."""
    try:
        site.open("/api/v1/pilots").close()
    except urllib.error.HTTPError as error:
        if error.code != 429:
            raise
        return False
    return True


def goes_on(page: IO[bytes]) -> bool:
    """Whether another event comes: there is one every few seconds."""
    try:
        return next_event(page) != ""
    except OSError:
        return False
