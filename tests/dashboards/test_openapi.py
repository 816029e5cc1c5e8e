"""The description of the API is usable: everything in it is described, and every example of it answers as described."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from pydantic import BaseModel

from techport_dashboards.api.kpis import EvaluationItem, IntervalItem, PhaseValueItem, ReasonItem
from techport_dashboards.api.openapi import RECORDED, operations
from techport_pilots.evaluation.model import Evaluation, Interval, PhaseValue, Reason
from tests.dashboards import changes, showcase
from tests.dashboards.changes import DESCRIPTION
from tests.dashboards.examples import examples, misfits, validator
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
ELSEWHERE: Mapping[str, str] = {"get /api/v1/live": "never ends: tests/dashboards/test_live.py"}
"""Operations whose examples are not executed, each with the reason."""
LASTING = "changes the platform for good, or tells of what did: tests/dashboards/changes.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("showcase")


@pytest.fixture(scope="module")
def school(folder: Path) -> Iterator[City]:
    city = showcase.build(folder)
    yield city
    city.close()


@pytest.fixture
async def visitor(school: City, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(showcase.application(school, folder))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        if not (folder / "snapshots").exists():
            await showcase.prepare(client)
        yield client


@pytest.fixture
async def description(visitor: httpx.AsyncClient) -> dict[str, Any]:
    return dict((await visitor.get(DESCRIPTION)).json())


def left_out(key: str) -> str | None:
    """Why the operation's examples are not executed on the platform that all tests of this file share."""
    return ELSEWHERE.get(key) or (LASTING if key in changes.ORDER else None)


async def test_everything_is_described(description: dict[str, Any]) -> None:
    silent = []
    for key, _, operation in operations(description):
        silent += [key] if len(operation.get("description", "")) < 10 else []
        for parameter in operation.get("parameters", []):
            if not parameter.get("description"):
                silent.append(f"{key}: {parameter['name']}")
            if not parameter["schema"].get("examples") and parameter["name"] != "cursor":
                silent.append(f"{key}: no example of {parameter['name']}")
        for status, response in operation["responses"].items():
            if len(response["description"]) < 10 or response["description"] == "Successful Response":
                silent.append(f"{key}: answer {status}")
    assert not silent, "\n".join(silent)


async def test_every_field_of_an_answer_is_described(description: dict[str, Any]) -> None:
    silent = [
        f"{name}.{field}"
        for name, schema in description["components"]["schemas"].items()
        for field, one in schema.get("properties", {}).items()
        if not one.get("description") and "$ref" not in one
    ]
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize(
    ("item", "struct"),
    [(EvaluationItem, Evaluation), (PhaseValueItem, PhaseValue), (IntervalItem, Interval), (ReasonItem, Reason)],
)
def test_an_evaluation_is_answered_whole(item: type[BaseModel], struct: type[msgspec.Struct]) -> None:
    added = {"sentence", "expected"}  # what follows from the others
    assert [name for name in item.model_fields if name not in added] == list(struct.__struct_fields__)


async def test_rows_of_readings_are_described(visitor: httpx.AsyncClient, description: dict[str, Any]) -> None:
    """Readings, buckets and wide rows each fit the one row that describes them, and no other object does."""
    rows = description["components"]["schemas"]["ReadingsPage"]["properties"]["items"]["items"]
    asked = {"pilot": "school-air", "start": "2026-09-01", "end": "2026-09-02"}
    buckets = {"every": "PT6H", "aggregate": "mean,p95", "fill": "null"}
    grouped = ({"group": "kind"}, {"group": "pilot", "every": "PT6H"}, {"profile": "hour"})
    wide = [{"shape": "wide", "profile": profile} for profile in ("hour", "weekday", "month")]
    for more in ({}, buckets, {"shape": "wide"}, {"shape": "wide", **buckets}, *grouped, *wide):
        items = (await visitor.get("/api/v1/readings", params={**asked, **more})).json()["items"]
        assert items
        for item in items:
            validator(description, rows).validate(item)
    for wrong in ({}, {"time": 1}, {"time": "2026-09-01T00:00:00.000000Z", "school-air/ila-skole/pm10": "21,5"}):
        assert not validator(description, rows).is_valid(wrong), wrong


