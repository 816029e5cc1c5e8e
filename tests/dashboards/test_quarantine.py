"""Quarantine over HTTP and on its page: groups, mending, replay, letting go."""

from __future__ import annotations

import httpx
import pytest

from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter
from techport_pilots.accounting.rejection import RecordedText, Rejection
from techport_pilots.accounting.tally import QuarantineEntry
from techport_storage.microseconds import HOUR
from tests.dashboards.conftest import START
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
API = "/api/v1/pilots/kai-luft/quarantine"
PAGE = "/pilots/kai-luft/quarantine"
FORM = {"Sec-Fetch-Site": "same-origin"}


REJECTIONS = {
    "not-a-number": Rejection("not-a-number.quoted", {"key": "temp", "given": "1,5", "number": "1.5"}),
    "not-json": Rejection("not-json", recorded=RecordedText("malformed <b>", "Send valid <i>JSON</i>")),
    "unknown-device": Rejection("unknown-device", {"pilot": "kai-luft", "device": "ny boks"}),
}


def quarantined(
    device: str, reason: str, field: str | None, hours: int, payload: bytes = b'{"temp": "1,5"}'
) -> QuarantineEntry:
    return QuarantineEntry(
        pilot="kai-luft",
        device=device,
        topic=f"pilots/kai-luft/{device}/readings",
        payload=payload,
        received=START + hours * HOUR,
        rejection=REJECTIONS.get(reason, Rejection(reason, {})),
        field=field,
    )


@pytest.fixture
def kept(city: City) -> City:
    entries = [quarantined("kran", "not-a-number", "temp", n) for n in range(3)]
    entries += [quarantined("port", "not-json", None, 30, b'<script>alert("1")</script>\x00\xff')]
    entries += [quarantined("ny boks", "unknown-device", "pm10", 40)]
    city.ledger.close_batch("w", {}, entries)
    return city


async def test_groups_and_single_entries(kept: City, client: httpx.AsyncClient) -> None:
    groups = (await client.get(f"{API}/groups")).json()
    assert [(g["device"], g["reason"], g["field"], g["entries"]) for g in groups] == [
        ("ny boks", "unknown-device", "pm10", 1),
        ("port", "not-json", None, 1),
        ("kran", "not-a-number", "temp", 3),
    ]
    [first] = (await client.get(f"{API}/groups", params={"day": "2025-10-22", "device": "port"})).json()
    assert first["newest"]["message"]["hex"].endswith("00ff")
    entry = first["newest"]["id"]
    assert (await client.get(f"{API}/{entry}")).json()["reason"] == "not-json"
    for missing in ("/999", f"/{2**70}", "/-1"):
        assert (await client.get(API + missing)).status_code == 404
    assert (await client.get(f"/api/v1/pilots/stille/quarantine/{entry}")).status_code == 404, "of another pilot"
    assert (await client.get(f"{API}/groups", params={"day": "today"})).status_code == 400
    counts = (await client.get(f"{API}/counts")).json()
    assert sum(one["entries"] for one in counts) == 5


async def test_a_replay_is_asked_for_and_told_about(kept: City, client: httpx.AsyncClient) -> None:
    assert (await client.post(f"{API}/replay", json={})).status_code == 400
    assert (await client.post("/api/v1/pilots/nobody/quarantine/replay", json={"device": "x"})).status_code == 404
    asked = await client.post(f"{API}/replay", json={"reason": "not-a-number", "field": "temp"})
    assert (asked.status_code, asked.json()["waiting"]) == (202, 3)
    taken = Quarantine(kept.registry.database).take_replays("w")
    assert {entry.device for entry in taken} == {"kran"}
    told = (await client.get(f"{API}/replays/{asked.json()['replay']}")).json()
    assert (told["entries"], told["waiting"], told["stored"]) == (3, 3, 0)
    assert (await client.get(f"{API}/replays/5")).status_code == 404


async def test_mending_makes_a_version_and_asks_for_what_was_refused_alike(
    kept: City, client: httpx.AsyncClient
) -> None:
    [entry, *_] = Quarantine(kept.registry.database).entries().items[-3:]
    wrong = await client.post(f"{API}/{entry.id}/mapping", json={"quantity": "air_temperatur"})
    assert (wrong.status_code, wrong.json()["type"]) == (422, "/api/v1/problems/bad-definition")
    assert "air_temperature" in wrong.json()["detail"]
    meaning = {"quantity": "air_temperature", "text": True, "why": "a comma"}
    mended = (await client.post(f"{API}/{entry.id}/mapping", json=meaning)).json()
    [newest, *_] = kept.registry.history("kai-luft")
    assert (mended["version"], newest.version, newest.why) == (2, 2, "a comma")
    assert "operator" in newest.who
    asked = Quarantine(kept.registry.database).outcome(mended["replay"])
    assert asked is not None
    assert asked.entries == 3


