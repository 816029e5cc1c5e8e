from __future__ import annotations

from tests.dashboards.conftest import anyio_backend, city, client

__all__ = ["anyio_backend", "city", "client"]
