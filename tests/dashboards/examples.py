"""The requests that the API's own description gives as examples, and whether an answer is as it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import httpx
from jsonschema import Draft202012Validator

NEEDS: Mapping[str, Mapping[str, Any]] = {
    "aggregate": {"every": "PT1H"},
    "fill": {"every": "PT1H", "start": "2026-10-01"},
    "max_gap": {"every": "PT1H", "start": "2026-10-01", "fill": "linear"},
    "rolling": {"every": "PT1H"},
    "hold": {"every": "PT1H", "start": "2026-10-01", "aggregate": "time_mean", "quantity": "pm10"},
    "points": {"downsample": "minmax", "quantity": "pm10"},
    "end": {"start": "2026-10-01"},
}
"""What a parameter's description says that it goes with."""


class Asked(NamedTuple):
    key: str  # "get /address"
    url: str
    query: dict[str, Any]
    body: Any
    what: str  # which example


def examples(key: str, operation: Mapping[str, Any]) -> Iterator[Asked]:
    """The request with what it must have, then one for each example of each other parameter."""
    address = key.partition(" ")[2]
    parameters = operation.get("parameters", [])
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
    for parameter in parameters:
        if parameter["in"] == "path":
            address = address.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
    base = {p["name"]: p["example"] for p in parameters if p["in"] == "query" and p.get("required")}
    yield Asked(key, address, base, body, "required")
    for parameter in parameters:
        name = parameter["name"]
        if parameter["in"] != "query":
            continue
        for example in parameter["schema"].get("examples", []):
            needed = NEEDS.get(name, {})
            known = {one["name"] for one in parameters}
            more = {other: value for other, value in needed.items() if other in known}
            yield Asked(key, address, {**base, **more, name: example}, body, f"{name}={example!r}")


def validator(description: Mapping[str, Any], schema: Any) -> Draft202012Validator:
    """References in the schema lead into the description."""
    return Draft202012Validator({**schema, "components": description["components"]})


def misfits(
    description: Mapping[str, Any], operation: Mapping[str, Any], asked: Asked, answer: httpx.Response
) -> list[str]:
    """What of the answer is not as the operation is described."""
    here = f"{asked.key} {asked.what}"
    said = operation["responses"].get(str(answer.status_code))
    if answer.status_code >= 300 or said is None:
        return [f"{here}: {answer.status_code} {answer.text[:200]}"]
    if answer.status_code == 204:
        return [f"{here}: {answer.text[:200]} and no content"] if answer.content else []
    media_type = answer.headers["content-type"]
    content = said.get("content", {})
    declared = content.get(media_type) or content.get(media_type.partition(";")[0])
    if declared is None:
        return [f"{here}: {media_type} is not among {list(content)}"]
    if "json" not in media_type or "ndjson" in media_type:
        return []
    errors = list(validator(description, declared.get("schema", {})).iter_errors(answer.json()))
    return [f"{here}: {error.message[:200]} at {list(error.path)}" for error in errors[:2]]
