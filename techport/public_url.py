"""Asking the platform through `public_url`: does it lead here, and does the proxy in front fit the settings?"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from http.client import HTTPException

import structlog

from techport.settings import Settings
from techport_pilots.access.operator_token import OperatorToken

log = structlog.get_logger(__name__)

INSTANCE = "X-Techport-Instance"
TIMEOUT_S = 10.0
FIRST_LOOK_S = 3.0  # after the start, when the server listens
TRIES = 5


def problem_of(settings: Settings) -> str | None:
    """What is wrong with the way through `public_url`, as a sentence with what to do; None where nothing is."""
    address = f"{(settings.public_url or '').rstrip('/')}/healthz"
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:
            instance = answer.headers.get(INSTANCE)
    except urllib.error.HTTPError as error:
        return f"{address} answers {error.code}: {_detail(error)}"
    except (OSError, HTTPException, ValueError) as error:
        return f"{address} cannot be reached from this machine: {error}. Check public_url, its name and the proxy"
    if instance != OperatorToken.of(settings.data).instance:
        return f"{address} is answered by another server. Check public_url, and to which port the proxy passes requests"
    return None


def watch_start(settings: Settings, ended: threading.Event) -> None:
    """Look in a thread of its own once the server is up, and log what is wrong; a proxy may start a little later."""
    if settings.public_url is not None:
        threading.Thread(target=_look, args=(settings, ended), name="public-url", daemon=True).start()


def _look(settings: Settings, ended: threading.Event) -> None:
    problem: str | None = None
    for attempt in range(TRIES):
        if ended.wait(FIRST_LOOK_S * (attempt + 1)):
            return
        problem = problem_of(settings)
        if problem is None:
            log.info("public_url leads here", address=settings.public_url)
            return
    log.warning("public_url does not work", problem=problem)


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["detail"])
    except (ValueError, KeyError, TypeError, OSError):
        return "the proxy, or a server behind it that is not this one, refuses the request"
