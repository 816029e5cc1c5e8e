"""Every route of the running app, and every right at the broker, against the tables that docs/access.md has by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.requests import HTTPConnection

from techport.cli import app as command_line
from techport_dashboards.problems import Problem
from techport_dashboards.web import access
from techport_ingest.brokers.auth import EVERYTHING, Access, AccessFiles, PlatformUser, device_access
from techport_pilots.access.credentials import Credential
from techport_pilots.access.policy import ACTIONS
from tests.dashboards.conftest import AIR, anyio_backend, hourly
from tests.dashboards.web import Caller, City

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio
DOCS = Path(__file__).resolve().parents[2] / "docs" / "access.md"
CALLERS: list[Caller] = ["nobody", "outsider", "viewer", "researcher", "editor", "owner", "administrator"]

OWN, FOREIGN, OPEN = "hemmelig", "fremmed", "kai-luft"
"""A pilot in which the callers have their roles, one in which they have none, and one that is open data."""
CLOSED_TO_OTHERS = """
id: {}
title: {{en: Kanari secret}}
question: {{en: "Kanari?"}}
data_class: internal
devices:
  - {{id: kran, interval: PT1H, streams: [{{quantity: pm10}}]}}
"""
NAMES = {"device": "kran", "version": "1", "form": "native", "kpi": "k", "kind": "not-found", "location": "kran"}
QUERIES = {"position": "?coords=POINT(10.4 63.4)", "area": "?coords=POLYGON((10 63,11 63,11 64,10 64,10 63))"}
"""What routes have to be asked before they look at the pilot, whether or not it exists."""
ENDLESS = "/api/v1/live"
SIGNS_OUT = "/sign-out"


def tables() -> Iterator[tuple[list[str], list[list[str]]]]:
    """The heads and rows of the tables in docs/access.md."""
    for block in re.findall(r"(?:^\|.*\n)+", DOCS.read_text(), re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
        yield rows[0], rows[2:]


def matrix() -> dict[str, dict[str, str]]:
    """By action and caller: yes, no or open."""
    found: dict[str, dict[str, str]] = {}
    for head, rows in tables():
        if head[0] == "action":
            found |= {row[0]: dict(zip(head[2:], row[2:], strict=True)) for row in rows}
    return found


MATRIX = matrix()


class Route(NamedTuple):
    method: str
    path: str
    need: access.Need | None
    endpoint: object

    @property
    def row(self) -> dict[str, str]:
        """The row of the matrix that the route belongs to."""
        assert self.need is not None
        open_to_all = self.need.action == "see" and self.need.anybody
        return MATRIX["see, without signing in" if open_to_all else self.need.action]

    def address(self, pilot: str) -> str:
        names = {**NAMES, "pilot": pilot}
        path = re.sub(r"{(\w+)(?::\w+)?}", lambda match: names.get(match[1], "1"), self.path)
        return path + QUERIES.get(self.path.rpartition("/")[2], "")

    def allowed(self, caller: Caller, pilot: str) -> bool:
        """Whether the matrix lets the caller do this."""
        if "{pilot}" not in self.path:
            return self.row[caller] != "no"
        without_role = caller if caller in ("nobody", "administrator") else "outsider"
        cell = self.row[caller if pilot == OWN else without_role]
        return cell == "yes" or (cell == "open" and pilot == OPEN)


def routes_of(app: FastAPI) -> list[Route]:
    found = [
        Route(method, str(context.path), access.declared(context.endpoint), context.endpoint)
        for context in iter_route_contexts(app.routes)
        for method in sorted(set(context.methods or ()) - {"HEAD", "OPTIONS"})
    ]
    assert len(found) > 100, "the walk no longer sees the routes"
    return found


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    city = City.at(tmp_path)
    city.import_text(AIR)
    for pilot in (OWN, FOREIGN):
        city.import_text(CLOSED_TO_OTHERS.format(pilot))
        city.write(*hourly(pilot, "kran", "pm10", 10))
    city.write(*hourly(OPEN, "kran", "pm10", 10))
    yield city
    city.close()


def test_the_matrix_has_every_action_and_nothing_else() -> None:
    assert set(MATRIX) == {*ACTIONS, "see, without signing in", "account", "nothing", "device"}
    assert all(set(row) == set(CALLERS) for row in MATRIX.values())


def undeclared(app: FastAPI) -> list[str]:
    return [f"{route.method} {route.path}" for route in routes_of(app) if route.need is None]


def test_every_route_declares_its_action(city: City) -> None:
    app = city.app()
    assert undeclared(app) == []
    app.add_api_route("/wipe", lambda: "gone", methods=["DELETE"])
    assert undeclared(app) == ["DELETE /wipe"], "the walk would notice"


async def test_what_declares_nothing_is_answered_to_nobody(city: City) -> None:
    connection = HTTPConnection({"type": "http", "method": "GET", "headers": [], "endpoint": lambda: "gone"})
    with pytest.raises(Problem) as refused:
        await access.allow(connection)
    assert refused.value.kind == "internal"


def test_every_command_declares_its_action() -> None:
    commands = [c.callback for c in command_line.registered_commands]
    for group in command_line.registered_groups:
        instance = group.typer_instance
        assert instance is not None
        commands += [command.callback for command in instance.registered_commands]
        if instance.registered_callback is not None:
            commands.append(instance.registered_callback.callback)
    assert len(commands) > 30
    missing = [command for command in commands if access_of_command(command) not in {*ACTIONS, "nothing"}]
    assert missing == []


def access_of_command(command: object) -> str | None:
    return getattr(command, "techport_action", None)


async def test_every_route_answers_whom_the_matrix_says(city: City) -> None:
    """Who is refused is asked for in earnest; of those who are let in, the first and the last. The others are put to
    `allow` alone, since what it lets in is answered by the same code."""
    app = city.app(signed_in=False)
    cookies = {caller: None if caller == "nobody" else city.cookie(caller, OWN) for caller in CALLERS}
    wrong: list[str] = []
    asked = 0
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for route in routes_of(app):
            if route.need is None or route.need.action == "device":
                continue
            for pilot in (OWN, FOREIGN, OPEN) if "{pilot}" in route.path else (OWN,):
                let_in = [caller for caller in CALLERS if route.allowed(caller, pilot)]
                for caller in CALLERS:
                    allowed = caller in let_in
                    headers = {} if cookies[caller] is None else {"cookie": str(cookies[caller])}
                    what = f"{caller}: {route.method} {route.address(pilot)}"
                    in_earnest = not allowed or caller in (let_in[0], let_in[-1])
                    if (
                        route.path in (ENDLESS, SIGNS_OUT)
                        or not in_earnest
                        or (allowed and route.need.action == "account")
                    ):
                        refused = await ask_allow(app, route, pilot, headers)
                        if (refused is None) != allowed:
                            wrong.append(f"{what} -> {refused or 'let in'}")
                        continue
                    asked += 1
                    answer = await client.request(route.method, route.address(pilot), headers=headers)
                    if not fits(answer, caller, pilot, allowed):
                        wrong.append(f"{what} -> {answer.status_code} {answer.text[:150]}")
                    if not allowed and pilot != OPEN and "Kanari" in answer.text:
                        wrong.append(f"{what} says {answer.text[:150]}")
    assert wrong == [], f"{len(wrong)} answers are not those of docs/access.md:\n" + "\n".join(wrong[:60])
    assert asked > 700


def fits(answer: httpx.Response, caller: Caller, pilot: str, allowed: bool) -> bool:
    """Whether the answer is one to a caller who is let in, or the right one to one who is not."""
    unknown = answer.status_code == 404 and "There is no pilot" in answer.text
    if allowed:
        # The page of a pilot asks visitors without an account to sign in, unless it is embedded.
        embeddable = caller == "nobody" and pilot == OPEN
        return (answer.status_code not in (401, 403, 500) and not unknown) or (answer.status_code == 401 and embeddable)
    if caller == "nobody":
        return answer.status_code == 401 or (answer.status_code == 404 and "/p/" in str(answer.url))
    visible = pilot == OPEN or (pilot == OWN and caller != "outsider")
    if "/pilots/" in str(answer.url) or "/collections/" in str(answer.url) or "/p/" in str(answer.url):
        return answer.status_code == (403 if visible else 404)
    return answer.status_code == 403


async def ask_allow(app: FastAPI, route: Route, pilot: str, headers: dict[str, str]) -> str | None:
    """The kind of problem that `allow` and the pilot in the address raise; None: let in."""
    scope = {
        "type": "http",
        "method": route.method,
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "path": route.address(pilot),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "path_params": {"pilot": pilot} if "{pilot}" in route.path else {},
        "endpoint": route.endpoint,
        "app": app,
        "query_string": b"",
    }
    try:
        viewer = await access.allow(HTTPConnection(scope))
    except Problem as problem:
        return problem.kind
    return None if "{pilot}" not in route.path or viewer.may_see(pilot) else "not-found"


async def test_a_pilot_that_is_not_yours_answers_like_one_that_does_not_exist(city: City) -> None:
    """Body, status and headers, for every route with a pilot in its address."""
    app = city.app(signed_in=False)
    cookie = city.cookie("editor", OWN)
    differing = []
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        for route in routes_of(app):
            if "{pilot}" not in route.path:
                continue
            answers = []
            for pilot in (FOREIGN, "nowhere"):
                answer = await client.request(route.method, route.address(pilot), headers={"cookie": cookie})
                names = {n for n in answer.headers if n != "content-length" and not n.startswith("ratelimit")}
                answers.append((answer.status_code, answer.text.replace(pilot, "PILOT"), names))
            if answers[0] != answers[1]:
                differing.append((route.path, answers))
    assert differing == []


LAMP = Credential(username="air/lamp", pilot="PILOT", device="DEVICE", password="", who="", at=0)
OTHER = Credential(username="air/other", pilot="PILOT", device="other", password="", who="", at=0)


def observed(pilot: str, device: str) -> tuple[str, ...]:
    """The topics of the Datastreams that a device has."""
    return ("v1.1/Datastreams(7)/Observations",) if device == "DEVICE" else ()


RIGHTS = {
    "device": device_access(LAMP, observed),
    "another device": device_access(OTHER, observed),
    "worker": EVERYTHING,
}


def mosquitto_rights(tmp_path: Path) -> dict[str, Access]:
    """What mosquitto's access file gives each user."""
    files = AccessFiles(tmp_path, lambda: [LAMP, OTHER], False, lambda: [PlatformUser("worker", "secret")], observed)
    files.write()
    rights: dict[str, Access] = {}
    user = ""
    for line in (tmp_path / "access").read_text().splitlines():
        words = line.split()
        if words[0] == "user":
            user = words[1]
            rights[user] = Access((), ())
        else:
            assert words[0] == "topic"
            before = rights[user]
            write = (words[2],) if words[1] in ("write", "readwrite") else ()
            read = (words[2],) if words[1] in ("read", "readwrite") else ()
            rights[user] = Access(before.publish + write, before.receive + read)
    return {"device": rights["air/lamp"], "another device": rights["air/other"], "worker": rights["worker"]}


def test_rights_at_the_broker_are_those_of_the_matrix(tmp_path: Path) -> None:
    (rows,) = (rows for head, rows in tables() if head[0] == "topic")
    for rights in (RIGHTS, mosquitto_rights(tmp_path)):
        for topic, *cells in rows:
            name = topic.strip("`")
            found = []
            for who in ("device", "another device", "worker"):
                found += [rights[who].may_publish(name), rights[who].may_receive(name)]
            assert ["yes" if may else "no" for may in found] == cells, topic
