"""Records the answers that the API's description shows: python -m tests.dashboards.record_examples"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import httpx

from techport_dashboards.api.openapi import JSON, RECORDED, operations
from tests.dashboards import showcase
from tests.dashboards.examples import examples
from tests.dashboards.test_openapi import DESCRIPTION, left_out

MOST_ITEMS = 2


async def record(folder: Path) -> dict[str, Any]:
    city, found = showcase.build(folder), {}
    transport = httpx.ASGITransport(showcase.application(city, folder))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        await showcase.prepare(client)
        for key, _, operation in operations((await client.get(DESCRIPTION)).json()):
            if left_out(key):
                continue
            first = next(examples(key, operation))
            answer = await client.request(key.split()[0].upper(), first.url, params=first.query, json=first.body)
            answer.raise_for_status()
            if answer.headers["content-type"].startswith(JSON):
                found[f"{key} {answer.status_code}"] = short(answer.json())
    city.close()
    return found


def short(value: Any) -> Any:
    """The answer with no more than the first items of each list."""
    if isinstance(value, dict):
        return {name: short(inner) for name, inner in value.items()}
    if isinstance(value, list):
        few = len(value) < 6 and not any(isinstance(inner, dict) for inner in value)
        return [short(inner) for inner in (value if few else value[:MOST_ITEMS])]
    return value


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        RECORDED.write_text(json.dumps(asyncio.run(record(Path(folder))), ensure_ascii=False, indent=1) + "\n", "utf-8")