@pytest.mark.slow
async def test_every_example_answers_as_described(visitor: httpx.AsyncClient, description: dict[str, Any]) -> None:
    wrong, executed = [], 0
    for key, _, operation in operations(description):
        if left_out(key):
            continue
        for asked in examples(key, operation):
            method = key.partition(" ")[0].upper()
            answer = await visitor.request(method, asked.url, params=asked.query, json=asked.body)
            executed += 1
            wrong += misfits(description, operation, asked, answer)
    assert not wrong, "\n".join(wrong)
    assert executed > 150


async def test_bodies_that_are_examples_fit(description: dict[str, Any]) -> None:
    for _, _, operation in operations(description):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content:
            validator(description, content["schema"]).validate(content["example"])


async def test_recorded_answers_look_like_those_of_today(
    visitor: httpx.AsyncClient, description: dict[str, Any]
) -> None:
    """When this fails: python -m tests.dashboards.record_examples"""
    recorded = json.loads(RECORDED.read_text("utf-8"))
    for key, _, operation in operations(description):
        for status, response in operation["responses"].items():
            content = response.get("content", {}).get("application/json")
            if content is None or left_out(key):
                continue
            assert f"{key} {status}" in recorded, f"no answer of {key} is recorded"
            validator(description, content.get("schema", {})).validate(content["example"])
            first = next(examples(key, operation))
            answer = await visitor.request(key.split()[0].upper(), first.url, params=first.query, json=first.body)
            assert outline(answer.json()) == outline(recorded[f"{key} {status}"]), key


def outline(value: Any) -> Any:
    """The names in an answer, of lists those of the first item."""
    if isinstance(value, dict):
        return sorted(value)
    return outline(value[0]) if isinstance(value, list) and value else type(value).__name__


async def test_the_cursor_is_next_of_the_answer_before(visitor: httpx.AsyncClient, description: dict[str, Any]) -> None:
    for key, _, operation in operations(description):
        if left_out(key) or not any(one["name"] == "cursor" for one in operation.get("parameters", [])):
            continue
        first = next(examples(key, operation))
        answer = (await visitor.get(first.url, params={**first.query, "limit": 1})).json()
        if answer.get("next"):
            more = await visitor.get(first.url, params={**first.query, "limit": 1, "cursor": answer["next"]})
            assert more.status_code == 200, (key, more.text)
            assert more.json()["items"] != answer["items"]


@pytest.mark.slow
async def test_what_changes_answers_as_described_one_after_the_other(tmp_path: Path) -> None:
    """On a platform of its own: an event comes and goes, a device comes in, messages are mended, the pilot is closed,
    handed over and forgotten.
    """
    city = changes.build(tmp_path)
    app = showcase.application(city, tmp_path, tmp_path / "packages")
    wrong, jobs = [], []
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        async for description, operation, asked, answer in changes.answers(client):
            wrong += misfits(description, operation, asked, answer)
            if asked.key.endswith(("/close", "/run")):
                jobs.append(f"/api/v1/jobs/{answer.json().get('id')}")
        assert not wrong, "\n".join(wrong)
        assert [(await client.get(job)).json()["state"] for job in jobs] == ["done", "done"]
    app.state.services.jobs.close()
    city.close()


async def test_whatever_changes_something_has_its_place_in_the_order(description: dict[str, Any]) -> None:
    there = {key for key, _, _ in operations(description)}
    assert set(changes.ORDER) <= there
    harmless = {"post /api/v1/snapshots", "post /api/v1/decode"}
    assert {key for key in there if not key.startswith("get ")} <= {*changes.ORDER, *harmless}


async def test_the_reasons_are_of_operations_that_there_are(description: dict[str, Any]) -> None:
    there = {key for key, _, _ in operations(description)}
    for key, reason in ELSEWHERE.items():
        assert key in there
        assert (Path(__file__).parents[2] / reason.rpartition(" ")[2]).is_file()
