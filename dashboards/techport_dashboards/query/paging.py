"""Lists in pages: how many items one answer holds, and the cursor of the next page."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import Page

T = TypeVar("T")


def page_size(limit: int | None, default: int, most: int) -> int:
    """The limit asked for, or the default. Raises Problem for more than one answer holds."""
    if limit is not None and limit > most:
        raise Problem(
            "limit-too-large", f"A response holds at most {most} items.", parameter="limit", example=str(most)
        )
    return limit or min(default, most)


def paged(
    items: Sequence[T], key: Callable[[T], str], page: Page, default: int, most: int
) -> tuple[list[T], str | None]:
    """One page of items that are sorted by `key`, and the cursor of the next: each item comes once."""
    size = page_size(page.limit, default, most)
    behind = decode(page.cursor) if page.cursor is not None else None
    rest = [item for item in items if behind is None or key(item) > behind]
    if len(rest) <= size:
        return rest, None
    return rest[:size], encode(key(rest[size - 1]))


def encode(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def decode(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise Problem("bad-cursor", "This is not a valid cursor.", parameter="cursor") from error
