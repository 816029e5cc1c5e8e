"""What rights cost: the check of a request, signing in until a page is there, and the API with a token.

    python -m benchmarks.access [--pilots 50] [--requests 2000]

Results and the machine: ACCESS.md.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.requests import HTTPConnection

from techport_dashboards import WebSettings
from techport_dashboards.web import access
from techport_pilots.access.accounts import Accounts
from techport_pilots.access.api_tokens import ApiTokens
from techport_pilots.access.policy import Rights
from techport_pilots.access.sessions import Sessions
from tests.dashboards.conftest import hourly
from tests.dashboards.web import City, serving

PASSWORD = "four lamps above Bakklandet"
PILOT = """
id: pilot-{0}
title: {{en: Pilot {0}}}
question: {{en: "Does it help?"}}
data_class: internal
devices:
  - {{id: box, interval: PT1H, streams: [{{quantity: pm10}}]}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pilots", type=int, default=50, help="in which the person has a role")
    parser.add_argument("--requests", type=int, default=2_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        city = City.at(Path(folder))
        accounts = Accounts(city.registry.database)
        user = accounts.create("kari@example.org", "Kari", "benchmark", password=PASSWORD)
        for number in range(asked.pilots):
            city.import_text(PILOT.format(number))
            accounts.grant(f"pilot-{number}", "user", user.id, "editor", "benchmark")
        city.write(*hourly("pilot-0", "box", "pm10", 10))
        session = Sessions(city.registry.database).start(user.id, "", "")
        _, token = ApiTokens(city.registry.database).create(user.id, "benchmark", None, ["see"])
        cookie = f"techport_session_{city.token.instance[:8]}={session}"
        app = city.app(WebSettings(language="en"), signed_in=False)
        for name, path, headers in (
            ("a page of a pilot, with a session", "/pilots/{pilot}/quality", [(b"cookie", cookie.encode())]),
            ("the API, with a token", "/api/v1/readings", [(b"authorization", f"Bearer {token}".encode())]),
        ):
            seconds = asyncio.run(checks(app, path, headers, asked.requests))
            print(f"check of a request, {name}: {seconds * 1e6:.1f} µs")
        print(f"Rights.allow alone: {allow_alone(accounts, user.id) * 1e9:.0f} ns")
        with serving(app) as address:
            begun = time.process_time()
            seconds = _median(lambda: sign_in(address), 15)
            processor = (time.process_time() - begun) / 15
            print(f"signing in until a page is there: {seconds * 1e3:.0f} ms, median of 15", end="; ")
            print(f"{processor * 1e3:.0f} ms of processor time, browser's side included")
            for name, value in (("DATA/token", (Path(folder) / "token").read_text()), ("an API token", token)):
                with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {value}"}) as client:
                    seconds = _median(lambda client=client: ask(client), 200)  # type: ignore[misc]
                    print(f"latest readings with {name}: {seconds * 1e3:.2f} ms (median of 200)")
        city.close()


async def checks(app: FastAPI, path: str, headers: list[tuple[bytes, bytes]], requests: int) -> float:
    """Seconds that `allow` takes for one request, once the registry has been asked."""
    endpoint = next(c.endpoint for c in iter_route_contexts(app.routes) if c.path == path)
    parameters = {"pilot": "pilot-0"} if "{pilot}" in path else {}

    def connection() -> HTTPConnection:
        return HTTPConnection(
            {
                "type": "http",
                "method": "GET",
                "scheme": "http",
                "server": ("127.0.0.1", 80),
                "path": path,
                "headers": headers,
                "query_string": b"",
                "path_params": parameters,
                "endpoint": endpoint,
                "app": app,
            }
        )

    await access.allow(connection())
    connections = [connection() for _ in range(requests)]
    begun = time.process_time()
    for one in connections:
        await access.allow(one)
    return (time.process_time() - begun) / requests


def allow_alone(accounts: Accounts, user: str) -> float:
    from techport_pilots.access.policy import rights_of

    rights: Rights = rights_of(accounts.roles_of(user))
    begun = time.process_time()
    for _ in range(100_000):
        rights.allow("see", "pilot-0")
    return (time.process_time() - begun) / 100_000


def sign_in(address: str) -> None:
    with httpx.Client(base_url=address, follow_redirects=True) as client:
        form = {"email": "kari@example.org", "password": PASSWORD, "next": "/pilots/pilot-0"}
        client.post("/sign-in", data=form).raise_for_status()


def ask(client: httpx.Client) -> None:
    client.get("/api/v1/latest?pilot=pilot-0").raise_for_status()


def _median(work: Callable[[], None], times: int) -> float:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
