"""Completeness, gaps, events, KPIs, evaluation and quarantine over the API."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from techport_pilots.accounting.rejection import RecordedText, Rejection
from techport_pilots.accounting.tally import DeviceDay, QuarantineEntry, Tally
from techport_pilots.i18n import Language
from techport_pilots.registry import lifecycle
from techport_pilots.reports.build import current_report
from techport_storage.clock import now
from techport_storage.microseconds import HOUR
from techport_storage.model import Reading
from tests.dashboards.conftest import START
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio

TRIAL = """
id: forsok
title: {nb: Forsøk, en: Trial}
question: {en: "Does it work?"}
timezone: Europe/Oslo
devices:
  - id: a
    interval: PT1H
    streams: [{quantity: pm10}]
phases:
  - {name: before, kind: baseline, start: 2025-10-21, end: 2025-10-26}
  - {name: after, kind: intervention, start: 2025-10-26, end: 2025-10-31}
kpis:
  - {id: dust, title: {en: Dust}, quantity: pm10, target: 20}
events:
  - {time: 2025-10-22T08:00:00+02:00, kind: calibrated, device: a, text: {en: Zero air}}
exclusions:
  - {start: 2025-10-23T00:00:00+02:00, end: 2025-10-23T06:00:00+02:00, reason: {en: Works in the street}}
"""


async def get(client: httpx.AsyncClient, path: str, **parameters: Any) -> Any:
    answer = await client.get(f"/api/v1/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_completeness_and_gaps_agree(city: City, client: httpx.AsyncClient) -> None:
    city.store.erase(city.store_selection("kran", "pm10"), START + 30 * HOUR, START + 36 * HOUR)
    period = {"start": "2025-10-22T00:00:00Z", "end": "2025-10-23T00:00:00Z", "pilot": "kai-luft"}
    items = {(i["device"], i["quantity"]): i for i in (await get(client, "completeness", **period))["items"]}
    assert items["kran", "pm10"]["completeness"] == 18 / 24
    assert items["port", "pm10"]["completeness"] == 1
    assert items["port", "=odd"]["completeness"] is None
    found = (await get(client, "gaps", **period))["items"]
    assert [(gap["device"], gap["missing"], gap["seconds"]) for gap in found] == [("kran", 6, 7 * 3600.0)]
    page = await get(client, "completeness", **period, limit=1)
    rest = await get(client, "completeness", **period, limit=100, cursor=page["next"])
    assert page["items"] + rest["items"] == [items[key] for key in sorted(items)]


async def test_an_empty_period_is_refused(client: httpx.AsyncClient) -> None:
    for path in ("completeness", "gaps"):
        answer = await client.get(f"/api/v1/{path}", params={"start": "now", "end": "-P1D"})
        assert (answer.status_code, answer.json()["parameter"]) == (400, "start")


async def test_events_kpis_and_evaluation(city: City, client: httpx.AsyncClient) -> None:
    from tests.dashboards.conftest import hourly

    city.import_text(TRIAL)
    city.write(*hourly("forsok", "a", "pm10", 10))
    events = (await get(client, "pilots/forsok/events"))["items"]
    assert [(event["kind"], event["time"]) for event in events] == [
        ("calibrated", "2025-10-22T06:00:00.000000Z"),
        ("exclusion", "2025-10-22T22:00:00.000000Z"),
    ]
    kpi = (await get(client, "pilots/forsok/kpis"))["items"][0]
    assert (kpi["id"], kpi["target"], kpi["value"]) == ("dust", 20, None)
    span = {"start": "2025-10-24T00:00:00Z", "end": "2025-10-24T04:00:00Z"}
    kpi = (await get(client, "pilots/forsok/kpis", **span))["items"][0]
    assert kpi["value"]["value"] == pytest.approx(10 + sum(range(72, 76)) / 4 / 7)
    assert (kpi["value"]["samples"], kpi["value"]["slots"]) == (4, 4), "slots is the old name"
    evaluation = await get(client, "pilots/forsok/kpis/dust/evaluation")
    assert evaluation["kpi"] == "dust"
    assert evaluation["expected"] is None or evaluation["sentence"]["en"].startswith("Without the intervention")
    assert evaluation["verdict"] in ("target met", "target not met", "inconclusive", "insufficient data")
    assert evaluation["baseline"]["value"] < evaluation["intervention"]["value"]
    assert (await client.get("/api/v1/pilots/forsok/kpis/rust/evaluation")).json()["example"] == "dust"
    assert (await client.get("/api/v1/pilots/none/kpis")).status_code == 404


async def test_quarantine_pages(city: City, client: httpx.AsyncClient) -> None:
    day = DeviceDay("kai-luft", "kran", 20_000)
    city.ledger.open_batch("w", [day])
    aside = [
        QuarantineEntry(
            pilot=day.pilot,
            device=day.device,
            day=day.day,
            topic="t",
            payload=b"\xff{%d" % i,
            received=START + i,
            rejection=Rejection("json", recorded=RecordedText("no JSON", "send JSON")),
        )
        for i in range(5)
    ]
    city.ledger.close_batch("w", {day: Tally(received=5, quarantined=5)}, aside)
    first = await get(client, "pilots/kai-luft/quarantine", limit=3)
    second = await get(client, "pilots/kai-luft/quarantine", limit=3, cursor=first["next"])
    payloads = [item["payload"] for item in first["items"] + second["items"]]
    assert payloads == [f"\\xff{{{i}" for i in (4, 3, 2, 1, 0)]
    assert second["next"] is None
    assert second["items"][0]["detail"] == "no JSON."
    assert (await get(client, "pilots/kai-luft/quarantine", reason="other"))["items"] == []
    bad = await client.get("/api/v1/pilots/kai-luft/quarantine", params={"cursor": "AAAA"})
    assert bad.status_code == 400


LATE = """
id: sent
title: {en: Late}
question: {en: "Is one number given everywhere?"}
timezone: Europe/Oslo
data_class: open
licence: CC-BY-4.0
devices:
  - {id: first, interval: PT1H, streams: [{quantity: pm10}]}
  - {id: second, interval: PT1H, streams: [{quantity: pm10}]}
  - {id: coming, interval: PT1H, streams: [{quantity: pm10}]}