async def test_discarding_takes_what_is_named_and_nothing_else(kept: City, client: httpx.AsyncClient) -> None:
    assert (await client.post(f"{API}/discard", json={"field": "temp"})).status_code == 400
    assert (await client.post(f"{API}/discard", json={"device": "kran"})).json() == {"deleted": 3, "discarded": 3}
    assert len(Quarantine(kept.registry.database).entries().items) == 2


async def test_the_page_shows_raw_messages_and_escapes_them(kept: City, client: httpx.AsyncClient) -> None:
    text = (await client.get(PAGE)).text
    assert "Det skulle ha stått et tall" in text, "the reason is in the reader's language"
    assert "Send 1.5 uten anførselstegn." in text
    assert '<span lang="en">Send valid &lt;i&gt;JSON&lt;/i&gt;.</span>' in text, "kept by a version without codes"
    assert "3c 73 63 72 69 70 74" in text
    assert '<script>alert("1")' not in text
    only = (await client.get(PAGE, params={"device": "port", "lang": "en"})).text
    assert "Not JSON" in only
    assert "A number was expected" not in only.split('class="groups"')[1]
    listed = (await client.get(PAGE, params={"entries": "true", "reason": "not-a-number"})).text
    assert listed.count('name="entry"') == 3


@pytest.mark.parametrize(
    "field", ["status", "", "a/b?c#d%e", 'x"><script>', "\u202e\U0001f600", "\x01\n", "n\x00", "z" * 300]
)
async def test_a_field_that_resembles_no_quantity_leaves_the_page_whole(
    city: City, client: httpx.AsyncClient, field: str
) -> None:
    city.ledger.close_batch("w", {}, [quarantined("kran", "not-a-number", field, 1)])
    answer = await client.get(PAGE)
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert 'x"><script>' not in answer.text
    [group] = (await client.get(f"{API}/groups")).json()
    listed = {"device": "kran", "reason": "not-a-number", "field": group["field"], "entries": "true"}
    entries = await client.get(PAGE, params=listed)
    assert (entries.status_code, entries.text.count('name="entry"')) == (200, 1)


async def test_the_page_discards_only_what_was_confirmed(kept: City, client: httpx.AsyncClient) -> None:
    [like, *_] = Quarantine(kept.registry.database).entries(QuarantineFilter(reason="not-a-number")).items
    group = {"like": str(like.id)}
    refused = await client.post(f"{PAGE}/discard", data=group, headers=FORM)
    assert refused.status_code == 400
    answer = await client.post(f"{PAGE}/discard", data={**group, "confirmed": "yes"}, headers=FORM)
    assert answer.status_code == 303
    assert "discarded=3" in answer.headers["location"]
    assert "3 oppføringer er slettet" in (await client.get(answer.headers["location"])).text
    gone = await client.post(f"{PAGE}/discard", data={**group, "confirmed": "yes"}, headers=FORM)
    assert gone.status_code == 404
    nothing = await client.post(f"{PAGE}/discard", data={"confirmed": "yes"}, headers=FORM)
    assert nothing.status_code == 400, "all of a pilot is never meant"
    assert len(Quarantine(kept.registry.database).entries().items) == 2


async def test_the_page_takes_ticked_entries_again(kept: City, client: httpx.AsyncClient) -> None:
    ids = [entry.id for entry in Quarantine(kept.registry.database).entries().items[-2:]]
    answer = await client.post(f"{PAGE}/replay", data={"entry": [str(i) for i in ids]}, headers=FORM)
    told = await client.get(answer.headers["location"])
    assert "2 oppføringer venter" in told.text
    assert [entry.id for entry in Quarantine(kept.registry.database).take_replays("w")] == sorted(ids)


async def test_who_may_look_but_not_edit_finds_no_forms(kept: City) -> None:
    transport = httpx.ASGITransport(kept.app(caller="researcher"))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for path in (PAGE, f"{PAGE}?entries=true"):
            text = (await client.get(path)).text
            assert 'method="post" action="/pilots/kai-luft/quarantine/discard"' not in text
            assert "rollen redaktør" in text or "entries=true" in path
            assert "/pilots/kai-luft/onboarding" not in text
            assert (await client.post(f"{PAGE}/discard", data={"like": "1", "confirmed": "yes"})).status_code == 403
        assert (await client.get("/pilots/kai-luft/onboarding")).status_code == 403
