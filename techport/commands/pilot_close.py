"""techport pilot close | open: the end of a pilot, its package, and the package somewhere else.

Where a platform runs in the data folder it does the work, since it alone may have an embedded store open.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from techport import options
from techport.commands.pilot_life import Who, Why, user_name, with_note
from techport.data_dir import Platform, platform_at
from techport.errors import CannotRun
from techport.progress import steps
from techport.running_platform import get, run_job
from techport.settings import Settings, load_settings

Yes = Annotated[bool, typer.Option("--yes", help="do it without asking")]


@options.needs("close")
def close(
    pilot: str,
    yes: Yes = False,
    output: Annotated[
        Path | None, typer.Option("--output", help="folder of the package (default: DATA/packages)")
    ] = None,
    why: Why = "",
    who: Who = None,
    lang: Annotated[str, typer.Option("--lang", help="of the checklist: nb or en")] = "en",
    data: options.Data = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Close a pilot for good: a checklist, then frozen data, the report and one package to hand over.

    For a closed pilot, make its package again. Works while the platform runs.
    """
    settings = load_settings({"data": data, "store": store, "registry": registry})
    console = Console(highlight=False)
    platform = platform_at(settings.data) if settings.embedded else None
    with _there(platform, pilot) if platform else _here(settings, pilot, output) as (items, go):
        for item in items:
            mark = "·" if item["about"] == "happens" else "[green]✓[/green]" if item["good"] else "[yellow]![/yellow]"
            console.print(f"  {mark} {item['text'].get(lang) or item['text']['en']}")
        if any(item["blocks"] for item in items):
            raise CannotRun(f"{pilot} cannot be closed yet: see the list above")
        if not yes and not typer.confirm(f"Close {pilot} for good? Its data is frozen, late messages are refused"):
            raise typer.Exit(1)
        made = go(console, user_name(), with_note(why, who))
    path = (settings.data / "packages" if platform or output is None else output).resolve() / made["file"]
    if platform and output is not None:
        output.mkdir(parents=True, exist_ok=True)
        path = Path(shutil.copy(path, output)).resolve()
    console.print(f"{path}\n  {made['rows']} readings, SHA-256 {made['sha256']}", soft_wrap=True)
    if made["erase_at"] is not None:
        console.print(f"  the data here will be erased on {made['erase_at'][:10]}: `techport retention run`")


@options.needs("admin")
def open_(
    package: Annotated[Path, typer.Argument(help="a package of `techport pilot close`, zip or unpacked")],
    who: Who = None,
    data: options.Data = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Restore the pilot of a package here, and work its KPIs out again. Exit code 1 when one comes out otherwise.

    Works while the platform runs.
    """
    if not package.exists():
        raise CannotRun(f"there is no {package}")
    settings = load_settings({"data": data, "store": store, "registry": registry})
    console = Console(highlight=False)
    from techport_pilots.handover.signature import origin_in_words

    platform = platform_at(settings.data) if settings.embedded else None
    with steps(console) as progress:
        if platform:
            query = {"name": package.name, "who": user_name()}
            with _zipped(package, settings.data) as file, file.open("rb") as sent:
                opened = run_job(platform, "/api/v1/packages", query, sent, progress)
        else:
            from techport.platform import stores
            from techport_pilots.handover.open import open_package

            with stores(settings) as parts:
                ledger, scratch = parts.ledger, settings.data
                result = open_package(package, parts.registry, parts.readings, ledger, user_name(), progress, scratch)
            opened = msgspec.to_builtins(result)
    console.print(f"{opened['pilot']}: {opened['rows']} readings; every file is as its SHA-256 says")
    console.print(
        f"  the package is {origin_in_words(opened['origin'])}; {opened['written']} readings were not here before"
    )
    if opened["left_out"]:
        console.print(f"  {opened['left_out']} readings of other pilots were left out: this platform has those pilots")
    for evaluation in opened["evaluations"]:
        same = "the same here"
        if evaluation["kpi"] in opened["differing"]:
            recalculated = evaluation["recalculated"] or {}
            came_out = recalculated.get("verdict", "nothing")
            effect = "" if recalculated.get("effect") is None else f" (change {recalculated['effect']:.4g})"
            same = f"[red]differs: calculated here, {came_out}{effect}[/red]"
        console.print(f"  {evaluation['kpi']}: {evaluation['verdict']} in the package, {same}", soft_wrap=True)
    if opened["differing"]:
        console.print(
            "  Pages, report and API show both. Checksums inside a package prove nothing against somebody who rewrites "
            "them: compare its own with the one that `techport pilot close` printed.",
            soft_wrap=True,
        )
    console.print(f"  SHA-256 {_sum_of(package)}", soft_wrap=True)
    raise typer.Exit(1 if opened["differing"] else 0)


Go = Callable[[Console, str, str], dict[str, Any]]


def _sum_of(package: Path) -> str:
    """The SHA-256 of a package that is one file."""
    if package.is_dir():
        return "(this one was unpacked)"
    with package.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _there(platform: Platform, pilot: str) -> Iterator[tuple[list[dict[str, Any]], Go]]:
    """The checklist, and what closes: by the platform that runs."""

    def go(console: Console, who: str, why: str) -> dict[str, Any]:
        with steps(console) as progress:
            body = {"confirm": pilot, "who": who, "why": why}
            return run_job(platform, f"/api/v1/pilots/{pilot}/close", {}, body, progress)

    yield msgspec.json.decode(get(platform, f"/api/v1/pilots/{pilot}/checklist", {})), go


@contextmanager
def _here(settings: Settings, pilot: str, output: Path | None) -> Iterator[tuple[list[dict[str, Any]], Go]]:
    """The checklist, and what closes: by ourselves."""
    from techport.platform import stores
    from techport_dashboards.query.times import iso
    from techport_dashboards.services.basemap import load_basemap
    from techport_pilots.handover.checklist import checklist
    from techport_pilots.handover.closeout import Closure, close_pilot
    from techport_storage.clock import now

    with stores(settings) as parts:
        definition = parts.registry.pilot(pilot)

        def go(console: Console, who: str, why: str) -> dict[str, Any]:
            with steps(console) as progress:
                made = close_pilot(
                    parts.registry,
                    parts.readings,
                    parts.ledger,
                    definition,
                    output or settings.data / "packages",
                    Closure(who, why, photos=settings.photos_folder),
                    ground=load_basemap(settings.basemap),
                    progress=progress,
                )
            erase_at = None if made.erase_at is None else iso(made.erase_at)
            return {**msgspec.to_builtins(made), "file": Path(made.path).name, "erase_at": erase_at}

        yield [item.as_data() for item in checklist(parts.registry, parts.readings, definition, now())], go


@contextmanager
def _zipped(package: Path, scratch: Path) -> Iterator[Path]:
    """The package as one file, as it is sent; a folder becomes one within `scratch`."""
    if package.is_file():
        yield package
        return
    with tempfile.TemporaryDirectory(dir=scratch, prefix="opening-") as folder:
        yield Path(shutil.make_archive(str(Path(folder) / package.name), "zip", package))
