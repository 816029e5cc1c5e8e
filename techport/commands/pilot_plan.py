"""techport pilot plan | recommend: what a pilot can find, before it starts; what its team recommends, after it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from techport import options
from techport.commands.pilot_life import English, Who, user_name
from techport.commands.pilots import Language, open_registry
from techport.data_dir import platform_at
from techport.running_platform import get
from techport.settings import Settings, load_settings
from techport.terminal import add_row


@options.needs("see")
def plan(
    pilot: str,
    lang: Language = "en",
    data: options.Data = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Which effect each KPI can find, in how many weeks and with how many devices; judged by its baseline so far."""
    settings = load_settings({"data": data, "store": store, "registry": registry})
    console = Console(highlight=False)
    for estimate in _powers(settings, pilot):
        level = (
            ""
            if estimate["level"] is None
            else f", {estimate['level']:.4g} {estimate['unit']} over {estimate['days']} days"
        )
        console.print(f"[bold]{estimate['kpi']}[/bold]{level}")
        if estimate["points"]:
            counts = sorted({point["devices"] for point in estimate["points"]})
            table = Table("weeks", *(f"{count} device{'s' if count > 1 else ''}" for count in counts))
            for weeks in sorted({point["weeks"] for point in estimate["points"]}):
                row = [point for point in estimate["points"] if point["weeks"] == weeks]
                add_row(table, str(weeks), *(_size(point) for point in row))
            console.print(table)
            console.print("  the smallest difference that 4 of 5 such pilots find")
        if note := estimate["note"].get(lang) or estimate["note"]["en"]:
            console.print(f"  [yellow]{note}[/yellow]", soft_wrap=True)


def _size(point: dict[str, Any]) -> str:
    percent = "" if point["percent"] is None else f" ({point['percent']:.3g} %)"
    return f"{point['detectable']:.3g}{percent}"


def _powers(settings: Settings, pilot: str) -> list[dict[str, Any]]:
    """From the platform that runs in the folder, or by ourselves."""
    platform = platform_at(settings.data) if settings.embedded else None
    if platform:
        kpis = json.loads(get(platform, f"/api/v1/pilots/{pilot}/kpis", {}))["items"]
        return [json.loads(get(platform, f"/api/v1/pilots/{pilot}/kpis/{kpi['id']}/power", {})) for kpi in kpis]
    import msgspec

    from techport.platform import stores
    from techport_pilots.evaluation.power import power, power_note
    from techport_pilots.i18n import Language as Reader
    from techport_storage.clock import now

    estimates = []
    with stores(settings) as parts:
        definition = parts.registry.pilot(pilot)
        for kpi in definition.kpis:
            answer = power(parts.readings, definition, kpi, now())
            note = answer.obstacle or power_note(kpi, answer)
            texts = {code: "" if note is None else Reader(code).message(note) for code in ("nb", "en")}
            estimates.append({**msgspec.to_builtins(answer), "note": texts})
    return estimates


@options.needs("edit")
def recommend(
    pilot: str,
    text: Annotated[str, typer.Argument(help="what the team recommends, in its own words")],
    en: English = None,
    who: Who = None,
    data: options.Data = None,
    registry: options.RegistryUrl = None,
) -> None:
    """Write down what the pilot's team recommends, with author and date. The report shows the last one."""
    from techport_pilots.model import Text
    from techport_pilots.registry.recommendations import recommend as write

    with open_registry(data, registry) as opened:
        opened.pilot(pilot)
        write(opened.database, pilot, Text(nb=text, en=en or text), f"{who} ({user_name()})" if who else user_name())
    Console(highlight=False).print(f"{pilot}: the report says so from now on", soft_wrap=True)
