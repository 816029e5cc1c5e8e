"""techport share create | list | publish | revoke: derived feeds of a pilot's data for others."""

from __future__ import annotations

import datetime as dt
import getpass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from techport import options
from techport.commands.link import running_settings
from techport.commands.pilots import open_registry
from techport.errors import CannotRun
from techport.terminal import print_text
from techport_pilots.registry.registry import Registry
from techport_storage.clock import now
from techport_storage.microseconds import DAY
from techport_storage.model import Micros

if TYPE_CHECKING:
    from techport_pilots.access.shares import Share

app = typer.Typer(no_args_is_help=True, help="Derived feeds of pilots for others. Works while the platform runs.")

Pilot = Annotated[str, typer.Argument(help="id of the pilot")]
ShareId = Annotated[str, typer.Argument(help="id of the share, as `share list` shows it")]


@app.command("create")
@options.needs("share")
def create(
    pilot: Pilot,
    quantity: Annotated[list[str], typer.Option("--quantity", help="what to show; may be repeated")],
    title: Annotated[str, typer.Option("--title", help="as its readers find it; the pilot's unless given")] = "",
    device: Annotated[
        list[str] | None, typer.Option("--device", help="may be repeated; all, also later ones, unless given")
    ] = None,
    audience: Annotated[str, typer.Option("--for", help="public, link, or the id of an organisation")] = "link",
    every: Annotated[str, typer.Option("--every", help='width of its buckets, or "raw" for each reading')] = "PT1H",
    precision: Annotated[
        str, typer.Option("--precision", help='metres to which positions are rounded; 0: exact, "none": no positions')
    ] = "100",
    names: Annotated[bool, typer.Option("--names", help="devices keep their ids and titles")] = False,
    start: Annotated[str | None, typer.Option("--start", help="first day that is shown")] = None,
    end: Annotated[str | None, typer.Option("--end", help="last day that is shown")] = None,
    days: Annotated[int, typer.Option("--days", help="days after which it expires", min=1, max=3_660)] = 365,
    draft: Annotated[bool, typer.Option("--draft", help="to look at; `share publish` opens it")] = False,
    data: options.Data = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Share chosen data of a pilot; prints the address."""
    from techport_pilots.access.shares import Shares, ShareTerms

    settings = running_settings(data)
    if precision != "none" and not precision.isdecimal():
        raise CannotRun(f"--precision is a number of metres or none, not {precision!r}")
    with open_registry(data, registry) as opened:
        definition = opened.pilot(pilot)
        shared_with_everybody = audience in ("public", "link")
        terms = ShareTerms(
            title=title or definition.title.get("en") or pilot,
            audience=audience if shared_with_everybody else "organisation",  # type: ignore[arg-type]
            organisation=None if shared_with_everybody else audience,
            devices=device or None,
            quantities=quantity,
            resolution=None if every == "raw" else every,
            precision=None if precision == "none" else int(precision),
            names=names,
            start=_day(start, definition.timezone, 0),
            end=_day(end, definition.timezone, 1),
            licence=definition.licence,
            attribution=definition.attribution,
        )
        made = Shares(opened.database).create(definition, terms, getpass.getuser(), lasts=days * DAY, publish=not draft)
    typer.echo(f"{settings.web_url}/shared/{made.key}")


@app.command("list")
@options.needs("share", logs=None)
def list_(
    pilot: Annotated[str | None, typer.Argument(help="of one pilot; of all unless given")] = None,
    data: options.Data = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Open shares: id, pilot, title, for whom, how often read and when last, end, address."""
    from techport_pilots.access.shares import Shares

    settings, console = running_settings(data), Console(highlight=False)
    with open_registry(data, registry) as opened:
        pilots = [definition.id for definition in opened.pilots()] if pilot is None else [opened.pilot(pilot).id]
        for share in (share for name in pilots for share in Shares(opened.database).of(name)):
            if not share.is_open(now()):
                continue
            audience = share.terms.organisation or share.terms.audience
            state = audience if share.published is not None else f"{audience}, not published"
            last = "" if share.last_read is None else f", last {_text(share.last_read)}"
            print_text(
                console,
                f"{share.id}  {share.pilot}  {share.terms.title}: {state}, read {share.reads} times{last}, until "
                f"{_text(share.expires)}  {settings.web_url}/shared/{share.key}",
            )


@app.command("publish")
@options.needs("share")
def publish(share: ShareId, data: options.Data = None, registry: options.RegistryUrl = None) -> None:
    """Open a draft to its audience."""
    from techport_pilots.access.shares import Shares

    with open_registry(data, registry) as opened:
        draft = _open_share(opened, share)
        if draft.published is not None:
            raise CannotRun(f"{share} is published already")
        Shares(opened.database).publish(draft.pilot, share)


@app.command("revoke")
@options.needs("share")
def revoke(share: ShareId, data: options.Data = None, registry: options.RegistryUrl = None) -> None:
    """End a share for good, within seconds."""
    from techport_pilots.access.shares import Shares

    with open_registry(data, registry) as opened:
        Shares(opened.database).revoke(_open_share(opened, share).pilot, share)


def _open_share(registry: Registry, name: str) -> Share:
    """The share of this id. Raises CannotRun where there is none that is open."""
    from techport_pilots.access.shares import Shares

    shares = Shares(registry.database)
    share = next((match for pilot in registry.pilots() if (match := shares.find_by_id(pilot.id, name))), None)
    if share is None:
        raise CannotRun(f"there is no share {name[:80]!r}; `techport share list` names them")
    if not share.is_open(now()):
        raise CannotRun(f"{name} has ended")
    return share


def _day(text: str | None, zone: str, later: int) -> Micros | None:
    from techport_pilots.time import micros_of

    if text is None:
        return None
    try:
        day = dt.date.fromisoformat(text) + dt.timedelta(days=later)
    except (ValueError, OverflowError):
        raise CannotRun(f"{text!r} is not a date, such as 2026-11-22") from None
    return micros_of(dt.datetime.combine(day, dt.time()), zone)


def _text(at: Micros) -> str:
    return dt.datetime.fromtimestamp(at / 1e6, dt.UTC).date().isoformat()
