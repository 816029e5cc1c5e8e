"""Clients that hold what the ingest endpoint needs for others: half a packet, endless ones, answers nobody reads."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import mqtt5
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from techport.certificates import make
from techport_ingest.brokers.auth import Admission, AllowAll, Authenticator, device_access
from techport_ingest.source import Answer
from techport_ingest.sources.embedded import EmbeddedBroker, EmbeddedSettings
from techport_ingest.sources.endpoint import packets, server, window
from techport_ingest.sources.endpoint.connection import Connection
from techport_ingest.sources.endpoint.delivery import (
    LONGEST_EXPIRY,
    MOST_SUBSCRIPTIONS,
    MOST_WAITING,
    Exchange,
    Session,
)
from techport_ingest.sources.endpoint.packets import MalformedPacket, Mqtt5, Mqtt311, Outgoing, Wanted
from techport_ingest.sources.endpoint.server import Server
from techport_ingest.sources.session import Inbox
from techport_pilots.access.credentials import Credential, Credentials
from techport_pilots.errors import RegistryUnavailable
from tests.ingest.conftest import ingest
from tests.ingest.raw_client import RawClient, connect, packet, publish, text
from tests.ingest.running import Ingest, eventually
from tests.ingest.test_embedded import receive
from tests.servers.mosquitto import free_port

__all__ = ["ingest"]

TOPIC = "pilots/air/lamp-1/readings"
LEVELS = pytest.mark.parametrize("level", [4, 5], ids=["3.1.1", "5"])
LAMP = Credential(username="u", pilot="air", device="lamp-1", password="", who="", at=0)


class Devices:
    """A gate that takes everybody for one device."""

    def admit(self, username: str | None, password: str | None) -> Admission | None:
        return Admission(device_access(LAMP))

    def proofs(self) -> None:
        return None


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECT_WITHIN", 1.0)
    monkeypatch.setattr(server, "STUCK", 2.0)
    monkeypatch.setattr(server, "CLOSING", 1.0)


@pytest.fixture
def broker(short: None) -> Iterator[EmbeddedBroker]:
    running = EmbeddedBroker(EmbeddedSettings(port=free_port(), window=200), Devices())
    yield running
    running.close()


def is_alive(broker: EmbeddedBroker) -> bool:
    with RawClient(broker.port, 5, client_id="another") as other:
        other.send(publish(TOPIC, b"1", level=5))
        broker.ack(receive(broker, 1))
        return other.read() == b"\x40\x02\x00\x01"


@pytest.mark.parametrize("beginning", [b"", b"\x10", b"\x10\x20\x00\x04MQ", b"\x10\xff\xff\x01" + b"x" * 1_000])
def test_who_does_not_say_who_they_are_is_given_up(broker: EmbeddedBroker, beginning: bytes) -> None:
    with RawClient(broker.port) as silent:
        silent.send(beginning)
        assert silent.read() == b""
    assert is_alive(broker)


@pytest.mark.parametrize(
    "beginning",
    [
        b"\x16\x03\x01\x02",  # TLS at a port without it
        b"GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
        b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n",
        b"\x30",
    ],
)
def test_what_does_not_begin_with_connect_is_given_up_at_once(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    """And not when it has become as long as its second byte says, or the time for a first packet is over."""
    monkeypatch.setattr(server, "CONNECT_WITHIN", 300.0)
    with RawClient(broker.port, timeout=60) as client:
        client.send(beginning)
        assert client.read() == b""
    assert is_alive(broker)


def test_a_handshake_that_does_not_come_is_given_up(short: None, tmp_path: Path) -> None:
    files = make(tmp_path)
    broker = EmbeddedBroker(EmbeddedSettings(port=free_port(), certificate=files.certificate, key=files.key))
    try:
        for beginning in (b"", b"\x16\x03\x01\x02\x00\x01", connect()):
            with socket.create_connection(("127.0.0.1", broker.port), timeout=20) as slow:
                slow.sendall(beginning)
                with contextlib.suppress(ConnectionResetError):
                    while slow.recv(1_000):
                        pass
        context = ssl.create_default_context(cafile=str(files.ca))
        with (
            socket.create_connection(("127.0.0.1", broker.port), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as device,
        ):
            device.sendall(connect(level=5) + publish(TOPIC, b"x" * 200_000, level=5))
            broker.ack(receive(broker, 1))
            arrived = b""
            while not arrived.endswith(b"\x40\x02\x00\x01"):
                arrived += device.recv(1_000)
    finally:
        broker.close()


def test_silent_clients_make_room_for_one_another(broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECT_WITHIN", 600.0)
    monkeypatch.setattr(server, "MOST_UNGREETED", 5)
    with ExitStack() as stack:
        silent = [stack.enter_context(RawClient(broker.port)) for _ in range(8)]
        for first in silent[:3]:
            assert first.read() == b"", "the oldest has to go"
        assert is_alive(broker)


@LEVELS
def test_a_client_that_falls_silent_is_given_up(broker: EmbeddedBroker, level: int) -> None:
    with RawClient(broker.port, level, keep_alive=1) as silent:
        if level == 5:
            told = silent.read5()
            assert isinstance(told, mqtt5.DisconnectPacket)
            assert told.reason_code == mqtt5.DisconnectReasonCode.KEEP_ALIVE_TIMEOUT
        assert silent.read() == b""
    assert is_alive(broker)


def test_a_client_of_which_nothing_is_read_is_not_silent(broker: EmbeddedBroker) -> None:
    """The store is away: what the device says now waits in front of the window."""
    with RawClient(broker.port, 4, keep_alive=1) as device:
        device.send(b"".join(publish(TOPIC, b"x", number) for number in range(1, 251)) + b"\xc0\x00")
        first = receive(broker, 100)
        time.sleep(3)
        broker.ack(first)
        broker.ack(receive(broker, 100))
        broker.ack(receive(broker, 50))
        assert [device.read() for _ in range(251)].count(b"\xd0\x00") == 1


@LEVELS
@pytest.mark.parametrize("begun", [b"\x32\xff\xff\xff\x7f", b"\x82\xff\xff\xff\x7f"])
def test_a_packet_beyond_the_limit_is_refused_before_it_has_arrived(
    broker: EmbeddedBroker, level: int, begun: bytes
) -> None:
    with RawClient(broker.port, level) as rude:
        rude.send(begun)
        if level == 5:
            told = rude.read5()
            assert isinstance(told, mqtt5.DisconnectPacket)
            assert told.reason_code == mqtt5.DisconnectReasonCode.PACKET_TOO_LARGE
        assert rude.read() == b""
    assert is_alive(broker)


def test_who_has_not_said_who_they_are_sends_little(broker: EmbeddedBroker) -> None:
    with RawClient(broker.port) as rude:
        rude.send(b"\x10\xff\xff\x03")  # 65 kB
        assert rude.read() == b""


def test_long_packets_on_their_way_have_bounded_room(broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_PARTIAL", 1_000_000)
    begun = packet(0x32, text(TOPIC) + b"\x00\x01" + b"x" * 900_000)[:-1]
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(broker.port, 4, client_id=f"c{number}")) for number in range(3)]
        clients[0].send(begun)
        eventually(lambda: broker._server.partial == len(begun), "the first one has room")
        for client in clients[1:]:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.send(begun)
            assert client.read() == b""
        clients[0].send(b"x")
        broker.ack(receive(broker, 1))
        assert clients[0].read() == b"\x40\x02\x00\x01"
    assert is_alive(broker)


def test_who_does_not_read_is_not_read_and_then_given_up(broker: EmbeddedBroker) -> None:
    refused = publish("elsewhere", b"", level=5) * 100  # each is answered by a sentence
    with RawClient(broker.port, 5) as deaf:
        deaf.socket.settimeout(1.0)

        def send_for_ever() -> None:
            for _ in range(100_000):
                deaf.send(refused)

        with pytest.raises((TimeoutError, BrokenPipeError, ConnectionResetError)):
            send_for_ever()

        def ended() -> bool:
            try:
                deaf.send(refused)
            except TimeoutError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                return True
            return False

        eventually(ended, "it is given up")
    assert is_alive(broker)


@LEVELS
def test_messages_that_are_not_kept_have_bounded_room(
    broker: EmbeddedBroker, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their size too: the store is away, and devices send as much as they may at once."""
    monkeypatch.setattr(window, "MOST_HELD_BYTES", 200_000)
    monkeypatch.setattr(window, "WINDOW_BYTES", 300_000)
    numbers = range(1, 11)
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(broker.port, level, client_id=f"c{number}")) for number in range(3)]
        sending = [stack.enter_context(Sending(client)) for client in clients]
        for thread in sending:
            thread.send(b"".join(publish(TOPIC, b"x" * 50_000, number, level=level) for number in numbers))
        taken = receive(broker, 6)
        time.sleep(0.2)
        assert not broker.receive(0), "no more is read"
        assert broker._server._window.bytes < 300_000 + 51_000
        assert all(connection.held_bytes < 200_000 + 51_000 for connection in broker._server.connections)
        arrived = len(taken)
        while arrived < 30:
            broker.ack(taken)
            taken = broker.receive(1)
            arrived += len(taken)
        broker.ack(taken)
        for client in clients:
            assert [client.read()[2:4] for _ in numbers] == [number.to_bytes(2, "big") for number in numbers]
        assert broker._server._window.bytes == 0
    assert is_alive(broker)


