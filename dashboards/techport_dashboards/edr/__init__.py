"""OGC API Environmental Data Retrieval 1.1 with CoverageJSON: pilots as collections, devices as locations."""

from __future__ import annotations

from techport_dashboards.edr.routes import router

__all__ = ["router"]
