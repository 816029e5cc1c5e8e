"""Every error that leaves the web app, as RFC 9457 problem details, in one place.

    Problem                  raised by our code: a kind from KINDS, what is wrong, and what would be right
    BadQuery, StoreUnavailable, RegistryUnavailable  the store's own errors, translated
    DefinitionError, WrongState  a change of a pilot that cannot be made
    RequestValidationError   a parameter that does not parse
    HTTPException            the framework's own (no such path, wrong method)

The `type` of a problem is a path of this server that explains the kind.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from techport_dashboards.web.templating import language_of, render
from techport_pilots.errors import DefinitionError, RegistryUnavailable, WrongState
from techport_storage.errors import BadQuery, StoreUnavailable

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "5"


class Kind(NamedTuple):
    status: int
    title: str
    remedy: str


KINDS: dict[str, Kind] = {
    "bad-parameter": Kind(400, "A parameter is not right", "See `parameter` and `example` in the answer."),
    "unknown-parameter": Kind(400, "There is no such parameter", "Check the spelling; nothing is ignored in silence."),
    "unknown-name": Kind(
        400, "A name in the question is not known", "List what there is with /pilots, /devices, /streams."
    ),
    "limit-too-large": Kind(
        400, "More than one answer may hold", "Follow `next`, or ask for CSV or Parquet: never cut."
    ),
    "too-costly": Kind(
        422,
        "This would cost too much to answer at once",
        "Ask for less, or take it as a file: format=parquet (or csv, ndjson, arrow) streams any amount.",
    ),
    "too-much-data": Kind(413, "More than this service gives at once", "Ask for less time, or for fewer places."),
    "too-many-requests": Kind(429, "Too many requests", "Wait as long as `Retry-After` says."),
    "bad-cursor": Kind(
        400, "This cursor does not continue this question", "Repeat the question that gave it, unchanged."
    ),
    "not-found": Kind(404, "There is nothing here", "List what there is with /api/v1/pilots."),
    "method-not-allowed": Kind(405, "This address does not take that method", "Use GET."),
    "not-acceptable": Kind(406, "No such format", "Use json, ndjson, csv, csv-nb, parquet or arrow."),
    "wrong-state": Kind(409, "Not while it is in this state", "`detail` says what has to be done first."),
    "forbidden": Kind(403, "Not allowed from here", "`detail` says why and who can change it."),
    "bad-definition": Kind(
        422, "The pilot's definition would not be right", "`detail` names what is wrong and what to do about it."
    ),
    "no-credential": Kind(401, "Who sends this?", "Send the device's user name and password (HTTP Basic)."),
    "too-large": Kind(413, "Too long for one message", "Send fewer readings at a time."),
    "not-taken": Kind(503, "The broker has not taken it", "Keep it and send it again, as `Retry-After` says."),
    "no-room": Kind(
        507,
        "There is no room for another snapshot",
        "The operator can raise `snapshots_most` or `snapshots_bytes`, or move old files out of the snapshots' folder.",
    ),
    "store-unavailable": Kind(503, "The store cannot answer now", "Nothing is lost. Try again in a few seconds."),
    "registry-unavailable": Kind(503, "The registry cannot answer now", "Nothing is lost. Try again in a few seconds."),
    "internal": Kind(500, "Something went wrong here", "Not your fault. The server's log has the details."),
}


class Problem(Exception):
    """An answer that is an error. `parameter` points at what is wrong in the request, `example` shows a right one.

    Pages show the message in the reader's language, so what differs each time is not in it, but among the values.
    """

    def __init__(
        self, kind: str, message: str, *, parameter: str | None = None, example: str | None = None, **values: object
    ) -> None:
        self.detail = message.format(**values) if values else message
        super().__init__(self.detail)
        self.kind = kind
        self.message = message
        self.values = values
        self.parameter = parameter
        self.example = example


def respond(
    request: Request, problem: Problem, headers: Mapping[str, str] | None = None, status: int | None = None
) -> Response:
    """The problem as application/problem+json, or as a page where a person opened one."""
    kind = KINDS[problem.kind]
    if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/"):
        near = _near(request.url.path, problem)
        page = render(request, "problem.html", language_of(request), problem=problem, kind=kind, near=near)
        page.status_code = status or kind.status
        return page
    body: dict[str, Any] = {
        "type": f"/api/v1/problems/{problem.kind}",
        "title": kind.title,
        "status": status or kind.status,
        "detail": _detail(request, problem),
        "remedy": kind.remedy,
    }
    if problem.parameter is not None:
        body["parameter"] = problem.parameter
    if problem.example is not None:
        body["example"] = problem.example
    return Response(msgspec.json.encode(body), status or kind.status, dict(headers or {}), MEDIA_TYPE)


def _detail(request: Request, problem: Problem) -> str:
    """In English, as all of the API; to scripts of our own pages, which show it, in the reader's language."""
    if request.headers.get("sec-fetch-site") != "same-origin":
        return problem.detail
    return language_of(request).gettext(problem.message, **problem.values)


