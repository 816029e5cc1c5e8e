"""Pages on a wall screen: which one comes after which."""

from __future__ import annotations

from techport_dashboards.viewer import Viewer
from techport_dashboards.web.dependencies import Services
from techport_pilots.time import micros_of
from techport_storage import clock


def following(services: Services, viewer: Viewer, pilot: str | None) -> str:
    """The address of the wall page after this pilot's (None: after the overview): pilots that are not over, then the
    overview again."""
    now = clock.now()
    running = [
        definition.id
        for definition in services.registry_cache.current().pilots.values()
        if viewer.may_see(definition.id)
        and (not definition.phases or max(micros_of(p.end, definition.timezone) for p in definition.phases) > now)
    ]
    rest = [pilot_id for pilot_id in running if pilot is None or pilot_id > pilot]
    return f"/pilots/{rest[0]}" if rest else "/"
