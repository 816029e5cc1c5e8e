"""techport store init | copy | export | import | backup | restore."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from techport import options
from techport.data_dir import FolderInUse, owner
from techport.errors import CannotRun
from techport.progress import progress_bars
from techport.settings import load_settings
from techport_storage.clock import now_datetime

app = typer.Typer(no_args_is_help=True, help="Time-series stores: prepare, move, back up.")

OperatorToken = Annotated[
    Path | None,
    typer.Option("--operator-token-file", help="file with InfluxDB's operator token"),
]


@app.command("init")
def init(
    store: options.Store = None,
    operator_token_file: OperatorToken = None,
    retention_days: Annotated[int, typer.Option(min=0, help="days that readings are kept; 0 is for ever")] = 0,
    read_only: Annotated[bool, typer.Option("--read-only", help="a token that cannot write")] = False,
) -> None:
    """Make the bucket of an InfluxDB store with its retention, and a token with the least rights that work, in the file
    that the store's URL names. Does nothing where both are there.
    """
    from techport_storage.influxdb.connection import Address
    from techport_storage.influxdb.setup import init as prepare

    url = load_settings({"store": store}).store_url
    if not url.startswith("influxdb"):
        raise CannotRun(
            "only an InfluxDB store has to be prepared: --store influxdb://host:8086/org/bucket?token_file=FILE"
        )
    token_file = Address.parse(url).token_file
    if token_file is None:
        raise CannotRun(f"{url} names no token_file= to write the new token to")
    there = token_file.exists()
    prepared = prepare(
        url,
        _token(operator_token_file),
        retention_s=retention_days * 86_400,
        token_file=None if there else token_file,
        read_only=read_only,
    )
    console = Console(highlight=False)
    kept = f"{retention_days} days" if retention_days else "for ever"
    console.print(f"bucket {'made' if prepared.created else 'was there'}; readings are kept {kept}")
    console.print(f"token {'was there' if there else 'written'}: {token_file}")


@app.command("copy")
def copy(
    source: Annotated[str, typer.Argument(help="URL of the store to copy from")],
    target: Annotated[str, typer.Argument(help="URL of the store to copy to")],
    again: Annotated[bool, typer.Option("--again", help="copy also days that have as many rows in both")] = False,
) -> None:
    """Copy all readings to another store and prove that both hold the same. Stopped, it goes on where it was."""
    from techport_storage.copy import copy_readings
    from techport_storage.store import open_store

    with (
        closing(open_store(source)) as source_store,
        closing(open_store(target)) as target_store,
        _bar("streams") as bar,
    ):
        copied = copy_readings(source_store, target_store, again=again, progress=bar)
    Console(highlight=False).print(
        f"{copied.streams} streams: {copied.rows} rows copied, {copied.checked} rows compared, the same to the bit"
    )


@app.command("export")
def export(
    folder: Annotated[Path, typer.Argument(help="folder to write; must not exist yet")],
    data: options.Data = None,
    store: options.Store = None,
) -> None:
    """Write all readings as a folder of Parquet files. An embedded store must not be running."""
    from techport_storage.export import export_readings
    from techport_storage.store import open_store

    settings = load_settings({"data": data, "store": store})
    with closing(open_store(settings.store_url)) as readings, _bar("streams") as bar:
        manifest = export_readings(readings, folder, progress=bar)
    Console(highlight=False).print(
        f"{folder}: {manifest.rows} readings of {manifest.streams} streams in {len(manifest.files)} files",
        soft_wrap=True,
    )


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="a folder that export wrote, of any store")],
    data: options.Data = None,
    store: options.Store = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an import that was stopped")] = False,
) -> None:
    """Read an export into a store that holds no readings yet. An embedded store must not be running."""
    from techport_storage.export import import_readings, read_manifest
    from techport_storage.store import open_store

    settings = load_settings({"data": data, "store": store})
    read_manifest(folder)  # before a store is made for it
    with closing(open_store(settings.store_url)) as readings, _bar("rows") as bar:
        imported = import_readings(folder, readings, resume=resume, progress=bar)
    Console(highlight=False).print(
        f"{imported.written} readings imported, {imported.duplicates} were there already", soft_wrap=True
    )


@app.command("backup")
def backup(
    folder: Annotated[Path, typer.Argument(help="folder to make the backup in; one with the date is added")],
    data: options.Data = None,
    store: options.Store = None,
    operator_token_file: OperatorToken = None,
) -> None:
    """Save the store and, where it is a file, the registry beside it. An embedded store must not be running."""
    settings = load_settings({"data": data, "store": store})
    target = folder / f"techport-{now_datetime():%Y%m%dT%H%M%SZ}"
    if settings.store_url.startswith("influxdb"):
        from techport_storage.influxdb.backup import backup as save

        folder.mkdir(parents=True, exist_ok=True)
        shards = save(settings.store_url, _token(operator_token_file), target)
        Console(highlight=False).print(f"{target}: {shards} shards")
        return
    running = owner(settings.data)
    if running is not None:
        raise FolderInUse(settings.data, running)
    files = [path for path in _embedded_files(settings.data) if path.exists()]
    partly = target.with_name(target.name + ".part")
    partly.mkdir(parents=True)
    for path in files:
        shutil.copy2(path, partly / path.name)
    partly.rename(target)
    Console(highlight=False).print(f"{target}: {', '.join(path.name for path in files)}")


@app.command("restore")
def restore(
    folder: Annotated[Path, typer.Argument(help="a folder that backup made")],
    data: options.Data = None,
    store: options.Store = None,
    operator_token_file: OperatorToken = None,
) -> None:
    """Bring a backup back, into a bucket or a data folder that holds nothing yet."""
    settings = load_settings({"data": data, "store": store})
    if settings.store_url.startswith("influxdb"):
        from techport_storage.influxdb.backup import restore as bring_back

        shards = bring_back(folder, settings.store_url, _token(operator_token_file))
        Console(highlight=False).print(f"{shards} shards restored")
        return
    settings.data.mkdir(parents=True, exist_ok=True)
    if there := [path.name for path in _embedded_files(settings.data) if path.exists()]:
        raise CannotRun(f"{settings.data} already holds {', '.join(there)}: restore into an empty --data folder")
    for path in folder.iterdir():
        shutil.copy2(path, settings.data / path.name)
    Console(highlight=False).print(f"restored into {settings.data}")


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar, and the function that moves it: (done, of all)."""
    with progress_bars() as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, of: bars.update(task, completed=done, total=of)


def _embedded_files(data: Path) -> list[Path]:
    """Everything of an embedded platform; a write-ahead log, where one is left, belongs to its database."""
    names = ("readings.duckdb", "readings.duckdb.wal", "registry.sqlite", "registry.sqlite-wal")
    return [data / name for name in names]


def _token(file: Path | None) -> str:
    if file is None:
        raise CannotRun("this needs InfluxDB's operator token: give --operator-token-file FILE")
    try:
        return file.read_text().strip()
    except OSError as error:
        raise CannotRun(f"cannot read the token file {file}: {error.strerror}") from error
