"""Getting in and out: signing in with a password, the first administrator, invitations, and a new password."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from techport_dashboards.problems import Problem, forbidden
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services.people import problem_of
from techport_dashboards.web import audit_trail
from techport_dashboards.web.access import NO_PILOT, NO_STORE, identify, needs
from techport_dashboards.web.dependencies import Services, ServicesDep, ViewerDep, address_of
from techport_dashboards.web.forms import FormDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.session_cookies import end_session, local, redirect, start_session
from techport_dashboards.web.templating import language_of, render
from techport_pilots.access.accounts import AccountError
from techport_pilots.access.invitations import Invitation
from techport_pilots.access.passwords import SHORTEST, WeakPassword
from techport_pilots.access.sessions import Identity
from techport_pilots.i18n import N_, Language

router = APIRouter(route_class=SlotRoute)

ROLE_NAMES = {
    "viewer": N_("viewer"),
    "researcher": N_("researcher"),
    "editor": N_("editor"),
    "owner": N_("owner"),
    "member": N_("member"),
    "administrator": N_("administrator"),
}


class SignInParameters(Parameters):
    lang: str | None = Field(None, max_length=8)
    next: str = Field("/", max_length=2_000)


class TokenParameters(Parameters):
    lang: str | None = Field(None, max_length=8)
    token: str = Field(max_length=200)


class LanguageParameters(Parameters):
    lang: str | None = Field(None, max_length=8)


@router.get("/sign-in")
@needs("nothing", anybody=NO_PILOT)
def sign_in_page(request: Request, services: ServicesDep, asked: Annotated[SignInParameters, Query()]) -> Response:
    """The form, and the way to the identity provider where there is one."""
    return _sign_in_page(request, services, local(asked.next))


@router.post("/sign-in")
@needs("nothing", anybody=NO_PILOT, logs="signed-in")
def sign_in(request: Request, services: ServicesDep, form: FormDep) -> Response:
    """Start a session, from the page's form."""
    destination = local(form.get("next"))
    try:
        _need_passwords(services)
        user = services.people.sign_in(form.get("email"), form.raw("password"), _address(request))
    except Problem as problem:
        page = _sign_in_page(request, services, destination, wrong=problem, email=form.get("email"))
        page.status_code = 429 if problem.kind == "too-many-requests" else 401
        return page
    return start_session(request, services, user, destination)


def _sign_in_page(
    request: Request, services: Services, destination: str, wrong: Problem | None = None, email: str = ""
) -> Response:
    settings = services.settings
    page = render(
        request,
        "sign_in.html",
        language_of(request),
        public=True,
        destination=destination,
        wrong=wrong,
        email=email[:254],
        passwords=settings.local_passwords,
        provider=settings.provider,
        mail=settings.mail,
    )
    page.headers.update(NO_STORE)
    return page


@router.post("/sign-out")
@needs("nothing", anybody="whoever it is wants to be nobody", logs="signed-out")
async def sign_out(request: Request, services: ServicesDep) -> Response:
    """End this browser's session, and the one at the identity provider where it was used."""
    viewer = await identify(request)
    audit_trail.note(request, who=audit_trail.id_of(viewer))
    destination = "/sign-in"
    if viewer.identity is not None and viewer.identity.session is not None:
        destination = await run_in_threadpool(_end, services, viewer.identity, address_of(request))
    return end_session(request, destination)


def _end(services: Services, identity: Identity, base: str) -> str:
    """End the session; where to go on to: the identity provider, where the person signs out there, too."""
    assert identity.session is not None
    id_token = services.people.sessions.end(identity.user.id, identity.session)
    services.identities.forget()
    if id_token is None or services.provider is None:
        return "/sign-in"
    return services.provider.sign_out_address(id_token, f"{base}/sign-in") or "/sign-in"