def _example(request: Request, parameter: str) -> str | None:
    """A right value of the parameter, by the description of the API; None where that gives none."""
    description, path = request.app.openapi(), getattr(request.scope.get("route"), "path_format", "")
    operations = [
        methods.get(request.method.lower(), {})
        for address, methods in description["paths"].items()
        if address.endswith(path) and request.url.path.startswith(address.removesuffix(path))  # the router's prefix
    ]
    operation = operations[0] if operations else {}
    fields = {one["name"]: one["schema"] for one in operation.get("parameters", [])}
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if "$ref" in body:
        fields |= description["components"]["schemas"][body["$ref"].rpartition("/")[2]]["properties"]
    found = fields.get(parameter, {}).get("examples") or [None]
    value = ",".join(found[0]) if isinstance(found[0], list) else found[0]
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def _near(path: str, problem: Problem) -> list[tuple[str, str]]:
    """Pages whose names resemble the one that is not there, as (address, name)."""
    if problem.kind != "not-found" or problem.parameter not in ("pilot", "device") or not problem.example:
        return []
    parts = path.split("/")
    place = {"pilot": 2, "device": 4}[problem.parameter]
    if len(parts) <= place:
        return []
    return [
        ("/".join([*parts[:place], quote(name), *parts[place + 1 :]]), name) for name in problem.example.split(", ")
    ]


def install(app: FastAPI) -> None:
    """Answer every kind of error that can happen below `app` as problem details."""

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return respond(request, error)

    @app.exception_handler(BadQuery)
    async def bad_query(request: Request, error: BadQuery) -> Response:
        said, example = f"{error.problem}. {error.hint}", _example(request, error.parameter or "")
        return respond(request, Problem("bad-parameter", said, parameter=error.parameter, example=example))

    @app.exception_handler(StoreUnavailable)
    async def store_unavailable(request: Request, error: StoreUnavailable) -> Response:
        return respond(request, Problem("store-unavailable", str(error)), {"Retry-After": RETRY_AFTER})

    @app.exception_handler(WrongState)
    async def wrong_state(request: Request, error: WrongState) -> Response:
        return respond(request, Problem("wrong-state", str(error)))

    @app.exception_handler(RegistryUnavailable)
    async def registry_unavailable(request: Request, error: RegistryUnavailable) -> Response:
        return respond(request, Problem("registry-unavailable", str(error)), {"Retry-After": RETRY_AFTER})

    @app.exception_handler(DefinitionError)
    async def bad_definition(request: Request, error: DefinitionError) -> Response:
        # Of a change made here there is no file, nor a line in one.
        said = "; ".join(f"{found.field}: {found.problem}. {found.remedy}".lstrip(": ") for found in error.findings)
        return respond(request, Problem("bad-definition", said))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = [str(part) for part in first["loc"] if part not in ("query", "path", "header", "body")]
        parameter = where[0] if where else None
        if first["type"] == "extra_forbidden":
            return respond(
                request,
                Problem(
                    "unknown-parameter", "There is no parameter {name}.", name=repr(parameter), parameter=parameter
                ),
            )
        choices = first.get("ctx", {}).get("expected")
        example = choices.replace("'", "") if choices else _example(request, parameter or "")
        return respond(
            request,
            Problem(
                "bad-parameter",
                "{name}: {what}.",
                name=parameter,
                what=first["msg"],
                parameter=parameter,
                example=example,
            ),
        )

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> Response:
        kind = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "bad-parameter")
        detail = str(error.detail or HTTPStatus(error.status_code).phrase)
        return respond(request, Problem(kind, detail), error.headers, error.status_code)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        # The outermost handler: the framework raises the error again behind it, so that the server logs the traceback.
        log.error("request failed", extra={"path": request.url.path, "error": repr(error)})
        return respond(
            request, Problem("internal", "The request was fine as far as we can tell; the server failed on it.")
        )
