"""The description of the API, finished: examples of what there is here, recorded answers, and one form of errors.

Routes describe themselves; what a route cannot know is added here: names that exist on this platform, so that every
example answers (examples_here.py), and what an answer looks like (examples.json, recorded by
tests/dashboards/record_examples.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from techport_dashboards.api.examples_here import Here
from techport_dashboards.api.words import EXAMPLES, MEANINGS

RECORDED = Path(__file__).with_name("examples.json")
JSON = "application/json"
UNSAID = "Successful Response"
PATHS: Mapping[str, tuple[str, Any]] = {
    "{pilot}": ("The pilot, by its id, as /pilots lists them.", "school-air"),
    "{device}": ("The device, by its id, as /devices lists them.", "ila-skole"),
    "{location}": ("The device, by its id, as /locations lists them.", "ila-skole"),
    "{kpi}": ("The KPI, by its id, as /pilots/{pilot}/kpis lists them.", "pm10"),
    "snapshots/{id}": ("The snapshot, by its id, as /snapshots lists them.", "0123456789abcdef01234567"),
    "jobs/{id}": ("The job, by the id that the answer to its beginning gave.", "0123456789abcdef"),
    "{kind}": ("The kind of problem, as `type` ends.", "bad-parameter"),
    "{sha256}": ("SHA-256 of the package, as /pilots/{pilot}/life lists them.", 64 * "0"),
    "{added}": ("Number of what was added, as /pilots/{pilot}/events lists it.", 1),
    "{entry}": ("Number of the entry, as /quarantine lists them.", 1),
    "{share}": ("The share, by its id, as /pilots/{pilot}/shares lists them.", "share-k3m9x2q7"),
    "{replay}": ("Number of the replay, as the answer to its beginning gave.", 1),
}
"""Parts of addresses: what they are, and an example for a platform without any."""
BODIES: Mapping[str, Mapping[str, str]] = {
    "ClaimDevice": {"name": "unknown_device"},
    "Closing": {"confirm": "pilot"},
    "Forgetting": {"pilots": "due"},
}
"""Fields of bodies that name something of this platform, and what of it."""
PROBLEM = {
    "description": "What was wrong, as RFC 9457 problem details: `parameter` points at it, `example` is a right one.",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail", "remedy"],
                "properties": {
                    **{name: {"type": "string"} for name in ("type", "title", "detail", "remedy", "parameter")},
                    "status": {"type": "integer"},
                    "example": {"type": "string"},
                },
            },
            "example": {
                "type": "/api/v1/problems/bad-parameter",
                "title": "Invalid parameter",
                "status": 400,
                "detail": "'yesterday' is no time.",
                "remedy": "See `parameter` and `example` in this response.",
                "parameter": "start",
                "example": "2026-11-22T07:00:00Z, 2026-11-22 or -P7D",
            },
        }
    },
}


def finished(description: Mapping[str, Any], examples: Here, most: int = 50_000) -> dict[str, Any]:
    """The framework's description with all that is missing there; `most` items are in one answer."""
    whole: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(description))
    recorded = msgspec.json.decode(RECORDED.read_bytes())
    components = whole["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):  # the framework's own, which never leave this server
        components.pop(name, None)
    for key, address, operation in operations(whole):
        operation["operationId"] = re.sub(r"\W+", "-", key.replace("/api/v1", "")).strip("-")
        for parameter in operation.get("parameters", []):
            _parameter(parameter, address, examples)
            if parameter["name"] == "limit":
                for variant in parameter["schema"].get("anyOf", [parameter["schema"]]):
                    variant.update(
                        {"maximum": most} if variant.get("type") == "integer" and "maximum" not in variant else {}
                    )
        if "requestBody" in operation:
            _body(operation["requestBody"], components, examples)
        responses = operation["responses"]
        responses.pop("422", None)
        for status, response in responses.items():
            _response(response, operation, recorded.get(f"{key} {status}"))
        responses.setdefault("default", PROBLEM)
    for schema in components.values():
        for name, field in schema.get("properties", {}).items():
            if name in MEANINGS and "$ref" not in field:
                field.setdefault("description", MEANINGS[name])
    return whole


def operations(description: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """("get /address", "/address", operation)."""
    for address, methods in description["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {address}", address, operation


def _parameter(parameter: dict[str, Any], address: str, examples: Here) -> None:
    schema, name = parameter["schema"], parameter["name"]
    value = examples.example(name, address)
    if parameter["in"] == "path":
        parts = [part for part in (f"{{{name}}}", *PATHS) if part in PATHS and part in address]
        text, stand_in = PATHS[next(part for part in parts if part.endswith(f"{{{name}}}"))]
        parameter.setdefault("description", text)
        schema.setdefault("examples", [stand_in])
    if value is not None:
        asked = [[value]] if schema.get("type") == "array" else [value]
        schema["examples"] = asked + [example for example in schema.get("examples", []) if name in ("start", "end")]
    if name in EXAMPLES:
        schema.setdefault("examples", [EXAMPLES[name]])
    if parameter["in"] == "query" and address.startswith("/edr"):
        parameter |= {"style": "form", "explode": False}  # as OGC API EDR requires of its parameters
    if name in MEANINGS:
        parameter.setdefault("description", MEANINGS[name])
    if parameter.get("required") and schema.get("examples"):
        parameter["example"] = schema["examples"][0]


def _body(body: dict[str, Any], components: Mapping[str, Any], examples: Here) -> None:
    """A question of the names that there are; of another body what its fields give as examples."""
    content = body["content"].get(JSON)
    if content is None or "$ref" not in content["schema"]:
        return
    name = content["schema"]["$ref"].rpartition("/")[2]
    if name == "ReadingsParameters":
        values = {
            name: examples.values[name] for name in ("pilot", "quantity", "start", "end") if name in examples.values
        }
        asked = {name: value if name in ("start", "end") else [value] for name, value in values.items()}
        content["example"] = asked or {"pilot": ["school-air"], "start": "2026-01-01", "end": "2026-02-01"}
        return
    values = {
        field: examples.values[value] for field, value in BODIES.get(name, {}).items() if value in examples.values
    }
    fields = components[name].get("properties", {}).items()
    body_example = {field: schema["examples"][0] for field, schema in fields if schema.get("examples")} | values
    if body_example and set(components[name].get("required", ())) <= set(body_example):
        content["example"] = body_example


def _response(response: dict[str, Any], operation: Mapping[str, Any], recorded: Any) -> None:
    if response["description"] == UNSAID:
        response["description"] = operation["description"].partition("\n\n")[0].replace("\n", " ")
    if recorded is not None and JSON in response.get("content", {}):
        response["content"][JSON]["example"] = recorded
