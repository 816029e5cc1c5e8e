"""techport archive run | status."""

from __future__ import annotations

import datetime as dt

import typer
from rich.console import Console

from techport import options
from techport.data_dir import FolderInUse, owner
from techport.errors import CannotRun
from techport.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True, help="The archive of closed days.")


@app.command("run")
@options.needs("admin", logs=None)
def run(data: options.Data = None, store: options.Store = None, registry: options.RegistryUrl = None) -> None:
    """Take the days that are closed into the archive now, and merge what came late. An embedded store must not be
    running; readings that the archive alone will hold leave the store an hour after, by a process that stays.
    """
    settings = _settings(data=data, store=store, registry=registry)
    running = owner(settings.data) if settings.embedded else None
    if running is not None:
        raise FolderInUse(settings.data, running)
    from techport import platform
    from techport.archiving import archiver

    with platform.stores(settings) as parts:
        rounds = archiver(settings, parts.readings)
        assert rounds is not None
        done = rounds.round()
    Console(highlight=False).print(
        f"{done.archived} readings archived, {done.late_days} days merged, {done.moved} readings taken out of the "
        f"store, {done.joined} months made one file",
        soft_wrap=True,
    )


@app.command("status")
@options.needs("admin", logs=None)
def status(data: options.Data = None) -> None:
    """How far the archive has come, and how large it is. Works while the platform runs."""
    settings = _settings(data=data)
    from techport_storage.archive.table import ArchiveTable

    assert settings.archive is not None
    table = ArchiveTable.open(settings.archive)
    snapshot = table.snapshot()
    console = Console(highlight=False)
    console.print(f"days before {_day(snapshot.archived)} are in the archive", soft_wrap=True)
    console.print(f"days before {_day(snapshot.moved)} are there alone", soft_wrap=True)
    size, count = sum(file.size for file in snapshot.files), sum(file.rows for file in snapshot.files)
    console.print(f"{count} readings in {len(snapshot.files)} files, {size / 1e6:.1f} MB", soft_wrap=True)
    console.print(f"{len(table.late())} days wait to be merged", soft_wrap=True)


def _settings(**flags: object) -> Settings:
    settings = load_settings(flags)
    if settings.archive is None:
        raise CannotRun("there is no archive: set `archive` (TECHPORT_ARCHIVE) to a folder or s3://bucket/folder")
    return settings


def _day(at: int | None) -> str:
    return "(none yet)" if at is None else f"{dt.datetime.fromtimestamp(at / 1e6, dt.UTC):%Y-%m-%d}"
