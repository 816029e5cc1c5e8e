"""Where is my message, what is set aside and taken again, who sends without being known: over HTTP."""

from __future__ import annotations

import datetime as dt

import httpx
import pytest

from techport.commands.trace import describe
from techport_dashboards.api.accounting import Traced
from techport_pilots.accounting.commit_log import CommitLog, CommitSpan
from techport_pilots.accounting.rejection import RecordedText, Rejection
from techport_pilots.accounting.tally import BatchAnnotations, BookedEvent, DeviceDay, QuarantineEntry, Tally
from techport_storage.microseconds import DAY, HOUR, SECOND
from tests.dashboards.conftest import START
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio

TODAY = START // DAY
PILOT = "/api/v1/pilots/kai-luft"


@pytest.fixture
def kept(city: City) -> City:
    """Beside the readings: one entry in quarantine, a stranger, a join, and two ignored parts."""
    kran = DeviceDay("kai-luft", "kran", TODAY)

    def aside(device: str, reason: str, payload: bytes, at: int) -> QuarantineEntry:
        return QuarantineEntry(
            pilot="kai-luft",
            device=device,
            topic=f"pilots/kai-luft/{device}/readings",
            payload=payload,
            received=START + at,
            rejection=Rejection(reason, recorded=RecordedText("pm10 is text", "send it without quotes")),
            field="pm10",
        )

    entries = [
        aside("kran", "not-a-number", b'{"pm10": "1"}', HOUR),
        aside("ny boks", "unknown-device", b"{}", 2 * HOUR),
    ]
    annotations = BatchAnnotations(
        ignored={(kran, "text"): 1, (kran, "event"): 1},
        events=[BookedEvent("kai-luft", "kran", START + 90 * SECOND, "join", "")],
    )
    tallies = {
        kran: Tally(messages=2, received=3, quarantined=1, ignored=2),
        DeviceDay("kai-luft", "ny boks", TODAY): Tally(messages=1, received=1, quarantined=1),
    }
    city.ledger.close_batch("w", tallies, entries, annotations)
    return city


async def traced(client: httpx.AsyncClient, time: int, minutes: float = 5, device: str = "kran") -> Traced:
    at = dt.datetime.fromtimestamp(time / 1e6, dt.UTC).isoformat()
    answer = await client.get(f"{PILOT}/devices/{device}/trace", params={"time": at, "minutes": minutes})
    assert answer.status_code == 200, answer.text
    return Traced.model_validate_json(answer.content)


async def test_a_message_is_found_stored_quarantined_or_nowhere(kept: City, client: httpx.AsyncClient) -> None:
    found = await traced(client, START + HOUR)
    assert [(value.quantity, value.value) for value in found.stored] == [
        ("air_temperature", -5 + 1 / 7),
        ("pm10", 10 + 1 / 7),
    ]
    assert {(value.time, value.received) for value in found.stored} == {
        ("2025-10-21T01:00:00.123456Z", "2025-10-21T01:00:01.123000Z")
    }
    [entry] = found.quarantined
    assert (entry.reason, entry.message.text) == ("not-a-number", '{"pm10": "1"}')
    assert found.ignored == {"text": 1, "event": 1}
    said = "\n".join(describe(found))
    assert "send it without quotes" in said
    assert "ignored by rule text: 1" in said
    assert "visible since" not in said, "nothing is known of its way"
    CommitLog(kept.registry.database).note(
        [CommitSpan("ingest-2", START + HOUR, START + HOUR + SECOND, START + HOUR + 2 * SECOND, [("kai-luft", "kran")])]
    )
    by = "by ingest-2, visible since 2025-"
    assert by in "\n".join(describe(await traced(client, START + HOUR)))

    assert [event.kind for event in (await traced(client, START + 60 * SECOND)).events] == ["join"]
    nothing = await traced(client, START - 48 * HOUR)
    assert not nothing.found
    assert nothing.last_before is not None
    assert nothing.last_before.endswith("Z")
    assert "nothing was received" in "\n".join(describe(nothing))
    stranger = await traced(client, START + 2 * HOUR, device="ny boks")
    assert not stranger.known
    assert [entry.reason for entry in stranger.quarantined] == ["unknown-device"]


async def test_the_sums_of_a_device_say_which_rule_ignored_what(kept: City, client: httpx.AsyncClient) -> None:
    [day] = (await client.get(f"{PILOT}/devices/kran/account")).json()
    assert day["day"] == "2025-10-21"
    outcomes = ("stored", "duplicates", "corrections", "quarantined", "ignored")
    assert day["received"] == sum(day[outcome] for outcome in outcomes) == 3
    assert day["ignored_by_rule"] == {"event": 1, "text": 1}


async def test_days_are_days_and_no_numbers(kept: City, client: httpx.AsyncClient) -> None:
    counts = (await client.get(f"{PILOT}/quarantine/counts")).json()
    assert {(count["device"], count["day"], count["entries"]) for count in counts} == {
        ("kran", "2025-10-21", 1),
        ("ny boks", "2025-10-21", 1),
    }
    rows = (await client.get("/api/v1/audit", params={"pilot": "kai-luft"})).json()["rows"]
    [day] = [row for row in rows if (row["device"], row["day"]) == ("ny boks", "2025-10-21")]
    assert (day["received"], day["quarantined"], day["counted"], day["state"]) == (1, 1, 0, "ok")
