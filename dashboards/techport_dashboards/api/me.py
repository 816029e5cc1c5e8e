"""Who a credential is, and what it may do: for programs that want to know before they try."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from techport_dashboards.api.words import MaybeInstant
from techport_dashboards.query import times
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import ViewerDep
from techport_pilots.access.policy import ACTIONS

router = APIRouter(tags=["about"])


class MeItem(BaseModel):
    who: str = Field(description="As changes name whoever made them.")
    everywhere: list[str] = Field(description="Actions that are allowed in every pilot (docs/access.md).")
    pilots: dict[str, list[str]] = Field(description="Actions that are allowed, by pilot; open pilots are not listed.")
    expires: MaybeInstant


@router.get("/me", response_model=MeItem)
@needs("see")
def me(viewer: ViewerDep) -> dict[str, Any]:
    """Who the credential of this request is, and what it may do."""
    identity, rights = viewer.identity, viewer.rights
    return {
        "who": viewer.who,
        "everywhere": [action for action in ACTIONS if action in rights.everywhere],
        "pilots": {
            pilot: [action for action in ACTIONS if action in allowed]
            for pilot, allowed in sorted(rights.by_pilot.items())
            if allowed
        },
        "expires": None if identity is None else times.iso(identity.expires),
    }
