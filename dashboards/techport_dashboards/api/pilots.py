"""Pilots: what each is about, its phases and what it measures."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from techport_dashboards.api.schema import Listed, Title, listed, title
from techport_dashboards.api.words import (
    Attribution,
    Licence,
    PilotName,
)
from techport_dashboards.query.parameters import PageParameters
from techport_dashboards.web.access import OPEN_DATA, needs
from techport_dashboards.web.dependencies import PilotDep, ServicesDep, ViewerDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.definition.privacy import licence_of
from techport_pilots.model import PilotDefinition

router = APIRouter(prefix="/pilots", tags=["pilots"], route_class=SlotRoute)


class PilotItem(BaseModel):
    id: PilotName
    title: Title
    question: Title
    timezone: str = Field(description="IANA time zone, in which its days and hours are counted.")
    devices: int = Field(description="How many its definition names.")
    licence: Licence
    attribution: Attribution
    start: str | None = Field(description="Start of the first phase.")
    end: str | None = Field(description="End of the last phase.")


class PhaseItem(BaseModel):
    name: str = Field(description="Unique within the pilot.")
    kind: str = Field(description="baseline, intervention, control or other.")
    start: str = Field(description="First instant, ISO 8601.")
    end: str = Field(description="First instant that no longer belongs to it, ISO 8601.")


class PilotDetail(PilotItem):
    description: Title
    hypothesis: Title
    phases: list[PhaseItem] = Field(description="What is compared with what.")
    quantities: list[str] = Field(description="Everything that its devices measure.")


@router.get("", response_model=Listed[PilotItem])
@needs("see", anybody=OPEN_DATA)
def pilots(services: ServicesDep, viewer: ViewerDep, page: PageParameters) -> dict[str, Any]:
    """The pilots, by name."""
    catalogue = services.registry_cache.current()
    visible = [pilot for pilot in catalogue.pilots.values() if viewer.may_see(pilot.id)]
    return listed([pilot_item(pilot) for pilot in visible], ("id",), page, services.settings)


@router.get("/{pilot}", response_model=PilotDetail)
@needs("see", anybody=OPEN_DATA)
def pilot(services: ServicesDep, pilot: PilotDep) -> dict[str, Any]:
    """One pilot: its question, phases, and what it measures."""
    catalogue = services.registry_cache.current()
    return pilot_item(pilot) | {
        "description": title(pilot.description),
        "hypothesis": title(pilot.hypothesis),
        "phases": [
            {"name": p.name, "kind": p.kind, "start": p.start.isoformat(), "end": p.end.isoformat()}
            for p in pilot.phases
        ],
        "quantities": sorted({stream.quantity for stream in catalogue.streams if stream.pilot == pilot.id}),
    }


def pilot_item(pilot: PilotDefinition) -> dict[str, Any]:
    return {
        "id": pilot.id,
        "title": title(pilot.title),
        "question": title(pilot.question),
        "timezone": pilot.timezone,
        "devices": len(pilot.devices),
        "licence": licence_of(pilot),
        "attribution": pilot.attribution,
        "start": min(phase.start for phase in pilot.phases).isoformat() if pilot.phases else None,
        "end": max(phase.end for phase in pilot.phases).isoformat() if pilot.phases else None,
    }
