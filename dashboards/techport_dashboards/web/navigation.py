"""Where one can go: the places of the platform and of a pilot, in the order of the bar and of a pilot's tabs.

A new page is reached from everywhere by one line here; its title is translated like any text of the pages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from techport_dashboards.viewer import Viewer
from techport_pilots.access.policy import Action
from techport_pilots.i18n import N_


class Place(NamedTuple):
    title: str
    path: str  # {pilot} stands for a pilot's id
    parameters: tuple[tuple[str, str], ...] = ()
    action: Action = "see"
    """What the page is: shown to those who may."""


MAIN = (
    Place(N_("Overview"), "/"),
    Place(N_("Portfolio"), "/portfolio"),
    Place(N_("Explore"), "/explore"),
    Place(N_("Open data"), "/catalogue"),
    Place(N_("Check a message"), "/decode"),
    Place(N_("Accounts"), "/people", action="admin"),
)
OF_PILOT = (
    Place(N_("Pilot"), "/pilots/{pilot}"),
    Place(N_("Phases"), "/pilots/{pilot}/phases"),
    Place(N_("Alerts"), "/pilots/{pilot}/alerts"),
    Place(N_("Data quality"), "/pilots/{pilot}/quality"),
    Place(N_("Quarantine"), "/pilots/{pilot}/quarantine", action="see-raw"),
    Place(N_("New devices"), "/pilots/{pilot}/onboarding", action="devices"),
    Place(N_("Explore"), "/explore", (("pilot", "{pilot}"),)),
    Place(N_("Report"), "/pilots/{pilot}/report"),
    Place(N_("Share"), "/pilots/{pilot}/share"),
    Place(N_("People and roles"), "/pilots/{pilot}/people", action="share"),
    Place(N_("Close-out"), "/pilots/{pilot}/close"),
)


@dataclass(frozen=True, slots=True)
class Tab:
    title: str
    href: str
    current: bool


def tabs(
    places: tuple[Place, ...], path: str, link: Callable[..., str], viewer: Viewer, pilot: str | None = None
) -> list[Tab]:
    """The places that the viewer may go to, as links of the page at `path`; `link` makes an address that keeps the
    reader's language."""
    found = []
    for place in places:
        if place.action != "see" and not viewer.may(place.action, pilot):
            continue
        address = place.path.format(pilot=pilot)
        parameters = {name: value.format(pilot=pilot) for name, value in place.parameters}
        found.append(Tab(place.title, link(address, **parameters), address == path))
    return found
