"""The small city of the API's tests, seen through OGC API Features."""

from __future__ import annotations

from tests.dashboards.conftest import anyio_backend, city, client

__all__ = ["anyio_backend", "city", "client"]
