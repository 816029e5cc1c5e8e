"""What an error that leaves the web app is: its kind, what is wrong, and what would be right.

The `type` of a problem is a path of this server that explains the kind. web/errors.py turns problems, and everything
else that can be raised, into answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "5"


class Kind(NamedTuple):
    status: int
    title: str
    remedy: str


KINDS: dict[str, Kind] = {
    "bad-parameter": Kind(400, "A parameter is not right", "See `parameter` and `example` in the answer."),
    "unknown-parameter": Kind(400, "There is no such parameter", "Check the spelling; nothing is ignored in silence."),
    "unknown-name": Kind(
        400, "A name in the question is not known", "List what there is with /pilots, /devices, /streams."
    ),
    "limit-too-large": Kind(
        400, "More than one answer may hold", "Follow `next`, or ask for CSV or Parquet: never cut."
    ),
    "too-costly": Kind(
        422,
        "This would cost too much to answer at once",
        "Ask for less, or take it as a file: format=parquet (or csv, ndjson, arrow) streams any amount.",
    ),
    "too-much-data": Kind(413, "More than this service gives at once", "Ask for less time, or for fewer places."),
    "too-many-requests": Kind(429, "Too many requests", "Wait as long as `Retry-After` says."),
    "bad-cursor": Kind(
        400, "This cursor does not continue this question", "Repeat the question that gave it, unchanged."
    ),
    "not-found": Kind(404, "There is nothing here", "List what there is with /api/v1/pilots."),
    "method-not-allowed": Kind(405, "This address does not take that method", "Use GET."),
    "not-acceptable": Kind(406, "No such format", "Use json, ndjson, csv, csv-nb, parquet or arrow."),
    "wrong-state": Kind(409, "Not while it is in this state", "`detail` says what has to be done first."),
    "forbidden": Kind(403, "Not allowed from here", "`detail` says why and who can change it."),
    "bad-definition": Kind(
        422, "The pilot's definition would not be right", "`detail` names what is wrong and what to do about it."
    ),
    "no-credential": Kind(401, "Who sends this?", "Send the device's user name and password (HTTP Basic)."),
    "too-large": Kind(413, "Too long for one message", "Send fewer readings at a time."),
    "not-taken": Kind(503, "The broker has not taken it", "Keep it and send it again, as `Retry-After` says."),
    "no-room": Kind(
        507,
        "There is no room for another snapshot",
        "The operator can raise `snapshots_most` or `snapshots_bytes`, or move old files out of the snapshots' folder.",
    ),
    "store-unavailable": Kind(503, "The store cannot answer now", "Nothing is lost. Try again in a few seconds."),
    "registry-unavailable": Kind(503, "The registry cannot answer now", "Nothing is lost. Try again in a few seconds."),
    "server-busy": Kind(503, "Server busy", "Nothing is lost. Try again in a few seconds."),
    "internal": Kind(500, "Something went wrong here", "Not your fault. The server's log has the details."),
}


RETRY_LATER = {"Retry-After": RETRY_AFTER}
HEADERS: Mapping[str, Mapping[str, str]] = {
    "no-credential": {"WWW-Authenticate": 'Basic realm="techport"'},
    "not-taken": RETRY_LATER,
    "server-busy": RETRY_LATER,
    "store-unavailable": RETRY_LATER,
    "registry-unavailable": RETRY_LATER,
}
"""Headers that an answer of a kind carries."""


class Problem(Exception):
    """An answer that is an error. `parameter` points at what is wrong in the request, `example` shows a right one.

    Pages show the message in the reader's language, so what differs each time is not in it, but among the values.
    """

    def __init__(
        self, kind: str, message: str, *, parameter: str | None = None, example: str | None = None, **values: object
    ) -> None:
        self.detail = message.format(**values) if values else message
        super().__init__(self.detail)
        self.kind = kind
        self.message = message
        self.values = values
        self.parameter = parameter
        self.example = example
