"""People: who has which role in a pilot, who is invited; and for administrators everybody on the platform."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.pages.sign_in import ROLE_NAMES, invited_to
from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services.people import problem_of
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import NO_STORE, needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep, address_of
from techport_dashboards.web.forms import Form, FormDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render, see_other
from techport_pilots.access.accounts import AccountError, HolderKind, checked_role
from techport_pilots.access.invitations import InvitedTo
from techport_pilots.access.policy import ROLES
from techport_pilots.model import PilotDefinition
from techport_storage.microseconds import DAY

router = APIRouter(route_class=SlotRoute)


class PeopleParameters(Parameters):
    lang: str | None = Field(None, max_length=8)


@router.get("/pilots/{pilot}/people")
@needs("share")
def pilot_people(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, _: Annotated[PeopleParameters, Query()]
) -> Response:
    """Who has a role in the pilot, and who is invited."""
    return _pilot_page(request, services, pilot)


@router.post("/pilots/{pilot}/people/invite")
@needs("share", about=("role", "days"))
def invite(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep) -> Response:
    """Make an invitation; its link is shown this once, and sent where an address is given and e-mail is set up."""
    try:
        link = _invite(request, services, viewer, form, cast(InvitedTo, form.get("role")), pilot=pilot.id)
    except AccountError as error:
        return _pilot_page(request, services, pilot, wrong=error)
    return _pilot_page(request, services, pilot, link=link)


@router.post("/pilots/{pilot}/people/role")
@needs("share", about=("kind", "holder", "role"))
def set_role(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep) -> Response:
    """Give a person or an organisation another role, or take it back."""
    kind, holder = form.get("kind"), form.get("holder")
    if kind not in ("user", "organisation"):
        raise Problem("bad-parameter", "The form is not complete.", parameter="kind")
    accounts = services.people.accounts
    try:
        if form.get("role") == "none":
            accounts.revoke(pilot.id, cast(HolderKind, kind), holder)
        else:
            role = checked_role(form.get("role"))
            accounts.grant(pilot.id, cast(HolderKind, kind), holder, role, viewer.who)
    except AccountError as error:
        return _pilot_page(request, services, pilot, wrong=error)
    services.identities.forget()
    return see_other(request, f"/pilots/{pilot.id}/people")


@router.post("/pilots/{pilot}/people/uninvite")
@needs("share", about=("invitation",))
def uninvite(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep) -> Response:
    """Revoke an invitation to the pilot."""
    services.people.invitations.revoke(form.number("invitation") or 0, pilot.id)
    return see_other(request, f"/pilots/{pilot.id}/people")


def _pilot_page(
    request: Request,
    services: Services,
    pilot: PilotDefinition,
    *,
    wrong: AccountError | None = None,
    link: str | None = None,
) -> Response:
    people = services.people
    page = render(
        request,
        "pilot_people.html",
        language_of(request),
        pilot=pilot,
        members=people.accounts.members(pilot.id),
        invitations=people.invitations.of(pilot.id),
        organisations=people.accounts.organisations(),
        roles=ROLES,
        role_names=ROLE_NAMES,
        link_to_show=link,
        mail=services.settings.mail,
        wrong=None if wrong is None else problem_of(wrong),
    )
    page.status_code = 200 if wrong is None else 422
    page.headers.update(NO_STORE)
    return page


@router.get("/people")
@needs("admin")
def everybody(
    request: Request, services: ServicesDep, viewer: ViewerDep, _: Annotated[PeopleParameters, Query()]
) -> Response:
    """Everybody with an account, organisations, and invitations to administer."""
    return _page(request, services)


@router.post("/people/invite")
@needs("admin", logs="shared", about=("organisation",))
def invite_to_platform(request: Request, services: ServicesDep, viewer: ViewerDep, form: FormDep) -> Response:
    """Invite to administer the platform, or into an organisation."""
    organisation = form.get("organisation") or None
    role: InvitedTo = "administrator" if organisation is None else "member"
    try:
        link = _invite(request, services, viewer, form, role, organisation=organisation)
    except AccountError as error:
        return _page(request, services, wrong=error)
    return _page(request, services, link=link)


@router.post("/people/uninvite")
@needs("admin", logs="shared", about=("invitation",))
def uninvite_from_platform(request: Request, services: ServicesDep, viewer: ViewerDep, form: FormDep) -> Response:
    """Revoke an invitation to the platform."""
    services.people.invitations.revoke(form.number("invitation") or 0, None)
    return see_other(request, "/people")


@router.post("/people/change")
@needs("admin", logs="shared", about=("what", "user"))
def change_person(request: Request, services: ServicesDep, viewer: ViewerDep, form: FormDep) -> Response:
    """Make somebody an administrator or not, lock or unlock or delete an account, sign somebody out, or make a link to
    a new password."""
    people, user, change = services.people, form.get("user"), form.get("what")
    accounts = people.accounts
    link = None
    try:
        if accounts.find(user) is None:
            raise Problem("bad-parameter", "The form is not complete.", parameter="user")
        if change in ("administrator", "no-administrator"):
            accounts.set_administrator(user, change == "administrator")
        elif change in ("lock", "unlock"):
            accounts.set_disabled(user, change == "lock")
        elif change == "sign-out":
            people.sessions.end_all(user)
        elif change == "delete":
            form.confirmed()
            accounts.delete(user)
        elif change == "reset":
            link = f"{address_of(request)}/reset?token={people.resets.create(user)}"
        else:
            raise Problem("bad-parameter", "The form is not complete.", parameter="what")
    except AccountError as error:
        return _page(request, services, wrong=error)
    services.identities.forget()
    return see_other(request, "/people") if link is None else _page(request, services, link=link)


@router.post("/people/organisations")
@needs("admin", logs="shared", about=("what", "organisation", "user"))
def change_organisation(request: Request, services: ServicesDep, viewer: ViewerDep, form: FormDep) -> Response:
    """Add an organisation, delete one, or take somebody out of one."""
    accounts, organisation, change = services.people.accounts, form.get("organisation"), form.get("what")
    try:
        if change == "delete":
            form.confirmed()
            accounts.delete_organisation(organisation)
            services.shares.forget()
        elif change == "remove":
            accounts.remove_member(organisation, form.get("user"))
        else:
            accounts.create_organisation(organisation, form.get("name"), viewer.who)
    except AccountError as error:
        return _page(request, services, wrong=error)
    services.identities.forget()
    return see_other(request, "/people")


def _page(
    request: Request, services: Services, *, wrong: AccountError | None = None, link: str | None = None
) -> Response:
    people, language = services.people, language_of(request)
    organisations = people.accounts.organisations()
    page = render(
        request,
        "people.html",
        language,
        users=people.accounts.all(),
        organisations=organisations,
        members={item.id: people.accounts.organisation_members(item.id) for item in organisations},
        invitations=[(item, invited_to(services, language, item)) for item in people.invitations.of(None)],
        link_to_show=link,
        mail=services.settings.mail,
        outbox=people.outbox.state() if services.settings.mail else None,
        zone=services.settings.zone,
        wrong=None if wrong is None else problem_of(wrong),
    )
    page.status_code = 200 if wrong is None else 422
    page.headers.update(NO_STORE)
    return page


def _invite(
    request: Request,
    services: Services,
    viewer: Viewer,
    form: Form,
    role: InvitedTo,
    *,
    pilot: str | None = None,
    organisation: str | None = None,
) -> str:
    """The link of a new invitation. Raises AccountError."""
    days = form.number("days") or 7
    invitation, token = services.people.invitations.create(
        viewer.who, role, pilot=pilot, organisation=organisation, email=form.get("email"), lasts=days * DAY
    )
    link = f"{address_of(request)}/invitation?token={token}"
    if invitation.email and services.settings.mail:
        language = language_of(request)
        services.people.mail_invitation(language, invitation, link, invited_to(services, language, invitation))
    return link
