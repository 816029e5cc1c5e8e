"""techport decode: a linter for messages, which needs no running platform."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from techport import options
from techport.terminal import print_text
from techport_pilots.formats import DEFAULT, formats
from techport_pilots.i18n.message import visible
from techport_storage.clock import now

if TYPE_CHECKING:
    from techport_pilots.devices.explanation import Explanation


def decode(
    format: options.MessageFormat = None,
    topic: Annotated[str, typer.Option("--topic", help="topic it is published to")] = "pilots/pilot/device/readings",
    pilot: Annotated[Path | None, typer.Option("--pilot", help="definition with the sources to read it by")] = None,
    hex_: Annotated[bool, typer.Option("--hex", help="the payload is given in hexadecimal")] = False,
    json: Annotated[bool, typer.Option("--json", help="answer in JSON")] = False,
) -> None:
    """Show how the message on standard input would be processed. Exit code 1 when some of it would be rejected."""
    from techport_ingest.decoding.lint import explain
    from techport_pilots.definition.load import read_definition

    definition = None if pilot is None else read_definition(pilot)
    if definition is None and format is None:
        format = DEFAULT
    said = explain(_payload(hex_), topic, now(), known_format(format), definition)
    if json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(_as_json(said)), indent=1) + b"\n")
    else:
        show(said, Console(highlight=False))
    raise typer.Exit(0 if said.ok else 1)


def _as_json(said: Explanation) -> dict[str, object]:
    """As the API answers, with the codes and their sentences in English."""
    from techport_dashboards.api.decode import Decoded

    return Decoded.of(said).model_dump()


def show(said: Explanation, console: Console) -> None:
    """Print what was understood, and what was not."""
    width = max((len(visible(f"{one.device}  {one.quantity}")) for one in said.readings), default=0)
    for one in said.readings:
        name = visible(f"{one.device}  {one.quantity}")
        when = "on arrival" if one.time is None else _iso(one.time)
        remark = f"  ({one.remark})" if one.remark is not None else ""
        value = f"{one.value:.12g} {one.unit or ''}"
        print_text(console, f"{name:{width}}  {value:14}  {when}{remark}")
    for event in said.events:
        print_text(console, f"event: {visible(event)}")
    if said.ignored:
        console.print(f"ignored by rule: {', '.join(sorted(set(said.ignored)))}", markup=False)
    for part in said.rejected:
        console.print(f"[red]{part.rejection.reason}[/red]:", end=" ")
        print_text(console, f"{part.rejection.detail()} {part.rejection.hint()}")


def known_format(format: str | None) -> str | None:
    from techport_pilots.definition.misfit import did_you_mean

    if format is not None and format not in formats():
        remedy = did_you_mean(format, formats())
        raise typer.BadParameter(f"there is no format {format!r}. {remedy}", param_hint="--format")
    return format


def _payload(as_hex: bool) -> bytes:
    """What standard input holds; without the line end that `echo` adds, unless that is all there is."""
    data = sys.stdin.buffer.read()
    if not as_hex:
        return data.removesuffix(b"\n")
    try:
        return bytes.fromhex(data.decode("ascii"))
    except ValueError as error:
        raise typer.BadParameter(f"standard input is not hexadecimal: {error}", param_hint="--hex") from error


def _iso(time: int) -> str:
    return dt.datetime.fromtimestamp(time / 1e6, dt.UTC).isoformat()
