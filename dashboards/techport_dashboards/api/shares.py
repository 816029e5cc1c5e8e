"""Shares: derived feeds of a pilot, each with an address of its own, and those that somebody may read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from pydantic import Field

from techport_dashboards.api.schema import Body, Listed, listed
from techport_dashboards.api.words import Instant, MaybeInstant
from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.parameters import PageParameters
from techport_dashboards.query.question import instant
from techport_dashboards.services.people import problem_of
from techport_dashboards.services.shares import address_of_share
from techport_dashboards.web.access import needs
from techport_dashboards.web.audit_trail import note
from techport_dashboards.web.dependencies import PilotDep, ServicesDep, ViewerDep, address_of
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.access.accounts import AccountError
from techport_pilots.access.shares import LASTS, LONGEST, PRECISION, RESOLUTION, Share, ShareTerms
from techport_storage import clock
from techport_storage.microseconds import DAY

router = APIRouter(tags=["shares"], route_class=SlotRoute)

ShareName = Annotated[str, Path(max_length=64)]


class SharedFeed(Body):
    id: str = Field(description="What the share is called as a pilot.")
    title: str = Field(description="As its readers find it.")
    address: str = Field(description="Its page; behind it /api/v1, /sta/v1.1, /edr and /features.")
    audience: str = Field(description="Who may read it: public, organisation or link.")
    resolution: str | None = Field(description="Width of its buckets, ISO 8601 duration; null: as measured.")
    precision: int | None = Field(description="Metres to which positions are rounded; 0: exact, null: not shown.")
    expires: Instant


class ShareItem(SharedFeed):
    pilot: str = Field(description="The pilot that it is of, by its id.")
    organisation: str | None = Field(description="Whose members may read it.")
    devices: list[str] | None = Field(description="Devices of the pilot; null: all, also later ones.")
    quantities: list[str] = Field(description="Quantities of these devices.")
    names: bool = Field(description="Whether devices keep their ids and titles.")
    start: MaybeInstant
    end: MaybeInstant
    licence: str = Field(description="Licence under which its readers may use the data; empty: none.")
    attribution: str = Field(description="Whom its readers have to name.")
    who: str = Field(description="Who made it.")
    created: Instant
    published: MaybeInstant
    revoked: MaybeInstant
    reads: int = Field(description="How many requests were answered, but for those of people who may share the pilot.")
    last_read: MaybeInstant


class NewShare(Body):
    title: str = Field(max_length=200, description="As its readers will find it.", examples=["Air at the school"])
    audience: Literal["public", "organisation", "link"] = Field(
        "link", description="Everybody, members of an organisation, or whoever has the address.", examples=["public"]
    )
    organisation: str | None = Field(None, max_length=64, description="With audience organisation: its id.")
    devices: list[str] | None = Field(
        None, max_length=10_000, description="Devices of the pilot; null: all, also later ones."
    )
    quantities: list[str] = Field(max_length=1_000, description="Quantities to show.", examples=[["pm10"]])
    resolution: str | None = Field(
        RESOLUTION, max_length=32, description="Width of its buckets, ISO 8601 duration; null: as measured."
    )
    precision: int | None = Field(
        PRECISION, ge=0, le=50_000, description="Metres to which positions are rounded; 0: exact, null: not shown."
    )
    names: bool = Field(False, description="Whether devices keep their ids and titles.")
    start: str | None = Field(None, max_length=64, description="First instant that is shown; null: from the beginning.")
    end: str | None = Field(None, max_length=64, description="First instant that is not shown; null: it goes on.")
    days: int = Field(LASTS // DAY, ge=1, le=LONGEST // DAY, description="Days after which it expires.")
    licence: str = Field("", max_length=200, description="Licence under which its readers may use the data.")
    attribution: str = Field("", max_length=200, description="Whom its readers have to name.")
    publish: bool = Field(False, description="Whether its audience may read it at once.")


@router.get("/shares", response_model=Listed[SharedFeed])
@needs("see", anybody="shares that are public")
def readable(request: Request, services: ServicesDep, viewer: ViewerDep, page: PageParameters) -> dict[str, Any]:
    """Shares that you may read: public ones, and those for organisations of which you are a member."""
    shares = sorted(services.shares.readable(viewer), key=lambda share: share.id)
    items = [_feed(share, address_of(request)) for share in shares]
    return listed(items, ("id",), page, services.settings)


@router.get("/pilots/{pilot}/shares", response_model=Listed[ShareItem])
@needs("share")
def of_pilot(request: Request, services: ServicesDep, pilot: PilotDep, page: PageParameters) -> dict[str, Any]:
    """The pilot's shares, also those that have ended, with how often each was read."""
    services.shares.flush()
    shares = sorted(services.shares.shares.of(pilot.id), key=lambda share: share.id)
    return listed([_item(share, address_of(request)) for share in shares], ("id",), page, services.settings)


