"""What each role may do: one table, which docs/access.md explains and a test compares with what the platform answers.

A right is an action on a pilot. People have it by a role in the pilot, their own or one of an organisation they belong
to; administrators have every right everywhere. Open pilots may be seen by anybody; whoever asks `may` adds that.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal, get_args

import msgspec

Action = Literal["see", "see-raw", "edit", "devices", "share", "close", "erase", "admin"]
Role = Literal["viewer", "researcher", "editor", "owner"]

ACTIONS: tuple[Action, ...] = get_args(Action)
ROLES: tuple[Role, ...] = get_args(Role)

_VIEWER: frozenset[Action] = frozenset({"see"})
_RESEARCHER: frozenset[Action] = _VIEWER | {"see-raw"}
_EDITOR: frozenset[Action] = _RESEARCHER | {"edit", "devices"}
_OWNER: frozenset[Action] = _EDITOR | {"share", "close", "erase"}

OF_ROLE: Mapping[Role, frozenset[Action]] = {
    "viewer": _VIEWER,
    "researcher": _RESEARCHER,
    "editor": _EDITOR,
    "owner": _OWNER,
}
"""What a role allows in the pilot in which somebody has it."""

EVERYTHING: frozenset[Action] = frozenset(ACTIONS)
NOTHING: frozenset[Action] = frozenset()


class Rights(msgspec.Struct, frozen=True):
    """Which actions somebody may take, and on which pilots. Open pilots are not in it: anybody may see those."""

    everywhere: frozenset[Action] = NOTHING
    by_pilot: Mapping[str, frozenset[Action]] = {}

    def allow(self, action: Action, pilot: str | None = None) -> bool:
        """Whether the action is allowed on the pilot; without a pilot, on the platform as a whole."""
        return action in self.everywhere or (pilot is not None and action in self.by_pilot.get(pilot, NOTHING))

    def allow_somewhere(self, action: Action) -> bool:
        """Whether there is a pilot on which the action is allowed."""
        return action in self.everywhere or any(action in actions for actions in self.by_pilot.values())

    def limited_to(self, pilots: Collection[str] | None, actions: Collection[Action]) -> Rights:
        """What of these rights is left for a token with this scope; None: all pilots. `admin` concerns the platform, so
        a token for some pilots never has it."""
        chosen = frozenset(actions)
        everywhere = self.everywhere & chosen
        by_pilot = {pilot: allowed & chosen for pilot, allowed in self.by_pilot.items()}
        if pilots is None:
            return Rights(everywhere, by_pilot)
        of_pilots = everywhere - {"admin"}
        return Rights(NOTHING, {pilot: of_pilots | by_pilot.get(pilot, NOTHING) for pilot in pilots})


ALL_RIGHTS = Rights(everywhere=EVERYTHING)
NO_RIGHTS = Rights()


def rights_of(roles: Iterable[tuple[str, Role]], *, administrator: bool = False) -> Rights:
    """The rights that roles in pilots give, as (pilot, role); several roles in one pilot add up."""
    if administrator:
        return ALL_RIGHTS
    by_pilot: dict[str, frozenset[Action]] = {}
    for pilot, role in roles:
        by_pilot[pilot] = by_pilot.get(pilot, NOTHING) | OF_ROLE[role]
    return Rights(by_pilot=by_pilot)