class Sending(threading.Thread):
    """Sends what may not all be read now."""

    def __init__(self, client: RawClient) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._data = b""

    def send(self, data: bytes) -> None:
        self._data = data
        self.start()

    def run(self) -> None:
        self._client.send(self._data)

    def __enter__(self) -> Sending:
        return self

    def __exit__(self, *_: object) -> None:
        self.join(60)


class Full:
    """The connection of a client that reads nothing."""

    wire = Mqtt311()
    receive_maximum = 65_535
    longest_packet = None
    has_room = False

    def send(self, data: bytes) -> None:
        pytest.fail("nothing is sent")


def test_a_subscriber_that_does_not_read_costs_bounded_memory() -> None:
    """QoS 0 is not sent to it; of QoS 1 so many wait, the newest."""
    session = Session(("u", "c"), device_access(LAMP))
    session.link = Full()
    for number in range(3 * MOST_WAITING):
        session.deliver(Outgoing("t", b"%d" % number, number % 2, False))
    assert len(session._waiting) == MOST_WAITING
    assert session._waiting[-1].payload == b"%d" % (3 * MOST_WAITING - 1)
    for _ in range(10):
        session.deliver(Outgoing("t", b"x" * 1_000_000, 1, False))
    assert session._waiting_bytes <= 4_000_000


