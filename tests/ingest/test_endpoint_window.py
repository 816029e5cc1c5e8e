"""Pilots share the endpoint's window: one that sends more than is taken waits for itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from techport_ingest.brokers.auth import Admission, device_access
from techport_ingest.sources.embedded import EmbeddedBroker, EmbeddedSettings
from techport_ingest.sources.endpoint.window import MOST_HELD, WINDOW_BYTES, Share, Window
from techport_pilots.access.credentials import Credential
from tests.ingest.raw_client import RawClient, publish, text
from tests.ingest.running import eventually
from tests.servers.mosquitto import free_port

SIZE = 200


@dataclass
class Client:
    """As much of a connection as the window asks of."""

    share: Share = field(default_factory=Share)
    held: int = 0
    held_bytes: int = 0


def fill(window: Window, *clients: Client) -> None:
    """Each in turn adds a message, until nobody can."""
    while able := [client for client in clients if window.has_room(client)]:
        for client in able:
            if window.has_room(client):
                window.add(client, 10)


def test_a_pilot_alone_has_half_of_it() -> None:
    window, pilot = Window(SIZE), Share()
    clients = [Client(pilot) for _ in range(5)]
    fill(window, *clients)
    assert pilot.held == SIZE // 2
    assert [client.held for client in clients] == [SIZE // 2 // 5] * 5


def test_who_comes_later_has_an_equal_part_of_the_other_half() -> None:
    window = Window(SIZE)
    first, second = Client(), Client()
    fill(window, first)
    fill(window, second)
    assert (first.held, second.held) == (SIZE // 2, SIZE // 4)
    third = Client()
    fill(window, third)
    assert third.held >= SIZE // 2 // 3 - 1
    assert window.messages < SIZE


def test_many_clients_of_one_pilot_are_one_party() -> None:
    """However many devices the noisy one has, the only device of the quiet one has as much room as they together."""
    window, noisy = Window(SIZE), Share()
    fill(window, *[Client(noisy) for _ in range(50)])
    quiet = Client()
    fill(window, quiet)
    assert quiet.held == SIZE // 4


def test_what_is_kept_makes_room_for_who_has_least() -> None:
    window, noisy, quiet = Window(SIZE), Client(), Client()
    fill(window, noisy)
    for _ in range(20):
        window.remove(noisy, 10)
        assert window.has_room(quiet)
        window.add(quiet, 10)
        assert not window.has_room(noisy)
    for _ in range(20):
        window.remove(quiet, 10)
    while noisy.held:
        window.remove(noisy, 10)
    assert (window.messages, window.bytes) == (0, 0)
    fill(window, quiet)
    assert quiet.held == SIZE // 2, "nobody else has anything in it any more"


@pytest.mark.parametrize("held", [Client(held=MOST_HELD), Client(held_bytes=8_000_000)])
def test_one_connection_has_its_own_limits(held: Client) -> None:
    assert not Window(10 * MOST_HELD).has_room(held)


def test_its_bytes_are_bounded_too() -> None:
    window = Window(SIZE)
    window.add(Client(), WINDOW_BYTES)
    assert window.is_full
    assert not window.has_room(Client())


class Gate:
    """Takes a user name's first level for the pilot that its credential is of."""

    def admit(self, username: str | None, password: str | None) -> Admission | None:
        pilot, _, device = (username or "").partition("/")
        credential = Credential(username=username or "", pilot=pilot, device=device, password="", who="", at=0)
        return Admission(device_access(credential), None, pilot)

    def proofs(self) -> None:
        return None


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    running = EmbeddedBroker(EmbeddedSettings(port=free_port(), window=SIZE), Gate())
    yield running
    running.close()


def connected(broker: EmbeddedBroker, user: str) -> RawClient:
    return RawClient(broker.port, 4, flags=0x82, client_id=user, more=text(user))


def test_a_quiet_pilots_message_passes_a_noisy_ones_that_wait(broker: EmbeddedBroker) -> None:
    with ExitStack() as stack:
        for device in range(10):
            noisy = stack.enter_context(connected(broker, f"noisy/{device}"))
            noisy.send(b"".join(publish(f"pilots/noisy/{device}/readings", b"1", number) for number in range(1, 101)))
        eventually(lambda: broker._server._window.messages == SIZE // 2, "the noisy pilot has what it may")
        quiet = stack.enter_context(connected(broker, "quiet/1"))
        quiet.send(publish("pilots/quiet/1/readings", b"1", 1))
        eventually(lambda: broker._server._window.messages == SIZE // 2 + 1, "there is room for the quiet one")
        taken = broker.receive(1)
        assert [message.topic for message in taken].count("pilots/quiet/1/readings") == 1
        broker.ack(taken)
        assert quiet.read() == b"\x40\x02\x00\x01"
        arrived = len(taken)
        while arrived < 1_001:
            taken = broker.receive(1)
            arrived += len(taken)
            broker.ack(taken)
