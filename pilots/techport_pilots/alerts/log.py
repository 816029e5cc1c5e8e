"""The alerts of all pilots, with their history, whom they are told, and when they are not.

`AlertLog.update` takes what is so now and writes down what began and what is over, together with the messages that tell
it: both are in the registry or neither is, so that a process which is killed at any moment tells everything once it is
started again. Messages wait in the outbox, which delivers each at least once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from techport_pilots.access.accounts import AccountError, checked_email
from techport_pilots.alerts.conditions import NEWS, RECOVERS_AFTER, SHOWN_ONLY, Condition, Rule, title_of
from techport_pilots.i18n import Language, Message
from techport_pilots.registry.database import Database, Transaction, clean_text
from techport_pilots.registry.outbox import add_mail
from techport_storage.clock import now
from techport_storage.microseconds import DAY
from techport_storage.model import Micros

PLATFORM = ""
"""In place of a pilot: every pilot."""

KEPT: Micros = 400 * DAY
"""How long alerts that are over stay in the history."""

_OPEN = "SELECT * FROM alerts WHERE recovered IS NULL"
_NEWEST_OPEN = (
    "SELECT * FROM alerts WHERE recovered IS NULL AND (CAST(:pilot AS TEXT) IS NULL OR pilot = :pilot)"
    " ORDER BY began DESC, id DESC LIMIT :limit"
)
_NEWEST_OVER = (
    "SELECT * FROM alerts WHERE recovered IS NOT NULL AND (CAST(:pilot AS TEXT) IS NULL OR pilot = :pilot)"
    " ORDER BY began DESC, id DESC LIMIT :limit"
)
_BEGIN = (
    "INSERT INTO alerts (pilot, rule, subject, params, began, seen) VALUES (:pilot, :rule, :subject, :params, :at, :at)"
    " ON CONFLICT DO NOTHING"
)
_SEEN = "UPDATE alerts SET seen = :at, params = :params WHERE id = :id"
_RECOVER = "UPDATE alerts SET recovered = :at WHERE id = :id AND recovered IS NULL"
_LOOKED = "INSERT INTO alert_looks (id, at) VALUES (1, :at) ON CONFLICT (id) DO UPDATE SET at = excluded.at"
_ADD_RECIPIENT = (
    "INSERT INTO alert_recipients (pilot, address, language, weekly, who, at)"
    " VALUES (:pilot, :address, :language, :weekly, :who, :at) ON CONFLICT (pilot, address) DO UPDATE"
    " SET language = excluded.language, weekly = excluded.weekly, who = excluded.who, at = excluded.at RETURNING id"
)
_ACKNOWLEDGE = (
    "UPDATE alerts SET acknowledged = :at, acknowledged_by = :who, note = :note"
    " WHERE id = :id AND pilot = :pilot AND acknowledged IS NULL"
)

Kind = Literal["email", "webhook"]
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """Something that needs or needed somebody."""

    id: int
    pilot: str
    rule: Rule
    subject: str
    params: Mapping[str, Any]
    began: Micros
    seen: Micros  # when it was last so
    recovered: Micros | None = None  # None: it is so
    acknowledged: Micros | None = None
    acknowledged_by: str = ""
    note: str = ""

    @property
    def condition(self) -> Condition:
        return Condition(pilot=self.pilot, rule=self.rule, subject=self.subject, params=self.params)

    @property
    def text(self) -> Message:
        return self.condition.text


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told of a pilot's alerts, or of all (PLATFORM). `address` is an e-mail address or the URL of a webhook."""

    id: int
    pilot: str
    address: str
    language: Literal["nb", "en"]
    weekly: bool  # gets the weekly summary too

    @property
    def kind(self) -> Kind:
        return "webhook" if "://" in self.address else "email"


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which nobody is told: of a pilot, or of one rule or device of it. Alerts are noted nevertheless."""

    id: int
    pilot: str
    rule: str  # "": all
    subject: str  # "": all
    start: Micros
    end: Micros | None  # None: until it is taken away
    reason: str
    who: str

    def covers(self, condition: Condition, at: Micros) -> bool:
        return (
            self.pilot in (PLATFORM, condition.pilot)
            and self.rule in ("", condition.rule)
            # The subject of a limit is more than the device, which every rule about one has among its parameters.
            and self.subject in ("", condition.subject, condition.params.get("device"))
            and self.start <= at
            and (self.end is None or at < self.end)
        )


class Change(msgspec.Struct, frozen=True):
    """What one look at the conditions changed."""

    began: list[Condition]
    recovered: list[Condition]


def checked_address(text: str) -> str:
    """The e-mail address or webhook as it is kept. Raises AccountError for what is neither."""
    address = text.strip()
    if "://" not in address:
        return checked_email(address)
    if len(address) > 500 or not address.isprintable() or " " in address or not _is_url(address):
        raise AccountError(Message("alert.address-not-good", {"address": address[:80]}))
    return address


def _is_url(address: str) -> bool:
    try:
        parts = urlsplit(address)
        # Of other services only the scheme is common: their host may be a token, and what follows a colon a password.
        http = parts.scheme not in ("http", "https") or (bool(parts.hostname) and parts.port != 0)
    except ValueError:  # [ without ], a port that is none
        return False
    return http and bool(_SCHEME.fullmatch(parts.scheme)) and bool(parts.netloc)


class Wording(Protocol):
    """What messages call pilots and devices, and where they lead."""

    def title(self, pilot: str, language: Language) -> str:
        """The title of a pilot."""

    def sentence(self, condition: Condition, language: Language) -> str:
        """What is so, with the device by its title."""

    def link(self, pilot: str, device: str | None = None) -> str:
        """The address of the pilot's alerts, or of a device's page."""


class AlertLog:
    """Every method may raise RegistryUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- alerts ----------------------------------------------------------------------------------------------------

    def update(self, conditions: Iterable[Condition], looked_at: Collection[str], wording: Wording) -> Change:
        """Note what began and what is over, and write the messages that tell it. Of several processes that look at the
        same moment, one does each.

        Parameters
        ----------
        conditions : iterable of Condition
            All that is so now.
        looked_at : collection of str
            Pilots that were looked at. An alert of another pilot stays as it is.
        wording : Wording
            What the messages call pilots and devices, and where they lead.

        Returns
        -------
        Change
            Also what nobody is told because of a silence.
        """
        at = now()
        current = {condition.key: condition for condition in conditions}
        with self._database.writing() as transaction:
            alerts = [_alert(row) for row in transaction.execute(_OPEN).mappings()]
            open_alerts = {alert.condition.key: alert for alert in alerts}
            began, recovered = [], []
            for key in sorted(current.keys() - open_alerts.keys()):  # in one order: nobody waits for who waits for them
                row = {**_row(current[key]), "at": at}
                if transaction.execute(_BEGIN, row).rowcount == 1:
                    began.append(current[key])
            for key, alert in sorted(open_alerts.items()):
                if key in current:
                    transaction.execute(_SEEN, {"at": at, "params": _row(current[key])["params"], "id": alert.id})
                elif (
                    alert.pilot in looked_at
                    and at - alert.seen >= RECOVERS_AFTER
                    and transaction.execute(_RECOVER, {"at": at, "id": alert.id}).rowcount == 1
                ):
                    recovered.append(alert.condition)
            if began or recovered:
                self._tell(transaction, began, recovered, at, wording)
            transaction.execute("DELETE FROM alerts WHERE recovered < :old", {"old": at - KEPT})
            transaction.execute(_LOOKED, {"at": at})
        return Change(began, recovered)

    def looked(self) -> Micros | None:
        """When somebody last looked; None: nobody has, so that no alerts mean nothing."""
        with self._database.reading() as transaction:
            return transaction.execute("SELECT at FROM alert_looks").scalar_one_or_none()

    def open(self, pilot: str | None = None) -> list[Alert]:
        """What is so, the newest first."""
        return self._alerts(_NEWEST_OPEN, pilot, 1_000)

    def history(self, pilot: str | None = None, limit: int = 200) -> list[Alert]:
        """What was so, the newest first."""
        return self._alerts(_NEWEST_OVER, pilot, limit)

    def acknowledge(self, pilot: str, alert: int, who: str, note: str = "") -> bool:
        """Note that somebody takes care; False where there is no such alert, or somebody does already."""
        row = {"id": alert, "pilot": pilot, "who": who, "note": clean_text(note)[:500], "at": now()}
        with self._database.writing() as transaction:
            return transaction.execute(_ACKNOWLEDGE, row).rowcount == 1

    def _alerts(self, query: str, pilot: str | None, limit: int) -> list[Alert]:
        with self._database.reading() as transaction:
            rows = transaction.execute(query, {"pilot": pilot, "limit": limit}).mappings()
            return [_alert(row) for row in rows]

    # -- who is told, and when not ---------------------------------------------------------------------------------

    def recipients(self, pilot: str) -> list[Recipient]:
        """Of one pilot, or of PLATFORM."""
        with self._database.reading() as transaction:
            return _recipients(transaction, [pilot])

    def add_recipient(self, pilot: str, address: str, language: str, who: str, *, weekly: bool = True) -> int:
        """Tell somebody of a pilot's alerts. The address has been checked by the caller; the same again changes it."""
        row = {"pilot": pilot, "address": address, "language": language, "weekly": int(weekly), "who": who, "at": now()}
        with self._database.writing() as transaction:
            return int(transaction.execute(_ADD_RECIPIENT, row).scalar_one())

    def remove_recipient(self, pilot: str, recipient: int) -> bool:
        with self._database.writing() as transaction:
            deleted = transaction.execute(
                "DELETE FROM alert_recipients WHERE pilot = :pilot AND id = :id", {"pilot": pilot, "id": recipient}
            )
            return deleted.rowcount == 1

    def silences(self, pilot: str) -> list[Silence]:
        """Of one pilot, those that are over left out."""
        with self._database.reading() as transaction:
            return [silence for silence in _silences(transaction, now()) if silence.pilot == pilot]

    def add_silence(
        self,
        pilot: str,
        rule: str,
        subject: str,
        period: tuple[Micros, Micros | None],
        reason: str,
        who: str,
    ) -> int:
        """Tell nobody in a period, which may have no end; empty `rule` and `subject` stand for all."""
        row = {
            "pilot": pilot,
            "rule": rule,
            "subject": subject,
            "start": period[0],
            "until": period[1],
            "reason": clean_text(reason)[:500],
            "who": who,
        }
        with self._database.writing() as transaction:
            return int(
                transaction.execute(
                    "INSERT INTO alert_silences (pilot, rule, subject, start, until, reason, who)"
                    " VALUES (:pilot, :rule, :subject, :start, :until, :reason, :who) RETURNING id",
                    row,
                ).scalar_one()
            )

    def remove_silence(self, pilot: str, silence: int) -> bool:
        with self._database.writing() as transaction:
            deleted = transaction.execute(
                "DELETE FROM alert_silences WHERE pilot = :pilot AND id = :id", {"pilot": pilot, "id": silence}
            )
            return deleted.rowcount == 1

    # -- the weekly summary ----------------------------------------------------------------------------------------

    def send_weekly(self, pilot: str, week: str, compose: Callable[[Language], tuple[str, str]]) -> int:
        """Write a pilot's summary of an ISO week (2026-W49) to those who want it; once a week, whoever asks.

        `compose` gives subject and text in a language; it may take its time, nobody waits for the registry meanwhile.
        Gives the number of messages.
        """
        row = {"pilot": pilot, "week": week}
        with self._database.reading() as transaction:
            if transaction.execute("SELECT 1 FROM alert_weeks WHERE pilot = :pilot AND week = :week", row).first():
                return 0
            recipients = [person for person in _recipients(transaction, [pilot, PLATFORM]) if person.weekly]
        texts = {language: compose(Language(language)) for language in {person.language for person in recipients}}
        with self._database.writing() as transaction:
            first = transaction.execute(
                "INSERT INTO alert_weeks (pilot, week) VALUES (:pilot, :week) ON CONFLICT DO NOTHING", row
            )
            if first.rowcount != 1:
                return 0
            transaction.execute("DELETE FROM alert_weeks WHERE pilot = :pilot AND week < :week", row)
            for recipient in recipients:
                add_mail(transaction, "weekly", recipient.address, *texts[recipient.language], pilot)
        return len(recipients)

    # -- telling ---------------------------------------------------------------------------------------------------

    def _tell(
        self,
        transaction: Transaction,
        began: Sequence[Condition],
        recovered: Sequence[Condition],
        at: Micros,
        wording: Wording,
    ) -> None:
        """One message for each cause: what began or recovered of a pilot by the same rule, at the same look."""
        silences = _silences(transaction, at)
        for over, conditions in ((False, began), (True, recovered)):
            loud = [
                condition
                for condition in conditions
                if not (over and condition.rule in NEWS)
                and condition.rule not in SHOWN_ONLY
                and not any(s.covers(condition, at) for s in silences)
            ]
            loud.sort(key=lambda condition: condition.key)
            for (pilot, rule), group in groupby(loud, lambda condition: (condition.pilot, condition.rule)):
                members = list(group)
                for recipient in _recipients(transaction, [pilot, PLATFORM]):
                    subject, body = compose(members, Language(recipient.language), over, wording)
                    add_mail(transaction, f"alert {rule}", recipient.address, subject, body, pilot)


