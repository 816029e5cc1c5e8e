"""What of requests and commands stands in the audit log, and who may read it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from techport import command_log
from techport.cli import app as command_line
from techport_dashboards import WebSettings
from techport_dashboards.web.audit_trail import kind_of
from techport_pilots.access import audit_log
from techport_pilots.access.accounts import Accounts
from techport_pilots.access.audit_log import KINDS, Logged
from techport_pilots.registry.database import Database
from tests.dashboards.conftest import anyio_backend, hourly
from tests.dashboards.web import Caller, City
from tests.hostile.test_access_matrix import DOCS, routes_of, tables

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio
PASSWORD = "four lamps above Bakklandet"
PILOT = "hemmelig"
DEFINITION = """
id: hemmelig
title: {en: Secret}
question: {en: "Who?"}
devices:
  - {id: kran, interval: PT1H, streams: [{quantity: pm10}]}
"""


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    city = City.at(tmp_path)
    city.import_text(DEFINITION)
    city.write(*hourly(PILOT, "kran", "pm10", 10))
    yield city
    city.close()


@asynccontextmanager
async def browser(city: City, caller: Caller | None = None) -> AsyncIterator[httpx.AsyncClient]:
    app = city.app(WebSettings(language="en"), signed_in=False)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        if caller is not None:
            name, _, value = city.cookie(caller, PILOT).partition("=")
            client.cookies.set(name, value, domain="127.0.0.1")
        yield client
    app.state.services.audit.flush(all_of_it=True)


def user_of(city: City, caller: Caller) -> str:
    user = Accounts(city.registry.database).by_email(f"{caller}@example.org")
    assert user is not None
    return user.id


def logged(database: Database) -> list[Logged]:
    """Oldest first; the chain is whole whatever was done."""
    assert audit_log.verify(database).fault is None
    return list(audit_log.export(database))


async def test_sign_in_and_out_and_what_fails(city: City) -> None:
    database = city.registry.database
    user = Accounts(database).create("kari@example.org", "Kari", "test", password=PASSWORD)
    async with browser(city) as client:
        form = {"email": "kari@example.org", "next": "/"}
        assert (await client.post("/sign-in", data={**form, "password": "not this one"})).status_code == 401
        assert (await client.post("/sign-in", data={**form, "password": PASSWORD})).status_code == 303
        assert (await client.post("/sign-out")).status_code == 303
        assert (await client.post("/sign-out")).status_code == 303, "of nobody: not logged"
        assert (await client.get(f"/?token={city.token.new_link()}")).status_code == 303
        assert (await client.get("/?token=wrong")).status_code == 303
        client.cookies.clear()
        assert (await client.get("/?token=wrong")).status_code >= 400
    entries = logged(database)
    assert [(one.kind, one.who) for one in entries if one.kind != "sign-in-failed"] == [
        ("signed-in", user.id),
        ("signed-out", user.id),
        ("signed-in", "operator"),
    ]
    failed = [one for one in entries if one.kind == "sign-in-failed"]
    assert sorted((one.who, one.what) for one in failed) == [("", "GET /"), ("", "POST /sign-in")]
    assert not any("kari" in repr(one) for one in entries), "no addresses"


async def test_raw_data_is_logged_for_those_who_saw_it(city: City) -> None:
    async with browser(city, "viewer") as client:
        assert (await client.get(f"/pilots/{PILOT}/devices/kran")).status_code == 200
        assert (await client.get(f"/api/v1/pilots/{PILOT}/quarantine")).status_code == 403
    async with browser(city, "researcher") as client:
        for _ in range(3):
            assert (await client.get(f"/api/v1/pilots/{PILOT}/quarantine")).status_code == 200
        assert (await client.get(f"/pilots/{PILOT}/devices/kran")).status_code == 200
        assert (await client.get(f"/api/v1/pilots/{PILOT}/quarantine/1")).status_code == 404
        assert (await client.get("/api/v1/readings", params={"pilot": PILOT})).status_code == 200
    entries = logged(city.registry.database)
    me = user_of(city, "researcher")
    raw = [one for one in entries if one.kind == "saw-raw"]
    assert [(one.kind, one.who, one.what, one.pilot, one.about, one.times) for one in raw] == [
        ("saw-raw", me, "GET /api/v1/pilots/{pilot}/quarantine", PILOT, "", 1),
        ("saw-raw", me, "GET /pilots/{pilot}/devices/{device}", PILOT, "device=kran", 1),
        ("saw-raw", me, "GET /api/v1/pilots/{pilot}/quarantine", PILOT, "", 2),
    ]


async def test_a_change_is_logged_once_and_one_that_fails_is_not(city: City) -> None:
    event = {"kind": "other", "time": "2025-11-01T12:00", "text": {"en": "Filter changed"}}
    async with browser(city, "editor") as client:
        assert (await client.post(f"/api/v1/pilots/{PILOT}/events", json=event)).status_code == 201
        assert (await client.post(f"/api/v1/pilots/{PILOT}/events", json={})).status_code == 400
    (entry,) = logged(city.registry.database)
    assert (entry.kind, entry.who, entry.action) == ("changed", user_of(city, "editor"), "edit")
    assert (entry.what, entry.pilot) == ("POST /api/v1/pilots/{pilot}/events", PILOT)


async def test_what_is_refused_is_logged_once_an_hour_for_each_person_action_and_pilot(city: City) -> None:
    async with browser(city, "viewer") as client:
        for path in ("quarantine", "quarantine/1", "devices/kran/messages", "unknown-devices"):
            for _ in range(5):
                assert (await client.get(f"/api/v1/pilots/{PILOT}/{path}")).status_code == 403
        assert (await client.post(f"/api/v1/pilots/{PILOT}/close", json={})).status_code == 403
    async with browser(city, "outsider") as client:
        for number in range(20):
            assert (await client.get(f"/api/v1/pilots/made-up-{number}/life")).status_code == 404
            assert (await client.get("/api/v1/readings", params={"pilot": PILOT})).status_code == 400
            assert (await client.get("/api/v1/readings", params={"pilot": f"made-up-{number}"})).status_code == 400
        assert (await client.get(f"/api/v1/pilots/{PILOT}/devices/kran/messages")).status_code == 404
    async with browser(city) as client:
        assert (await client.get(f"/api/v1/pilots/{PILOT}/quarantine")).status_code == 401
        for number in range(3):
            wrong = {"Authorization": f"Bearer tp_abcdefgh_{number:043}"}
            assert (await client.get("/api/v1/me", headers=wrong)).status_code == 401
    entries = logged(city.registry.database)
    viewer, outsider = user_of(city, "viewer"), user_of(city, "outsider")
    close = "POST /api/v1/pilots/{pilot}/close"
    counted: dict[tuple[str, ...], int] = {}
    for one in entries:
        assert one.about == ""
        key = (one.kind, one.who, one.action, one.pilot)
        counted[key] = counted.get(key, 0) + one.times
    assert counted == {
        ("refused", viewer, "see-raw", PILOT): 20,
        ("refused", viewer, "close", PILOT): 1,
        ("refused", outsider, "see", PILOT): 20,
        ("refused", outsider, "see-raw", PILOT): 1,
        ("sign-in-failed", "", "", ""): 3,
    }
    assert [one.what for one in entries if one.action == "close"] == [close]
    assert len(entries) <= 2 * len(counted), "however often it is tried"


async def test_sharing_says_whom_and_exports_say_what(city: City) -> None:
    city.cookie("viewer", PILOT)
    viewer = user_of(city, "viewer")
    async with browser(city, "owner") as client:
        form = {"kind": "user", "holder": viewer, "role": "editor"}
        assert (await client.post(f"/pilots/{PILOT}/people/role", data=form)).status_code == 303
        for query in ({"format": "csv"}, {"format": "csv", "device": "kran"}, {"format": "json"}):
            assert (await client.get("/api/v1/readings", params={"pilot": PILOT, **query})).status_code == 200
        asked = {"pilot": [PILOT], "start": "2025-10-21", "end": "2025-10-22"}
        await client.post("/api/v1/snapshots", json=asked)
        assert (await client.get(f"/api/v1/pilots/{PILOT}/audit-log.jsonl")).status_code == 200
    entries = logged(city.registry.database)
    assert [(one.kind, one.what.partition(" ")[2], one.about) for one in entries] == [
        ("shared", "/pilots/{pilot}/people/role", f"kind=user holder={viewer} role=editor"),
        ("exported", "/api/v1/readings", ""),
        ("exported", "/api/v1/pilots/{pilot}/audit-log.jsonl", ""),
    ]
    assert {one.pilot for one in entries} == {PILOT}


async def test_an_owner_reads_the_log_of_the_pilot_and_administrators_all(city: City) -> None:
    async with browser(city, "researcher") as client:
        await client.get(f"/api/v1/pilots/{PILOT}/quarantine")
        assert (await client.get(f"/api/v1/pilots/{PILOT}/audit-log")).status_code == 403
        assert (await client.get("/api/v1/audit-log")).status_code == 403
    audit_log.write(city.registry.database, [audit_log.Entry(kind="changed", who="operator", at=1, pilot="other")])
    async with browser(city, "owner") as client:
        answer = (await client.get(f"/api/v1/pilots/{PILOT}/audit-log")).json()
        assert [(one["kind"], one["email"]) for one in answer["items"]] == [
            ("refused", "researcher@example.org"),
            ("saw-raw", "researcher@example.org"),
        ]
        page = (await client.get(f"/pilots/{PILOT}/audit-log")).text
        assert "researcher@example.org" in page
        assert "other" not in re.findall(r"<li>(.*?)</li>", page, re.DOTALL)[-1]
        lines = (await client.get(f"/api/v1/pilots/{PILOT}/audit-log.jsonl")).text.splitlines()
        kinds = [(json.loads(line)["pilot"], json.loads(line)["kind"]) for line in lines]
        assert kinds == [(PILOT, "saw-raw"), (PILOT, "refused"), (PILOT, "exported")], (
            "with the line of this very export"
        )
        assert len(json.loads(lines[0])["hash"]) == 64
    async with browser(city, "administrator") as client:
        first = (await client.get("/api/v1/audit-log", params={"limit": 2})).json()
        rest = (await client.get("/api/v1/audit-log", params={"limit": 2, "cursor": first["next"]})).json()
        numbers = [one["number"] for one in first["items"] + rest["items"]]
        assert numbers == sorted(numbers, reverse=True)
        assert {one["pilot"] for one in first["items"] + rest["items"]} == {PILOT, "other", ""}
        assert (await client.get("/audit-log", params={"kind": "exported"})).status_code == 200
        assert (await client.get("/api/v1/audit-log", params={"cursor": "AAAA"})).status_code == 400


def documented() -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """What docs/access.md says is logged: by action, reading and changing; and of single addresses."""
    by_action: dict[str, tuple[str, str]] = {}
    of_routes: dict[str, str] = {}
    for head, rows in tables():
        if head[0] == "declared as":
            by_action |= {row[0]: (row[1], row[2]) for row in rows}
        if head[0] == "address":
            of_routes |= {row[0].strip("`"): row[1] for row in rows}
    assert by_action
    assert of_routes
    return by_action, of_routes


def test_what_is_logged_is_what_the_documentation_says(city: City) -> None:
    """For every route of the running app; the tables are written by hand."""
    by_action, of_routes = documented()
    wrong = []
    for route in routes_of(city.app()):
        assert route.need is not None
        reading, changing = by_action[route.need.action]
        name = f"{route.method} {route.path}"
        expected = of_routes.pop(name, reading if route.method == "GET" else changing)
        kind = kind_of(route.need.logs, route.need.action, route.method) or "no"
        if kind != expected:
            wrong.append(f"{name}: {kind}, documented as {expected}")
    assert wrong == []
    assert of_routes == {}, "addresses that there are not"
    assert {kind for kinds in by_action.values() for kind in kinds} <= {*KINDS, "no"}
    assert DOCS.name == "access.md"


def test_commands_are_logged_with_what_they_change(tmp_path: Path) -> None:
    run = CliRunner()
    data = ["--data", str(tmp_path / "data")]
    file = tmp_path / "pilot.yaml"
    file.write_text(DEFINITION)

    def call(*words: str, code: int = 0) -> str:
        result = run.invoke(command_line, [*words, *data])
        assert result.exit_code == code, result.output
        return result.output

    call("pilot", "import", str(file))
    call("quarantine", "list", "--pilot", PILOT)
    call("pilot", "list")
    call("pilot", "start", PILOT)
    assert "0 lost sessions accepted" in call("audit", "accept", "the broker was replaced")
    exported = [json.loads(line) for line in call("audit", "export").splitlines()]
    assert [(one["kind"], one["what"], one["pilot"]) for one in exported] == [
        ("changed", "techport pilot import", ""),
        ("saw-raw", "techport quarantine list", PILOT),
        ("changed", "techport pilot start", PILOT),
        ("changed", "techport audit accept", ""),
    ]
    assert {one["who"] for one in exported} == {"command line"}
    head = re.search(r"last entry: (\S+)", call("audit", "verify"))
    assert head is not None
    assert head[1].startswith("5:"), "the export was logged, too"
    call("audit", "verify", "--noted", head[1])
    call("audit", "verify", "--noted", f"5:{'0' * 64}", code=1)
    database = Database.open(f"sqlite:///{tmp_path}/data/registry.sqlite")
    with database.writing() as transaction:
        transaction.execute("UPDATE audit_log SET kind = 'signed-in' WHERE number = 3")
    database.close()
    assert "entry 3 was changed" in call("audit", "verify", code=1)


def test_the_log_says_each_value_of_an_option_and_none_about_people(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'registry.sqlite'}")
    options = {"pilot": PILOT, "device": ["kran", "port"], "quantity": ("pm10",), "email": "kari@example.org"}
    with command_log.logged("shared", "share", "techport share create", options), database.writing():
        pass
    (entry,) = audit_log.entries(database)
    assert (entry.pilot, entry.about) == (PILOT, "device=kran,port quantity=pm10")
    database.close()
