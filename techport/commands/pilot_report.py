"""techport pilot report: one file to read, print and send."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from techport import options
from techport.data_dir import Platform, owner
from techport.errors import CannotRun
from techport.pdf import find_browser, write_pdf
from techport.running_platform import get
from techport.settings import Settings, load_settings


@options.needs("see")
def report(
    pilot: str,
    lang: Annotated[str, typer.Option("--lang", help="nb or en")] = "nb",
    output: Annotated[
        Path | None, typer.Option("--output", help="file to write (default: PILOT-LANG.html, or .pdf)")
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="as tagged PDF, printed by a Chromium of this machine")] = False,
    data: options.Data = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Write the report of a pilot as one HTML file that prints to A4, or as PDF."""
    if lang not in ("nb", "en"):
        raise CannotRun(f"there is no report in {lang!r}: use --lang nb or --lang en")
    browser = find_browser() if pdf else None
    settings = load_settings({"data": data, "store": store, "registry": registry})
    running = owner(settings.data)
    if running is not None and running.http is not None:
        platform = Platform.of(settings.data, running.http, running.certificate)
        text = get(platform, f"/pilots/{pilot}/report", {"lang": lang, "fresh": "true", "file": "true"})
    else:
        text = _make(settings, pilot, lang).encode()
    file = output or Path(f"{pilot}-{lang}.{'pdf' if pdf else 'html'}")
    if browser is not None:
        write_pdf(text, file, browser=browser)
    else:
        file.write_bytes(text)
    Console(highlight=False).print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


def _make(settings: Settings, pilot: str, lang: str) -> str:
    """By ourselves, where no platform runs in the folder."""
    from techport.platform import stores
    from techport_dashboards.services.basemap import load_basemap
    from techport_pilots.reports.build import current_report
    from techport_pilots.reports.html import page
    from techport_storage.clock import now

    with stores(settings) as parts:
        report = current_report(parts.registry, parts.readings, parts.registry.pilot(pilot), now())
    return page(report, lang, load_basemap(settings.basemap))
