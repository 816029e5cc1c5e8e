"""The portfolio: one way for page and API, worst first; the report that is kept."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest

from techport_dashboards import WebSettings
from techport_dashboards.services.portfolio import visible_rows
from techport_dashboards.viewer import Viewer
from techport_pilots.accounting.rejection import Rejection
from techport_pilots.accounting.tally import QuarantineEntry
from techport_pilots.registry import lifecycle
from techport_storage.clock import now, now_datetime
from techport_storage.microseconds import SECOND
from techport_storage.model import Batch, Reading
from tests.dashboards.web import City
from tests.pilots import trial

pytestmark = [pytest.mark.anyio, pytest.mark.dates]


def pilot(name: str, begin: str, end: str) -> str:
    return f"""
id: {name}
title: {{nb: {name}, en: {name}}}
question: {{en: "Does it help?"}}
phases: [{{name: one, kind: intervention, start: {begin}, end: {end}}}]
kpis: [{{id: k, title: K, quantity: pm10}}]
devices:
  - {{id: a, interval: PT1H, streams: [{{quantity: pm10}}]}}
  - {{id: b, interval: PT1H, streams: [{{quantity: pm10}}]}}
"""


def day_of_year_2026() -> int:
    """The number of the present day in Norway, counted from 1 January 2026."""
    return (now_datetime(ZoneInfo("Europe/Oslo")).date() - dt.date(2026, 1, 1)).days + 1


@pytest.fixture
def several(city: City) -> City:
    """fine runs with both devices; halved lacks one; late is over; idea is a draft."""
    for name, end in (("fine", "2099-01-01"), ("halved", "2099-01-01"), ("late", "2026-02-01"), ("idea", "2099-01-01")):
        city.import_text(pilot(name, "2026-01-01", end))
        if name != "idea":
            lifecycle.transition(city.registry.database, city.registry.pilot(name), "running", "test")
    for name, device in (("fine", "a"), ("fine", "b"), ("halved", "a"), ("late", "a"), ("late", "b")):
        city.store.write(Batch.of([Reading(name, device, "pm10", now() - SECOND, 1.0, now())]))
    return city


async def test_the_worst_comes_first(several: City, client: httpx.AsyncClient) -> None:
    days = [day_of_year_2026()]
    answer = (await client.get("/api/v1/portfolio")).json()
    days.append(day_of_year_2026())
    found = {one["id"]: one for one in answer["items"]}
    assert [one["id"] for one in answer["items"]][:3] == ["late", "halved", "fine"]
    assert found["late"]["attention"] == ["overdue"]
    assert found["halved"]["attention"] == ["devices"]
    assert (found["halved"]["online"], found["halved"]["devices"], found["halved"]["with_problems"]) == (1, 2, 1)
    assert (found["halved"]["alive"], found["halved"]["troubled"]) == (1, 1), "the names of the release before"
    assert found["fine"]["attention"] == []
    assert found["fine"]["ends"].startswith("2098-12-31T23:00")
    assert found["fine"]["day"] in days  # two at midnight
    page = (await client.get("/portfolio")).text
    places = [page.index(f'data-pilot="{name}"') for name in ("late", "halved", "fine", "idea")]
    assert places == sorted(places)


async def test_it_is_sorted_as_asked(several: City, client: httpx.AsyncClient) -> None:
    async def order(sort: str) -> list[str]:
        answer = await client.get("/api/v1/portfolio", params={"sort": sort})
        return [one["id"] for one in answer.json()["items"]]

    assert (await order("-ends"))[-2:] == ["kai-luft", "stille"], "without an end they come last, whichever way"
    assert (await order("ends"))[0] == "late"
    assert (await order("devices"))[-1] in ("fine", "late")
    assert await order("name") == list(reversed(await order("-name")))
    wrong = await client.get("/portfolio", params={"sort": "colour"})
    assert wrong.status_code == 400
    assert "worst" in wrong.text


async def test_pages_of_the_answer_hold_each_pilot_once(several: City, client: httpx.AsyncClient) -> None:
    seen, cursor = [], None
    while True:
        parameters = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        answer = (await client.get("/api/v1/portfolio", params=parameters)).json()
        seen += [one["id"] for one in answer["items"]]
        if (cursor := answer["next"]) is None:
            break
    assert len(seen) == len(set(seen)) == 6


async def test_only_what_may_be_seen(several: City) -> None:
    services = several.app().state.services
    assert [
        row.standing.pilot for row in visible_rows(services, Viewer("x", open_pilots=lambda: frozenset({"fine"})))
    ] == ["fine"]


async def test_a_look_at_a_pilot_tells_the_portfolio_its_verdicts(several: City, client: httpx.AsyncClient) -> None:
    await client.get("/pilots/fine/kpis")
    items = (await client.get("/api/v1/portfolio")).json()["items"]
    assert next(one for one in items if one["id"] == "fine")["verdicts"] == {"running": 1}, "its phase is not over"


async def test_the_report_is_kept_until_something_changes(city: City, tmp_path: Path) -> None:
    city.import_text(trial.YAML)
    city.store.write(trial.readings())
    app = city.app(WebSettings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        path = "/pilots/elgeseter/report?lang=en"
        first = await client.get(path)
        again = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        city.store.write(Batch.of([Reading("elgeseter", "bridge", "pm10", trial.START + 7, 20.0, now())]))
        assert (await client.get(path)).content == first.content
        fresh = await client.get(f"{path}&fresh=1")
        assert fresh.headers["etag"] != first.headers["etag"], "one reading more"
        assert (await client.get(path)).content == fresh.content
        lifecycle.transition(city.registry.database, city.registry.pilot("elgeseter"), "running", "test")
        assert "State: running" in (await client.get(path)).text
        assert (await client.get("/pilots/elgeseter/report?lang=nb")).headers["content-language"] == "nb"


async def test_messages_that_no_pilot_gets_are_shown_to_the_operator_alone(city: City) -> None:
    aside = QuarantineEntry(
        pilot="mistyped",
        device="box",
        topic="pilots/mistyped/box/readings",
        payload=b"{}",
        received=now(),
        rejection=Rejection("unknown-pilot", {"pilot": "mistyped"}),
    )
    city.ledger.close_batch("w", {}, [aside])
    for signed_in, shown in ((True, True), (False, False)):
        transport = httpx.ASGITransport(city.app(signed_in=signed_in))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            page = (await client.get("/portfolio?lang=en")).text
        assert ("pilots/mistyped/box/readings" in page) is shown
