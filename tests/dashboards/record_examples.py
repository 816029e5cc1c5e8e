"""Records the answers that the API's description shows: python -m tests.dashboards.record_examples"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from techport_dashboards.api.openapi import JSON, RECORDED, operations
from tests.dashboards import changes, showcase
from tests.dashboards.changes import DESCRIPTION
from tests.dashboards.examples import examples
from tests.dashboards.test_openapi import left_out

MOST_ITEMS = 2


async def record(folder: Path) -> dict[str, Any]:
    city, found = showcase.build(folder), {}
    async with visitor(showcase.application(city, folder)) as client:
        await showcase.prepare(client)
        for key, _, operation in operations((await client.get(DESCRIPTION)).json()):
            if left_out(key):
                continue
            first = next(examples(key, operation))
            answer = await client.request(key.split()[0].upper(), first.url, params=first.query, json=first.body)
            found |= shown(key, answer)
    city.close()
    return found


async def record_changes(folder: Path) -> dict[str, Any]:
    city, found = changes.build(folder), {}
    app = showcase.application(city, folder, folder / "packages")
    async with visitor(app) as client:
        async for told in changes.answers(client):
            found |= shown(told.asked.key, told.answer)
    app.state.services.jobs.close()
    city.close()
    return found


def visitor(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080")


def shown(key: str, answer: httpx.Response) -> dict[str, Any]:
    """What is recorded of the answer: nothing unless it is JSON."""
    answer.raise_for_status()
    if not answer.headers.get("content-type", "").startswith(JSON):
        return {}
    return {f"{key} {answer.status_code}": short(answer.json())}


def short(value: Any) -> Any:
    """The answer with no more than the first items of each list."""
    if isinstance(value, dict):
        return {name: "..." if name == "password" else short(inner) for name, inner in value.items()}
    if isinstance(value, list):
        few = len(value) < 6 and not any(isinstance(inner, dict) for inner in value)
        return [short(inner) for inner in (value if few else value[:MOST_ITEMS])]
    return value


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        here, there = (Path(folder, name) for name in ("here", "there"))
        here.mkdir()
        there.mkdir()
        found = asyncio.run(record(here)) | asyncio.run(record_changes(there))
        RECORDED.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", "utf-8")