_LISTED = 20


def compose(conditions: Sequence[Condition], language: Language, over: bool, wording: Wording) -> tuple[str, str]:
    """Subject and text about conditions of one pilot and rule. Where it is about one device, its page comes first."""
    pilot, rule = conditions[0].pilot, conditions[0].rule
    heading = language.message(title_of(rule))
    name = wording.title(pilot, language)
    if over:
        subject = language.message(Message("alert.mail.over", {"title": heading, "pilot": name}))
    else:
        subject = language.message(Message("alert.mail.began", {"title": heading, "pilot": name}))
    lines = [wording.sentence(condition, language) for condition in conditions[:_LISTED]]
    if len(conditions) > _LISTED:
        lines.append(language.message(Message("alert.mail.more", {"n": len(conditions) - _LISTED})))
    device = conditions[0].params.get("device") if len(conditions) == 1 and rule != "unknown-device" else None
    links = [wording.link(pilot, device)] if device else []
    return subject, "\n".join([*lines, "", *links, wording.link(pilot), ""])


def _row(condition: Condition) -> dict[str, Any]:
    return {
        "pilot": condition.pilot,
        "rule": condition.rule,
        "subject": condition.subject,
        "params": msgspec.json.encode(condition.params).decode(),
    }


def _alert(row: Mapping[Any, Any]) -> Alert:
    values = {name: row[name] for name in Alert.__struct_fields__}
    return Alert(**{**values, "params": msgspec.json.decode(row["params"])})


def _recipients(transaction: Transaction, pilots: Sequence[str]) -> list[Recipient]:
    """Each address once, though it stands for the pilot and for all."""
    rows = transaction.execute(
        "SELECT id, pilot, address, language, weekly FROM alert_recipients ORDER BY id"
    ).mappings()
    by_address: dict[str, Recipient] = {}
    for row in rows:
        if row["pilot"] in pilots:
            by_address.setdefault(row["address"], Recipient(**{**row, "weekly": bool(row["weekly"])}))
    return list(by_address.values())


def _silences(transaction: Transaction, at: Micros) -> list[Silence]:
    rows = transaction.execute(
        "SELECT id, pilot, rule, subject, start, until, reason, who FROM alert_silences"
        " WHERE until IS NULL OR until > :at ORDER BY start, id",
        {"at": at},
    ).mappings()
    return [Silence(**{**{k: v for k, v in row.items() if k != "until"}, "end": row["until"]}) for row in rows]
