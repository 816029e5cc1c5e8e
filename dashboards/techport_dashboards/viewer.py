"""Who asks, and what they may see and change. web/access.py finds out for each request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Viewer:
    """Who asks. Pages show forms to whom `may_change`."""

    name: str
    may_change: bool = False
    open_pilots: Callable[[], frozenset[str]] | None = None
    """For who has shown no credential: the pilots that anybody may see. None: whoever it is may see all."""

    @property
    def signed_in(self) -> bool:
        return self.open_pilots is None

    @cached_property
    def pilots(self) -> frozenset[str] | None:
        """Those whose data they may see; None means all. Asks the registry, once, when somebody wants to know."""
        return None if self.open_pilots is None else self.open_pilots()

    @property
    def author(self) -> str:
        """As changes of the registry name whoever made them."""
        return f"web ({self.name})"

    def may_see(self, pilot: str) -> bool:
        return self.pilots is None or pilot in self.pilots
