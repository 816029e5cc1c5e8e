"""Structured logs: readable in a terminal, one JSON object a line otherwise. Goes to standard error.

A log is copied to places with fewer guards than the data (a service manager's journal, an e-mail to somebody who
helps), so it says where something went wrong and never with which values: tracebacks have no locals of their frames,
secrets are replaced at any depth, and a record is cut when it gets long.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog

SECRET_WORDS = (
    "password", "passwd", "passphrase", "secret", "token", "credential", "authorization", "cookie", "apikey",
)  # fmt: skip
MOST_CHARACTERS = 8_000
"""Of one text in a record. The end of a traceback says most, so that is what remains of a longer one."""
MOST_ITEMS = 200
_MOST_DEPTH = 8
_HIDDEN = "***"

# Each begins with a fixed word and repeats a bounded number of times: their time grows with the text, no faster.
_SECRET_NAME = r"(?:password|passwd|passphrase|secret|token|credential|api[_-]?key|cookie|authorization)[\w-]{0,40}"
_HIDE: tuple[tuple[re.Pattern[str], str], ...] = (
    # user:password@ in a URL; the password of somebody who did not quote it may hold an @ or a slash
    (re.compile(r":/{1,2}[^\s/?#@:'\"<>]{0,200}:(?!\d{1,5}[/?\s])[^\s'\"<>]{0,500}@"), f"://{_HIDDEN}@"),
    (re.compile(r":/{1,2}[^\s/?#@:'\"<>]{1,200}@"), f"://{_HIDDEN}@"),
    # Authorization: ..., Cookie: ... to the end of the line
    (re.compile(r"(?i)(authorization|cookie)(['\"]?\s{0,5}[:=,]\s{0,5})[^\r\n]+"), rf"\1\2{_HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic|digest)\s{1,5}[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {_HIDDEN}"),
    # password=xyz, "token": "xyz", ?access_token=xyz&...; a value in quotes ends with the quote
    (
        re.compile(
            rf"(?i)({_SECRET_NAME})(['\"]?\s{{0,5}}[:=]\s{{0,5}})"
            r"(?:'[^']{0,2000}'|\"(?:[^\"\\]|\\.){0,2000}\"|[^\s&,;)}\]]+)"
        ),
        rf"\1\2{_HIDDEN}",
    ),
)


def configure(style: Literal["auto", "console", "json"] = "auto", level: str = "info") -> None:
    """Set up structlog, and the standard library's loggers of uvicorn and alembic, to write the same way."""
    readable = style == "console" or (style == "auto" and sys.stderr.isatty())
    common: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    # Tracebacks become text (which never holds locals) before secrets are hidden, since they quote error messages.
    final: list[Any] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        hide_secrets,
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if readable
        else structlog.processors.JSONRenderer(default=lambda value: hide_in_text(str(value))),
    ]
    structlog.configure(
        processors=[*common, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = _Handler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=common, processors=final))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("alembic", "uvicorn.error", "uvicorn.access", "asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers[:] = []
        logging.getLogger(name).propagate = True


class _Handler(logging.StreamHandler[TextIO]):
    """A record that cannot be written is named by its place in the code; logging itself would print its arguments."""

    def handleError(self, record: logging.LogRecord) -> None:
        kind = getattr(sys.exc_info()[0], "__name__", "")
        with suppress(ValueError, OSError):
            self.stream.write(f"{record.name}, line {record.lineno}: a record could not be written ({kind})\n")


def hide_in_tracebacks() -> None:
    """Print the traceback of an error that nobody caught, in any thread, without secrets."""
    sys.excepthook = _print_uncaught
    threading.excepthook = lambda args: _print_uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def _print_uncaught(kind: type[BaseException], error: BaseException | None, frames: TracebackType | None) -> None:
    if not issubclass(kind, SystemExit):
        sys.stderr.write(hide_in_text("".join(traceback.format_exception(kind, error, frames))))


def hide_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace secrets at any depth: the values of fields whose name speaks of one, and what texts quote of them."""
    for key in list(event):
        event[key] = _HIDDEN if _is_secret(key) else _hide(event[key], _MOST_DEPTH)
    return event


def _is_secret(key: object) -> bool:
    letters = re.sub(r"[^a-z]", "", str(key).lower())
    return any(word in letters for word in SECRET_WORDS)


def _hide(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return hide_in_text(value)
    if depth == 0:
        return "…"
    if isinstance(value, Mapping):
        pairs = list(value.items())[:MOST_ITEMS]
        return {
            hide_in_text(str(key)): _HIDDEN if _is_secret(key) else _hide(content, depth - 1) for key, content in pairs
        }
    if isinstance(value, list | tuple | set | frozenset):
        items = list(value)
        if len(items) == 2 and isinstance(items[0], str | bytes) and _is_secret(_text(items[0])):
            return [_text(items[0]), _HIDDEN]  # a header, as ASGI has them
        return [_hide(item, depth - 1) for item in items[:MOST_ITEMS]]
    return hide_in_text(_text(value))


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes | bytearray) else str(value)


def hide_in_text(text: str) -> str:
    """The text with its secrets hidden, and cut when it is long."""
    text = _shorten(text, 4 * MOST_CHARACTERS)  # before the search, so that a long text costs no time either
    for pattern, replacement in _HIDE:
        text = pattern.sub(replacement, text)
    return _shorten(text, MOST_CHARACTERS)


def _shorten(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[: most // 4]} … {len(text) - most} characters left out … {text[-(most - most // 4) :]}"