@pytest.mark.parametrize("end", ["problems", "#", "+", "problems/#", "+/#"])
def test_a_device_subscribes_to_what_it_may_receive_and_beside_it(end: str) -> None:
    access = device_access(LAMP, lambda pilot, device: ["v1.1/Datastreams(7)/Observations"])
    assert access.may_subscribe(f"pilots/air/lamp-1/{end}")
    assert not access.may_subscribe(f"pilots/air/lamp-2/{end}")
    assert not access.may_subscribe(f"pilots/air/{end}")
    assert not access.may_subscribe(end)
    assert access.may_subscribe("v1.1/Datastreams(7)/Observations")
    assert not access.may_subscribe("v1.1/+/Observations")
    assert not access.may_subscribe("v1.1/#")


def test_subscriptions_of_a_device_are_its_own(broker: EmbeddedBroker) -> None:
    own = "pilots/air/lamp-1/problems"
    asked = [own, "pilots/air/lamp-1/#", "#", "pilots/+/+/problems", "pilots/air/lamp-2/problems", "$SYS/#"]
    asked += [f"$share/g/{own}", "$share//x", "a/#/b", "a+", ""]
    with RawClient(broker.port, 5) as device:
        body = b"".join(text(topic_filter) + b"\x01" for topic_filter in asked)
        device.send(packet(0x82, b"\x00\x01\x00" + body))
        told = device.read5()
        assert isinstance(told, mqtt5.SubAckPacket)
        assert [int(code) for code in told.reason_codes] == [1, 1, 0x87, 0x87, 0x87, 0x87, 0x87, 0x8F, 0x8F, 0x8F, 0x8F]
        device.send(packet(0x82, b"\x00\x02\x00" + (text("x") + b"\x01") * 20_000))
        ending = device.read5()
        assert isinstance(ending, mqtt5.DisconnectPacket)
        assert ending.reason_code == mqtt5.DisconnectReasonCode.PACKET_TOO_LARGE


def test_subscriptions_of_a_device_are_few_and_go_with_it() -> None:
    topics = [f"v1.1/Datastreams({number})/Observations" for number in range(MOST_SUBSCRIPTIONS + 9)]
    exchange, session = Exchange(), Session(("u", "c"), device_access(LAMP, lambda pilot, device: topics))
    exchange.add(session)
    codes = [exchange.subscribe(session, Wanted(topic, 0))[0] for topic in topics]
    assert codes == [0] * MOST_SUBSCRIPTIONS + [0x97] * 9
    exchange.remove(session)
    assert not exchange._root.children, "nothing is left of a session that has gone"