@router.post("/pilots/{pilot}/shares", status_code=201, response_model=ShareItem)
@needs("share")
def create(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, asked: NewShare
) -> dict[str, Any]:
    """Make a share. Until it is published, only people who may share the pilot can open its address."""
    now = clock.now()
    note(request, about=f"audience={asked.organisation or asked.audience}")
    terms = ShareTerms(
        title=asked.title,
        audience=asked.audience,
        organisation=asked.organisation,
        devices=asked.devices,
        quantities=asked.quantities,
        resolution=asked.resolution,
        precision=asked.precision,
        names=asked.names,
        start=instant("start", asked.start, pilot.timezone, now, wall_clock=True),
        end=instant("end", asked.end, pilot.timezone, now, wall_clock=True),
        licence=asked.licence,
        attribution=asked.attribution,
    )
    try:
        share = services.shares.shares.create(pilot, terms, viewer.who, lasts=asked.days * DAY, publish=asked.publish)
    except AccountError as error:
        raise problem_of(error) from None
    services.shares.forget()
    return _item(share, address_of(request))


@router.post("/pilots/{pilot}/shares/{share}/publish", response_model=ShareItem)
@needs("share")
def publish(request: Request, services: ServicesDep, pilot: PilotDep, share: ShareName) -> dict[str, Any]:
    """Let the share's audience read it."""
    services.shares.shares.publish(pilot.id, share)
    services.shares.forget()
    return _item(_found(services, pilot.id, share), address_of(request))


@router.delete("/pilots/{pilot}/shares/{share}", response_model=ShareItem)
@needs("share")
def revoke(request: Request, services: ServicesDep, pilot: PilotDep, share: ShareName) -> dict[str, Any]:
    """End the share for good: nobody can read it any more, and live pages of it end within a minute."""
    services.shares.shares.revoke(pilot.id, share)
    services.shares.forget()
    return _item(_found(services, pilot.id, share), address_of(request))


def _found(services: ServicesDep, pilot: str, name: str) -> Share:
    share = services.shares.shares.find_by_id(pilot, name)
    if share is None:
        raise Problem("not-found", "There is no share {name}.", name=repr(name[:80]), parameter="share")
    return share


def _feed(share: Share, base: str) -> dict[str, Any]:
    return {
        "id": share.id,
        "title": share.terms.title,
        "address": address_of_share(base, share),
        "audience": share.terms.audience,
        "resolution": share.terms.resolution,
        "precision": share.terms.precision,
        "expires": times.iso(share.expires),
    }


def _item(share: Share, base: str) -> dict[str, Any]:
    terms = share.terms
    moments = {
        "start": terms.start,
        "end": terms.end,
        "created": share.created,
        "published": share.published,
        "revoked": share.revoked,
        "last_read": share.last_read,
    }
    same = ("organisation", "devices", "quantities", "names", "licence", "attribution")
    return {
        **_feed(share, base),
        **{name: getattr(terms, name) for name in same},
        **{name: None if at is None else times.iso(at) for name, at in moments.items()},
        "pilot": share.pilot,
        "who": share.who,
        "reads": share.reads,
    }
