"""What changes a platform for good, asked in an order in which each example of the API's description has an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from techport_dashboards.api.openapi import operations
from techport_pilots.access.credentials import Credentials
from techport_pilots.accounting.tally import BatchAnnotations, IgnoredMessage, IgnoredValue
from techport_pilots.registry import lifecycle
from techport_storage.clock import now
from techport_storage.model import Stream
from tests.dashboards import showcase
from tests.dashboards.examples import Asked, examples
from tests.dashboards.web import City

_PILOT = "/api/v1/pilots/{pilot}"
ORDER = (
    f"post {_PILOT}/events",
    f"delete {_PILOT}/events/{{added}}",
    f"post {_PILOT}/shares",
    f"get {_PILOT}/shares",
    f"post {_PILOT}/shares/{{share}}/publish",
    "get /api/v1/shares",
    f"delete {_PILOT}/shares/{{share}}",
    f"post {_PILOT}/devices",
    f"post {_PILOT}/devices/{{device}}/watch",
    f"post {_PILOT}/credentials",
    f"post {_PILOT}/devices/{{device}}/credentials",
    f"get {_PILOT}/credentials",
    f"delete {_PILOT}/devices/{{device}}/credential",
    f"delete {_PILOT}/devices/{{device}}/streams",
    f"post {_PILOT}/quarantine/{{entry}}/mapping",
    f"get {_PILOT}/quarantine/replays/{{replay}}",
    f"post {_PILOT}/quarantine/replay",
    f"post {_PILOT}/ignored/mapping",
    f"post {_PILOT}/ignored/replay",
    f"post {_PILOT}/unknown-devices/claim",
    f"post {_PILOT}/quarantine/discard",
    f"post {_PILOT}/state",
    f"post {_PILOT}/close",
    "get /api/v1/jobs/{id}",
    f"get {_PILOT}/packages/{{sha256}}",
    f"post {_PILOT}/erasure/count",
    f"post {_PILOT}/erasure/found",
    f"post {_PILOT}/erasure",
    f"get {_PILOT}/erasure/receipts",
    "post /api/v1/retention/verify",
    "post /api/v1/retention/run",
    "post /api/v1/packages",
)
DESCRIPTION = "/api/v1/openapi.json"


class Told(NamedTuple):
    description: dict[str, Any]
    operation: dict[str, Any]
    asked: Asked
    answer: httpx.Response


def build(folder: Path) -> City:
    """The showcase with its pilot running, a device that has a credential, and erasure due a second after its end."""
    city = showcase.build(folder, showcase.SCHOOL + "retention: PT1S\n")
    pilot = city.registry.pilot("school-air")
    lifecycle.transition(city.registry.database, pilot, "running", "test")
    Credentials(city.registry.database).issue("school-air", "ila-skole", "test")
    topic, payload, at = "pilots/school-air/ila-skole/readings", b'{"hatch": "ajar"}', now()
    message = IgnoredMessage("school-air", "ila-skole", topic, payload, at, [("text", "hatch", 1)])
    line = IgnoredValue("school-air", "ila-skole", "text", "hatch", '"ajar"', at)
    annotations = BatchAnnotations(ignored_values=[line], ignored_messages=[message])
    city.ledger.close_batch("w", {}, [], annotations)
    city.registry.note_streams([Stream("school-air", "ila-skole", "name_17")])
    return city


async def answers(client: httpx.AsyncClient) -> AsyncIterator[Told]:
    """Each operation of ORDER as it is described at that moment, and what came of its first example."""
    package = b""
    for key in ORDER:
        description = (await client.get(DESCRIPTION)).json()
        operation = next(operation for one, _, operation in operations(description) if one == key)
        asked = next(examples(key, operation))
        zipped = "application/zip" in operation.get("requestBody", {}).get("content", {})
        body: dict[str, Any] = {"content": package} if zipped else {"json": asked.body}
        answer = await client.request(key.partition(" ")[0].upper(), asked.url, params=asked.query, **body)
        if answer.headers.get("content-type") == "application/zip":
            package = answer.content
        yield Told(description, operation, asked, answer)
        if key.startswith("post ") and answer.status_code == 202 and "id" in answer.json():
            await over(client, answer.json()["id"])


async def over(client: httpx.AsyncClient, job: str) -> None:
    """Until the job has ended, or failed."""
    while (await client.get(f"/api/v1/jobs/{job}")).json()["state"] == "running":
        await asyncio.sleep(0.05)
