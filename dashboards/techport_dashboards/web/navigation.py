"""Where one can go: the places of the platform and of a pilot, in the order of the bar and of a pilot's tabs.

A new page is reached from everywhere by one line here; its title is translated like any text of the pages. Tabs of a
group share a menu, so that all of them fit on a phone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    group: str = ""
    """The menu that it is in; empty: a tab of its own."""


DATA, MORE, ADMINISTRATION = N_("Data"), N_("More"), N_("Administration")

MAIN = (
    Place(N_("Overview"), "/"),
    Place(N_("Portfolio"), "/portfolio"),
    Place(N_("Explore"), "/explore"),
    Place(N_("Open data"), "/catalogue"),
    Place(N_("Check a message"), "/decode"),
    Place(N_("Accounts"), "/people", action="admin", group=ADMINISTRATION),
    Place(N_("Alerts"), "/alerts", action="admin", group=ADMINISTRATION),
    Place(N_("Audit log"), "/audit-log", action="admin", group=ADMINISTRATION),
)
OF_PILOT = (
    Place(N_("Pilot"), "/pilots/{pilot}"),
    Place(N_("Phases"), "/pilots/{pilot}/phases"),
    Place(N_("Explore"), "/explore", (("pilot", "{pilot}"),)),
    Place(N_("Report"), "/pilots/{pilot}/report"),
    Place(N_("Alerts"), "/pilots/{pilot}/alerts", group=DATA),
    Place(N_("Data quality"), "/pilots/{pilot}/quality", group=DATA),
    Place(N_("Quarantine"), "/pilots/{pilot}/quarantine", action="see-raw", group=DATA),
    Place(N_("Where is my message?"), "/pilots/{pilot}/trace", action="see-raw", group=DATA),
    Place(N_("Edit"), "/pilots/{pilot}/edit", action="edit", group=MORE),
    Place(N_("New devices"), "/pilots/{pilot}/onboarding", action="devices", group=MORE),
    Place(N_("Share"), "/pilots/{pilot}/share", group=MORE),
    Place(N_("Shared feeds"), "/pilots/{pilot}/shares", action="share", group=MORE),
    Place(N_("People and roles"), "/pilots/{pilot}/people", action="share", group=MORE),
    Place(N_("Street sign"), "/pilots/{pilot}/sign", action="edit", group=MORE),
    Place(N_("Audit log"), "/pilots/{pilot}/audit-log", action="share", group=MORE),
    Place(N_("Requests and erasure"), "/pilots/{pilot}/erasure", action="erase", group=MORE),
    Place(N_("Close-out"), "/pilots/{pilot}/close", group=MORE),
)


@dataclass(frozen=True, slots=True)
class Tab:
    title: str
    href: str
    current: bool
    group: str = ""


def tabs(
    places: tuple[Place, ...], path: str, link: Callable[..., str], viewer: Viewer, pilot: str | None = None
) -> list[Tab]:
    """The places that the viewer may go to, as links of the page at `path`; `link` makes an address that keeps the
    reader's language."""
    tabs_shown = []
    for place in places:
        if place.action != "see" and not viewer.may(place.action, pilot):
            continue
        address = place.path.format(pilot=pilot)
        parameters = {name: value.format(pilot=pilot) for name, value in place.parameters}
        tabs_shown.append(Tab(place.title, link(address, **parameters), address == path, place.group))
    return tabs_shown


def by_group(tabs: Sequence[Tab]) -> list[tuple[str, list[Tab]]]:
    """Neighbours of one group together, each other tab by itself."""
    groups: list[tuple[str, list[Tab]]] = []
    for tab in tabs:
        if tab.group and groups and groups[-1][0] == tab.group:
            groups[-1][1].append(tab)
        else:
            groups.append((tab.group, [tab]))
    return groups
