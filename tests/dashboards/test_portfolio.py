"""The portfolio: one way for page and API, worst first; the report that is kept."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio
import httpx
import pytest

from techport_dashboards import WebSettings
from techport_dashboards.query.registry_cache import RegistryCache
from techport_dashboards.query.times import micros
from techport_dashboards.services.background_evaluation import BackgroundEvaluation
from techport_dashboards.services.evaluations import Evaluations
from techport_dashboards.services.portfolio import visible_rows
from techport_dashboards.viewer import Viewer
from techport_pilots.accounting.rejection import Rejection
from techport_pilots.accounting.tally import QuarantineEntry
from techport_pilots.model import PilotDefinition
from techport_pilots.registry import lifecycle
from techport_pilots.reports.build import kept_evaluations
from techport_storage.clock import as_of, now, now_datetime
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


async def test_kpis_are_worked_out_before_anybody_asks(several: City, client: httpx.AsyncClient) -> None:
    before = {one["id"]: one for one in (await client.get("/api/v1/portfolio")).json()["items"]}
    assert before["fine"]["verdicts"] == {}
    view, evaluations = RegistryCache(several.registry), Evaluations(several.registry, several.store)
    assert sorted(BackgroundEvaluation(view, evaluations, between=0).round()) == ["fine", "halved", "late"]
    after = {one["id"]: one for one in (await client.get("/api/v1/portfolio")).json()["items"]}
    assert {name: sum(after[name]["verdicts"].values()) for name in ("fine", "halved", "late", "idea")} == {
        "fine": 1,
        "halved": 1,
        "late": 1,
        "idea": 0,  # a draft has nothing to say
    }
    other = BackgroundEvaluation(view, evaluations, between=0)
    assert other.round() == [], "another process does it"


async def test_a_background_evaluation_that_fails_ends_no_other(
    several: City, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    evaluations = Evaluations(several.registry, several.store)
    standing = evaluations.standing

    def failing(definition: PilotDefinition) -> object:
        if definition.id == "halved":
            raise ZeroDivisionError("of a pilot")
        return standing(definition)

    monkeypatch.setattr(evaluations, "standing", failing)
    background = BackgroundEvaluation(RegistryCache(several.registry), evaluations, first=0.0, between=0.0)
    background.start()
    await anyio.sleep(0)
    with anyio.fail_after(30):
        while "late" not in kept_evaluations(several.registry.database):
            await anyio.sleep(0.02)
    background.stop()
    assert "evaluating a pilot failed" in caplog.text
    assert BackgroundEvaluation(RegistryCache(several.registry), evaluations, between=0.0).round(), "the lease is free"


async def test_a_closed_pilot_says_closed_and_one_end_date_everywhere(several: City, client: httpx.AsyncClient) -> None:
    database, late = several.registry.database, several.registry.pilot("late")
    [item] = [one for one in (await client.get("/api/v1/portfolio")).json()["items"] if one["id"] == "late"]
    assert item["ends"].startswith("2026-01-31T23:00")
    with as_of(micros(dt.datetime(2026, 1, 20, 12, tzinfo=dt.UTC))):
        lifecycle.transition(database, late, "ended", "test")
    lifecycle.transition(database, late, "closed", "test")
    [item] = [one for one in (await client.get("/api/v1/portfolio")).json()["items"] if one["id"] == "late"]
    assert (item["state"], item["ends"][:16]) == ("closed", "2026-01-20T12:00"), "it was ended before its plan"
    assert "20 Jan 2026" in (await client.get("/portfolio?lang=en")).text
    overview = (await client.get("/?lang=en")).text
    assert '<span class="tag">closed</span>' in overview
    assert '<span class="tag">ended</span>' not in overview
    fine = (await client.get("/pilots/fine?lang=en")).text
    phases = (await client.get("/pilots/fine/phases?lang=en")).text
    portfolio = (await client.get("/portfolio?lang=en")).text
    for page in (fine, phases, portfolio):
        assert "31 Dec 2098" in page
        assert "1 Jan 2099" not in page


async def test_my_pilots_are_those_in_which_the_reader_has_a_role(several: City) -> None:
    app = several.app(signed_in=False)
    cookie = several.cookie("viewer", "fine")
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers={"Cookie": cookie}) as asked:
        everything = (await asked.get("/portfolio?lang=en")).text
        mine = (await asked.get("/portfolio?lang=en&mine=true")).text
    assert "my pilots" in everything
    assert 'data-pilot="kai-luft"' in everything, "open data, which anybody may see"
    assert 'data-pilot="fine"' in mine
    assert 'data-pilot="kai-luft"' not in mine
    assert 'data-pilot="halved"' not in everything