phases:
  - {name: before, kind: baseline, start: 2025-10-22, end: 2025-10-25}
  - {name: after, kind: intervention, start: 2025-10-25, end: 2025-10-28}
kpis:
  - {id: dust, title: {en: Dust}, quantity: pm10, target: 20}
events:
  - {time: 2025-10-24T00:00:00+02:00, kind: installed, device: second, text: {en: Up}}
  - {time: 2025-11-24T00:00:00+01:00, kind: installed, device: coming, text: {en: Up}}
"""


async def test_a_pilot_has_one_completeness_everywhere(city: City, client: httpx.AsyncClient) -> None:
    """The second device was installed after two days, and is missing from then on for a day; the third is to come."""
    city.import_text(LATE)
    start = int(dt.datetime(2025, 10, 22, tzinfo=ZoneInfo("Europe/Oslo")).timestamp()) * 1_000_000
    hours = 6 * 24 + 1  # the clocks go back within
    for device, from_hour in (("first", 0), ("second", 3 * 24)):
        times = [start + hour * HOUR for hour in range(from_hour, hours)]
        city.write(*(Reading("sent", device, "pm10", at, 9 + at / HOUR % 7, at + 1) for at in times))
    expected, observed = hours + (hours - 2 * 24), hours + (hours - 3 * 24)
    share = observed / expected
    items = {item["device"]: item for item in (await get(client, "completeness", pilot="sent"))["items"]}
    assert sum(item["expected"] for item in items.values()) == expected
    assert sum(item["observed"] for item in items.values()) == observed
    assert {name: item["since"] for name, item in items.items()} == {
        "first": "2025-10-21T22:00:00.000000Z",
        "second": "2025-10-23T22:00:00.000000Z",
        "coming": None,
    }
    assert {item["until"] for item in items.values()} == {"2025-10-27T23:00:00.000000Z", None}
    shown, since = Language("en").share(share), "since 22 Oct 2025"
    for page in ("/pilots/sent/quality?lang=en", "/pilots/sent/kpis?lang=en", "/catalogue?lang=en"):
        text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (await client.get(page)).text))
        assert shown in text, page
        assert since in text, page
    report = current_report(city.registry, city.store, city.registry.pilot("sent"), now())
    assert report.whole.share == pytest.approx(share)


async def test_a_device_counts_from_its_deployment_in_any_period(city: City, client: httpx.AsyncClient) -> None:
    city.import_text(LATE)
    period = {"pilot": "sent", "device": "second", "end": "2025-10-25T00:00:00+02:00"}
    [item] = (await get(client, "completeness", **period, start="2025-10-22T00:00:00+02:00"))["items"]
    assert (item["since"], item["expected"]) == ("2025-10-23T22:00:00.000000Z", 24)
    [gap] = (await get(client, "gaps", **period, start="2025-10-22T00:00:00+02:00"))["items"]
    assert (gap["start"], gap["missing"]) == ("2025-10-23T22:00:00.000000Z", 24)


async def test_a_pilot_without_phases_counts_until_now_or_until_it_ended(city: City, client: httpx.AsyncClient) -> None:
    """Silence of all devices is missing data; after the end of the pilot nothing is missing."""
    text = LATE.partition("phases:")[0].replace("id: sent", "id: stille")
    city.import_text(text)
    first = now() // HOUR * HOUR - 40 * HOUR
    city.write(*(Reading("stille", "first", "pm10", first + i * HOUR, 9.0 + i, first + i * HOUR) for i in range(20)))
    [item] = (await get(client, "completeness", pilot="stille", device="first"))["items"]
    assert item["observed"] == 20
    assert item["expected"] in (40, 41)
    pilot = city.registry.pilot("stille")
    for state in ("running", "ended"):
        lifecycle.transition(city.registry.database, pilot, state, "test", "as planned")
    ends = {(await get(client, "completeness", pilot="stille", device="first"))["items"][0]["until"] for _ in range(2)}
    assert len(ends) == 1
