"""OGC SensorThings API 1.1 over the registry and the store.

    path + options ─► routes.py options.py ─► entities of entities.py (from the registry) ┐
                                              rows of observations.py (from the store)     ┴► answers.py ─► JSON

A device is a Thing, a stream a Datastream, a reading an Observation. Devices may post Observations (writing.py).
"""

from __future__ import annotations

from techport_dashboards.sta.routes import router
from techport_dashboards.sta.writing import router as writing_router

__all__ = ["router", "writing_router"]
