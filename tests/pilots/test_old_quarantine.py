"""Migration 0008 on a registry of the version before it, with rows as that version wrote them: its entries of the
quarantine and its kept messages hold sentences in English, and are shown with them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import NullPool, create_engine, text

from techport_pilots.access.operator_token import OperatorToken
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.accounting.message_tap import MessageTap
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter
from techport_pilots.accounting.rejection import RecordedText, Rejection
from techport_pilots.accounting.tally import DeviceDay, QuarantineEntry, Tally, day_of
from techport_pilots.i18n import Language
from techport_pilots.registry.registry import Registry
from techport_storage.store import open_store
from tests.dashboards.conftest import AIR, START
from tests.dashboards.web import City
from tests.servers import postgres as server

pytestmark = pytest.mark.anyio
PAYLOAD = b'{"time": 1790000000, "temp": "<b>21,5"}'
TOPIC = "pilots/kai-luft/kran/readings"
DETAIL = '"temp" is text: "<b>21,5"'  # without a full stop, as the version before wrote them
HINT = "Send 21.5 without quotes"

_ENTRY = (
    "INSERT INTO quarantine (pilot, device, day, topic, payload, received, format, reason, field, detail, hint,"
    " value_count, digest) VALUES ('kai-luft', 'kran', :day, :topic, :payload, :received, 'native', 'not-a-number',"
    " 'temp', :detail, :hint, 1, :digest)"
)
_MESSAGE = (
    "INSERT INTO watched_messages (pilot, device, topic, payload, received, worker, committed, outcome)"
    " VALUES ('kai-luft', 'kran', :topic, :payload, :received, 'w-1', :received, :outcome)"
)
_OUTCOME = {
    "values": [{"quantity": "pm10", "time": START, "value": 12.5, "fate": "stored", "quality": 0}],
    "refused": [{"reason": "not-a-number", "detail": DETAIL, "hint": HINT, "field": "temp", "values": 1}],
    "ignored": ["text"],
}
_DIGEST = QuarantineEntry(
    pilot="kai-luft",
    device="kran",
    topic=TOPIC,
    payload=PAYLOAD,
    received=START,
    rejection=Rejection("not-a-number.text", {"key": "temp", "given": "<b>21,5"}),
    field="temp",
)
"""The same message as this version rejects it: it has the same digest."""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=["sqlite", "postgresql"])
def old_registry(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a registry at revision 0007 with an entry and a kept message."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/registry.sqlite"
    else:
        running: server.Postgres = request.getfixturevalue("postgres")
        url = running.database()
    config = Config()
    config.set_main_option("script_location", "techport_pilots.registry:migrations")
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
    with engine.begin() as opened:
        config.attributes["connection"] = opened
        command.upgrade(config, "0007")
        row = {"topic": TOPIC, "payload": PAYLOAD, "received": START}
        digest = b"0123456789abcdef"
        opened.execute(text(_ENTRY), {**row, "day": day_of(START), "detail": DETAIL, "hint": HINT, "digest": digest})
        opened.execute(text(_MESSAGE), {**row, "outcome": json.dumps(_OUTCOME)})
    return url


@pytest.fixture
def city(old_registry: str, tmp_path: Path) -> Iterator[City]:
    registry = Registry.open(old_registry)
    token = OperatorToken.of(tmp_path)
    city = City(
        registry, open_store(f"duckdb:///{tmp_path}/readings.duckdb"), Ledger(registry.database), token, tmp_path
    )
    city.import_text(AIR)
    yield city
    city.close()


def test_old_rows_keep_their_sentences(city: City) -> None:
    quarantine = Quarantine(city.registry.database)
    [entry] = quarantine.entries(QuarantineFilter(reason="not-a-number", field="temp")).items
    assert (entry.rejection.code, entry.rejection.recorded) == ("not-a-number", RecordedText(DETAIL, HINT))
    assert (entry.rejection.detail(), entry.rejection.hint()) == (f"{DETAIL}.", f"{HINT}.")
    assert entry.rejection.title(Language("nb")) == "Det skulle ha stått et tall"
    assert (entry.topic, entry.payload, entry.received) == (TOPIC, PAYLOAD, START)
    [message] = MessageTap(city.registry.database).messages("kai-luft", "kran")
    [rejected] = message.outcome.rejected
    assert (rejected.rejection, rejected.field, rejected.values) == (entry.rejection, "temp", 1)
    [value] = message.outcome.values
    assert (value.quantity, value.value, value.outcome, message.outcome.ignored) == ("pm10", 12.5, "stored", ["text"])


def test_new_rows_stand_beside_old_ones(city: City) -> None:
    """With codes; the two are one group, since the reason is the same, and are reprocessed and deleted together."""
    day = DeviceDay("kai-luft", "kran", day_of(START))
    city.ledger.close_batch("w", {day: Tally(messages=1, received=1, quarantined=1)}, [_DIGEST])
    quarantine = Quarantine(city.registry.database)
    [group] = quarantine.groups(QuarantineFilter(pilot="kai-luft"), 10)
    assert (group.entries, group.newest.rejection.code, group.newest.rejection.recorded) == (
        2,
        "not-a-number.text",
        None,
    )
    assert quarantine.request_replay(QuarantineFilter(reason="not-a-number"), "test").entries == 2
    assert {entry.rejection.recorded is None for entry in quarantine.take_replays("w")} == {True, False}
    assert quarantine.discard(QuarantineFilter(pilot="kai-luft")) == 2


async def test_pages_and_answers_show_old_rows(city: City) -> None:
    transport = httpx.ASGITransport(city.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        escaped = "&lt;b&gt;21,5"
        for path in ("quarantine", "quarantine?entries=true", "onboarding?device=kran", "devices/kran"):
            page = await client.get(f"/pilots/kai-luft/{path}")
            assert page.status_code == 200, path
            assert escaped in page.text
            assert "<b>21,5" not in page.text
            assert f'<span lang="en">{HINT}.</span>' in page.text, "in the language that it was written in"
            assert ("Det skulle ha stått et tall" in page.text) == (path != "devices/kran"), "which has no titles"
        trace = {"time": dt.datetime.fromtimestamp(START / 1e6, dt.UTC).isoformat(), "minutes": "5"}
        [item] = (await client.get("/api/v1/pilots/kai-luft/devices/kran/trace", params=trace)).json()["quarantined"]
        [listed] = (await client.get("/api/v1/pilots/kai-luft/quarantine")).json()["items"]
        [seen] = (await client.get("/api/v1/pilots/kai-luft/devices/kran/messages")).json()
        for answer in (item, listed, seen["rejected"][0]):
            assert (answer["reason"], answer["code"], answer["params"]) == ("not-a-number", None, {})
            assert (answer["detail"], answer["hint"]) == (f"{DETAIL}.", f"{HINT}.")
