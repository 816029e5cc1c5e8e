"""One's own account: where one is signed in, the tokens of one's programs, and the password."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.pages.sign_in import ROLE_NAMES
from techport_dashboards.problems import Problem
from techport_dashboards.query.names import find_pilot
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services.people import problem_of
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import NO_STORE, needs
from techport_dashboards.web.dependencies import Services, ServicesDep, ViewerDep
from techport_dashboards.web.forms import FormDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.session_cookies import redirect
from techport_dashboards.web.templating import language_of, render, see_other
from techport_pilots.access.accounts import AccountError
from techport_pilots.access.api_tokens import ApiToken
from techport_pilots.access.passwords import SHORTEST, WeakPassword
from techport_pilots.access.policy import ACTIONS
from techport_pilots.access.sessions import Identity
from techport_pilots.i18n import N_
from techport_storage import clock
from techport_storage.microseconds import DAY

router = APIRouter(route_class=SlotRoute)

ACTION_NAMES = {
    "see": N_("see readings and pages"),
    "see-raw": N_("see messages and the quarantine"),
    "edit": N_("record events, start and end, fix messages"),
    "devices": N_("manage devices"),
    "share": N_("manage people and shares"),
    "close": N_("close the pilot"),
    "erase": N_("erase data"),
    "admin": N_("administer the platform"),
}


class AccountParameters(Parameters):
    lang: str | None = Field(None, max_length=8)


@router.get("/account")
@needs("account")
def account_page(
    request: Request, services: ServicesDep, viewer: ViewerDep, _: Annotated[AccountParameters, Query()]
) -> Response:
    """Sessions, tokens, roles and password of who is signed in."""
    return _page(request, services, viewer)


@router.post("/account/favourites")
@needs("account", logs=None)
def mark_favourite(services: ServicesDep, viewer: ViewerDep, form: FormDep) -> Response:
    """Mark a pilot with a star, or no longer, as static/js/favourites.js asks."""
    pilot = find_pilot(services.registry_cache.current(), viewer, form.get("pilot"))
    user = _me(viewer).user.id
    services.people.accounts.set_favourite(user, pilot.id, marked=form.get("marked") == "yes")
    return Response(status_code=204)


@router.post("/account/password")
@needs("account")
def change_password(request: Request, services: ServicesDep, viewer: ViewerDep, form: FormDep) -> Response:
    """Set another password; all other sessions end."""
    me, people = _me(viewer), services.people
    try:
        if not services.settings.local_passwords:
            raise Problem("forbidden", "People sign in through the identity provider here.")
        if me.user.has_password:
            people.sign_in(me.user.email, form.raw("old"), request.client.host if request.client else "")
        if form.raw("password") != form.raw("again"):
            raise Problem("bad-parameter", "The two passwords are not the same.", parameter="again")
        people.accounts.set_password(me.user.id, form.raw("password"))
    except (AccountError, WeakPassword, Problem) as error:
        return _page(request, services, viewer, wrong=error)
    people.sessions.end_all(me.user.id, but=me.session)
    services.identities.forget()
    return see_other(request, "/account")


@router.post("/account/sessions/end")
@needs("account", logs="signed-out", about=("session",))
def end_sessions(request: Request, services: ServicesDep, viewer: ViewerDep, form: FormDep) -> Response:
    """End one session, or all: everywhere."""
    me, people = _me(viewer), services.people
    number = form.number("session")
    if form.get("session") == "all":
        people.sessions.end_all(me.user.id)
    elif number is not None:
        people.sessions.end(me.user.id, number)
    services.identities.forget()
    if form.get("session") == "all" or number == me.session:
        return redirect("/sign-in")
    return see_other(request, "/account")


@router.post("/account/tokens")
@needs("account", logs="shared", about=("all", "action", "days"))
def create_token(request: Request, services: ServicesDep, viewer: ViewerDep, form: FormDep) -> Response:
    """Make a token; its text is shown this once."""
    me = _me(viewer)
    pilots = None if form.get("all") == "yes" else [name for name in form.all("pilot") if name]
    try:
        token = services.people.api_tokens.create(
            me.user.id, form.get("name"), pilots, form.all("action"), (form.number("days") or 0) * DAY
        )
    except AccountError as error:
        return _page(request, services, viewer, wrong=error)
    return _page(request, services, viewer, new=token)


@router.post("/account/tokens/revoke")
@needs("account", logs="shared", about=("token",))
def revoke_token(request: Request, services: ServicesDep, viewer: ViewerDep, form: FormDep) -> Response:
    """Revoke a token at once."""
    number = form.number("token")
    if number is not None:
        services.people.api_tokens.revoke(_me(viewer).user.id, number)
        services.identities.forget()
    return see_other(request, "/account")


def _page(
    request: Request,
    services: Services,
    viewer: Viewer,
    *,
    wrong: Exception | None = None,
    new: tuple[ApiToken, str] | None = None,
) -> Response:
    me, people, now = _me(viewer), services.people, clock.now()
    tokens = [token for token in people.api_tokens.of(me.user.id) if token.revoked is None and token.expires > now]
    page = render(
        request,
        "account.html",
        language_of(request),
        me=me,
        sessions=people.sessions.of(me.user.id),
        tokens=tokens,
        new=new,
        wrong=None if wrong is None else wrong if isinstance(wrong, Problem) else problem_of(wrong),
        roles=people.accounts.roles_of(me.user.id),
        organisations=people.accounts.organisations_of(me.user.id),
        pilots=[p for p in services.registry_cache.current().pilots.values() if viewer.may_see(p.id)],
        role_names=ROLE_NAMES,
        actions=[action for action in ACTIONS if viewer.rights.allow_somewhere(action)],
        action_names=ACTION_NAMES,
        zone=services.settings.zone,
        shortest=SHORTEST,
        passwords=services.settings.local_passwords,
    )
    page.status_code = 200 if wrong is None else 422
    page.headers.update(NO_STORE)
    return page


def _me(viewer: Viewer) -> Identity:
    assert viewer.identity is not None  # `account` needs a person
    return viewer.identity
