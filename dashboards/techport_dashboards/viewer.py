"""Who asks, and what they may do. web/access.py finds out for each request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from techport_pilots.access.policy import ALL_RIGHTS, NO_RIGHTS, Action, Rights
from techport_pilots.access.sessions import Identity


def _no_pilots() -> frozenset[str]:
    return frozenset()


@dataclass(frozen=True)
class Viewer:
    """Who asks. Pages show what `may` allows."""

    who: str
    """As changes name whoever made them; nothing that was typed into a form or sent in a body."""
    rights: Rights = NO_RIGHTS
    open_pilots: Callable[[], frozenset[str]] = _no_pilots
    """The pilots that anybody may see, asked of the registry when somebody wants to know."""
    signed_in: bool = False
    identity: Identity | None = None
    """Of a person with an account; the operator has none."""

    def may(self, action: Action, pilot: str | None = None) -> bool:
        """Whether they may do this to the pilot; without a pilot, to the platform as a whole."""
        return self.rights.allow(action, pilot) or (action == "see" and pilot is not None and pilot in self._open)

    def may_see(self, pilot: str) -> bool:
        return self.may("see", pilot)

    @cached_property
    def pilots(self) -> frozenset[str] | None:
        """Those that they may see; None means all."""
        if self.rights.allow("see"):
            return None
        own = {pilot for pilot in self.rights.by_pilot if self.rights.allow("see", pilot)}
        return self._open | own

    @cached_property
    def _open(self) -> frozenset[str]:
        return self.open_pilots()


NOBODY = Viewer("nobody")
"""For what says nothing of pilots, whoever asks."""
OPERATOR = Viewer("operator", ALL_RIGHTS, signed_in=True)
"""Whoever has opened an address with a one-time token."""
COMMAND_LINE = Viewer("command line", ALL_RIGHTS, signed_in=True)
"""Whoever has the token in the data folder."""
