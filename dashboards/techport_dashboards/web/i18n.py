"""The language of a page: which one a reader gets."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from babel.core import negotiate_locale

from techport_dashboards.texts import FOLDER
from techport_pilots.i18n import N_, Language

_ALSO = {"no": "nb", "nn": "nb", "nb": "nb", "en": "en"}  # who asks for Norwegian of either form gets bokmål

SCRIPT_MESSAGES: tuple[str, ...] = (
    "live",
    "connecting",
    "not connected",
    "paused: showing the past",
    "the database is not responding",
    "the server is not responding",
    "no readings in this range",
    "Download:",
    "Figure:",
    "just now",
    "no readings here",
    "devices here",
    "earlier",
    "sum",
    "Add an event here",
    "Saved.",
    "delete",
    "Really delete?",
    "Undone.",
    "link copied",
    "data copied",
    "image saved",
    "something went wrong",
    "copied",
    "sending …",
    "sent, lines:",
    "no connection",
)
"""Texts that static/js shows."""

PHASE_KINDS = (N_("baseline"), N_("intervention"), N_("control"), N_("other"))
"""Names of phases that have no title of their own."""

EVENT_KINDS = MappingProxyType(
    {
        "intervention": N_("intervention"),
        "outage": N_("outage"),
        "calibrated": N_("calibrated"),
        "maintenance": N_("maintenance"),
        "moved": N_("moved"),
        "installed": N_("installed"),
        "other": N_("something else"),
    }
)
"""Kinds of events (techport_pilots.model.EventKind) by their names, in the order in which forms offer them."""


def named_event_kinds(language: Language) -> list[tuple[str, str]]:
    """Kinds of events as forms offer them: what is stored, and its name in the reader's language."""
    return [(kind, language.gettext(name)) for kind, name in EVENT_KINDS.items()]


def pick(asked: str | None, accepted: str, default: str) -> Language:
    """The language of `?lang=`, else the best of Accept-Language that we have, else the default."""
    if asked in _ALSO:
        return Language(_ALSO[asked], FOLDER)
    preferred = _by_preference(accepted)
    negotiated = negotiate_locale(preferred, list(_ALSO), sep="-")
    return Language(_ALSO[negotiated] if negotiated else default, FOLDER)


def _by_preference(accepted: str) -> Sequence[str]:
    """Language tags of an Accept-Language header, the most wanted first."""
    weighted = []
    for part in accepted.split(",")[:20]:
        tag, _, weight = part.strip().partition(";q=")
        try:
            weighted.append((-float(weight or 1), tag))
        except ValueError:
            continue
    return [tag for _, tag in sorted(weighted, key=lambda pair: pair[0])]
