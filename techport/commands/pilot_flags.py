"""techport pilot reflag: work the quality flags of stored readings out anew. Works while the platform runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

from rich.console import Console
from typer import Argument, Option

from techport import options
from techport.commands.pilot_life import time_of
from techport.data_dir import owner
from techport.errors import CannotRun
from techport.settings import Settings, load_settings

if TYPE_CHECKING:
    from techport_pilots.registry.flag_requests import FlagRequests

PATIENCE = 600.0
"""Seconds that the command waits for a platform to do what it asked for."""


@options.needs("edit")
def reflag(
    pilot: Annotated[str, Argument(help="whose readings")],
    start: Annotated[str | None, Option("--from", help="ISO 8601, local time of the pilot (default: all)")] = None,
    end: Annotated[str | None, Option("--to", help="no longer in it (default: until now)")] = None,
    data: options.Data = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Range, spike, stuck, step and exclusion of stored readings, judged again. Their values stay as they are."""
    from techport_pilots.registry.flag_requests import FlagRequests
    from techport_pilots.registry.registry import Registry
    from techport_pilots.time import micros_of

    settings = load_settings({"data": data, "store": store, "registry": registry})
    settings.data.mkdir(parents=True, exist_ok=True)
    opened = Registry.open(settings.registry_url, settings.registry_seconds)
    try:
        zone = opened.pilot(pilot).timezone
        if opened.state(pilot) == "closed":
            raise CannotRun(f"{pilot} is closed, and its data frozen")
        first, last = (None if text is None else micros_of(time_of(text, zone), zone) for text in (start, end))
        requests = FlagRequests(opened.database)
        number = requests.ask(pilot, (first, last))
        if owner(settings.data) is None:
            _answer(settings)
        changed = _wait(requests, number)
    finally:
        opened.close()
    Console(highlight=False).print(f"{pilot}: {changed} readings have other flags now")


def _answer(settings: Settings) -> None:
    """Do it here; where other machines work on the same store, one of them may be quicker."""
    from techport.platform import stores
    from techport_pilots.quality.flagging import FlagPass

    with stores(settings) as parts:
        FlagPass(parts.registry, parts.readings, "command line").answer()


def _wait(requests: FlagRequests, number: int) -> int:
    until = time.monotonic() + PATIENCE
    while (changed := requests.outcome(number)) is None:
        if time.monotonic() > until:
            raise CannotRun("asked for, and not done yet: the platform goes on with it; see its log")
        time.sleep(0.2)
    return changed
