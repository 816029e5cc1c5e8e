"""The log of alerts, with several processes that look at the same moment."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy.exc import IntegrityError

from techport_pilots.alerts import log
from techport_pilots.alerts.conditions import RECOVERS_AFTER, Condition
from techport_pilots.alerts.log import AlertLog, Change
from techport_pilots.i18n import Language
from techport_pilots.registry.outbox import Outbox
from techport_pilots.registry.registry import Registry
from techport_storage.clock import now

OFFLINE = Condition(pilot="bridge", rule="device-offline", subject="a", params={"device": "a", "age": 3_600_000_000})


class Plain:
    """Pilots and devices by their ids (alerts.log.Wording)."""

    def title(self, pilot: str, language: Language) -> str:
        return pilot

    def sentence(self, condition: Condition, language: Language) -> str:
        return language.message(condition.text)

    def link(self, pilot: str, device: str | None = None) -> str:
        return f"https://port.example/{pilot}/{device or 'alerts'}"


def look(alerts: AlertLog, *conditions: Condition) -> Change:
    return alerts.update(conditions, {"bridge"}, Plain())


def look_during_a_look(registry: Registry, *conditions: Condition) -> list[Change]:
    """What two processes note of which the second looks before the first has written its messages."""
    changes: list[Change] = []
    alerts = AlertLog(registry.database)
    second = threading.Thread(target=lambda: changes.append(look(AlertLog(registry.database), *conditions)))

    class Slow(Plain):
        def title(self, pilot: str, language: Language) -> str:
            second.start()
            time.sleep(0.3)  # for it to read what is open
            return pilot

    changes.append(alerts.update(conditions, {"bridge"}, Slow()))
    second.join()
    return changes


def messages(registry: Registry) -> int:
    return Outbox(registry.database).state().waiting


def test_two_who_look_at_once_open_an_alert_and_end_it_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts = AlertLog(registry.database)
    alerts.add_recipient("bridge", "team@example.org", "en", "test")
    first, second = look_during_a_look(registry, OFFLINE)
    assert sorted((first.began, second.began), key=len) == [[], [OFFLINE]], "whichever came first"
    assert len(alerts.open()) == messages(registry) == 1
    later = now() + RECOVERS_AFTER
    monkeypatch.setattr(log, "now", lambda: later)
    first, second = look_during_a_look(registry)
    assert sorted((first.recovered, second.recovered), key=len) == [[], [OFFLINE]]
    assert messages(registry) == 2
    assert (alerts.open(), len(alerts.history())) == ([], 1)
    assert look(alerts, OFFLINE).began == [OFFLINE], "it may begin again"


def test_the_registry_takes_no_second_open_alert(registry: Registry) -> None:
    look(AlertLog(registry.database), OFFLINE)
    with pytest.raises(IntegrityError), registry.database.writing() as transaction:
        transaction.execute(
            "INSERT INTO alerts (pilot, rule, subject, params, began, seen)"
            " VALUES ('bridge', 'device-offline', 'a', '{}', 1, 1)"
        )


def test_an_address_stands_once_and_what_was_said_last_counts(registry: Registry) -> None:
    alerts = AlertLog(registry.database)
    alerts.add_recipient("bridge", "team@example.org", "en", "test")
    alerts.add_recipient("bridge", "team@example.org", "nb", "test", weekly=False)
    [recipient] = alerts.recipients("bridge")
    assert (recipient.language, recipient.weekly) == ("nb", False)


def test_the_weekly_summary_is_composed_once_for_each_language_and_outside_of_the_transaction(
    registry: Registry,
) -> None:
    alerts = AlertLog(registry.database)
    for address, language in (("a@example.org", "en"), ("b@example.org", "nb"), ("c@example.org", "en")):
        alerts.add_recipient("bridge", address, language, "test")
    composed: list[str] = []

    def compose(language: Language) -> tuple[str, str]:
        alerts.add_silence("bridge", "", "", (0, None), "somebody else writes meanwhile", "test")
        composed.append(language.code)
        return "subject", "body"

    assert alerts.send_weekly("bridge", "2026-W49", compose) == 3
    assert alerts.send_weekly("bridge", "2026-W49", compose) == 0
    assert sorted(composed) == ["en", "nb"]
    assert messages(registry) == 3
