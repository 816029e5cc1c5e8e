"""techport retention list | run | erase: forgetting on time, or on request.

All work while the platform runs, which then does the erasing.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import msgspec
import typer
from rich.console import Console

from techport import options
from techport.commands.pilot_close import Yes
from techport.data_dir import Platform, platform_at
from techport.errors import CannotRun
from techport.progress import steps
from techport.running_platform import run_job, stream_lines
from techport.settings import Settings, load_settings

if TYPE_CHECKING:
    from techport_pilots.registry.erasures import Erasure

app = typer.Typer(no_args_is_help=True, help="Forgetting on time: what is due to be erased, and erasing it.")


_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]


@app.command("list")
@options.needs("see")
def list_(data: options.Data = None, registry: options.RegistryUrl = None) -> None:
    """What will be erased when, and what has been."""
    from techport.commands.pilots import open_registry
    from techport_pilots.registry import erasures
    from techport_storage.clock import now

    console = Console(highlight=False)
    with open_registry(data, registry) as opened:
        for due in erasures.plan(opened):
            console.print(f"{_date(due.at)}  {due.pilot} ({due.state})")
        for pilot, streams in erasures.streams_due(opened, now()).items():
            for stream in streams:
                name = f"{pilot} {stream.device} {stream.quantity}"
                console.print(f"{_date(stream.until)}  {name}: readings before this day are due")
        for receipt in erasures.receipts(opened.database):
            for stream in receipt.streams:
                name = f"{receipt.pilot} {stream.device} {stream.quantity}"
                console.print(f"{_date(stream.until)}  {name}: erased until this day, {stream.rows} readings so far")
            console.print(f"{_date(receipt.done or 0)}  {receipt.pilot}: {_erased(receipt)}")


@app.command("run")
@options.needs("admin", logs="erased")
def run(
    yes: Yes = False,
    receipts: Annotated[Path | None, typer.Option("--receipts", help="folder (default: DATA/receipts)")] = None,
    data: options.Data = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Erase what is due, from store, quarantine, packages and snapshots, and keep a receipt.

    `techport up` and `techport serve` do it once an hour; this does it now. Works while the platform runs.
    """
    from techport.commands.pilots import open_registry
    from techport_pilots.handover.retention import write_receipt
    from techport_pilots.registry import erasures
    from techport_storage.clock import now

    settings = load_settings({"data": data, "store": store, "registry": registry})
    console = Console(highlight=False)
    with open_registry(data, registry) as opened:
        at = now()
        due = [entry.pilot for entry in erasures.plan(opened) if entry.at <= at]
        streams = [
            f"{pilot} {stream.device} {stream.quantity} before {_date(stream.until)}"
            for pilot, of_pilot in erasures.streams_due(opened, at).items()
            for stream in of_pilot
        ]
    if not due and not streams:
        console.print("nothing is due")
        return
    what = [f"the data of {', '.join(due)}"] if due else []
    what += [f"readings of streams ({', '.join(streams)})"] if streams else []
    if not yes and not typer.confirm(f"Erase {' and '.join(what)} for good?"):
        raise typer.Exit(1)
    _run(settings, console, due)
    folder = receipts or settings.data / "receipts"
    with open_registry(data, registry) as opened:
        written = [entry for entry in erasures.receipts(opened.database) if entry.done is not None and entry.done >= at]
    for receipt in written:
        with open_registry(data, registry) as opened:
            file = write_receipt(folder, receipt, opened.database)
        console.print(f"{receipt.pilot}: {_erased(receipt)}; receipt {file}", soft_wrap=True)
        for missing in receipt.missing:
            console.print(
                f"  [yellow]not found here[/yellow]: {missing}. Where it was moved to, erase it", soft_wrap=True
            )