@router.get("/setup")
@needs("admin")
def setup_page(
    request: Request, services: ServicesDep, viewer: ViewerDep, _: Annotated[LanguageParameters, Query()]
) -> Response:
    """The form for the first administrator."""
    if services.people.accounts.any():
        return redirect("/people")
    return _password_page(request, "setup")


@router.post("/setup")
@needs("admin", logs="shared")
def setup(request: Request, services: ServicesDep, viewer: ViewerDep, form: FormDep) -> Response:
    """Make the first administrator and sign them in, from the page's form."""
    try:
        user = services.people.accounts.create_first(
            form.get("email"), form.get("name"), viewer.who, _new_password(form.raw("password"), form.raw("again"))
        )
    except (AccountError, WeakPassword, Problem) as error:
        return _password_page(request, "setup", wrong=error, email=form.get("email"), name=form.get("name"))
    return start_session(request, services, user, "/people")


@router.get("/invitation")
@needs("nothing", anybody="whoever has the link of an invitation, which nobody guesses")
async def invitation_page(
    request: Request, services: ServicesDep, asked: Annotated[TokenParameters, Query()]
) -> Response:
    """What the invitation is to, and how to accept it."""
    viewer = request.state.viewer = await identify(request)
    return await run_in_threadpool(_invitation_page, request, services, asked.token, viewer.identity is not None)


@router.post("/invitation")
@needs("nothing", anybody="whoever has the link of an invitation, which nobody guesses", logs="signed-in")
async def accept(request: Request, services: ServicesDep, form: FormDep) -> Response:
    """Accept, as who is signed in or with a new account, from the page's form."""
    viewer = request.state.viewer = await identify(request)
    token, identity = form.get("token"), viewer.identity
    if identity is not None:
        audit_trail.note(request, kind="shared", who=audit_trail.id_of(viewer))

    def work() -> Response:
        people = services.people
        try:
            if identity is not None and identity.token is not None:
                raise forbidden("account")
            if identity is not None:
                invitation = people.invitations.accept(token, identity.user.id)
                services.identities.forget()
                return redirect(_place(invitation))
            if not services.settings.local_passwords:
                raise forbidden("account")
            accepted = people.invitations.find(token)
            password = _new_password(form.raw("password"), form.raw("again"))
            user = people.invitations.accept_as_new(token, form.get("email"), form.get("name"), password)
        except (AccountError, WeakPassword, Problem) as error:
            page = _invitation_page(
                request, services, token, identity is not None, error, form.get("email"), form.get("name")
            )
            page.status_code = 422
            return page
        return start_session(request, services, user, "/" if accepted is None else _place(accepted))

    return await run_in_threadpool(work)


def _invitation_page(
    request: Request,
    services: Services,
    token: str,
    signed_in: bool,
    wrong: Exception | None = None,
    email: str = "",
    name: str = "",
) -> Response:
    invitation = services.people.invitations.find(token)
    if invitation is None:
        raise Problem("stale-invitation", "This invitation has been used or revoked, or has expired. Ask for another.")
    language = language_of(request)
    page = render(
        request,
        "invitation.html",
        language,
        public=not signed_in,
        invitation=invitation,
        what=invited_to(services, language, invitation),
        token=token,
        wrong=None if wrong is None else _problem(wrong),
        email=invitation.email or email,
        name=name,
        shortest=SHORTEST,
        passwords=services.settings.local_passwords,
        provider=services.settings.provider,
        known=bool(invitation.email) and services.people.accounts.by_email(invitation.email) is not None,
    )
    page.headers.update({**NO_STORE, "Referrer-Policy": "no-referrer"})
    return page


def invited_to(services: Services, language: Language, invitation: Invitation) -> str:
    """What an invitation is to, in the reader's language."""
    if invitation.pilot is not None:
        pilot = services.registry_cache.current().pilots.get(invitation.pilot)
        title = invitation.pilot if pilot is None else language.text(pilot.title, pilot.id)
        return language.gettext("“{title}” as {role}", title=title, role=language.gettext(ROLE_NAMES[invitation.role]))
    if invitation.organisation is not None:
        names = {organisation.id: organisation.name for organisation in services.people.accounts.organisations()}
        return names.get(invitation.organisation, invitation.organisation)
    return language.gettext("administer the platform")


