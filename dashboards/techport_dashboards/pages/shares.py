"""A pilot's shares: what is shared with whom, how often it is read, a form for a new one, and an end to one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services.people import problem_of
from techport_dashboards.services.shares import address_of_share
from techport_dashboards.web.access import NO_STORE, needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep, address_of
from techport_dashboards.web.forms import Form, FormDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render, see_other
from techport_pilots.access.accounts import AccountError
from techport_pilots.access.shares import KEY, LASTS, PRECISION, RESOLUTION, Audience, Share, ShareTerms
from techport_pilots.i18n import N_, Language
from techport_pilots.model import PilotDefinition
from techport_pilots.quantities import vocabulary_of
from techport_pilots.time import micros_of
from techport_storage import clock
from techport_storage.buckets import parse_width
from techport_storage.microseconds import DAY
from techport_storage.model import Micros

router = APIRouter(route_class=SlotRoute)

AUDIENCES: dict[Audience, str] = {
    "link": N_("whoever has the link"),
    "organisation": N_("members of an organisation"),
    "public": N_("everybody"),
}
RESOLUTIONS = ("PT15M", "PT1H", "P1D", "P1W")
PRECISIONS = (0, 100, 500, 1_000, 5_000)
LIFETIMES = (7, 30, 90, 365, 1_825)  # days


class SharesParameters(Parameters):
    lang: str | None = Field(None, max_length=8)


@dataclass(frozen=True, slots=True)
class Shown:
    """A share with what its line of the list says of it."""

    share: Share
    address: str
    quantities: Sequence[str]
    width: Micros | None
    organisation: str
    is_open: bool


@router.get("/pilots/{pilot}/shares")
@needs("share")
def shares_page(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, _: Annotated[SharesParameters, Query()]
) -> Response:
    """What is shared of the pilot, and a form for a new share."""
    return _page(request, services, pilot)


@router.post("/pilots/{pilot}/shares")
@needs("share", about=("what", "audience", "organisation"))
def create_share(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep
) -> Response:
    """Make a share: published at once, or to be looked at first."""
    days = form.number("days") or LASTS // DAY
    try:
        terms = _terms(pilot, form)
        share = services.shares.shares.create(
            pilot, terms, viewer.who, lasts=days * DAY, publish=form.get("what") == "publish"
        )
    except AccountError as error:
        return _page(request, services, pilot, wrong=problem_of(error), form=form)
    services.shares.forget()
    return _back(request, pilot.id, share.id)


@router.post("/pilots/{pilot}/shares/publish")
@needs("share", about=("share",))
def publish_share(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep
) -> Response:
    """Let the audience of a share read it."""
    services.shares.shares.publish(pilot.id, form.get("share"))
    services.shares.forget()
    return _back(request, pilot.id, form.get("share"))


@router.post("/pilots/{pilot}/shares/revoke")
@needs("share", about=("share",))
def revoke_share(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep
) -> Response:
    """End a share for good."""
    form.confirmed()
    services.shares.shares.revoke(pilot.id, form.get("share"))
    services.shares.forget()
    return _back(request, pilot.id)


def _page(
    request: Request,
    services: Services,
    pilot: PilotDefinition,
    *,
    wrong: Problem | None = None,
    form: Form | None = None,
) -> Response:
    language, now = language_of(request), clock.now()
    services.shares.flush()
    organisations = services.people.accounts.organisations()
    names = {organisation.id: organisation.name or organisation.id for organisation in organisations}
    titles = _titles(pilot, language)
    shown = [
        Shown(
            share,
            address_of_share(address_of(request), share),
            [titles.get(quantity, quantity) for quantity in share.terms.quantities],
            None if share.terms.width is None else times.length(share.terms.width),
            names.get(share.terms.organisation or "", share.terms.organisation or ""),
            share.is_open(now),
        )
        for share in services.shares.shares.of(pilot.id)
    ]
    page = render(
        request,
        "shares.html",
        language,
        pilot=pilot,
        shares=[line for line in shown if line.is_open],
        ended=[line for line in shown if not line.is_open],
        audiences=AUDIENCES,
        organisations=organisations,
        quantities=titles,
        devices=[(device.id, language.text(device.title) or device.id) for device in pilot.devices],
        resolutions=[(text, times.length(parse_width(text))) for text in RESOLUTIONS],
        precisions=PRECISIONS,
        lifetimes=LIFETIMES,
        filled=form or _defaults(pilot, language),
        wrong=wrong,
    )
    page.status_code = 200 if wrong is None else 422
    page.headers.update(NO_STORE)
    return page


def _titles(pilot: PilotDefinition, language: Language) -> dict[str, str]:
    """What the pilot measures, in the order of its definition, as people call it."""
    vocabulary = vocabulary_of(pilot)
    titles: dict[str, str] = {}
    for device in pilot.devices:
        for stream in device.streams:
            quantity = vocabulary.lookup(stream.quantity)
            title = language.text(quantity.title) if quantity is not None else stream.quantity
            channel = stream.quantity.partition(".")[2]
            titles.setdefault(stream.quantity, f"{title} ({channel})" if channel else title)
    return titles


def _defaults(pilot: PilotDefinition, language: Language) -> Form:
    return Form(
        {
            "title": [language.text(pilot.title, pilot.id)],
            "audience": ["link"],
            "resolution": [RESOLUTION],
            "precision": [str(PRECISION)],
            "days": [str(LASTS // DAY)],
            "licence": [pilot.licence],
            "attribution": [pilot.attribution],
            "devices": ["all"],
        }
    )


def _terms(pilot: PilotDefinition, form: Form) -> ShareTerms:
    """What the form says. Raises Problem for a date that is none, AccountError for an audience that is none."""
    precision = form.get("precision")
    audience = cast(Audience, form.get("audience"))
    return ShareTerms(
        title=form.get("title"),
        audience=audience,
        organisation=form.get("organisation") if audience == "organisation" else None,
        devices=None if form.get("devices") == "all" else form.all("device"),
        quantities=form.all("quantity"),
        resolution=None if form.get("resolution") == "raw" else form.get("resolution"),
        precision=None if precision == "none" else form.number("precision") if precision.isdecimal() else -1,
        names=form.get("names") == "yes",
        start=_day("start", form, pilot.timezone, 0),
        end=_day("end", form, pilot.timezone, 1),
        licence=form.get("licence"),
        attribution=form.get("attribution"),
    )


def _day(name: str, form: Form, zone: str, later: int) -> Micros | None:
    """The first instant of a day, or of one `later`; None where the field is empty."""
    text = form.get(name)
    if not text:
        return None
    try:
        day = dt.date.fromisoformat(text) + dt.timedelta(days=later)
    except (ValueError, OverflowError):
        raise Problem(
            "bad-parameter", "{text} is not a date.", text=repr(text[:40]), parameter=name, example="2026-11-22"
        ) from None
    return micros_of(dt.datetime.combine(day, dt.time()), zone)


def _back(request: Request, pilot: str, share: str = "") -> Response:
    """To the list, at the share."""
    return see_other(request, f"/pilots/{pilot}/shares", fragment=share if KEY.fullmatch(share) else "")
