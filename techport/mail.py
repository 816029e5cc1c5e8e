"""Delivers what waits in the outbox, in a thread of its own: e-mails through an SMTP server, webhooks by HTTP."""

from __future__ import annotations

import smtplib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from functools import partial
from ssl import create_default_context

import structlog

from techport.background import in_background
from techport.settings import Settings
from techport.webhooks import WebhookRefused, post
from techport_pilots.errors import RegistryUnavailable
from techport_pilots.registry.database import Database
from techport_pilots.registry.outbox import Mail, Outbox
from techport_storage.clock import now_datetime

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 2.0
TIMEOUT_S = 30.0


@contextmanager
def sending_mail(settings: Settings, database: Database) -> Iterator[None]:
    """Deliver until the block ends; without the setting `smtp` webhooks only, and e-mails wait."""
    stopping = threading.Event()
    with in_background("mail", partial(_run, settings, Outbox(database), stopping), stopping.set):
        yield


def _run(settings: Settings, outbox: Outbox, stopping: threading.Event) -> None:
    while not stopping.wait(LOOK_EVERY_S):
        try:
            while not stopping.is_set() and (mail := outbox.take(webhooks_only=settings.smtp is None)) is not None:
                try:
                    deliver(settings, outbox, mail)
                except RegistryUnavailable:
                    raise
                except Exception:  # supervises: one message that cannot be sent must not end all others
                    log.exception("sending a message failed", purpose=mail.purpose)
                    outbox.failed(mail, "an error in techport, see its log")
        except RegistryUnavailable as error:
            log.warning("e-mails wait: the registry does not answer", problem=str(error))


def deliver(settings: Settings, outbox: Outbox, mail: Mail) -> None:
    """Hand one e-mail to the server, and note what came of it. Raises RegistryUnavailable; it is then sent again."""
    try:
        if "://" in mail.recipient:
            post(settings, mail)
        else:
            _send(settings, mail)
    except WebhookRefused as error:
        log.warning("a webhook was refused", purpose=mail.purpose, problem=str(error), given_up=error.for_good)
        outbox.failed(mail, str(error), for_good=error.for_good)
    except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError, smtplib.SMTPSenderRefused) as error:
        for_good = _code(error) >= 500
        log.warning("an e-mail was refused", purpose=mail.purpose, code=_code(error), given_up=for_good)
        outbox.failed(mail, f"refused with code {_code(error)}", for_good=for_good)
    except (OSError, smtplib.SMTPException) as error:
        log.warning("an e-mail waits: the mail server does not take it", purpose=mail.purpose, problem=str(error))
        outbox.failed(mail, str(error))
    else:
        outbox.sent(mail)


def _send(settings: Settings, mail: Mail) -> None:
    server, sender = settings.smtp_address, settings.mail_from
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = sender, mail.recipient, mail.subject
    message["Date"] = format_datetime(now_datetime())
    domain = sender.rpartition("@")[2].strip("> ") or "localhost"
    message["Message-ID"] = f"<techport-{mail.created}-{mail.id}@{domain}>" if domain else make_msgid()
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.body)
    context = create_default_context(cafile=str(settings.smtp_ca) if settings.smtp_ca else None)
    tls = settings.smtp_tls
    connection = (
        smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT_S, context=context)
        if tls == "tls"
        else smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_S)
    )
    with connection:
        if tls == "starttls":
            connection.starttls(context=context)
        if settings.smtp_username is not None:
            connection.login(settings.smtp_username, settings.smtp_password() or "")
        connection.send_message(message)


def _code(error: smtplib.SMTPException) -> int:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return max((code for code, _ in error.recipients.values()), default=0)
    return int(getattr(error, "smtp_code", 0))
