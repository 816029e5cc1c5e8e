"""Asking the platform that runs in a data folder: it alone may have an embedded store open."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from io import BufferedReader
from typing import IO, TYPE_CHECKING, Any

from techport.data_dir import Platform
from techport.errors import CannotRun
from techport_storage.errors import StoreUnavailable

if TYPE_CHECKING:
    from techport_pilots.handover.package import Progress

LOOK_EVERY_S = 0.2


def get(platform: Platform, path: str, query: Mapping[str, str], timeout: float = 600) -> bytes:
    """The answer of the platform. Raises StoreUnavailable, CannotRun with what it said."""
    return b"".join(stream_lines(platform, path, query, timeout=timeout))


def run_job(
    platform: Platform, path: str, query: Mapping[str, str], body: object, progress: Progress
) -> dict[str, Any]:
    """Have the platform do something that takes long, and watch it; what it came to.

    `body` is sent as JSON, a file as it is. Raises StoreUnavailable, CannotRun with what went wrong there.
    """
    job = json.loads(b"".join(stream_lines(platform, path, query, body)))
    while job["state"] == "running":
        progress(job["step"], job["done"], job["total"])
        time.sleep(LOOK_EVERY_S)
        job = json.loads(get(platform, f"/api/v1/jobs/{job['id']}", {}))
    if job["state"] == "failed":
        raise CannotRun(str(job["problem"]))
    result: dict[str, Any] = job["result"]
    return result


def stream_lines(
    platform: Platform, path: str, query: Mapping[str, str], body: object = None, timeout: float = 600
) -> Iterator[bytes]:
    """The answer line by line as it comes; with a body, JSON or a file, it is a POST. Raises as ask does."""
    address = f"{platform.origin}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
    data, headers = _sent(body)
    headers |= {"Accept": "*/*", **platform.headers}
    try:
        request = urllib.request.Request(address, data, headers)
        with urllib.request.urlopen(request, timeout=timeout, context=platform.tls) as answer:
            yield from answer
    except urllib.error.HTTPError as error:
        raise CannotRun(_said(error)) from error
    except (OSError, HTTPException) as error:
        raise StoreUnavailable(f"the platform at {platform.origin} does not answer: {error}") from error


def _sent(body: object) -> tuple[bytes | IO[bytes] | None, dict[str, str]]:
    if body is None:
        return None, {}
    if isinstance(body, BufferedReader):
        length = os.fstat(body.fileno()).st_size
        return body, {"Content-Type": "application/zip", "Content-Length": str(length)}
    return json.dumps(body).encode(), {"Content-Type": "application/json"}


def _said(error: urllib.error.HTTPError) -> str:
    """The detail of a problem answer, or its first words."""
    text = error.read().decode("utf-8", "replace")
    try:
        return str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the platform answered {error.code}: {text[:200]}"
