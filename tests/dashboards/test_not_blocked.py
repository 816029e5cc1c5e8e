"""No request waits for another: routes run in threads, and a database that does not answer never holds all of them."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import techport_dashboards
from techport_dashboards.web.request_slots import THREADS
from techport_pilots.access.operator_token import OperatorToken
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.definition.load import parse_definition
from techport_pilots.registry.registry import Registry
from techport_storage.store import open_store
from tests.conftest import unavailable
from tests.dashboards.conftest import AIR
from tests.dashboards.web import City, serving
from tests.servers import postgres as server

PACKAGE = Path(techport_dashboards.__file__).parent
BLOCKING = {
    *("registry", "registry_cache", "store", "ledger", "quarantine", "watching", "engine"),
    *("evaluations", "reports", "last_hour", "dataset_stats", "health"),
}
"""What the registry, the store, and the services that ask them are called."""


def coroutines() -> list[tuple[str, ast.AsyncFunctionDef]]:
    return [
        (f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}", node)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.AsyncFunctionDef)
    ]


def blocking_names(coroutine: ast.AsyncFunctionDef) -> set[str]:
    """Names of BLOCKING that the coroutine reads, in its own body and in those of functions inside it."""
    body = ast.Module(coroutine.body, [])
    attributes = {node.attr for node in ast.walk(body) if isinstance(node, ast.Attribute)}
    names = {node.id for node in ast.walk(body) if isinstance(node, ast.Name)}
    return (attributes | names) & BLOCKING


def test_no_coroutine_touches_the_registry_or_the_store() -> None:
    touching = {where: names for where, node in coroutines() if (names := blocking_names(node))}
    assert touching == {}


def test_the_check_sees_a_coroutine_that_touches_the_registry() -> None:
    source = "async def page(services):\n    return services.registry_cache.current()\n"
    coroutine = ast.parse(source).body[0]
    assert isinstance(coroutine, ast.AsyncFunctionDef)
    assert blocking_names(coroutine) == {"registry_cache"}


def test_a_route_that_awaits_nothing_is_a_plain_function() -> None:
    awaiting = (ast.Await, ast.AsyncFor, ast.AsyncWith)
    routes = [
        where
        for where, node in coroutines()
        if node.name != "alive"  # answers also when every thread waits
        and any("router." in ast.unparse(decorator) for decorator in node.decorator_list)
        and not any(isinstance(inner, awaiting) for inner in ast.walk(node))
    ]
    assert routes == []


@pytest.fixture
def postgres() -> Iterator[server.Postgres]:
    """A server of its own, that the test may stop and continue."""
    programs = server.find()
    if programs is None:
        unavailable("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with server.running(programs) as running:
        yield running


@pytest.mark.faults
def test_the_process_answers_while_postgresql_is_paused(postgres: server.Postgres, tmp_path: Path) -> None:
    """More requests wait for the registry than there are threads. What needs no registry is answered all the same."""
    registry = Registry.open(postgres.database())
    registry.import_pilot(parse_definition(AIR), AIR, "test")
    store = open_store(f"duckdb:///{tmp_path}/readings.duckdb")
    app = City(registry, store, Ledger(registry.database), OperatorToken.of(tmp_path), tmp_path).app()
    waiting = THREADS + 20
    addresses = ("/explore", "/api/v1/pilots", "/pilots/kai-luft/phases", "/edr/collections", "/sta/v1.1/Things")
    with serving(app) as address, ThreadPoolExecutor(waiting) as clients:
        style_sheet = "/static/x/css/base.css"
        sent = threading.Semaphore(0)

        def ask(number: int) -> int | None:
            with httpx.Client(timeout=120) as client:
                sent.release()
                return client.get(address + addresses[number % len(addresses)]).status_code

        with postgres.paused():
            answers = [clients.submit(ask, number) for number in range(waiting)]
            for _ in range(waiting):
                assert sent.acquire(timeout=30)
            for _ in range(5):  # again and again, while more and more of them have reached the server
                assert httpx.get(f"{address}/healthz", timeout=5).status_code == 200
                assert httpx.get(f"{address}/metrics", timeout=5).status_code == 200
                assert httpx.get(address + style_sheet, timeout=5).status_code == 200
            assert not all(answer.done() for answer in answers), "nobody waited for the registry"
        statuses = {answer.result() for answer in answers}
    store.close()
    registry.close()
    assert statuses <= {200, 503}
