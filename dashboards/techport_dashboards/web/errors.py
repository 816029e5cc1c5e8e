"""Every error that leaves the web app, as RFC 9457 problem details, in one place.

Problem                  raised by our code: a kind from KINDS, what is wrong, and what would be right
BadQuery, StoreUnavailable, RegistryUnavailable  errors of the store and the registry, translated
DefinitionError, WrongState  a change of a pilot that cannot be made
RequestValidationError   a parameter that does not parse
HTTPException            the framework's own (no such path, wrong method)
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import quote

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from techport_dashboards.problems import HEADERS, KINDS, MEDIA_TYPE, Problem, problem_body
from techport_dashboards.web.paths import below, route_path
from techport_dashboards.web.templating import language_of, render
from techport_pilots.errors import DefinitionError, RegistryUnavailable, WrongState
from techport_storage.errors import BadQuery, StoreUnavailable

log = logging.getLogger(__name__)

_SIGNED_OUT = ("not-signed-in", "stale-link", "wrong-password", "sign-in-failed", "stale-invitation")
"""Kinds whose page has no menu: its pages would say the same."""


def respond(
    request: Request, problem: Problem, headers: Mapping[str, str] | None = None, status: int | None = None
) -> Response:
    """The problem as application/problem+json, or as a page where a person opened one."""
    kind = KINDS[problem.kind]
    request.state.problem = problem  # the audit log says what was refused
    headers = {**HEADERS.get(problem.kind, {}), **(headers or {})}
    if "text/html" in request.headers.get("accept", "") and not route_path(request.scope).startswith("/api/"):
        near = [(below(request.scope, address), name) for address, name in _near(route_path(request.scope), problem)]
        again = "/" if problem.kind == "stale-link" else f"{request.url.path}?{request.url.query}".rstrip("?")
        public = problem.kind in _SIGNED_OUT
        page = render(
            request,
            "problem.html",
            language_of(request),
            problem=problem,
            kind=kind,
            near=near,
            again=again,
            public=public,
        )
        page.status_code = status or kind.status
        page.headers.update(headers)
        return page
    body = problem_body(problem, status or kind.status, _detail(request, problem))
    return Response(msgspec.json.encode(body), status or kind.status, headers, MEDIA_TYPE)


def _detail(request: Request, problem: Problem) -> str:
    """In English, as all of the API; to scripts of our own pages, which show it, in the reader's language."""
    if request.headers.get("sec-fetch-site") != "same-origin":
        return problem.detail
    return problem.text(language_of(request))


def _example(request: Request, parameter: str) -> str | None:
    """A right value of the parameter, by the description of the API; None where that gives none."""
    description, path = request.app.openapi(), getattr(request.scope.get("route"), "path_format", "")
    below_root = route_path(request.scope)
    operations = [
        methods.get(request.method.lower(), {})
        for address, methods in description["paths"].items()
        if address.endswith(path) and below_root.startswith(address.removesuffix(path))  # the router's prefix
    ]
    operation = operations[0] if operations else {}
    fields = {parameter_item["name"]: parameter_item["schema"] for parameter_item in operation.get("parameters", [])}
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if "$ref" in body:
        fields |= description["components"]["schemas"][body["$ref"].rpartition("/")[2]]["properties"]
    examples = fields.get(parameter, {}).get("examples") or [None]
    value = examples[0]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = ",".join(value)
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
        text, example = f"{error.problem}. {error.hint}", _example(request, error.parameter or "")
        return respond(request, Problem("bad-parameter", text, parameter=error.parameter, example=example))

    @app.exception_handler(StoreUnavailable)
    async def store_unavailable(request: Request, error: StoreUnavailable) -> Response:
        return respond(request, Problem("store-unavailable", str(error)))

    @app.exception_handler(WrongState)
    async def wrong_state(request: Request, error: WrongState) -> Response:
        return respond(request, Problem("wrong-state", error.message))

    @app.exception_handler(RegistryUnavailable)
    async def registry_unavailable(request: Request, error: RegistryUnavailable) -> Response:
        return respond(request, Problem("registry-unavailable", str(error)))

    @app.exception_handler(DefinitionError)
    async def bad_definition(request: Request, error: DefinitionError) -> Response:
        # Of a change made here there is no file, nor a line in one.
        return respond(request, Problem("bad-definition", error.message))

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
        if isinstance(error.__cause__, Problem):  # a body that was refused while the framework read it
            return respond(request, error.__cause__)
        kind = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "bad-parameter")
        detail = str(error.detail or HTTPStatus(error.status_code).phrase)
        return respond(request, Problem(kind, detail), error.headers, error.status_code)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        # The outermost handler: the framework raises the error again behind it, so that the server logs the traceback.
        log.error("request failed", extra={"path": request.url.path, "error": repr(error)})
        return respond(request, Problem("internal", "The server failed to process the request."))
