"""The street sign of a pilot, to be printed: what is measured here, why, who answers for it, and a QR code to more."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.pages.device_visits import qr_code
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.web import i18n
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, ServicesDep, ViewerDep, address_of
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render
from techport_pilots.definition.checks import LONGEST_SIGN_LINK
from techport_pilots.definition.privacy import privacy_record
from techport_pilots.handover.dcat.build import shareable

router = APIRouter(route_class=SlotRoute)


class SignParameters(Parameters):
    lang: str | None = Field(None, max_length=8)


@router.get("/pilots/{pilot}/sign")
@needs("see")
def street_sign(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, _: Annotated[SignParameters, Query()]
) -> Response:
    """The sign in both languages, on one page of paper."""
    sign = pilot.sign
    link = "" if sign is None else sign.link
    if not link and shareable(pilot):
        link = f"{address_of(request)}/p/{pilot.id}"
    record = privacy_record(pilot)
    owners = [organisation.name for organisation in pilot.organisations if organisation.role == "owner"]
    return render(
        request,
        "sign.html",
        language_of(request),
        pilot=pilot,
        languages=[i18n.pick(code, "", code) for code in ("nb", "en")],
        controller=", ".join(owners) if record is None else record.controller,
        record=record,
        link_address=link,
        code=qr_code(link) if link and len(link.encode()) <= LONGEST_SIGN_LINK else None,
    )
