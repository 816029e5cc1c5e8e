"""The description of the API is usable: everything in it is described, and every example of it answers as described."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from jsonschema import Draft202012Validator

from techport_dashboards.api.openapi import RECORDED, STRUCTS, operations
from tests.dashboards import showcase
from tests.dashboards.examples import examples
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
DESCRIPTION = "/api/v1/openapi.json"
ELSEWHERE: Mapping[str, str] = {
    "get /api/v1/live": "never ends: tests/dashboards/test_live.py",
    "get /api/v1/pilots/{pilot}/packages/{sha256}": "needs a closed pilot: tests/dashboards/test_life.py",
    "get /api/v1/jobs/{id}": "needs a job: tests/dashboards/test_life.py",
    "get /api/v1/pilots/{pilot}/quarantine/replays/{replay}": "asked by its number: tests/dashboards/test_openapi.py",
}
"""Operations whose examples are not executed here, each with the reason."""
CHANGES = "changes the platform for good; executed by the tests of what it changes"
EXECUTED = ("post /api/v1/snapshots", "post /api/v1/decode")
"""Of the operations that are no GET, those that may be."""


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
    """Why the operation's examples are not executed here."""
    return ELSEWHERE.get(key) or (CHANGES if not key.startswith("get ") and key not in EXECUTED else None)


def validator(description: Mapping[str, Any], schema: Any) -> Draft202012Validator:
    """References in the schema lead into the description."""
    return Draft202012Validator({**schema, "components": description["components"]})


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
    """Of our own models; what pilots and stores define is described by its type."""
    _, parts = msgspec.json.schema_components(tuple(STRUCTS.values()))
    silent = [
        f"{name}.{field}"
        for name, schema in description["components"]["schemas"].items()
        if name not in parts
        for field, one in schema.get("properties", {}).items()
        if not one.get("description") and "$ref" not in one
    ]
    assert not silent, "\n".join(silent)


async def test_every_example_answers_as_described(visitor: httpx.AsyncClient, description: dict[str, Any]) -> None:
    wrong, executed = [], 0
    for key, _, operation in operations(description):
        if left_out(key):
            continue
        for asked in examples(key, operation):
            method = key.partition(" ")[0].upper()
            answer = await visitor.request(method, asked.url, params=asked.query, json=asked.body)
            executed += 1
            said = operation["responses"].get(str(answer.status_code))
            if answer.status_code >= 300 or said is None:
                wrong.append(f"{key} {asked.what}: {answer.status_code} {answer.text[:200]}")
                continue
            media_type = answer.headers["content-type"]
            content = said.get("content", {})
            declared = content.get(media_type) or content.get(media_type.partition(";")[0])
            if declared is None:
                wrong.append(f"{key} {asked.what}: {media_type} is not among {list(content)}")
            elif "json" in media_type and "ndjson" not in media_type:
                errors = list(validator(description, declared.get("schema", {})).iter_errors(answer.json()))
                wrong += [f"{key} {asked.what}: {error.message[:200]} at {list(error.path)}" for error in errors[:2]]
    assert not wrong, "\n".join(wrong)
    assert executed > 150


async def test_bodies_that_are_examples_fit(description: dict[str, Any]) -> None:
    """Of those too that are not executed here."""
    for key, _, operation in operations(description):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content and "example" in content:
            validator(description, content["schema"]).validate(content["example"])
        assert content is None or "example" in content or left_out(key), key


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


async def test_a_replay_is_asked_for_and_told_of(visitor: httpx.AsyncClient, description: dict[str, Any]) -> None:
    here = "/api/v1/pilots/school-air/quarantine"
    begun = await visitor.post(f"{here}/replay", json={"reason": "not-a-number"})
    told = await visitor.get(f"{here}/replays/{begun.json()['replay']}")
    assert (begun.status_code, told.status_code) == (202, 200)
    operation = description["paths"]["/api/v1/pilots/{pilot}/quarantine/replays/{replay}"]["get"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    validator(description, schema).validate(told.json())


async def test_the_reasons_are_of_operations_that_there_are(description: dict[str, Any]) -> None:
    there = {key for key, _, _ in operations(description)}
    assert set(EXECUTED) & there
    for key, reason in ELSEWHERE.items():
        assert key in there
        assert (Path(__file__).parents[2] / reason.rpartition(" ")[2]).is_file()
