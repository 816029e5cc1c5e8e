"""Clients that hold what others need: live pages, connections, requests that never arrive."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager

import httpx
import pytest

from techport_dashboards.problems import Problem
from techport_dashboards.settings import WebSettings
from techport_dashboards.sta import writing
from techport_dashboards.web import device_messages, request_slots
from techport_dashboards.web.connections import ConnectionLimits
from techport_dashboards.web.request_slots import RESERVED, THREADS
from techport_dashboards.web.server import WebServer
from techport_pilots.access.credentials import Credentials
from tests.dashboards.conftest import anyio_backend, city
from tests.dashboards.web import City
from tests.ingest.running import eventually
from tests.servers.mosquitto import free_port
from tests.sta.test_sensorthings import ROOT, datastream

__all__ = ["anyio_backend", "city"]

LIMITS = ConnectionLimits(connections=12, connections_of_client=8, header_seconds=1.0, body_seconds=1.0, slowest=1_000)


@contextmanager
def _server(city: City, settings: WebSettings, limits: ConnectionLimits) -> Iterator[tuple[WebServer, int]]:
    port = free_port()
    server = WebServer(city.app(settings), port=port, limits=limits)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started, "the server listens")
        yield server, port
    finally:
        server.should_exit = True
        thread.join(20)


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def _ended(connection: socket.socket) -> bool:
    """Whether the server ends the connection while we wait."""
    try:
        while connection.recv(10_000):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


def _alive(port: int) -> bool:
    return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200


def test_connections_of_one_client_are_limited_and_come_back(city: City) -> None:
    with _server(city, WebSettings(), ConnectionLimits(connections_of_client=8, header_seconds=600)) as (_, port):
        with ExitStack() as open_ones:
            for _ in range(8):
                open_ones.enter_context(closing(_connect(port)))
            with closing(_connect(port)) as ninth:
                assert ninth.recv(1_000).startswith(b"HTTP/1.1 503 ")
                assert _ended(ninth)
        eventually(lambda: _alive(port), "closed ones make room")


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET /healthz HT",
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: b",
        b"POST /api/v1/decode HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{",
        b"POST /push/native HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /healthz HT",
    ],
)
def test_a_request_that_does_not_arrive_is_given_up(city: City, beginning: bytes) -> None:
    with _server(city, WebSettings(), LIMITS) as (_, port), closing(_connect(port)) as slow:
        slow.sendall(beginning)
        assert _ended(slow)
        assert _alive(port)


def test_a_byte_now_and_then_is_not_enough(city: City) -> None:
    with _server(city, WebSettings(), LIMITS) as (_, port), closing(_connect(port)) as slow:
        slow.settimeout(0.2)
        begun = time.monotonic()
        try:
            slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            while time.monotonic() - begun < 30:
                slow.sendall(b"X-A: b\r\n")
                time.sleep(0.1)
            pytest.fail("a header that never ends was read for half a minute")
        except (ConnectionResetError, BrokenPipeError):
            pass


def test_a_slow_but_steady_body_is_read(city: City) -> None:
    body = b'{"text": "' + b"x" * 6_000 + b'"}'
    with _server(city, WebSettings(), LIMITS) as (_, port), closing(_connect(port)) as slow:
        slow.sendall(
            b"POST /api/v1/decode HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        for begin in range(0, len(body), 1_000):
            slow.sendall(body[begin : begin + 1_000])
            time.sleep(0.3)
        assert slow.recv(1_000).startswith(b"HTTP/1.1 ")


def test_live_pages_are_limited(city: City) -> None:
    with (
        _server(city, WebSettings(live_most=6, live_of_client=3), ConnectionLimits()) as (_, port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
        ExitStack() as pages,
    ):
        readers = []  # a reader that is let go closes its page
        for _ in range(3):
            page = pages.enter_context(client.stream("GET", "/api/v1/live"))
            assert page.status_code == 200
            readers.append(page.iter_raw())
            assert next(readers[-1]).startswith(b"event: hello")
        with client.stream("GET", "/api/v1/live") as answer:
            assert answer.status_code == 429
            assert json.loads(answer.read())["type"].endswith("too-many-requests")
        assert _alive(port)


@pytest.mark.anyio
async def test_every_kind_of_request_is_counted(city: City) -> None:
    transport = httpx.ASGITransport(city.app(WebSettings(rate_limit=3)))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for path in ("/", "/push/native", "/decode"):
            method = "POST" if path.startswith("/push") else "GET"
            statuses = [(await client.request(method, path)).status_code for _ in range(4)]
            limited = statuses.index(429) if 429 in statuses else None
            assert limited == (0 if path == "/decode" else 3), (path, statuses)
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/api/v1/pilots")).status_code == 200, "a share of its own"


@pytest.mark.parametrize("length", [60_000, 200_000, None])
def test_who_sends_slowly_keeps_nobody_from_a_thread(city: City, length: int | None) -> None:
    """Nobody needs a credential to send a form, and a body may take minutes to arrive."""
    slow = ConnectionLimits(connections=200, connections_of_client=200, body_seconds=60.0)
    said = f"Content-Length: {length}" if length else "Transfer-Encoding: chunked"
    form = "POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    with _server(city, WebSettings(slot_seconds=1.0), slow) as (_, port), ExitStack() as stack:
        for _ in range(THREADS + 8):
            connection = stack.enter_context(closing(_connect(port)))
            connection.sendall(f"{form}{said}\r\n\r\n".encode() + (b"email=a" if length else b"7\r\nemail=a\r\n"))
        time.sleep(0.5)
        answer = httpx.get(f"http://127.0.0.1:{port}/sign-in", timeout=20)
        assert answer.status_code == 200, answer.text
        short = httpx.post(f"http://127.0.0.1:{port}/sign-in", data={"email": "a", "password": "b"}, timeout=20)
        assert short.status_code == 401, short.text


@pytest.mark.anyio
async def test_long_bodies_have_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_slots, "LONG_BODIES", 3)
    monkeypatch.setattr(request_slots, "LONG_BODIES_OF_CLIENT", 2)
    slots = request_slots.RequestSlots(longest_wait=0.1)
    async with AsyncExitStack() as stack:
        for client in ("a", "a", "b"):
            await stack.enter_async_context(slots.room_for_body(client))
        with pytest.raises(Problem):
            await stack.enter_async_context(slots.room_for_body("c"))
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(slots.room_for_body("a"))
        with pytest.raises(Problem):
            await stack.enter_async_context(slots.room_for_body("a"))
        await stack.enter_async_context(slots.room_for_body("b"))


class SilentBroker:
    """Takes messages, and acknowledges none until it is told to: as the embedded one while the store is away."""

    def __init__(self) -> None:
        self._answers: list[Future[None]] = []
        self._is_silent = True

    def __call__(self, topic: str, payload: bytes) -> Future[None]:
        answer: Future[None] = Future()
        self._answers.append(answer)
        if not self._is_silent:
            answer.set_result(None)
        return answer

    async def has(self, messages: int) -> None:
        async with asyncio.timeout(120):
            while len(self._answers) < messages:
                await asyncio.sleep(0.01)

    def acknowledge(self) -> None:
        """All that it has, and from now on each at once."""
        self._is_silent = False
        for answer in self._answers:
            answer.set_result(None)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> SilentBroker:
    monkeypatch.setattr(device_messages, "PATIENCE", 600.0)
    monkeypatch.setattr(writing, "STORED_WITHIN", 0.1)  # what this broker acknowledges never comes to the store
    return SilentBroker()


@pytest.fixture
async def web(city: City, broker: SilentBroker) -> AsyncIterator[httpx.AsyncClient]:
    app = city.app(WebSettings(slot_seconds=15.0))
    app.state.services = dataclasses.replace(app.state.services, post=broker)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def crane(city: City) -> httpx.BasicAuth:
    issued = Credentials(city.registry.database).issue("kai-luft", "kran", "test")
    return httpx.BasicAuth(issued.username, issued.password)


@pytest.mark.anyio
async def test_who_waits_for_the_broker_keeps_nobody_from_a_thread(
    web: httpx.AsyncClient, broker: SilentBroker, crane: httpx.BasicAuth
) -> None:
    stream = (await datastream(web, "kran", "pm10"))["@iot.id"]
    observations = f"{ROOT}/Datastreams({stream})/Observations"
    upload = {"params": {"device": "kran"}, "content": b"time,pm10\n2025-11-02T12:00:00Z,1\n"}
    async with asyncio.TaskGroup() as tasks:
        sent = []
        for number in range((THREADS + 8) // 3):
            posted = {"result": number, "phenomenonTime": f"2025-11-02T12:{number:02d}:00Z"}
            sent += [
                tasks.create_task(web.post("/push/native", json={"pm10": number}, auth=crane)),
                tasks.create_task(web.post(observations, json=posted, auth=crane)),
                tasks.create_task(web.post("/pilots/kai-luft/onboarding/file", **upload)),
            ]
        assert len(sent) > THREADS
        await broker.has(THREADS - RESERVED)
        statuses = [(await web.get(path)).status_code for path in ("/api/v1/pilots", "/pilots/kai-luft")]
        waiting = sum(not request.done() for request in sent)
        broker.acknowledge()
    assert (statuses, waiting) == ([200, 200], len(sent))
    assert {request.result().status_code for request in sent} == {202}


@pytest.mark.anyio
async def test_few_of_a_client_wait_for_the_broker(
    web: httpx.AsyncClient, broker: SilentBroker, crane: httpx.BasicAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_slots, "WITHOUT_SLOT_OF_CLIENT", 2)

    async def push() -> httpx.Response:
        return await web.post("/push/native", json={"pm10": 1}, auth=crane)

    async with asyncio.TaskGroup() as tasks:
        accepted = [tasks.create_task(push()) for _ in range(2)]
        await broker.has(2)
        refused = await push()
        broker.acknowledge()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert refused.json()["type"].endswith("server-busy")
    assert [request.result().status_code for request in accepted] == [202, 202]
    assert (await push()).status_code == 202, "there is room again"


def test_room_without_a_slot_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_slots, "WITHOUT_SLOT", 3)
    monkeypatch.setattr(request_slots, "WITHOUT_SLOT_OF_CLIENT", 2)
    slots = request_slots.RequestSlots(longest_wait=0.1)
    with ExitStack() as stack:
        for client in ("a", "a", "b"):
            stack.enter_context(slots.room_without_slot(client))
        with pytest.raises(Problem):
            stack.enter_context(slots.room_without_slot("c"))
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(slots.room_without_slot("a"))
        with pytest.raises(Problem):
            stack.enter_context(slots.room_without_slot("a"))
        stack.enter_context(slots.room_without_slot("b"))
