"""OGC SensorThings API 1.1, read only, over the registry and the store.

    path + options ─► paths.py options.py ─► entities of world.py (from the registry) ┐
                                             rows of observations.py (from the store) ┴► answers.py ─► JSON

A device is a Thing, a stream a Datastream, a reading an Observation.
"""

from __future__ import annotations

from techport_dashboards.sta.routes import router

__all__ = ["router"]
