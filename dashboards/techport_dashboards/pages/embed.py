"""One chart or one KPI to stand in another site's page, and the page that gives the code for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Annotated, Any, Protocol
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, ServicesDep, address_of, services_of
from techport_dashboards.web.middleware import content_policy
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render
from techport_pilots.handover.dcat.build import shareable
from techport_pilots.i18n import Language
from techport_pilots.model import PilotDefinition, Text
from techport_pilots.registry.registry import StreamInfo

router = APIRouter(route_class=SlotRoute)

KPI_HEIGHT, CHART_HEIGHT = 260, 420  # CSS pixels


class Drawn(Protocol):
    """A chart that a page can draw."""

    @property
    def quantity(self) -> str: ...
    @property
    def title(self) -> Text: ...


@dataclass(frozen=True, slots=True)
class Snippet:
    """HTML to put into another page, and the address that it shows there."""

    title: str
    address: str
    code: str


class ShareParameters(Parameters):
    lang: str | None = Field(None, max_length=8)


def embedded(
    request: Request,
    pilot: PilotDefinition,
    panels: Sequence[Drawn],
    quantity: str | None,
    kpi: str | None,
    values: dict[str, Any],
) -> Response:
    """The KPI or the quantity that is asked for, alone; without either the first chart. Other sites may frame it where
    the settings let them. Raises Problem for a name that the pilot does not have.
    """
    chosen = next((k for k in pilot.kpis if k.id == kpi), None)
    if kpi is not None and chosen is None:
        raise _unknown("kpi", kpi, [k.id for k in pilot.kpis])
    panel = next((p for p in panels if quantity is None or p.quantity == quantity), None)
    if quantity is not None and panel is None:
        raise _unknown("quantity", quantity, [p.quantity for p in panels])
    answer = render(
        request,
        "embed.html",
        language_of(request),
        embedded=True,
        pilot=pilot,
        kpi=chosen,
        panel=None if chosen is not None else panel,
        whole=f"/p/{pilot.id}" if shareable(pilot) else f"/pilots/{pilot.id}",
        **values,
    )
    sites = services_of(request).settings.embed_sites
    answer.headers["Content-Security-Policy"] = content_policy(f"'self' {sites}".rstrip())
    return answer


@router.get("/pilots/{pilot}/share")
@needs("see")
def share_page(
    request: Request, services: ServicesDep, pilot: PilotDep, _: Annotated[ShareParameters, Query()]
) -> Response:
    """Where others see the pilot: its public page, the wall, and the code of each thing that can be embedded."""
    catalogue = services.registry_cache.current()
    quantities = {s.quantity: i for s, i in catalogue.streams.items() if s.pilot == pilot.id and i.described}
    return render(
        request,
        "share.html",
        language_of(request),
        pilot=pilot,
        public_page=shareable(pilot),
        assumed_open=pilot.id in catalogue.assumed_open,
        snippets=_snippets(pilot, quantities.values(), language_of(request), address_of(request)),
        sites=services.settings.embed_sites,
        base=address_of(request),
    )


def _snippets(pilot: PilotDefinition, infos: Iterable[StreamInfo], language: Language, base: str) -> list[Snippet]:
    """Code for every KPI, then for a week of every quantity that is not about the devices themselves."""

    def snippet(title: str, height: int, **parameters: str) -> Snippet:
        path = f"/pilots/{pilot.id}?{urlencode({'embed': '1', **parameters, 'lang': language.code})}"
        source, words = escape(base + path), escape(title)
        code = f'<iframe src="{source}" title="{words}" width="100%" height="{height}" loading="lazy"></iframe>'
        return Snippet(title, path, code)

    kpis = [snippet(language.text(kpi.title, kpi.id), KPI_HEIGHT, kpi=kpi.id) for kpi in pilot.kpis]
    charts = [
        snippet(language.text(info.title), CHART_HEIGHT, quantity=info.stream.quantity, start="-P7D")
        for info in infos
        if info.group != "device"
    ]
    return [*kpis, *charts]


def _unknown(parameter: str, name: str, names: Sequence[str]) -> Problem:
    example = ", ".join(names[:5]) or None
    return Problem(
        "unknown-name", "The pilot has no {name}.", name=repr(name[:80]), parameter=parameter, example=example
    )