@app.command("erase")
@options.needs("erase")
def erase(
    pilot: Annotated[str, typer.Argument(help="id of the pilot")],
    device: Annotated[
        str | None, typer.Option("--device", help="its name as messages bear it, described or not")
    ] = None,
    start: Annotated[
        dt.datetime | None, typer.Option("--start", formats=_TIMES, help="from this time (UTC) on")
    ] = None,
    end: Annotated[dt.datetime | None, typer.Option("--end", formats=_TIMES, help="before this time (UTC)")] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="a text, such as an address or a name: what it occurs in, and no more"),
    ] = None,
    yes: Yes = False,
    data: options.Data = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Erase a device, a period, or what a text occurs in out of a pilot: readings, messages, events.

    Packages and snapshots of the pilot go as a whole. Shows first what there is. Works while the platform runs.
    """
    settings = load_settings({"data": data, "store": store, "registry": registry})
    if device is None and start is None and end is None and reference is None:
        raise CannotRun(
            "say what to erase: --device, --start, --end, --reference. A whole pilot: techport retention run"
        )
    console = Console(highlight=False)
    asked = {"device": device, "start": _iso(start), "end": _iso(end), "reference": reference}
    platform = platform_at(settings.data) if settings.embedded else None
    with _erased_there(platform, pilot, asked) if platform else _erased_here(settings, pilot, asked) as (counted, go):
        console.print(
            f"{pilot}: {counted['rows']} readings on {counted['device_days']} device-days, "
            f"{counted['entries']} messages and events; {counted['files']} packages and snapshots as a whole"
        )
        if not any(counted.values()):
            return
        if not yes and not typer.confirm("Erase this for good?"):
            raise typer.Exit(1)
        for receipt in go(console):
            console.print(
                f"{receipt['pilot']}: {receipt['rows']} readings, {receipt['entries']} messages and events, "
                f"{receipt['files']} files erased; receipt {_kept(settings.data / 'receipts', receipt)}",
                soft_wrap=True,
            )


@app.command("find")
@options.needs("erase", logs="exported")
def find(
    pilot: Annotated[str, typer.Argument(help="id of the pilot")],
    reference: Annotated[
        str, typer.Option("--reference", help="a text, such as an address or a name: what it occurs in")
    ],
    data: options.Data = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Write what is kept that a text occurs in to standard output as JSON Lines, for whoever asks what is kept of them.

    It is what `erase` with the same reference would erase. Works while the platform runs.
    """
    settings = load_settings({"data": data, "store": store, "registry": registry})
    platform = platform_at(settings.data) if settings.embedded else None
    if platform:
        path = f"/api/v1/pilots/{quote(pilot, safe='')}/erasure/found"
        for line in stream_lines(platform, path, {}, {"reference": reference}):
            sys.stdout.buffer.write(line)
        return
    from techport.platform import stores
    from techport_pilots.handover.partial_erasure import find_reference

    with stores(settings) as parts:
        parts.registry.pilot(pilot)
        try:
            for row in find_reference(parts.registry, parts.readings, pilot, reference):
                sys.stdout.buffer.write(msgspec.json.encode(row) + b"\n")
        except ValueError as error:
            raise CannotRun(str(error)) from error


@app.command("verify")
@options.needs("see")
def verify(
    receipt: Annotated[Path, typer.Argument(help="file of a receipt")],
    data: options.Data = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Say whether this platform signed a receipt, and whether it was changed since. Exit code 1 unless it did."""
    from techport.commands.pilots import open_registry
    from techport_pilots.errors import BadPackage
    from techport_pilots.handover import receipts
    from techport_pilots.handover.signature import origin_in_words

    try:
        document = msgspec.json.decode(receipt.read_bytes(), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise CannotRun(f"{receipt} is not a receipt: {error}") from error
    with open_registry(data, registry) as opened:
        try:
            of = receipts.origin(opened.database, document)
        except BadPackage as error:
            raise CannotRun(f"{receipt} was changed since this platform signed it") from error
    Console(highlight=False).print(origin_in_words(of))
    raise typer.Exit(0 if of == "this-platform" else 1)


def _kept(folder: Path, receipt: Mapping[str, Any]) -> Path:
    """A file of a receipt that only the platform's user can read."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{receipt['pilot']}-{str(receipt['begun']).replace(':', '')}.json"
    file.touch(0o600)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(receipt), indent=2) + b"\n")
    return file


