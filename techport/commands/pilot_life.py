"""techport pilot start | end | event | exclude: what happens while a pilot lives. Works while the platform runs."""

from __future__ import annotations

import datetime as dt
import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args
from zoneinfo import ZoneInfo

import typer
from rich.console import Console

from techport import options
from techport.commands.pilots import open_registry
from techport_storage.clock import now_datetime

if TYPE_CHECKING:
    from techport_pilots.registry.lifecycle import State


Why = Annotated[str, typer.Option("--why", help="the reason, kept beside the change")]
Who = Annotated[str | None, typer.Option("--who", help="a name to note beside the reason; your user name is recorded")]
Device = Annotated[str | None, typer.Option("--device", help="the device it is about (default: the whole pilot)")]
English = Annotated[str | None, typer.Option("--en", help="the text in English, where TEXT is Norwegian")]


@options.needs("edit")
def start(
    pilot: str, why: Why = "", who: Who = None, data: options.Data = None, registry: options.RegistryUrl = None
) -> None:
    """Start a pilot, or let an ended one run again (then with --why)."""
    _step("running", pilot, why, who, data, registry)


@options.needs("edit")
def end(
    pilot: str, why: Why = "", who: Who = None, data: options.Data = None, registry: options.RegistryUrl = None
) -> None:
    """End a pilot: nothing more is measured on purpose, what comes late is still taken. `close` hands it over."""
    _step("ended", pilot, why, who, data, registry)


@options.needs("edit")
def event(
    pilot: str,
    kind: Annotated[
        str, typer.Argument(help="installed, moved, calibrated, maintenance, outage, intervention or other")
    ],
    text: Annotated[str, typer.Argument(help="what happened, in a sentence")],
    at: Annotated[
        str | None, typer.Option("--at", help="when, ISO 8601, local time of the pilot (default: now)")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="when it was over, for what lasted")] = None,
    device: Device = None,
    position: Annotated[str | None, typer.Option("--position", help="LAT,LON where a moved device is now")] = None,
    en: English = None,
    who: Who = None,
    data: options.Data = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Put an event on the pilot's time line. After `moved` a device's series starts anew."""
    from techport_pilots.model import Event, EventKind, Text
    from techport_pilots.registry import events

    if kind not in get_args(EventKind):
        raise typer.BadParameter(f"{kind!r} is none of {', '.join(get_args(EventKind))}")
    if kind == "moved" and device is None:
        raise typer.BadParameter("say which device was moved, with --device")
    with open_registry(data, registry) as opened:
        definition = opened.pilot(pilot)
        when = time_of(at, definition.timezone) if at else now_datetime(ZoneInfo(definition.timezone))
        over = time_of(until, definition.timezone) if until else None
        words = Text(nb=with_note(text, who), en=with_note(en or text, who))
        entry = Event(when.replace(microsecond=0), kind, words, device, over, _position(position))  # type: ignore[arg-type]
        events.add_event(opened.database, definition, entry, user_name())
    Console(highlight=False).print(f"{pilot}: {kind} {entry.time.isoformat()}, {text}")


@options.needs("edit")
def exclude(
    pilot: str,
    start: Annotated[str, typer.Argument(help="from, ISO 8601, local time of the pilot")],
    end: Annotated[str, typer.Argument(help="to; no longer in it")],
    reason: Annotated[str, typer.Argument(help="why evaluation leaves this out; the report says it")],
    device: Device = None,
    quantity: Annotated[str | None, typer.Option("--quantity", help="only this quantity")] = None,
    en: English = None,
    who: Who = None,
    data: options.Data = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Leave a window out of every evaluation, with the reason. The readings stay, with a flag."""
    from techport_pilots.model import Exclusion, Text
    from techport_pilots.registry import events

    with open_registry(data, registry) as opened:
        definition = opened.pilot(pilot)
        zone = definition.timezone
        words = Text(nb=with_note(reason, who), en=with_note(en or reason, who))
        window = Exclusion(time_of(start, zone), time_of(end, zone), words, device, quantity)
        events.add_exclusion(opened.database, definition, window, user_name())
    Console(highlight=False).print(f"{pilot}: {window.start.isoformat()} to {window.end.isoformat()} is left out")


def _step(to: State, pilot: str, why: str, who: str | None, data: Path | None, registry: str | None) -> None:
    from techport_pilots.registry import lifecycle

    with open_registry(data, registry) as opened:
        lifecycle.transition(opened.database, opened.pilot(pilot), to, user_name(), with_note(why, who))
    Console(highlight=False).print(f"{pilot} is {to}")


def user_name() -> str:
    """Who makes a change on this machine: the user whom it has let in."""
    return getpass.getuser()


def with_note(why: str, name: str | None) -> str:
    """The reason, with a name that was typed."""
    from techport_pilots.registry.lifecycle import with_note

    return with_note(why, name or "")


def time_of(text: str, zone: str) -> dt.datetime:
    """A time as it was typed; without an offset on the pilot's clock, and then with it, so that it says which."""
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no time; write 2026-03-31T22:00") from error
    if time.tzinfo is None:
        time = time.replace(tzinfo=ZoneInfo(zone))
    return time.replace(tzinfo=dt.timezone(time.utcoffset() or dt.timedelta()))


def _position(text: str | None) -> object:
    from techport_pilots.model import Position

    if text is None:
        return None
    try:
        lat, lon = (float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no place; write 63.4305,10.3951") from error
    return Position(lat, lon)
