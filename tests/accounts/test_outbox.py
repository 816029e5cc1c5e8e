"""E-mails through a real mail server: delivered at least once, whatever stops in between."""

from __future__ import annotations

import email
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from techport.mail import deliver, sending_mail
from techport.settings import Settings, load_settings
from techport_pilots.registry import outbox as outbox_module
from techport_pilots.registry.database import Database
from techport_pilots.registry.outbox import GIVE_UP, TAKEN_FOR, Outbox, add_mail
from techport_pilots.registry.registry import Registry
from techport_storage.clock import now
from techport_storage.microseconds import HOUR, MINUTE
from tests.ingest.running import eventually
from tests.registries import registry_in
from tests.servers.mosquitto import free_port


class Mailbox:
    """Keeps what the server takes; answers with `refuse` instead while it is set."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.refuse: str | None = None

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.refuse is not None:
            return self.refuse
        self.messages.append(email.message_from_bytes(envelope.content, policy=default))
        return "250 OK"


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def server(mailbox: Mailbox) -> Iterator[Controller]:
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield controller
    controller.stop()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    registry = Registry.open(registry_in(tmp_path))
    yield registry.database
    registry.close()


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Puts the outbox's clock ahead by ahead[0] microseconds."""
    value = [0]
    monkeypatch.setattr(outbox_module, "now", lambda: now() + value[0])
    return value


def settings_for(port: int) -> Settings:
    return load_settings({"smtp": f"127.0.0.1:{port}", "smtp_tls": "none", "mail_from": "techport@example.org"})


def test_an_e_mail_arrives_in_any_language_and_its_text_is_not_kept(
    database: Database, server: Controller, mailbox: Mailbox
) -> None:
    outbox = Outbox(database)
    with sending_mail(settings_for(server.port), database):
        outbox.add(
            "invitation", "kari@example.org", "Du er invitert til «Luft på kaia»", "Åpne denne: https://x.example/a\n"
        )
        eventually(lambda: outbox.state().waiting == 0, "it is sent")
    (message,) = mailbox.messages
    assert message["To"] == "kari@example.org"
    assert message["From"] == "techport@example.org"
    assert message["Subject"] == "Du er invitert til «Luft på kaia»"
    assert message.get_content().strip() == "Åpne denne: https://x.example/a"
    with database.reading() as transaction:
        assert "x.example" not in repr(transaction.execute("SELECT * FROM outbox").all())


def test_a_subject_cannot_add_headers(database: Database, server: Controller, mailbox: Mailbox) -> None:
    outbox = Outbox(database)
    outbox.add("invitation", "kari@example.org", "Hello\r\nBcc: everybody@example.org", "x")
    mail = outbox.take()
    assert mail is not None
    deliver(settings_for(server.port), outbox, mail)
    (message,) = mailbox.messages
    assert message["Bcc"] is None


def test_what_was_taken_by_a_process_that_was_killed_is_sent_by_the_next(
    database: Database, server: Controller, mailbox: Mailbox, ahead: list[int]
) -> None:
    outbox = Outbox(database)
    outbox.add("invitation", "kari@example.org", "s", "b")
    first = outbox.take()
    assert first is not None
    deliver(settings_for(server.port), outbox, first)  # sent, and then the process dies before it is written down:
    with database.writing() as transaction:
        again = "UPDATE outbox SET sent = NULL, next_try = created, body = 'b', taken_until = :until"
        transaction.execute(again, {"until": now() + TAKEN_FOR})
    assert outbox.take() is None, "somebody is at it"
    ahead[0] = TAKEN_FOR + MINUTE
    again = outbox.take()
    assert again is not None
    deliver(settings_for(server.port), outbox, again)
    assert len({message["Message-ID"] for message in mailbox.messages}) == 1, "a mailbox knows it for the same"
    assert len(mailbox.messages) == 2
    assert outbox.state().waiting == 0


def test_a_server_that_is_away_is_tried_again_and_given_up_in_the_end(database: Database, ahead: list[int]) -> None:
    outbox, settings = Outbox(database), settings_for(free_port())
    outbox.add("invitation", "kari@example.org", "s", "b")
    tried = 0
    while (mail := outbox.take()) is not None or outbox.state().waiting:
        if mail is None:
            ahead[0] += 10 * MINUTE
            continue
        deliver(settings, outbox, mail)
        tried += 1
        assert outbox.take() is None, "not at once"
    assert 20 < tried < 60
    assert ahead[0] > GIVE_UP
    state = outbox.state()
    assert (state.waiting, state.given_up) == (0, 1)
    assert state.error is not None
    ahead[0] += 10 * 24 * HOUR + GIVE_UP
    outbox.take()
    assert outbox.state().given_up == 0, "forgotten a week later"


@pytest.mark.parametrize(("answer", "waits"), [("451 try again", True), ("550 no such mailbox", False)])
def test_a_refusal_for_now_waits_and_one_for_good_is_given_up(
    database: Database, server: Controller, mailbox: Mailbox, answer: str, waits: bool
) -> None:
    outbox = Outbox(database)
    outbox.add("invitation", "kari@example.org", "s", "the secret link")
    mailbox.refuse = answer
    mail = outbox.take()
    assert mail is not None
    deliver(settings_for(server.port), outbox, mail)
    assert (outbox.state().waiting == 1) is waits
    with database.reading() as transaction:
        kept = repr(transaction.execute("SELECT body FROM outbox").all())
    assert ("the secret link" in kept) is waits


def test_what_was_not_done_is_not_told(database: Database) -> None:
    def write_and_fail() -> None:
        with database.writing() as transaction:
            add_mail(transaction, "alert", "kari@example.org", "s", "b")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert Outbox(database).take() is None
