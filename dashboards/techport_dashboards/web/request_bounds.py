"""What every request has to keep to before a route sees it: lengths, a number of parameters, and no NUL bytes.

NUL bytes end a text for databases and file systems, and no name, number or time holds one. Messages of devices may be
binary: their bodies are not looked at.
"""

from __future__ import annotations

import re

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from techport_dashboards.problems import KINDS, MEDIA_TYPE, Problem, problem_body

LONGEST_PATH = 4_000
LONGEST_QUERY = 60_000  # the server takes a request line and headers of 64 kB
MOST_PARAMETERS = 200
LARGEST_TEXT = 4_000_000
"""Bytes of a JSON document or a form. Files have limits of their own."""

_NUL_IN = {
    b"application/json": re.compile(rb"\x00|(?<!\\)(?:\\\\)*\\u0000"),
    b"application/x-www-form-urlencoded": re.compile(rb"\x00|%00"),
}
"""Types of bodies that are text, and how a NUL byte is written in them."""

_OVERLAP = 16  # bytes of the part before that are looked at again


class RequestBounds:
    """Refuses requests that are too long, and those with NUL bytes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        problem = _problem_of(scope)
        if problem is not None:
            await _refuse(send, problem)
            return
        nul = _NUL_IN.get(_media_type(scope))
        await self._app(scope, receive if nul is None else _checked(receive, nul), send)


def _problem_of(scope: Scope) -> Problem | None:
    query: bytes = scope["query_string"]
    headers = dict(scope["headers"])
    if "\0" in scope["path"] or b"%00" in query or b"\0" in query:
        return Problem("bad-parameter", "The address holds a NUL byte.")
    if len(scope["path"]) > LONGEST_PATH:
        return Problem("bad-parameter", "The path has more than {n} characters.", n=LONGEST_PATH)
    if len(query) > LONGEST_QUERY:
        return Problem("bad-parameter", "The query string has more than {n} bytes.", n=LONGEST_QUERY)
    if query.count(b"&") >= MOST_PARAMETERS:
        return Problem("bad-parameter", "The request has more than {n} parameters.", n=MOST_PARAMETERS)
    length = headers.get(b"content-length", b"0")
    if _media_type(scope) in _NUL_IN and length.isdigit() and int(length) > LARGEST_TEXT:
        return Problem("too-large", "A body of this type has at most {n} bytes.", n=LARGEST_TEXT)
    return None


def _media_type(scope: Scope) -> bytes:
    header: bytes = dict(scope["headers"]).get(b"content-type", b"")
    return header.partition(b";")[0].strip().lower()


def _checked(receive: Receive, nul: re.Pattern[bytes]) -> Receive:
    """The same body; raises Problem where it is too long or holds what `nul` finds."""
    size, before = 0, b""

    async def receive_checked() -> Message:
        nonlocal size, before
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > LARGEST_TEXT:
            raise Problem("too-large", "A body of this type has at most {n} bytes.", n=LARGEST_TEXT)
        if nul.search(before + part):
            raise Problem("bad-parameter", "The body holds a NUL byte.")
        before = (before + part)[-_OVERLAP:]
        return message

    return receive_checked


async def _refuse(send: Send, problem: Problem) -> None:
    status = KINDS[problem.kind].status
    body = msgspec.json.encode(problem_body(problem, status, problem.detail))
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
