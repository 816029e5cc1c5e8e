"""What an error that leaves the web app is: its kind, what is wrong, and what would be right.

The `type` of a problem is a path of this server that explains the kind. web/errors.py turns problems, and everything
else that can be raised, into answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from techport_pilots.i18n import N_, Language, Message

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "5"
FRAMEWORK = (N_("Not Found"), N_("Method Not Allowed"))
"""What the framework itself answers."""


class Kind(NamedTuple):
    status: int
    title: str
    remedy: str


KINDS: dict[str, Kind] = {
    "bad-parameter": Kind(400, N_("Invalid parameter"), "See `parameter` and `example` in this response."),
    "unknown-parameter": Kind(
        400, N_("Unknown parameter"), "Check the spelling. Unknown parameters are never ignored."
    ),
    "unknown-name": Kind(
        400, N_("Unknown name in the query"), "List the available names with /pilots, /devices and /streams."
    ),
    "limit-too-large": Kind(
        400, N_("Limit too large"), "Follow `next`, or request CSV or Parquet, which are never truncated."
    ),
    "too-costly": Kind(
        422,
        N_("Query too expensive"),
        "Narrow the query as `example` shows.",
    ),
    "too-much-data": Kind(413, N_("Response too large"), "Request a shorter period or fewer locations."),
    "too-many-requests": Kind(429, N_("Too many requests"), "Wait for the time given in `Retry-After`."),
    "bad-cursor": Kind(400, N_("Invalid cursor"), "Repeat the query that returned the cursor, unchanged."),
    "not-found": Kind(404, N_("Not found"), "List the available pilots with /api/v1/pilots."),
    "method-not-allowed": Kind(405, N_("Method not allowed"), "Use a method that the header `Allow` names."),
    "not-acceptable": Kind(
        406, N_("Unsupported format"), "Use json, ndjson, csv, csv-nb, parquet, arrow, feather or netcdf."
    ),
    "wrong-state": Kind(409, N_("Not possible in the current state"), "See `detail` for what has to be done first."),
    "forbidden": Kind(403, N_("Forbidden"), "See `detail` for the reason and who can change it."),
    "bad-definition": Kind(422, N_("Invalid pilot definition"), "See `detail` for each error and how to fix it."),
    "no-credential": Kind(401, N_("Authentication required"), "Send the device's user name and password (HTTP Basic)."),
    "not-signed-in": Kind(
        401,
        N_("Authentication required"),
        "Send `Authorization: Bearer` with an API token, or sign in at /sign-in.",
    ),
    "bad-token": Kind(401, N_("Invalid token"), "Make a new token at /account, or send none."),
    "wrong-password": Kind(401, N_("Sign-in failed"), "Check the address and the password, or ask for a new password."),
    "sign-in-failed": Kind(401, N_("Sign-in failed"), "Begin again at /sign-in."),
    "provider-unavailable": Kind(503, N_("Identity provider unavailable"), "Try again in a few minutes."),
    "stale-invitation": Kind(410, N_("Link expired"), "Ask whoever sent it for another."),
    "stale-link": Kind(
        401, N_("Sign-in link expired"), "Run `techport operator-link` and open the address that it prints."
    ),
    "bad-host": Kind(400, N_("Invalid Host header"), "Send one header Host with the name in the address."),
    "wrong-host": Kind(421, N_("Unknown host name"), "Use the address that the operator publishes."),
    "untrusted-proxy": Kind(400, N_("Unknown proxy"), "The operator can name the proxy with `trusted_proxy`."),
    "too-large": Kind(413, N_("Message too large"), "Send fewer readings in each message."),
    "bad-encoding": Kind(
        415, N_("Unsupported content encoding"), "Send the message as it is, or with `Content-Encoding: gzip`."
    ),
    "package-too-large": Kind(
        413, N_("Package too large"), "Open it on the machine itself with `techport pilot open`, or free some space."
    ),
    "not-taken": Kind(
        503,
        N_("Message not accepted by the broker"),
        "Keep the message and send it again after the time given in `Retry-After`.",
    ),
    "no-room": Kind(
        507,
        N_("No space for another snapshot"),
        "The operator can raise `snapshots_most` or `snapshots_bytes`, or move old files out of the snapshot folder.",
    ),
    "store-unavailable": Kind(
        503, N_("Reading store unavailable"), "No data has been lost. Try again in a few seconds."
    ),
    "registry-unavailable": Kind(503, N_("Registry unavailable"), "No data has been lost. Try again in a few seconds."),
    "server-busy": Kind(503, N_("Server busy"), "No data has been lost. Try again in a few seconds."),
    "internal": Kind(
        500, N_("Internal server error"), "The request did not cause this. See the server's log for details."
    ),
}


RETRY_LATER = {"Retry-After": RETRY_AFTER}
BEARER = {"WWW-Authenticate": 'Bearer realm="techport"', "Cache-Control": "no-store"}
HEADERS: Mapping[str, Mapping[str, str]] = {
    "no-credential": {"WWW-Authenticate": 'Basic realm="techport"'},
    "not-signed-in": BEARER,
    "bad-token": BEARER,
    "stale-link": BEARER,
    "not-taken": RETRY_LATER,
    "server-busy": RETRY_LATER,
    "store-unavailable": RETRY_LATER,
    "registry-unavailable": RETRY_LATER,
}
"""Headers that an answer of a kind carries."""


class Problem(Exception):
    """An answer that is an error. `parameter` points at what is wrong in the request, `example` shows a right one.

    Pages show the message in the reader's language, so what differs each time is not in it, but among the values. What
    the domain layer says is a Message, with its own catalogue.
    """

    def __init__(
        self,
        kind: str,
        message: str | Message,
        *,
        parameter: str | None = None,
        example: str | None = None,
        **values: object,
    ) -> None:
        self.detail = message.format(**values) if isinstance(message, str) and values else str(message)
        super().__init__(self.detail)
        self.kind = kind
        self.message = message
        self.values = values
        self.parameter = parameter
        self.example = example

    def text(self, language: Language) -> str:
        """What is wrong, in a reader's language."""
        if isinstance(self.message, Message):
            return language.message(self.message)
        return language.gettext(self.message, **self.values)


