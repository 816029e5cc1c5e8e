"""Alerts: told once when something begins and once when it is over, by e-mail and webhook, whatever is killed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
from aiosmtpd.controller import Controller

from techport import mail
from techport.settings import Settings
from techport_dashboards.query.registry_cache import RegistryCache
from techport_dashboards.services.alerts import Watch, attention
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter
from techport_pilots.accounting.rejection import RecordedText, Rejection
from techport_pilots.accounting.tally import DeviceDay, QuarantineEntry, Tally
from techport_pilots.accounting.worker_sessions import WorkerSessions
from techport_pilots.alerts.conditions import RECOVERS_AFTER, RULES, Condition, title_of
from techport_pilots.alerts.log import PLATFORM, AlertLog
from techport_pilots.definition.load import parse_definition
from techport_pilots.errors import DefinitionError
from techport_pilots.i18n import Language
from techport_pilots.registry import lifecycle
from techport_pilots.registry.outbox import Outbox
from techport_storage.microseconds import DAY, HOUR, MINUTE
from techport_storage.model import Micros, Reading
from tests.dashboards.web import City
from tests.pilots.test_alert_log import Plain
from tests.servers.mosquitto import free_port

pytestmark = pytest.mark.anyio

TUESDAY = 1_777_975_200_000_000
"""2026-05-05T10:00:00Z: no day of the weekly summary."""

YAML = """
id: bridge
title: {nb: Brua, en: The bridge}
question: {en: "Is it quieter?"}
phases: [{name: during, kind: intervention, start: 2026-01-01, end: 2099-01-01}]
alerts:
  - {quantity: pm10, above: 50, lasting: PT1H}
  - {quantity: air_temperature, below: -20}
devices:
  - id: a
    title: {en: Box A}
    interval: PT10M
    streams: [{quantity: pm10}, {quantity: battery_level}, {quantity: air_temperature}]
  - {id: b, interval: PT10M, streams: [{quantity: pm10}]}
