"""techport store init | copy | export | import | backup | restore."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from techport import options
from techport.data_dir import FolderInUse, owner
from techport.errors import CannotRun
from techport.progress import progress_bars
from techport.settings import Settings, load_settings
from techport_storage.clock import now_datetime

if TYPE_CHECKING:
    from techport_storage.store import ReadingStore

app = typer.Typer(no_args_is_help=True, help="Time-series stores: prepare, move, back up.")

OperatorToken = Annotated[
    Path | None,
    typer.Option("--operator-token-file", help="file with InfluxDB's operator token"),
]


@app.command("init")
@options.needs("admin", logs=None)
def init(
    store: options.Store = None,
    operator_token_file: OperatorToken = None,
    retention_days: Annotated[int, typer.Option(min=0, help="days that readings are kept; 0 is for ever")] = 0,
    read_only: Annotated[bool, typer.Option("--read-only", help="a token that cannot write")] = False,
) -> None:
    """Make the bucket of an InfluxDB store with its retention, and a token with the least rights that work, in the file
    that the store's URL names; or give a new IoTDB cluster the password that its URL names. Again does nothing.
    """
    from techport_storage.administration import prepare, set_first_password

    url = load_settings({"store": store}).store_url
    if url.startswith("iotdb:"):
        changed = set_first_password(url)
        Console(highlight=False).print("the password was set" if changed else "the password was set before")
        return
    prepared = prepare(
        url,
        _token(operator_token_file),
        retention_s=retention_days * 86_400,
        read_only=read_only,
    )
    console = Console(highlight=False)
    retention = f"{retention_days} days" if retention_days else "for ever"
    console.print(f"bucket {'made' if prepared.bucket_created else 'was there'}; readings are kept {retention}")
    console.print(f"token {'written' if prepared.token_created else 'was there'}: {prepared.token_file}")


@app.command("copy")
@options.needs("admin", logs="exported")
def copy(
    source: Annotated[str, typer.Argument(help="URL of the store to copy from", callback=options.without_password)],
    target: Annotated[str, typer.Argument(help="URL of the store to copy to", callback=options.without_password)],
    again: Annotated[bool, typer.Option("--again", help="copy also days that have as many rows in both")] = False,
) -> None:
    """Copy all readings to another store and prove that both hold the same. Stopped, it goes on where it was."""
    from techport_storage import administration

    with _bar("streams") as bar:
        copied = administration.copy(source, target, again=again, progress=bar)
    Console(highlight=False).print(
        f"{copied.streams} streams: {copied.rows} rows copied, {copied.checked} rows compared, the same to the bit"
    )


@app.command("export")
@options.needs("admin", logs="exported")
def export(
    folder: Annotated[Path, typer.Argument(help="folder to write; must not exist yet")],
    data: options.Data = None,
    store: options.Store = None,
) -> None:
    """Write all readings as a folder of Parquet files. An embedded store must not be running."""
    from techport_storage.export import export_readings

    settings = load_settings({"data": data, "store": store})
    with _bar("streams") as bar, _readings(settings) as readings:
        manifest = export_readings(readings, folder, progress=bar)
    Console(highlight=False).print(
        f"{folder}: {manifest.rows} readings of {manifest.streams} streams in {len(manifest.files)} files",
        soft_wrap=True,
    )


@app.command("import")
@options.needs("admin")
def import_(
    folder: Annotated[Path, typer.Argument(help="a folder that export wrote, of any store")],
    data: options.Data = None,
    store: options.Store = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an import that was stopped")] = False,
) -> None:
    """Read an export into a store that holds no readings yet. An embedded store must not be running."""
    from techport_storage.export import import_readings, read_manifest

    settings = load_settings({"data": data, "store": store})
    read_manifest(folder)  # no store is made for a folder that is no export
    with _bar("rows") as bar, _readings(settings) as readings:
        imported = import_readings(folder, readings, resume=resume, progress=bar)
    Console(highlight=False).print(
        f"{imported.written} readings imported, {imported.duplicates} were there already", soft_wrap=True
    )


@app.command("backup")
@options.needs("admin", logs="exported")
def backup(
    folder: Annotated[Path, typer.Argument(help="folder to make the backup in; one with the date is added")],
    data: options.Data = None,
    store: options.Store = None,
    operator_token_file: OperatorToken = None,
) -> None:
    """Save the store and, where it is a file, the registry beside it, with the photos, packages, snapshots and receipts
    of the data folder. An embedded store must not be running."""
    from techport_storage import administration

    settings = load_settings({"data": data, "store": store})
    target = folder / f"techport-{now_datetime():%Y%m%dT%H%M%SZ}"
    folder.mkdir(parents=True, exist_ok=True)
    if not settings.embedded:
        shards = administration.backup(settings.store_url, target, operator_token=_token(operator_token_file))
        _copy_files(settings.data, target)
        Console(highlight=False).print(f"{target}: {shards} shards")
        return
    running = owner(settings.data)
    if running is not None:
        raise FolderInUse(settings.data, running)
    partly = target.with_name(f"{target.name}.part")
    administration.backup(settings.store_url, partly)
    for path in _registry_files(settings.data):
        if path.exists():
            shutil.copy2(path, partly / path.name)
    _copy_files(settings.data, partly)
    partly.rename(target)
    Console(highlight=False).print(f"{target}: {', '.join(sorted(path.name for path in target.iterdir()))}")


@app.command("restore")
@options.needs("admin")
def restore(
    folder: Annotated[Path, typer.Argument(help="a folder that backup made")],
    data: options.Data = None,
    store: options.Store = None,
    operator_token_file: OperatorToken = None,
) -> None:
    """Bring a backup back, into a bucket or a data folder that holds nothing yet."""
    from techport_storage import administration

    settings = load_settings({"data": data, "store": store})
    if not settings.embedded:
        shards = administration.restore(folder, settings.store_url, operator_token=_token(operator_token_file))
        _copy_files(folder, settings.data)
        Console(highlight=False).print(f"{shards} shards restored")
        return
    if existing := [path.name for path in _registry_files(settings.data) if path.exists()]:
        raise CannotRun(f"{settings.data} already holds {', '.join(existing)}: restore into an empty --data folder")
    administration.restore(folder, settings.store_url)
    for path in _registry_files(settings.data):
        if (folder / path.name).exists():
            shutil.copy2(folder / path.name, path)
    _copy_files(folder, settings.data)
    Console(highlight=False).print(f"restored into {settings.data}")


@contextmanager
def _readings(settings: Settings) -> Iterator[ReadingStore]:
    """The store; with the archive behind it where there is one, whose closed days the registry keeps apart."""
    if settings.archive is None:
        from techport_storage.store import open_store

        with closing(open_store(settings.store_url)) as readings:
            yield readings
        return
    from techport.archiving import open_readings
    from techport_pilots.registry.registry import Registry

    with (
        closing(Registry.open(settings.registry_url, settings.registry_seconds)) as registry,
        closing(open_readings(settings, registry.database)) as readings,
    ):
        yield readings


@contextmanager
def _bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar, and the function that moves it: (done, of all)."""
    with progress_bars() as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, of: bars.update(task, completed=done, total=of)


_FOLDERS = ("photos", "packages", "snapshots", "receipts")
"""Of a data folder: files that the registry names and that nothing makes anew."""


def _copy_files(source: Path, target: Path) -> None:
    """What is in the folders; a file that is there already stays."""
    for name in _FOLDERS:
        for path in sorted((source / name).rglob("*")):
            copy = target / path.relative_to(source)
            if path.is_file() and not path.is_symlink() and not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy)


def _registry_files(data: Path) -> list[Path]:
    """The registry that stands beside an embedded store; a write-ahead log, where one is left, belongs to it."""
    return [data / name for name in ("registry.sqlite", "registry.sqlite-wal")]


def _token(file: Path | None) -> str:
    if file is None:
        raise CannotRun("this needs InfluxDB's operator token: give --operator-token-file FILE")
    try:
        return file.read_text().strip()
    except OSError as error:
        raise CannotRun(f"cannot read the token file {file}: {error.strerror}") from error