Count = dict[str, int]
Go = Callable[[Console], list[dict[str, Any]]]


@contextmanager
def _erased_there(platform: Platform, pilot: str, asked: Mapping[str, str | None]) -> Iterator[tuple[Count, Go]]:
    """What there is, and what erases it: by the platform that runs."""
    path = f"/api/v1/pilots/{quote(pilot, safe='')}/erasure"

    def go(console: Console) -> list[dict[str, Any]]:
        with steps(console) as progress:
            receipts: list[dict[str, Any]] = run_job(platform, path, {}, {**asked, "confirm": pilot}, progress)[
                "receipts"
            ]
        return receipts

    yield msgspec.json.decode(b"".join(stream_lines(platform, f"{path}/count", {}, dict(asked)))), go


@contextmanager
def _erased_here(settings: Settings, pilot: str, asked: Mapping[str, str | None]) -> Iterator[tuple[Count, Go]]:
    """What there is, and what erases it: by ourselves, over stores that several processes may open."""
    from techport.platform import files_of_pilots, forgetting, relaying, stores
    from techport_dashboards.services.lifecycle import receipt
    from techport_pilots.handover.partial_erasure import Part, count_part, erase_part
    from techport_pilots.handover.receipts import signed

    part = Part(
        pilot=pilot,
        device=asked["device"],
        start=_micros(asked["start"]),
        end=_micros(asked["end"]),
        reference=asked["reference"],
    )
    with stores(settings) as parts:
        parts.registry.pilot(pilot)
        files = files_of_pilots(settings)
        try:
            counted = count_part(parts.registry, parts.readings, parts.ledger, part, files)
        except ValueError as error:
            raise CannotRun(str(error)) from error

        def go(_: Console) -> list[dict[str, Any]]:
            with relaying(settings) as relay:
                forget = forgetting(relay, parts.registry)
                made = erase_part(parts.registry, parts.readings, parts.ledger, part, files, forget)
            return [signed(parts.registry.database, receipt(erasure)) for erasure in made]

        number = len(counted.packages) + len(counted.files)
        yield (
            {
                "rows": counted.rows,
                "device_days": counted.device_days,
                "entries": counted.entries,
                "files": number + len(counted.missing),
            },
            go,
        )


def _iso(time: dt.datetime | None) -> str | None:
    return None if time is None else time.replace(tzinfo=dt.UTC).isoformat()


def _micros(time: str | None) -> int | None:
    return None if time is None else int(dt.datetime.fromisoformat(time).timestamp()) * 1_000_000


def _run(settings: Settings, console: Console, due: Sequence[str]) -> None:
    """By the platform that runs in the folder, or by ourselves."""
    from techport.platform import files_of_pilots, forgetting, relaying, stores
    from techport_pilots.handover import retention

    platform = platform_at(settings.data) if settings.embedded else None
    with steps(console) as progress:
        if platform:
            run_job(platform, "/api/v1/retention/run", {}, {"pilots": list(due)}, progress)
            return
        with stores(settings) as parts, relaying(settings) as relay:
            retention.run(
                parts.registry,
                parts.readings,
                parts.ledger,
                files=files_of_pilots(settings),
                progress=progress,
                forget_retained=forgetting(relay, parts.registry),
            )


def _erased(receipt: Erasure) -> str:
    files = len(receipt.packages) + len(receipt.files)
    return f"{receipt.rows} readings, {receipt.entries} messages set aside or watched, {files} files erased"


def _date(time: int) -> str:
    return dt.datetime.fromtimestamp(time / 1e6, dt.UTC).date().isoformat()