def problem_body(problem: Problem, status: int, detail: str) -> dict[str, Any]:
    """The problem as RFC 9457 problem details, with `remedy` and, where there are any, `parameter` and `example`."""
    kind = KINDS[problem.kind]
    pointers = {"parameter": problem.parameter, "example": problem.example}
    return {
        "type": f"/api/v1/problems/{problem.kind}",
        "title": kind.title,
        "status": status,
        "detail": detail,
        "remedy": kind.remedy,
        **{name: value for name, value in pointers.items() if value is not None},
    }


_MISSING: Mapping[str, str] = {
    "see": N_("You may not see this pilot."),
    "see-raw": N_("This needs the role researcher, editor or owner in the pilot. An owner of the pilot can give it."),
    "edit": N_("This needs the role editor or owner in the pilot. An owner of the pilot can give it."),
    "devices": N_("This needs the role editor or owner in the pilot. An owner of the pilot can give it."),
    "share": N_("This needs the role owner in the pilot. An owner of the pilot can give it."),
    "close": N_("This needs the role owner in the pilot. An owner of the pilot can give it."),
    "erase": N_("This needs the role owner in the pilot. An owner of the pilot can give it."),
    "admin": N_("This is for administrators of the platform."),
    "account": N_("This is for people who have signed in with an account of their own, not for tokens."),
}
"""What somebody is told who may see a pilot, but not do this to it."""


def forbidden(action: str) -> Problem:
    """For who is known, and may not do this."""
    return Problem("forbidden", _MISSING[action])


def sign_in_needed() -> Problem:
    """What who has shown no credential is told, of what is there and of what is not alike."""
    return Problem(
        "not-signed-in",
        "This needs a credential. Sign in in a browser; programs send the header `Authorization: Bearer` with an API "
        "token, which people make on their account's page.",
    )