"""


class Morning:
    """A city with a running pilot, at a time that the test moves, and what its watch told."""

    def __init__(self, city: City, monkeypatch: pytest.MonkeyPatch) -> None:
        self.city = city
        self.at: Micros = TUESDAY
        for name in (
            "techport_storage.clock.now",
            "techport_pilots.alerts.log.now",
            "techport_pilots.registry.outbox.now",
        ):
            monkeypatch.setattr(name, lambda: self.at)
        city.import_text(YAML)
        lifecycle.transition(city.registry.database, city.registry.pilot("bridge"), "running", "test")
        self.log = AlertLog(city.registry.database)
        self.outbox = Outbox(city.registry.database)
        self.watch = Watch(RegistryCache(city.registry), city.store, "https://port.example")

    def send(self, device: str, quantity: str, value: float, ago: Micros = 0) -> None:
        self.city.write(Reading("bridge", device, quantity, self.at - ago, value, self.at - ago))

    def look(self, after: Micros = 0) -> tuple[list[str], list[str]]:
        """Rules and subjects that began and recovered in this pilot."""
        self.at += after
        change = self.watch.look()
        return tuple(
            [f"{one.rule} {one.subject}".strip() for one in some if one.pilot == "bridge"]
            for some in (change.began, change.recovered)
        )  # type: ignore[return-value]

    def told(self) -> list[tuple[str, str, str]]:
        """(recipient, subject, body) of what waits, taken out of the outbox."""
        messages = []
        while (message := self.outbox.take()) is not None:
            self.outbox.sent(message)
            messages.append((message.recipient, message.subject, message.body))
        return messages


@pytest.fixture
def morning(city: City, monkeypatch: pytest.MonkeyPatch) -> Morning:
    morning = Morning(city, monkeypatch)
    for device in ("a", "b"):
        morning.send(device, "pm10", 10)
    return morning


def test_devices_that_fall_silent_together_are_told_in_one_message(
    morning: Morning,
) -> None:
    morning.log.add_recipient("bridge", "team@example.org", "nb", "test")
    assert morning.look() == ([], [])
    assert morning.look(after=HOUR) == (["device-offline a", "device-offline b"], [])
    [(recipient, subject, body)] = morning.told()
    assert (recipient, subject) == ("team@example.org", "Brua: Enhet frakoblet")
    assert "Box A har ikke sendt på" in body, "by its title; b has none"
    assert "b har ikke sendt på" in body
    assert "https://port.example/pilots/bridge/alerts" in body
    assert morning.look(after=MINUTE) == ([], []), "told once"
    for device in ("a", "b"):
        morning.send(device, "pm10", 10)
    assert morning.look() == ([], []), "a device that flickers is one alert"
    morning.send("a", "pm10", 10, ago=-MINUTE)
    morning.send("b", "pm10", 10, ago=-MINUTE)
    assert morning.look(after=RECOVERS_AFTER) == ([], ["device-offline a", "device-offline b"])
    assert [subject for _, subject, _ in morning.told()] == ["Brua: Enhet frakoblet er over"]


def test_what_one_device_needs_leads_to_its_page(morning: Morning) -> None:
    morning.log.add_recipient("bridge", "team@example.org", "en", "test")
    morning.send("a", "battery_level", 8)
    morning.look()
    [(_, _, body)] = morning.told()
    assert body.startswith("The battery of Box A is at 8 %.")
    assert "https://port.example/pilots/bridge/devices/a\n" in body


def test_messages_that_wait_in_quarantine_are_shown_and_not_sent(morning: Morning) -> None:
    morning.log.add_recipient("bridge", "team@example.org", "en", "test")
    entry = QuarantineEntry(
        pilot="bridge",
        device="a",
        topic="pilots/bridge/a/readings",
        payload=b"{",
        received=morning.at - 2 * DAY,
        rejection=Rejection("not-json", recorded=RecordedText("malformed", "Send valid JSON")),
    )
    tally = Tally(messages=1, received=1, quarantined=1)
    morning.city.ledger.close_batch("w", {DeviceDay("bridge", "a", morning.at // DAY): tally}, [entry])
    assert morning.look() == (["quarantine-waiting"], []), "though it came two days ago"
    assert morning.told() == []
    [alert] = attention(morning.log.open("bridge"), lambda _: True)
    assert Language("en").message(alert.text).startswith("1 message waits in quarantine. The reason: ")
    Quarantine(morning.city.registry.database).discard(QuarantineFilter(pilot="bridge"))
    assert morning.look(after=RECOVERS_AFTER)[1] == ["quarantine-waiting"]


def test_a_battery_is_low_until_it_is_well_above(morning: Morning) -> None:
    morning.send("a", "battery_level", 19)
    assert morning.look()[0] == ["battery-low a"]
    for ago, level in ((-1, 21.0), (-2, 24.9)):
        morning.send("a", "battery_level", level, ago=ago)
        assert morning.look(after=RECOVERS_AFTER)[1] == []
    morning.send("a", "battery_level", 26)
    assert morning.look(after=RECOVERS_AFTER)[1] == ["battery-low a"]


def limits(change: tuple[list[str], list[str]]) -> tuple[list[str], list[str]]:
    began, recovered = ([one for one in some if one.startswith("limit")] for some in change)
    return began, recovered


def test_a_limit_must_be_crossed_for_as_long_as_it_says(morning: Morning) -> None:
    crossed = "limit a pm10 above 50"
    morning.at += 2 * HOUR
    for ago in (50, 40, 30, 20, 10, 0):
        morning.send("a", "pm10", 60, ago=ago * MINUTE)
    assert limits(morning.look()) == ([], []), "fifty minutes"
    morning.at += 11 * MINUTE
    morning.send("a", "pm10", 62)
    assert limits(morning.look()) == ([crossed], [])
    [alert] = [one for one in morning.log.open("bridge") if one.rule == "limit"]
    assert (
        Language("en").message(alert.text) == "Particulate matter PM10 at a is 62 µg/m³, above the limit of 50 µg/m³."
    )
    morning.at += RECOVERS_AFTER
    morning.send("a", "pm10", 49)
    assert limits(morning.look()) == ([], []), "within a twentieth of the limit"
    morning.at += RECOVERS_AFTER
    morning.send("a", "pm10", 45)
    assert limits(morning.look()) == ([], [crossed])
    morning.send("a", "air_temperature", -21)
    assert limits(morning.look()) == (["limit a air_temperature below -20"], []), "one reading is enough for this one"


def test_what_is_silenced_is_noted_but_not_told(morning: Morning) -> None:
    morning.log.add_recipient("", "operator@example.org", "en", "test")
    silence = morning.log.add_silence("bridge", "device-offline", "a", (morning.at, morning.at + DAY), "moved", "test")
    assert morning.look(after=HOUR)[0] == ["device-offline a", "device-offline b"]
    [body] = [body for _, subject, body in morning.told() if subject.startswith("The bridge")]
    assert body.startswith("b has not sent")
    assert morning.log.remove_silence("bridge", silence)
    assert not morning.log.remove_silence("bridge", silence)


@pytest.mark.parametrize(
    ("condition", "covered"),
    [
        (Condition(pilot="bridge", rule="device-offline", subject="a", params={"device": "a"}), True),
        (Condition(pilot="bridge", rule="limit", subject="a pm10 above 50", params={"device": "a"}), True),
        (Condition(pilot="bridge", rule="limit", subject="b pm10 above 50", params={"device": "b"}), False),
        (Condition(pilot="bridge", rule="target-met", subject="dust", params={}), False),
    ],
)
def test_a_device_is_silenced_in_every_rule(morning: Morning, condition: Condition, covered: bool) -> None:
    morning.log.add_silence("bridge", "", "a", (morning.at, None), "moved", "test")
    [silence] = morning.log.silences("bridge")
    assert silence.covers(condition, morning.at) is covered


def test_a_session_that_was_lost_or_taken_is_told_until_somebody_accepts_it(morning: Morning) -> None:
    """No sum tells that acknowledged messages never arrived, so those who answer for the pilot are told."""
    morning.log.add_recipient("bridge", "team@example.org", "en", "test")
    assert morning.look() == ([], [])
    sessions = WorkerSessions(morning.city.registry.database)
    sessions.report("ingest-1", "lost")
    sessions.report("ingest-2", "taken-over")
    assert morning.look() == (["messages-lost ingest-1", "messages-lost ingest-2"], [])
    [(_, subject, body)] = morning.told()
    assert subject == "The bridge: Messages may be missing"
    assert "no longer knew the session of the ingest worker ingest-1" in body
    assert "Somebody else connected as the ingest worker ingest-2" in body
    assert morning.look(after=MINUTE) == ([], []), "told once"
    sessions.accept("operator", "looked into it")
    assert morning.look(after=RECOVERS_AFTER) == ([], ["messages-lost ingest-1", "messages-lost ingest-2"])


def test_a_planned_outage_is_no_alert(morning: Morning) -> None:
    day = "time: 2026-05-05T00:00:00Z, end: 2026-05-06T00:00:00Z"
    outage = f"events: [{{{day}, kind: outage, device: a, text: {{en: Roadworks}}}}]\n"
    morning.city.import_text(YAML + outage)
    assert morning.look(after=HOUR)[0] == ["device-offline b"]
    assert morning.look(after=DAY)[0] == ["device-offline a"], "it is over"


@pytest.mark.slow
def test_a_weekly_summary_comes_once_a_week(morning: Morning) -> None:
    morning.log.add_recipient("bridge", "team@example.org", "en", "test")
    morning.log.add_recipient("bridge", "hook@example.org", "en", "test", weekly=False)
    for _ in range(9 * 24):
        morning.look(after=HOUR)
    weekly = [(recipient, body) for recipient, subject, body in morning.told() if "week in figures" in subject]
    assert {recipient for recipient, _ in weekly} == {"team@example.org"}
    assert 1 <= len(weekly) <= 2, "nine days hold one Monday or two"
    assert "Devices online: 0 of 2" in weekly[-1][1]


def test_what_began_is_told_though_the_process_was_killed_behind_the_look(morning: Morning) -> None:
    """Alert and message are in the registry, or neither is: a transaction that fails leaves nothing."""
    morning.log.add_recipient("bridge", "team@example.org", "en", "test")
    condition = Condition(pilot="bridge", rule="ends-soon", params={"day": "2098-12-31"})

    class Killed(Plain):
        def link(self, pilot: str, device: str | None = None) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        morning.log.update([condition], ["bridge"], Killed())
    assert (morning.log.open("bridge"), morning.told()) == ([], [])
    morning.log.update([condition], ["bridge"], Plain())
    assert len(morning.log.open("bridge")) == len(morning.told()) == 1


async def test_the_page_shows_acknowledges_and_sets_who_is_told(morning: Morning) -> None:
    morning.look(after=HOUR)
    app = morning.city.app()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        page = (await client.get("/pilots/bridge/alerts?lang=en")).text
        assert "Box A has not sent for 1 hour" in page
        alert = morning.log.open("bridge")[-1]
        forms = {"origin": "http://127.0.0.1"}
        form = {"alert": alert.id, "note": "battery ordered"}
        assert (await client.post("/pilots/bridge/alerts/acknowledge", data=form, headers=forms)).status_code == 303
        page = (await client.get("/pilots/bridge/alerts?lang=en")).text
        assert "takes care of it" in page
        assert "battery ordered" in page
        for address, status in (
            ("team@example.org", 303),
            ("https://hooks.example/x", 303),
            ("nonsense", 400),
            ("x://", 400),
        ):
            answer = await client.post(
                "/pilots/bridge/alerts/recipients", data={"address": address, "language": "nb"}, headers=forms
            )
            assert answer.status_code == status, address
        assert [one.address for one in morning.log.recipients("bridge")] == [
            "team@example.org",
            "https://hooks.example/x",
        ]
        silence = {"rule": "limit", "period": "1d", "device": "", "reason": "tests"}
        assert (await client.post("/pilots/bridge/alerts/silences", data=silence, headers=forms)).status_code == 303
        assert len(morning.log.silences("bridge")) == 1
        silence["rule"] = "<b>"
        assert (await client.post("/pilots/bridge/alerts/silences", data=silence, headers=forms)).status_code == 400


async def test_an_administrator_sees_and_sets_alerts_of_all_pilots(morning: Morning) -> None:
    morning.look(after=HOUR)
    app = morning.city.app()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        page = (await client.get("/alerts?lang=en")).text
        assert "Box A has not sent for 1 hour" in page
        assert 'href="/pilots/bridge/devices/a?lang=en"' in page
        forms = {"origin": "http://127.0.0.1"}
        form = {"address": "city@example.org", "language": "en", "weekly": "yes"}
        assert (await client.post("/alerts/recipients", data=form, headers=forms)).status_code == 303
        assert [one.address for one in morning.log.recipients(PLATFORM)] == ["city@example.org"]
        assert "city@example.org" in (await client.get("/alerts")).text
        silence = {"rule": "device-offline", "period": "1d", "reason": "moving house"}
        assert (await client.post("/alerts/silences", data=silence, headers=forms)).status_code == 303
        assert "moving house" in (await client.get("/alerts")).text
    morning.send("a", "battery_level", 8)
    morning.look()
    assert [(to, subject) for to, subject, _ in morning.told()] == [("city@example.org", "The bridge: Low battery")]


async def test_an_empty_list_says_nothing_before_somebody_looked(morning: Morning) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(morning.city.app()), base_url="http://127.0.0.1"
    ) as client:

        async def pages() -> list[str]:
            return [(await client.get(f"{path}?lang=en")).text for path in ("/pilots/bridge/alerts", "/alerts", "/")]

        before = await pages()
        assert morning.look() == ([], [])
        after = await pages()
        morning.at += 10 * MINUTE
        later = await pages()
    assert ["has not looked for alerts yet" in page for page in before] == [True] * 3
    assert ["has not looked for alerts yet" in page for page in after] == [False] * 3
    assert ["What began since is not listed yet" in page for page in later] == [True] * 3
    assert ["Nothing needs attention" in page for page in (before[0], after[0], later[0])] == [False, True, False]


def test_a_draft_whose_devices_are_being_connected_is_no_alert(morning: Morning) -> None:
    morning.city.import_text(YAML.replace("id: bridge", "id: quay"))
    morning.city.import_text(YAML.replace("id: bridge", "id: pier"))
    lifecycle.transition(morning.city.registry.database, morning.city.registry.pilot("pier"), "running", "test")
    began = {condition.pilot for condition in morning.watch.look().began}
    assert "pier" in began, "which runs since the first of January"
    assert "quay" not in began


def test_silence_is_no_alert_before_what_the_broker_kept_was_read(morning: Morning) -> None:
    assert morning.look() == ([], [])
    morning.at += HOUR  # the platform was down
    morning.send("a", "battery_level", 8, ago=MINUTE)
    morning.watch = Watch(RegistryCache(morning.city.registry), morning.city.store, "https://port.example")
    assert morning.look() == (["battery-low a"], []), "what came says that it is so"
    morning.send("b", "pm10", 10)
    assert morning.look(after=HOUR)[0] == ["device-offline a", "device-offline b"]
    morning.watch = Watch(RegistryCache(morning.city.registry), morning.city.store, "https://port.example")
    assert morning.look(after=RECOVERS_AFTER) == ([], []), "what was told goes on"


@pytest.mark.parametrize("page", ["/", "/pilots/bridge"])
async def test_a_low_battery_needs_attention_on_the_first_page_and_the_pilots(morning: Morning, page: str) -> None:
    morning.send("a", "battery_level", 8)
    morning.look()
    app = morning.city.app()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        assert "The battery of Box A is at 8 %" in (await client.get(f"{page}?lang=en")).text


@pytest.mark.parametrize(
    ("alert", "field"),
    [
        ("{quantity: pm10}", "alerts[0]"),
        ("{quantity: pm10, above: 5, below: 1}", "alerts[0]"),
        ("{quantity: pm99, above: 5}", "alerts[0].quantity"),
        ("{quantity: pm10, above: 5, lasting: an hour}", "alerts[0].lasting"),
        ("{quantity: pm10, above: 5, device: c}", "alerts[0].device"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(alert: str, field: str) -> None:
    text = YAML.replace(
        "  - {quantity: pm10, above: 50, lasting: PT1H}\n  - {quantity: air_temperature, below: -20}", f"  - {alert}"
    )
    with pytest.raises(DefinitionError) as refused:
        parse_definition(text)
    assert [finding.field for finding in refused.value.findings] == [field]


# -- Delivery, to real servers


class Mailbox:
    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.messages.append(message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]
        return "250 OK"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box, port = Mailbox(), free_port()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    yield box, port
    controller.stop()


@pytest.fixture
def hook() -> Iterator[tuple[list[dict[str, Any]], str, list[int]]]:
    """What was posted, the address, and the statuses to answer with first."""
    received: list[dict[str, Any]] = []
    statuses: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(statuses.pop(0) if statuses else 204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield received, f"http://127.0.0.1:{server.server_port}/hook", statuses
    server.shutdown()
    server.server_close()


def deliver(morning: Morning, **settings: Any) -> None:
    made = Settings(data=morning.city.folder, mail_from="port@example.org", smtp_tls="none", **settings)
    while (message := morning.outbox.take(webhooks_only=made.smtp is None)) is not None:
        mail.deliver(made, morning.outbox, message)


def test_an_alert_reaches_a_mailbox_and_a_webhook(
    morning: Morning, mailbox: tuple[Mailbox, int], hook: tuple[list[dict[str, Any]], str, list[int]]
) -> None:
    box, port = mailbox
    received, address, statuses = hook
    statuses.append(503)
    morning.log.add_recipient("bridge", "team@example.org", "en", "test")
    morning.log.add_recipient("bridge", address, "en", "test")
    morning.look(after=HOUR)
    deliver(morning, smtp=f"127.0.0.1:{port}", private_webhooks=True)
    assert [message["subject"] for message in box.messages] == ["The bridge: Device offline"]
    assert len(received) == 1
    morning.at += 2 * MINUTE
    deliver(morning, smtp=f"127.0.0.1:{port}", private_webhooks=True)
    assert len(received) == 2, "tried again after 503"
    assert received[0] == received[1]
    assert received[1]["title"] == "The bridge: Device offline"
    assert morning.outbox.state().waiting == 0


def test_a_webhook_on_this_machine_is_refused_unless_the_operator_allows_it(
    morning: Morning, hook: tuple[list[dict[str, Any]], str, list[int]]
) -> None:
    received, address, _ = hook
    morning.log.add_recipient("bridge", address, "en", "test")
    morning.look(after=HOUR)
    deliver(morning)
    assert received == []
    assert morning.outbox.state().given_up == 1


def test_without_a_mail_server_e_mails_wait_and_webhooks_do_not(
    morning: Morning, hook: tuple[list[dict[str, Any]], str, list[int]]
) -> None:
    received, address, _ = hook
    morning.log.add_recipient("bridge", "team@example.org", "en", "test")
    morning.log.add_recipient("bridge", address, "en", "test")
    morning.look(after=HOUR)
    deliver(morning, private_webhooks=True)
    assert len(received) == 1
    assert morning.outbox.state().waiting == 1


def test_every_rule_has_a_name_in_every_language() -> None:
    for language in (Language("nb"), Language("en")):
        titles = {language.message(title_of(rule)) for rule in RULES}
        assert len(titles) == len(RULES)
