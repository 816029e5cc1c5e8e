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
LARGEST_BODY = 4_000_000
"""Bytes of a JSON document, of a form, and of whatever else is sent to a route, read or not."""
LARGEST_MESSAGE = 256 * 1024
"""Bytes of what a device sends over HTTP: a hundred times what devices send."""

_LIMITS = (("/push/", LARGEST_MESSAGE), ("/api/v1/packages", None))
"""Beginnings of paths with limits of their own, before unpacking; None: of the setting package_bytes, on disk."""


def largest_body(path: str) -> int | None:
    """Bytes that a request to the path may send; None where the route itself counts them while it writes a file."""
    return next((limit for start, limit in _LIMITS if path.startswith(start)), LARGEST_BODY)


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
        body = _Body(receive, largest_body(scope["path"]), _NUL_IN.get(_media_type(scope)))
        refused = False

        async def send_unless_refused(message: Message) -> None:
            """What a route says of a body that it could not read is not what was wrong with it."""
            nonlocal refused
            if message["type"] == "http.response.start" and body.problem is not None:
                refused = True
                await _refuse(send, body.problem)
            if not refused:
                await send(message)

        await self._app(scope, body.receive, send_unless_refused)


class _Body:
    """The same body, with `problem` where it is too long or holds what `nul` finds: no more of it is handed on then."""

    def __init__(self, receive: Receive, most: int | None, nul: re.Pattern[bytes] | None) -> None:
        self._receive = receive
        self._most = most
        self._nul = nul
        self._size = 0
        self._before = b""
        self.problem: Problem | None = None

    async def receive(self) -> Message:
        """Raises Problem, as often as it is asked."""
        if self.problem is not None:
            raise self.problem
        message = await self._receive()
        part = message.get("body", b"")
        self._size += len(part)
        if self._most is not None and self._size > self._most:
            self.problem = _too_large(self._most)
        elif self._nul is not None and self._nul.search(self._before + part):
            self.problem = Problem("bad-parameter", "The body holds a NUL byte.")
        if self.problem is not None:
            raise self.problem
        self._before = (self._before + part)[-_OVERLAP:]
        return message


def _too_large(most: int) -> Problem:
    if most == LARGEST_MESSAGE:
        return Problem("too-large", "A message has at most {n} bytes.", n=most)
    return Problem("too-large", "A body has at most {n} bytes.", n=most)


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
    most, length = largest_body(scope["path"]), headers.get(b"content-length", b"0")
    if most is not None and length.isdigit() and (len(length) > _LONGEST_LENGTH or int(length) > most):
        return _too_large(most)
    return None


_LONGEST_LENGTH = 18  # digits that are read as a number


def _media_type(scope: Scope) -> bytes:
    header: bytes = dict(scope["headers"]).get(b"content-type", b"")
    return header.partition(b";")[0].strip().lower()


async def _refuse(send: Send, problem: Problem) -> None:
    status = KINDS[problem.kind].status
    body = msgspec.json.encode(problem_body(problem, status, problem.detail))
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
