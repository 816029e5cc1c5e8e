"""Who asks, and what they may see and change. web/access.py finds out for each request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks. `pilots` are those whose data they may see; None means all. Pages show forms to whom `may_change`."""

    name: str
    pilots: frozenset[str] | None = None
    may_change: bool = False

    @property
    def author(self) -> str:
        """As changes of the registry name whoever made them."""
        return f"web ({self.name})"

    def may_see(self, pilot: str) -> bool:
        return self.pilots is None or pilot in self.pilots
