"""A pilot's life on the web: steps, the checklist, closing as a job, its package, opening it, forgetting."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from techport_dashboards import WebSettings
from techport_pilots.accounting.quarantine import QuarantineFilter
from techport_pilots.definition.load import parse_definition
from techport_pilots.handover.closeout import Closure, close_pilot
from techport_pilots.registry import erasures, lifecycle
from tests.dashboards.web import City
from tests.pilots import trial

pytestmark = [pytest.mark.anyio, pytest.mark.heavy]
API = "/api/v1/pilots/elgeseter"


@pytest.fixture
def town(tmp_path: Path) -> Iterator[City]:
    city = City.at(tmp_path)
    city.import_text(trial.YAML)
    city.store.write(trial.readings())
    yield city
    city.close()


@pytest.fixture
async def visitor(town: City, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = WebSettings(packages=tmp_path / "packages", snapshots=tmp_path / "snapshots", language="en")
    app = town.app(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        yield client
    app.state.services.jobs.close()


async def done(visitor: httpx.AsyncClient, answer: httpx.Response) -> dict[str, Any]:
    """The job once it is over."""
    assert answer.status_code == 202, answer.text
    until = time.monotonic() + 300
    job = answer.json()
    while job["state"] == "running":
        assert time.monotonic() < until
        time.sleep(0.02)
        job = (await visitor.get(f"/api/v1/jobs/{job['id']}")).json()
    return dict(job)


async def end(visitor: httpx.AsyncClient) -> None:
    for state in ("running", "ended"):
        body = {"state": state, "who": "Kari", "why": f"it is {state}"}
        assert (await visitor.post(f"{API}/state", json=body)).status_code == 200


async def test_from_start_to_package(visitor: httpx.AsyncClient, town: City) -> None:
    assert (await visitor.get(f"{API}/life")).json()["state"] == "draft"
    blocked = await visitor.post(f"{API}/close", json={"confirm": "elgeseter"})
    assert blocked.status_code == 409
    assert "has not ended" in blocked.json()["detail"]
    await end(visitor)
    items = (await visitor.get(f"{API}/checklist")).json()
    assert not any(item["blocks"] for item in items)
    assert {item["about"] for item in items} == {"look", "happens"}
    assert any("credentials of 0 devices" in item["text"]["en"] for item in items)
    assert any("“before” is 99% complete" in item["text"]["en"] and item["good"] for item in items)

    job = await done(visitor, await visitor.post(f"{API}/close", json={"confirm": "elgeseter", "who": "Kari"}))
    assert (job["state"], job["problem"]) == ("done", None)
    life = (await visitor.get(f"{API}/life")).json()
    assert life["state"] == "closed"
    # Who it was is known from the credential; what somebody calls themselves is noted beside the reason.
    assert [(step["state"], step["who"], step["why"]) for step in life["steps"]] == [
        ("running", "operator", "it is running (Kari)"),
        ("ended", "operator", "it is ended (Kari)"),
        ("closed", "operator", "(Kari)"),
    ]
    (package,) = life["packages"]
    assert package["here"]
    assert package["rows"] == job["result"]["rows"] == len(trial.readings())
    file = await visitor.get(f"{API}/packages/{package['sha256']}")
    assert file.headers["content-type"] == "application/zip"
    assert hashlib.sha256(file.content).hexdigest() == package["sha256"]
    assert (await visitor.get(f"{API}/packages/{'0' * 64}")).status_code == 404
    again = await visitor.post(f"{API}/state", json={"state": "running"})
    assert again.status_code == 409


async def test_it_has_to_be_confirmed_with_the_id(visitor: httpx.AsyncClient, town: City) -> None:
    await end(visitor)
    for words in ("", "Elgeseter", "kai-luft"):
        answer = await visitor.post(f"{API}/close", json={"confirm": words})
        assert (answer.status_code, answer.json()["example"]) == (400, "elgeseter")
    assert town.registry.state("elgeseter") == "ended"


async def test_the_page_leads_through_it(visitor: httpx.AsyncClient, town: City) -> None:
    page = await visitor.get("/pilots/elgeseter/close")
    assert "cannot be closed yet" in page.text
    for state in ("running", "ended"):
        moved = await visitor.post("/pilots/elgeseter/state", data={"state": state, "who": "Ola", "why": "<b>now</b>"})
        assert (moved.status_code, moved.headers["location"]) == (303, "/pilots/elgeseter/close")
    page = await visitor.get("/pilots/elgeseter/close")
    assert "&lt;b&gt;now&lt;/b&gt;" in page.text
    assert 'pattern="elgeseter"' in page.text
    assert "<td>operator</td>" in page.text
    unconfirmed = await visitor.post("/pilots/elgeseter/close", data={"who": "Ola"})
    assert unconfirmed.status_code == 400
    begun = await visitor.post("/pilots/elgeseter/close?lang=nb", data={"confirm": "elgeseter", "who": "Ola"})
    assert (begun.status_code, begun.headers["location"]) == (303, "/pilots/elgeseter/close?lang=nb")
    page = await visitor.get("/pilots/elgeseter/close")
    address = re.search(r'data-address="(/api/v1/jobs/\w+)"', page.text)
    assert address is not None
    assert "<progress" in page.text
    until = time.monotonic() + 300
    while (await visitor.get(address[1])).json()["state"] == "running":
        assert time.monotonic() < until
        time.sleep(0.02)
    page = await visitor.get("/pilots/elgeseter/close")
    assert re.search(r'href="/api/v1/pilots/elgeseter/packages/[0-9a-f]{64}"', page.text)
    assert "The data held here will be erased on" in page.text


async def test_another_site_cannot_close_it(visitor: httpx.AsyncClient, town: City) -> None:
    await end(visitor)
    form = {"confirm": "elgeseter", "who": "Ola"}
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        assert (await visitor.post("/pilots/elgeseter/close", data=form, headers=headers)).status_code == 403
    assert town.registry.state("elgeseter") == "ended"


async def test_who_may_only_look_closes_nothing(town: City) -> None:
    app = town.app(WebSettings(language="en"), caller="viewer", pilot="elgeseter")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        assert (await client.post(f"{API}/close", json={"confirm": "elgeseter"})).status_code == 403
        page = (await client.get("/pilots/elgeseter/close")).text
        forms = re.findall(r"<form[^>]*>", page)
        changing = [form for form in forms if 'method="post"' in form]
        assert [re.findall(r'action="([^"]*)"', form) for form in changing] == [["/sign-out"]], (
            "searching changes nothing"
        )


async def test_a_package_opens_and_a_broken_one_says_why(
    visitor: httpx.AsyncClient, town: City, tmp_path: Path
) -> None:
    there = City.at(tmp_path / "there")
    there.import_text(trial.YAML)
    there.store.write(trial.readings())
    pilot = there.registry.pilot("elgeseter")
    for step in ("running", "ended"):
        lifecycle.transition(there.registry.database, pilot, step, "kari")
    package = close_pilot(there.registry, there.store, there.ledger, pilot, tmp_path, Closure("kari", wait=0))
    there.close()
    content = Path(package.path).read_bytes()
    broken = await done(visitor, await visitor.post("/api/v1/packages", content=content[:50_000]))
    assert broken["state"] == "failed"
    assert "only a part" in broken["problem"]

    here = City.at(tmp_path / "empty")
    app = here.app(WebSettings(packages=tmp_path / "empty" / "packages"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        job = await done(client, await client.post("/api/v1/packages?who=ola", content=content))
        assert job["state"] == "done"
        assert (job["result"]["differing"], job["result"]["rows"]) == ([], package.rows)
        assert (await client.get(f"{API}/life")).json()["state"] == "closed"
        with zipfile.ZipFile(package.path) as archive:
            said = json.loads(archive.read("evaluation.json"))
        for one, opened in zip(said, job["result"]["evaluations"], strict=True):
            assert {name: opened[name] for name in one} == one, "what the package says, to the last digit"
            assert all(opened["sentence"][language] for language in ("nb", "en"))
            told = (await client.get(f"{API}/kpis/{one['kpi']}/evaluation")).json()
            part = told["reasons"][len(one["reasons"]) :]  # among several: what follows from the plan is not kept
            assert {name: told[name] for name in one} == {**one, "reasons": [*one["reasons"], *part]}
            codes = ["evaluation.written-late"]  # the trial's definition is younger than its phases
            codes += ["evaluation.exploratory"] if one["kpi"] == "dusty" else []
            assert sorted(reason["code"] for reason in part) == sorted(codes)
        assert len(said) == 2
    assert list((tmp_path / "empty" / "packages").iterdir()) == []
    here.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_package_that_is_too_large_is_not_kept(town: City, tmp_path: Path, chunked: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 1_000

    app = town.app(WebSettings(packages=tmp_path / "packages", package_bytes=10_000))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        answer = await client.post("/api/v1/packages", content=pieces() if chunked else b"x" * 20_000)
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (413, "package-too-large")
        assert "10000 bytes" in answer.json()["detail"]
    assert list((tmp_path / "packages").iterdir()) == []


async def test_forgetting_asks_for_the_names_and_leaves_nothing(
    visitor: httpx.AsyncClient, town: City, tmp_path: Path
) -> None:
    short = trial.YAML.replace("retention: P2Y", "retention: PT1S")
    town.registry.import_pilot(parse_definition(short), short, "test")
    frozen = await visitor.post(
        "/api/v1/snapshots", json={"pilot": ["elgeseter"], "start": "2026-03-02", "end": "2026-03-03"}
    )
    assert frozen.status_code == 201
    await end(visitor)
    await done(visitor, await visitor.post(f"{API}/close", json={"confirm": "elgeseter"}))
    time.sleep(1.1)
    assert (await visitor.post("/api/v1/retention/run", json={"pilots": []})).status_code == 400
    assert (await visitor.post("/api/v1/retention/run", json={"pilots": ["elgeseter", "x"]})).status_code == 400
    assert [one["pilot"] for one in (await visitor.get("/api/v1/retention")).json()["due"]] == ["elgeseter"]
    job = await done(visitor, await visitor.post("/api/v1/retention/run", json={"pilots": ["elgeseter"]}))
    (receipt,) = job["result"]["receipts"]
    assert (receipt["rows"], receipt["files"]) == (len(trial.readings()), 3)
    assert list((tmp_path / "packages").iterdir()) == []
    assert list((tmp_path / "snapshots").iterdir()) == []
    assert (await visitor.get(f"/api/v1/snapshots/{frozen.json()['id']}")).status_code == 404
    assert not town.ledger.quarantine.counts(QuarantineFilter(pilot="elgeseter"))
    (kept,) = erasures.receipts(town.registry.database)
    assert msgspec.to_builtins(kept)["rows"] == receipt["rows"]


async def test_a_pilot_that_is_over_needs_nobody(visitor: httpx.AsyncClient, town: City) -> None:
    """Its phases may go on in the definition: what is silent after the end is no trouble."""
    pilot = town.registry.pilot("elgeseter")
    *others, last = pilot.phases
    longer = msgspec.structs.replace(last, end=last.end + dt.timedelta(days=3650))
    town.registry.import_pilot(msgspec.structs.replace(pilot, phases=[*others, longer]), trial.YAML, "test")
    before = (await visitor.get("/pilots/elgeseter?lang=en")).text
    assert 'id="attention-title"' in before
    await end(visitor)
    after = (await visitor.get("/pilots/elgeseter?lang=en")).text
    assert 'id="attention-title"' not in after
    assert "day 1" not in after
