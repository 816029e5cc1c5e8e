"""Whatever a device sends: every page, answer and command that shows it stays whole, and shows it as text.

Each reason of a rejection with each odd text (tests/odd_texts.py) as field, value, topic, device and payload; then
chosen by Hypothesis and different from one another.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import techport.cli
from techport.data_dir import lock
from techport_dashboards import WebSettings
from techport_dashboards.api import onboarding as onboarding_api
from techport_dashboards.pages import onboarding as onboarding_page
from techport_dashboards.services import quarantine as quarantine_service
from techport_pilots.accounting.commit_log import CommitLog, CommitSpan
from techport_pilots.accounting.message_tap import MessageTap, Outcome, TappedMessage, Value
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter
from techport_pilots.accounting.rejection import Rejected
from techport_pilots.accounting.tally import BatchAnnotations, BookedEvent, DeviceDay, QuarantineEntry, Tally, day_of
from techport_pilots.devices.onboarding import unknown_devices
from techport_pilots.formats import names
from techport_pilots.registry.database import name
from techport_storage.clock import now
from techport_storage.microseconds import HOUR, SECOND
from techport_storage.model import Quality
from tests.dashboards.conftest import AIR
from tests.dashboards.web import City, serving
from tests.odd_texts import CODES, ODD, page_problems, rejection, terminal_problems

PILOT = "kai-luft"
API = f"/api/v1/pilots/{PILOT}"
PAGES = f"/pilots/{PILOT}"
BROWSER = {"Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
SHOWN_AT_ONCE = 40  # less than the page shows of groups


@dataclasses.dataclass(frozen=True)
class Sent:
    """What a device sent, and what is wrong with it."""

    codes: Sequence[str]
    value: str
    field: str
    topic: str
    device: str

    @property
    def kept_device(self) -> str:
        return name(self.device)


def expected_status(allowed: Sequence[int], path: str, values: Mapping[str, Any]) -> Sequence[int]:
    """What may be answered: a request with a NUL is refused before any route sees it."""
    return (400,) if "\0" in path + "".join(map(str, values.values())) or "%00" in path else allowed


@dataclasses.dataclass(frozen=True)
class Platform:
    """A city, clients of its pages, and the commands beside it."""

    city: City
    client: httpx.Client
    folder: Path

    def receive(self, sent: Sent) -> list[int]:
        """Book the messages as ingest does, instead of all that was there; the numbers of the entries."""
        database, at = self.city.registry.database, now() - HOUR
        Quarantine(database).discard(QuarantineFilter())
        payload = sent.value.encode() + b"\xff"
        entries = [
            QuarantineEntry(
                pilot=PILOT,
                device=device,
                topic=f"pilots/{PILOT}/{sent.topic}/readings",
                payload=payload,
                received=at + number,
                rejection=rejection(code, sent.value),
                field=field,
            )
            for number, code in enumerate(sent.codes)
            for device, field in [(sent.device, sent.field), ("kran", sent.field if number % 2 else None)]
        ]
        tally = {DeviceDay(PILOT, sent.device, day_of(at)): Tally(messages=1, received=9, quarantined=9)}
        events = [BookedEvent(PILOT, device, at, "button", sent.value) for device in (sent.device, "kran")]
        ignored = {(DeviceDay(PILOT, sent.device, day_of(at)), "text"): 3}
        self.city.ledger.close_batch("w", tally, entries, BatchAnnotations(ignored=ignored, events=events))
        outcome = Outcome(
            values=[Value(sent.field, at, 1e9, "stored", int(Quality.RANGE)), Value("pm10", at, 1.0, "duplicate")],
            rejected=[Rejected(rejection(code, sent.value), sent.field, 2) for code in sent.codes],
            ignored=["text"],
        )
        tapped = [
            TappedMessage(
                pilot=PILOT,
                device=device,
                topic=sent.topic,
                payload=payload,
                received=at,
                worker="w",
                committed=at + SECOND,
                outcome=outcome,
            )
            for device in (sent.device, "kran")
        ]
        MessageTap(database).record(tapped)
        CommitLog(database).note(
            [CommitSpan("w", at, at + SECOND, at + SECOND, {(PILOT, sent.device), (PILOT, "kran")})]
        )
        return [entry.id for entry in Quarantine(database).entries(limit=1000).items]

    def page(self, path: str, language: str = "nb", allowed: Sequence[int] = (200,), **query: str) -> str:
        answer = self.client.get(path, params={**query, "lang": language}, headers=BROWSER)
        expected = expected_status(allowed, path, query)
        assert answer.status_code in expected, f"{path} {query}: {answer.status_code} {answer.text[:500]}"
        assert page_problems(answer.text) == [], f"{path} {query}"
        return answer.text

    def send(self, path: str, allowed: Sequence[int] = (200, 303), **form: str) -> None:
        """Send a form."""
        answer = self.client.post(path, data=form, headers=BROWSER, follow_redirects=True)
        expected = expected_status(allowed, path, form)
        assert answer.status_code in expected, f"{path} {form}: {answer.status_code} {answer.text[:500]}"
        assert page_problems(answer.text) == [], f"{path} {form}"

    def ask(self, path: str, allowed: Sequence[int] = (200,), **query: str) -> Any:
        answer = self.client.get(f"{API}/{path}", params=query)
        expected = expected_status(allowed, path, query)
        assert answer.status_code in expected, f"{path} {query}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def tell(self, path: str, body: dict[str, Any], allowed: Sequence[int]) -> Any:
        answer = self.client.post(path, json=body)
        expected = expected_status(allowed, path, body)
        assert answer.status_code in expected, f"{path} {body}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def run(self, *command: str, given: bytes = b"", codes: Sequence[int] = (0,)) -> str:
        """What a command prints, as on a terminal of many columns."""
        wide = {"COLUMNS": "2000", "FORCE_COLOR": "", "NO_COLOR": "1"}
        wide["TECHPORT_DATA"] = str(self.folder)
        result = CliRunner().invoke(techport.cli.app, command, input=given, env=wide)
        return checked(command, result, codes)


def checked(command: Sequence[str], result: Any, codes: Sequence[int]) -> str:
    if isinstance(result.exception, techport.cli.EXPECTED):  # told in a sentence: test_told.py
        return ""
    assert result.exception is None or isinstance(result.exception, SystemExit), f"{command}: {result.exception!r}"
    assert result.exit_code in codes, f"{command}: {result.output[-500:]}"
    assert "Traceback" not in result.output
    assert terminal_problems(result.output) == [], command
    return str(result.output)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("odd")
    city = City.at(folder)
    city.import_text(AIR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quarantine_service, "LONGEST_WAIT", 0)  # no worker reprocesses anything here
        for module in (onboarding_api, onboarding_page):
            patch.setattr(module, "TAKES_EFFECT", 0)
        patch.setenv("TECHPORT_REGISTRY", f"sqlite:///{folder}/registry.sqlite")
        with (
            serving(city.app(WebSettings(rate_limit=0))) as address,
            lock(folder, "up", address.removeprefix("http://"), None),  # commands ask it
            httpx.Client(base_url=address, timeout=60) as client,
        ):
            yield Platform(city, client, folder)
    city.close()


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
def test_every_reason_is_shown_whatever_is_in_it(platform: Platform, text: str) -> None:
    for number, start in enumerate(range(0, len(CODES), SHOWN_AT_ONCE)):
        codes = CODES[start : start + SHOWN_AT_ONCE]
        platform.receive(Sent(codes, text, text, text, text))
        page = platform.page(f"{PAGES}/quarantine", ("nb", "en")[number % 2], device=name(text) or "kran")
        assert page.count('class="panel group"') >= len({code.partition(".")[0] for code in codes})
        listed = platform.ask("quarantine", limit="1000")["items"]
        assert {item["code"] for item in listed} == set(codes)
    platform.receive(Sent(CODES, text, text, text, text))
    assert platform.run("quarantine", "list", "--entries", "1000").count(f" {PILOT}/") == 2 * len(CODES)


def pages(platform: Platform, sent: Sent, entries: list[int]) -> None:
    device, field = sent.kept_device, name(sent.field)
    when = {"time": "-PT1H", "minutes": "30"}
    platform.page(f"{PAGES}/quarantine")
    platform.page(f"{PAGES}/quarantine", "en", entries="true")
    platform.page(f"{PAGES}/quarantine", device=device, field=field, entries="true")
    platform.page(f"{PAGES}/trace", device=device, **when)
    platform.page(f"{PAGES}/trace", "en", device="kran", **when)
    platform.page(f"{PAGES}/onboarding")
    platform.page(f"{PAGES}/onboarding", "en", device=device)
    platform.page(f"{PAGES}/onboarding/arrivals", device=device)
    platform.page(f"{PAGES}/devices/kran")
    platform.page(f"{PAGES}/devices/{quote(device, safe='')}", allowed=(200, 404))
    platform.page(PAGES)
    platform.page(f"{PAGES}/quality", "en")
    platform.page("/portfolio")


def answers(platform: Platform, sent: Sent, entries: list[int]) -> None:
    segment = quote(sent.kept_device, safe="")
    unreachable = (404,) if not segment or "%2F" in segment else (200,)
    assert len(platform.ask("quarantine", limit="1000")["items"]) == len(entries)
    platform.ask("quarantine/groups", device=sent.kept_device, field=name(sent.field))
    platform.ask("quarantine/counts")
    for entry in entries[:3]:
        assert platform.ask(f"quarantine/{entry}")["reason"]
    for device, allowed in ((segment, unreachable), ("kran", (200,))):
        platform.ask(f"devices/{device}/trace", allowed, time="-PT1H", minutes="30")
        platform.ask(f"devices/{device}/account", allowed)
        platform.ask(f"devices/{device}/messages", allowed)
    platform.ask("unknown-devices")


def changes(platform: Platform, sent: Sent, entries: list[int]) -> None:
    """What somebody does about it: registers the device, says what a field means, reprocesses, deletes."""
    meaning = {"quantity": "air_temperature", "why": sent.value[:200]}
    for entry in entries[:4]:
        platform.tell(f"{API}/quarantine/{entry}/mapping", meaning, (200, 400, 422))
        platform.send(f"{PAGES}/quarantine/{entry}/mapping", (200, 303, 400, 422), means="nothing", why=sent.value)
    platform.send(f"{PAGES}/quarantine/replay", entry=str(entries[-1]), filter_device=sent.kept_device)
    platform.send(f"{PAGES}/quarantine/replay", (200, 404), like=str(entries[0]))
    if "unknown-device" in sent.codes:
        platform.tell(f"{API}/unknown-devices/claim", {"name": sent.kept_device}, (202, 404, 422))
        for unknown in unknown_devices(platform.city.registry.database, PILOT):
            platform.send(f"{PAGES}/onboarding/claim", (200, 422), entry=str(unknown.entry))
        platform.page(f"{PAGES}/onboarding")
        platform.page(PAGES)
    platform.send(f"{PAGES}/onboarding/watch", (200, 400), device=sent.device)
    platform.send(
        f"{PAGES}/onboarding/range", (200, 400, 422), device=sent.device, quantity=sent.field, low="0", high="1"
    )
    platform.send(f"{PAGES}/onboarding", (200, 422), id=sent.device, title=sent.value, format="native")
    platform.send(f"{PAGES}/quarantine/discard", (200, 404), like=str(entries[0]), confirmed="yes")


def commands(platform: Platform, sent: Sent, entries: list[int]) -> None:
    platform.run("quarantine", "list", "--entries", "1000")
    platform.run("quarantine", "list", "--device", sent.kept_device)
    for entry in entries[:2]:
        platform.run("quarantine", "show", str(entry))
    platform.run("device", "unknown", PILOT)
    for device in {"kran", sent.kept_device}:
        if "/" not in device:
            hour_ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
            command = ("trace", "--minutes", "30", "--", PILOT, device, hour_ago.isoformat())
            platform.run(*command, codes=(0, 1))
    platform.run("device", "watch", PILOT, "kran", "--timeout", "0.1", codes=(0, 1))
    if "unknown-device" in sent.codes and not sent.kept_device.startswith("-"):
        platform.run("device", "claim", PILOT, sent.kept_device, codes=(0, 1, 2))


def pasted(platform: Platform, sent: Sent, form: str) -> None:
    """The same as a message that somebody checks before sending it."""
    document = json.dumps({sent.field: sent.value, "pm10": sent.value, "temp": None}, ensure_ascii=False)
    for text in (sent.value, document):
        filled = {"payload": text, "topic": f"pilots/{PILOT}/{sent.topic}/readings", "format": form}
        platform.send("/decode?lang=en", (200, 422), **filled)
        platform.send("/decode", (200, 404, 422), **filled, pilot=PILOT)
        platform.tell("/api/v1/decode", {"text": text, "topic": filled["topic"], "format": form}, (200,))
        command = ["decode", "--format", form, "--topic", filled["topic"].replace("\0", "")]
        wide = {"COLUMNS": "2000", "FORCE_COLOR": "", "NO_COLOR": "1"}
        checked(command, CliRunner().invoke(techport.cli.app, command, input=text.encode(), env=wide), (0, 1))


TEXT = st.sampled_from(list(ODD.values())) | st.text(max_size=30)
SENT = st.builds(
    Sent,
    codes=st.lists(st.sampled_from(CODES), min_size=1, max_size=6, unique=True),
    value=TEXT,
    field=TEXT,
    topic=TEXT,
    device=TEXT,
)
BOUNDED = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


def named(device: str) -> Sent:
    return Sent(["unknown-device", "not-a-number.text"], "1,5", "temp", device, device)


@pytest.mark.slow
@BOUNDED
@given(sent=SENT)
@example(named("new\nline"))
@example(named("[/red]"))
@example(named("\x1b[2J\x00"))
@example(named("\u202ebox"))
@example(named("-"))
@example(named("x" * 300))
def test_pages_answers_and_commands_stay_whole(platform: Platform, sent: Sent) -> None:
    entries = platform.receive(sent)
    for shown in (pages, answers, commands, changes):
        shown(platform, sent, entries)


@BOUNDED
@given(sent=SENT, form=st.sampled_from(names()))
def test_messages_that_are_checked_stay_text(platform: Platform, sent: Sent, form: str) -> None:
    pasted(platform, sent, form)
