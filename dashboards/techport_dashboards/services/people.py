"""People and how they get in: what pages and the command line share of accounts, invitations, sessions and tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from techport_dashboards.problems import Problem
from techport_dashboards.viewer import Viewer
from techport_pilots.access.accounts import AccountError, Accounts, User
from techport_pilots.access.api_tokens import ApiTokens
from techport_pilots.access.attempts import Attempts
from techport_pilots.access.invitations import Invitation, Invitations, PasswordResets
from techport_pilots.access.sessions import IDLE, LASTS, Sessions
from techport_pilots.i18n import Language
from techport_pilots.registry.database import Database
from techport_pilots.registry.outbox import Outbox
from techport_storage.model import Micros


@dataclass(frozen=True, slots=True)
class People:
    """Everything about accounts in one registry."""

    accounts: Accounts
    sessions: Sessions
    api_tokens: ApiTokens
    invitations: Invitations
    resets: PasswordResets
    attempts: Attempts
    outbox: Outbox

    @classmethod
    def of(cls, database: Database, *, lasts: Micros = LASTS, idle: Micros = IDLE) -> People:
        return cls(
            Accounts(database),
            Sessions(database, lasts=lasts, idle=idle),
            ApiTokens(database),
            Invitations(database),
            PasswordResets(database),
            Attempts(database),
            Outbox(database),
        )

    def sign_in(self, email: str, password: str, address: str) -> User:
        """The person with this address and password. Raises Problem, the same for a wrong one and for no account."""
        wait = self.attempts.wait_seconds(email, address)
        if wait:
            raise Problem(
                "too-many-requests",
                "Too many attempts to sign in. Try again in {minutes} minutes.",
                minutes=-(-wait // 60),
            )
        user = self.accounts.authenticate(email, password)
        if user is None:
            self.attempts.failed(email, address)
            raise Problem("wrong-password", "The address and the password do not belong together.")
        self.attempts.succeeded(email)
        return user

    def favourites(self, viewer: Viewer) -> list[str] | None:
        """Pilots that the viewer has marked; None for who has no account, whose browser keeps them."""
        return None if viewer.identity is None else self.accounts.favourites(viewer.identity.user.id)

    def mail_invitation(
        self, language: Language, invitation: Invitation, address: str, subject_of_invitation: str
    ) -> None:
        """Have the invitation sent to its address; `what` it is to, in the reader's language."""
        text = language.gettext(
            "{who} has invited you to {what} on techport.\n\nOpen this address to accept:\n{address}\n\n"
            "It is good once, until {date}. If you did not expect this, ignore it.\n",
            who=invitation.who,
            what=subject_of_invitation,
            address=address,
            date=language.date_time(invitation.expires, "UTC", "d. MMMM y"),
        )
        subject = language.gettext("Invitation to {what}", what=subject_of_invitation)
        self.outbox.add("invitation", invitation.email, subject, text)

    def mail_reset(self, language: Language, email: str, address: Callable[[str], str]) -> None:
        """Have a link to a new password sent to who has an account; says nothing about whether."""
        user = self.accounts.by_email(email)
        if user is None or user.disabled or not user.has_password:
            return
        text = language.gettext(
            "Somebody, probably you, wants a new password for your account on techport.\n\nOpen this address to "
            "choose one:\n{address}\n\nIt is good once, for an hour. If it was not you, ignore it.\n",
            address=address(self.resets.create(user.id)),
        )
        self.outbox.add("password-reset", user.email, language.gettext("New password for techport"), text)


def problem_of(error: AccountError | Exception) -> Problem:
    """A change of accounts that is not possible, as an answer."""
    message = getattr(error, "message", None)
    return Problem("bad-parameter", message if message is not None else str(error))
