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


@options.needs("nothing")
def decode(
    format_name: options.MessageFormat = None,
    topic: Annotated[str, typer.Option("--topic", help="topic it is published to")] = "pilots/pilot/device/readings",
    pilot: Annotated[Path | None, typer.Option("--pilot", help="definition with the sources to read it by")] = None,
    hex_: Annotated[bool, typer.Option("--hex", help="the payload is given in hexadecimal")] = False,
    json: Annotated[bool, typer.Option("--json", help="answer in JSON")] = False,
) -> None:
    """Show how the message on standard input would be processed. Exit code 1 when some of it would be rejected."""
    from techport_ingest.decoding.lint import explain
    from techport_pilots.definition.load import read_definition

    definition = None if pilot is None else read_definition(pilot)
    if definition is None and format_name is None:
        format_name = DEFAULT
    explanation = explain(_payload(hex_), topic, now(), known_format(format_name), definition)
    if json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(_as_json(explanation)), indent=1) + b"\n")
    else:
        show(explanation, Console(highlight=False))
    raise typer.Exit(0 if explanation.ok else 1)


def _as_json(explanation: Explanation) -> dict[str, object]:
    """As the API answers, with the codes and their sentences in English."""
    from techport_dashboards.api.decode import Decoded

    return Decoded.of(explanation).model_dump()


def show(explanation: Explanation, console: Console) -> None:
    """Print what was understood, and what was not."""
    width = max((len(visible(f"{reading.device}  {reading.quantity}")) for reading in explanation.readings), default=0)
    for reading in explanation.readings:
        name = visible(f"{reading.device}  {reading.quantity}")
        when = "on arrival" if reading.time is None else _iso(reading.time)
        remark = f"  ({reading.remark})" if reading.remark is not None else ""
        unit = reading.unit or "" if reading.word is None else visible(reading.word.get("en"))
        value = f"{reading.value:.12g} {unit}"
        print_text(console, f"{name:{width}}  {value:14}  {when}{remark}")
    for event in explanation.events:
        print_text(console, f"event: {visible(event)}")
    for ignored in explanation.ignored_parts:
        label = " = ".join(visible(text) for text in (ignored.key, ignored.value) if text)
        print_text(console, f"ignored: {label + ', ' if label else ''}{ignored.why} ({ignored.rule})")
    for key in explanation.unmatched:
        print_text(console, f"fields: {visible(key)} matches nothing in this message")
    for part in explanation.rejected:
        console.print(f"[red]{part.rejection.reason}[/red]:", end=" ")
        print_text(console, f"{part.rejection.detail()} {part.rejection.hint()}")


def known_format(name: str | None) -> str | None:
    from techport_pilots.definition.misfit import did_you_mean

    if name is not None and name not in formats():
        remedy = did_you_mean(name, formats())
        raise typer.BadParameter(f"there is no format {name!r}. {remedy}", param_hint="--format")
    return name


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
