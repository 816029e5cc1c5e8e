"""Asking the platform that runs in a data folder: it alone may have an embedded store open."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import HTTPException

from techport.errors import CannotRun
from techport_storage.errors import StoreUnavailable


def ask(http: str, path: str, query: Mapping[str, str], timeout: float = 600) -> bytes:
    """The answer of the platform at `http` (HOST:PORT). Raises StoreUnavailable, CannotRun with what it said."""
    return b"".join(lines(http, path, query, timeout=timeout))


def lines(http: str, path: str, query: Mapping[str, str], body: object = None, timeout: float = 600) -> Iterator[bytes]:
    """The answer line by line as it comes; with a body, sent as JSON, it is a POST. Raises as ask does."""
    address = f"http://{http}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
    data = None if body is None else json.dumps(body).encode()
    headers = {"Accept": "*/*"} | ({"Content-Type": "application/json"} if data else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data, headers), timeout=timeout) as answer:
            yield from answer
    except urllib.error.HTTPError as error:
        raise CannotRun(_said(error)) from error
    except (OSError, HTTPException) as error:
        raise StoreUnavailable(f"the platform at http://{http} does not answer: {error}") from error


def _said(error: urllib.error.HTTPError) -> str:
    """The detail of a problem answer, or its first words."""
    text = error.read().decode("utf-8", "replace")
    try:
        return str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the platform answered {error.code}: {text[:200]}"