@pytest.mark.parametrize(
    "sent",
    [
        connect(),
        b"\x20\x02\x00\x00",  # what only servers send
        b"\xd0\x00",
        b"\xf0\x02\x00\x00",  # AUTH
        b"\x00\x00",
        b"\x36\x09\x00\x01a\x00\x01{}ab",  # a quality of service of 3
        b"\x32\x05\x00\x01a\x00\x00",  # a packet identifier of 0
        b"\x80\x06\x00\x01\x00\x01a\x00",  # reserved flags
        b"\x82\x02\x00\x01",  # nothing to subscribe to
        b"\x30\xff\xff\xff\xff\x01",  # a length of five bytes
        b"\x30\x03\x00\x05a",  # a topic beyond its packet
        b"\xc0\x01a",
        publish("a/#", b"x"),
        publish("a\0b", b"x"),
        publish(b"\xff", b"x"),
    ],
)
@LEVELS
def test_what_is_not_mqtt_ends_its_senders_connection_only(
    broker: EmbeddedBroker, sent: bytes, level: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with RawClient(broker.port, level) as rude:
        rude.send(sent)
        last = rude.read()
        assert last == b"" or (level == 5 and last[0] == 0xE0 and rude.read() == b"")
    assert is_alive(broker)
    assert "panicked" not in capfd.readouterr().err


def test_a_registry_that_is_away_is_no_wrong_password(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is told that its password is wrong may never try again."""
    credentials = Credentials(ingest.registry.database)
    issued = credentials.issue("air", "lamp-1", "test")

    def away(username: str, password: str) -> None:
        raise RegistryUnavailable("away")

    monkeypatch.setattr(credentials, "check", away)
    broker = EmbeddedBroker(EmbeddedSettings(port=free_port()), Authenticator(credentials, anonymous=False))
    try:
        login = text(issued.username) + text(issued.password)
        for level, answer in ((4, b"\x03"), (5, b"\x88")):
            with RawClient(broker.port) as device:
                device.send(connect(level=level, flags=0xC2, more=login))
                assert device.read()[3:4] == answer
    finally:
        broker.close()


@LEVELS
def test_a_bug_leaves_no_client_waiting(
    broker: EmbeddedBroker, level: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its connection would stay as it is for ever: nothing is read from it, so no keep-alive ends it."""

    def fail(self: Devices, username: str | None, password: str | None) -> Admission | None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(Devices, "admit", fail)
        with RawClient(broker.port) as device:
            device.send(connect(level=level))
            assert device.read()[3:4] == (b"\x03" if level == 4 else b"\x88"), "it may try again"
            assert device.read() == b""
    assert is_alive(broker)


def test_a_reason_that_cannot_be_written_holds_up_no_acknowledgement(broker: EmbeddedBroker) -> None:
    with RawClient(broker.port, 5) as device:
        device.send(publish(TOPIC, b"1", 1, level=5) + publish(TOPIC, b"2", 2, level=5))
        messages = receive(broker, 2)
        broker.tell(messages[0].id, Answer(0x99, "half a pair: \ud800"))
        broker.ack(messages)
        assert device.read() == b"\x40\x03\x00\x01\x99"
        assert device.read() == b"\x40\x02\x00\x02"
        assert broker._server._window.bytes == 0


@LEVELS
@pytest.mark.parametrize("length", [1_001, 20_000])
def test_a_client_id_is_not_endless(broker: EmbeddedBroker, level: int, length: int) -> None:
    """Names of clients that were lost are remembered, thousands of them."""
    with RawClient(broker.port) as rude:
        rude.send(connect("x" * length, level))
        assert rude.read()[3:4] == (b"\x02" if level == 4 else b"\x85")
        assert rude.read() == b""
    with RawClient(broker.port, level, client_id="x" * 1_000) as other:
        assert other.is_answered()


def test_a_session_lasts_no_longer_for_a_goodbye_that_says_so(broker: EmbeddedBroker) -> None:
    with RawClient(broker.port, 5, properties=b"\x11\x00\x00\x00\x05") as device:
        device.send(b"\xe0\x07\x00\x05\x11\xff\xff\xff\xff")
        assert device.read() == b""
    [session] = broker._server.exchange.sessions.values()
    assert session.expiry == LONGEST_EXPIRY


# -- Any bytes.

WIRES = (Mqtt311(), Mqtt5())
NAMES = ("connect", "subscribe", "unsubscribe", "acknowledged", "disconnect")
READERS: list[Callable[[memoryview], object]] = [
    packets.version_of,
    *(getattr(wire, name) for wire in WIRES for name in NAMES),
]
LOGIN = text("user") + text("password")
PAIR = b"\x26" + text("k") + text("v")
VALID = [
    connect(),
    connect(level=5, properties=b"\x11\x00\x00\x00\x09\x21\x00\x14" + PAIR),
    connect(flags=0xC6, more=text("a/b") + text("gone") + LOGIN),
    connect(level=5, flags=0xEE, more=b"\x05\x18\x00\x00\x00\x05" + text("a/b") + text("gone") + LOGIN),
    publish(TOPIC, b"{}"),
    publish(TOPIC, b"{}", level=5, properties=b"\x01\x01\x03" + text("text") + b"\x23\x00\x01" + PAIR),
    packet(0x82, b"\x00\x01" + text("a/#") + b"\x01"),
    packet(0x82, b"\x00\x01" + bytes((len(PAIR),)) + PAIR + text("a/#") + b"\x2e"),
    packet(0xA2, b"\x00\x01\x00" + text("a/#")),
    b"\x40\x04\x00\x01\x00\x00",
    b"\xe0\x07\x04\x05\x11\x00\x00\x00\x01",
    b"\xc0\x00",
]
FEW = settings(max_examples=150, deadline=None)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Packets of which some bytes are others."""
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(VALID), min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xC3, 0xFF, 0x26, 0x36]))
    return bytes(data[: draw(st.integers(1, len(data)))])


@FEW
@example(packet(0x10, b"\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01\xff"))
@example(packet(0x82, b"\x00\x01\x00\x00\x01\xff\x00"))
@example(packet(0xE0, b"\x00\x04\x1f\x00\x01\xff"))
@given(st.one_of(st.binary(min_size=2, max_size=60), mutated()))
def test_the_codec_reads_any_bytes(data: bytes) -> None:
    """It gives a packet, or raises MalformedPacket."""
    view = memoryview(data)
    try:
        header = packets.frame(view, 0, len(data), 1_000)
    except MalformedPacket:
        return
    if header is None:
        return
    whole = view[: header.end]
    for read in READERS:
        with contextlib.suppress(MalformedPacket):
            read(whole)
    for five in (False, True) if data[0] >> 4 == packets.PUBLISH else ():
        with contextlib.suppress(MalformedPacket):
            published = packets.read_publish(whole, 0, *header, five)
            assert len(published.topic) + len(published.payload) < len(data)


def test_texts_are_looked_at_before_the_codec_that_panics(capfd: pytest.CaptureFixture[str]) -> None:
    for valid in VALID:
        for at in range(2, len(valid)):
            data = memoryview(valid[:at] + b"\xff" + valid[at + 1 :])
            for read in READERS:
                with contextlib.suppress(MalformedPacket):
                    read(data)
            if data[0] >> 4 == packets.PUBLISH:
                with contextlib.suppress(MalformedPacket):
                    packets.read_publish(data, 0, 2, len(data), five=True)
    assert capfd.readouterr().err == ""


class Transport:
    """What a Connection needs of one."""

    def __init__(self) -> None:
        self.closing = False

    def write(self, data: bytes) -> None:
        assert data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


@FEW
@given(st.sampled_from([4, 5]), st.lists(st.one_of(st.binary(max_size=40), mutated()), max_size=6), st.booleans())
def test_a_connection_survives_any_bytes(level: int, parts: list[bytes], is_device: bool) -> None:
    """However they are cut: it stays open or is closed, and holds no more than came."""

    async def converse() -> None:
        gate = Devices() if is_device else AllowAll()
        running = Server(asyncio.get_running_loop(), Inbox(5), gate, 1_000, restarted=False)
        running.set_topics(("pilots/#",))
        connection, transport = Connection(running), Transport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        feed(connection, connect(level=level))
        admission = gate.admit(None, None)
        assert admission is not None
        running._open(connection, connection.hello.result(), admission)
        assert connection.state == "open"
        for part in parts:
            feed(connection, part)
            numbers = [message.id for message in running.inbox.take(0)]
            assert len(numbers) <= 5
            running.release(numbers)
            assert running.partial == len(connection._rest) <= sum(map(len, parts))
        assert (connection.state == "closed") == transport.closing
        connection.connection_lost(None)
        assert running.partial == 0
        assert not running.connections
        running._threads.shutdown()

    def feed(connection: Connection, data: bytes) -> None:
        if data and connection.state != "closed":
            connection.get_buffer(-1)[: len(data)] = data
            connection.buffer_updated(len(data))

    asyncio.run(converse())
