"""The way to the identity provider and back."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import ConfigDict, Field

from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services.identity_provider import IdentityProvider
from techport_dashboards.services.people import problem_of
from techport_dashboards.web.access import NO_PILOT, NO_STORE, needs, session_cookie
from techport_dashboards.web.audit_trail import note
from techport_dashboards.web.dependencies import Services, ServicesDep, address_of
from techport_dashboards.web.forms import FormDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.session_cookies import local, redirect, start_session
from techport_pilots.access.accounts import AccountError

router = APIRouter(route_class=SlotRoute)

CALLBACK = "/sign-in/callback"
_BEGUN_LASTS_S = 600


class BeginParameters(Parameters):
    next: str = Field("/", max_length=2_000)
    invitation: str = Field("", max_length=200)


class CallbackParameters(Parameters):
    """What providers send back; some add parameters of their own."""

    model_config = ConfigDict(extra="ignore")

    code: str = Field("", max_length=8_000)
    state: str = Field("", max_length=200)
    error: str = Field("", max_length=200)


@router.get("/sign-in/provider")
@needs("nothing", anybody=NO_PILOT)
def begin(request: Request, services: ServicesDep, asked: Annotated[BeginParameters, Query()]) -> Response:
    """Send the browser to the identity provider."""
    begun = _provider(services).begin(_callback(request), local(asked.next), asked.invitation)
    answer = redirect(begun.address)
    answer.set_cookie(
        _cookie(request),
        begun.state,
        max_age=_BEGUN_LASTS_S,
        path="/",
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer


@router.get(CALLBACK)
@needs("nothing", anybody="where the identity provider sends browsers back to", logs="signed-in")
def callback(request: Request, services: ServicesDep, asked: Annotated[CallbackParameters, Query()]) -> Response:
    """Sign in who the provider says came back, in the browser that began it."""
    provider, people = _provider(services), services.people
    if asked.error:
        raise Problem("sign-in-failed", "The identity provider says: {what}.", what=repr(asked.error[:80]))
    own = request.cookies.get(_cookie(request), "")
    if not own or not hmac.compare_digest(own.encode(), asked.state.encode()):
        raise Problem("sign-in-failed", "This sign-in was not begun in this browser. Begin again.")
    finished = provider.finish(_callback(request), asked.code, asked.state)
    user = provider.admit(people.accounts, finished.profile)
    destination = finished.destination
    if finished.invitation:
        try:
            invitation = people.invitations.accept(finished.invitation, user.id)
        except AccountError as error:
            raise problem_of(error) from error
        destination = "/" if invitation.pilot is None else f"/pilots/{invitation.pilot}"
    services.identities.forget()
    answer = start_session(request, services, user, destination, finished.profile.id_token)
    answer.delete_cookie(_cookie(request), path="/", secure=request.url.scheme == "https", httponly=True)
    return answer


@router.post("/sign-out/provider")
@needs("nothing", anybody="the identity provider's server, by a token that it signs", logs="signed-out")
def back_channel_logout(request: Request, services: ServicesDep, form: FormDep) -> Response:
    """The identity provider tells that somebody signed out there (OpenID Connect Back-Channel Logout)."""
    signed_out = _provider(services).signed_out(form.get("logout_token"))
    users = services.people.sessions.end_of_provider(signed_out.concerns, signed_out.before)
    services.identities.forget()
    note(request, who=",".join(sorted(users)) or None)
    return Response(status_code=200, headers=NO_STORE)


def _provider(services: Services) -> IdentityProvider:
    if services.provider is None:
        raise Problem("not-found", "No identity provider is set up here.")
    return services.provider


def _callback(request: Request) -> str:
    return f"{address_of(request)}{CALLBACK}"


def _cookie(request: Request) -> str:
    return session_cookie(request) + "_begun"