def _place(invitation: Invitation) -> str:
    return "/" if invitation.pilot is None else f"/pilots/{invitation.pilot}"


def _need_passwords(services: Services) -> None:
    """Raises Problem where nobody signs in with a password: then none is chosen, either, which signs in as well."""
    if not services.settings.local_passwords:
        raise Problem("forbidden", "People sign in through the identity provider here.")


@router.get("/forgotten")
@needs("nothing", anybody=NO_PILOT)
def forgotten_page(request: Request, services: ServicesDep, _: Annotated[LanguageParameters, Query()]) -> Response:
    """The form that asks for a link to a new password."""
    _need_passwords(services)
    return _password_page(request, "forgotten" if _mails_resets(services) else "ask-operator")


@router.post("/forgotten")
@needs("nothing", anybody=NO_PILOT)
def forgotten(request: Request, services: ServicesDep, form: FormDep) -> Response:
    """Send the link, from the page's form. The answer is the same, and as fast, whether or not there is an account: the
    link is made after it."""
    _need_passwords(services)
    people, email = services.people, form.get("email")
    page = _password_page(request, "sent")
    if _mails_resets(services) and not people.attempts.wait_seconds(f"reset {email}", _address(request)):
        people.attempts.failed(f"reset {email}", _address(request))
        reset = f"{address_of(request)}/reset?token="
        page.background = BackgroundTask(
            people.mail_reset, language_of(request), email, lambda token: f"{reset}{token}"
        )
    return page


@router.get("/reset")
@needs("nothing", anybody="whoever has the link, which nobody guesses")
def reset_page(request: Request, services: ServicesDep, asked: Annotated[TokenParameters, Query()]) -> Response:
    """The form for a new password."""
    _need_passwords(services)
    user = services.people.resets.find(asked.token)
    if user is None:
        raise Problem("stale-invitation", "This link has been used or has expired. Ask for another.")
    return _password_page(request, "reset", token=asked.token, email=user.email)


@router.post("/reset")
@needs("nothing", anybody="whoever has the link, which nobody guesses", logs="signed-in")
def reset(request: Request, services: ServicesDep, form: FormDep) -> Response:
    """Set the new password, end all sessions, and sign in."""
    _need_passwords(services)
    try:
        password = _new_password(form.raw("password"), form.raw("again"))
        user = services.people.resets.use(form.get("token"), password)
    except (AccountError, WeakPassword, Problem) as error:
        return _password_page(request, "reset", wrong=error, token=form.get("token"))
    services.identities.forget()
    services.people.attempts.succeeded(user.email)
    return start_session(request, services, user, "/")


def _password_page(
    request: Request, purpose: str, *, wrong: Exception | None = None, token: str = "", email: str = "", name: str = ""
) -> Response:
    page = render(
        request,
        "password.html",
        language_of(request),
        public=purpose != "setup",
        what=purpose,
        wrong=None if wrong is None else _problem(wrong),
        token=token,
        email=email[:254],
        name=name[:100],
        shortest=SHORTEST,
    )
    page.status_code = 200 if wrong is None else 422
    page.headers.update({**NO_STORE, "Referrer-Policy": "no-referrer"})
    return page


def _mails_resets(services: Services) -> bool:
    """Whether links to a new password are sent. Without public_url they would lead wherever the header Host of whoever
    asks for them says, and bring the token there."""
    return services.settings.mail and services.settings.public_url is not None


def _new_password(password: str, again: str) -> str:
    """Raises Problem where the two fields differ."""
    if password != again:
        raise Problem("bad-parameter", "The two passwords are not the same.", parameter="again")
    return password


def _problem(error: Exception) -> Problem:
    return error if isinstance(error, Problem) else problem_of(error)


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
