"""techport trace: where is my message?"""

from __future__ import annotations

import datetime as dt
import urllib.parse
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console

from techport import options
from techport.data_dir import Platform, owner
from techport.running_platform import get
from techport.settings import Settings, load_settings
from techport.terminal import print_text
from techport_pilots.i18n.message import visible

if TYPE_CHECKING:
    from techport_dashboards.api.accounting import Traced


@options.needs("see-raw")
def trace(
    pilot: Annotated[str, typer.Argument(help="id of the pilot")],
    device: Annotated[str, typer.Argument(help="id of the device")],
    time: Annotated[
        str, typer.Argument(help="when it was sent: 2026-05-04T14:03, local time unless it says otherwise")
    ],
    data: options.Data = None,
    store: options.Store = None,
    registry: options.RegistryUrl = None,
    minutes: Annotated[float, typer.Option(help="how far around that time to look")] = 5.0,
) -> None:
    """Show the outcome of a device's message: stored, rejected (why, and what to do), ignored, or never received.

    Exit code 1 when nothing is found. Works while the platform runs.
    """
    settings = load_settings({"data": data, "store": store, "registry": registry})
    traced = _trace(settings, pilot, device, _instant(time), minutes)
    console = Console(highlight=False)
    for line in describe(traced):
        print_text(console, line)
    raise typer.Exit(0 if traced.found else 1)


def describe(traced: Traced) -> list[str]:
    """The answer in sentences."""
    lines = [f"{traced.pilot}/{traced.device}, {_short(traced.start)} to {_short(traced.end)}"]
    if not traced.known:
        lines.append("this device is not in the pilot's definition")
    for value in traced.stored:
        late = (dt.datetime.fromisoformat(value.received) - dt.datetime.fromisoformat(value.time)).total_seconds()
        lines.append(
            f"stored: {visible(value.quantity)} = {value.value:.12g} of {_short(value.time)}, "
            f"received {_short(value.received)} ({late:.1f} s later)" + (", flagged" if value.quality else "")
        )
    for correction in traced.corrections:
        lines.append(
            f"corrected: {visible(correction.quantity)} of {_short(correction.time)} was {correction.before:.12g}, "
            f"is {correction.value:.12g} since {_short(correction.received)}"
        )
    for entry in traced.quarantined:
        lines.append(
            f"quarantined {_short(entry.received)}, entry {entry.id}, {entry.reason}: {entry.detail} {entry.hint}"
        )
    for arrival in traced.arrivals:
        if arrival.visible is not None:
            by = " or ".join(arrival.workers)
            lines.append(f"received {_short(arrival.received)} by {by}, visible since {_short(arrival.visible)}")
    lines += [visible(f"event {_short(event.time)}: {event.kind} {event.text}".rstrip()) for event in traced.events]
    if not traced.found:
        last = "nothing from this device is stored"
        if traced.last_before is not None:
            last = f"the last stored reading was received {_short(traced.last_before)}"
        lines.append(f"nothing was received or observed then; {last}")
    if traced.cut:
        lines.append("there is more: ask for fewer --minutes")
    day = traced.day
    lines.append(
        f"that day (UTC): {day.received} values received = {day.stored} stored + {day.duplicates} duplicates + "
        f"{day.corrections} corrections + {day.quarantined} quarantined + {day.ignored} ignored"
    )
    lines += [f"  ignored by rule {rule}: {parts}" for rule, parts in sorted(traced.ignored.items())]
    return lines


def _trace(settings: Settings, pilot: str, device: str, time: dt.datetime, minutes: float) -> Traced:
    """From the platform that runs in the data folder, since it alone may open an embedded store; else by ourselves."""
    from techport_dashboards.api.accounting import Traced
    from techport_pilots.accounting.trace import trace as look

    running = owner(settings.data)
    if running is None or running.http is None:
        from techport.platform import stores

        with stores(settings) as parts:
            at = (time - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
            return Traced.of(look(parts.registry, parts.ledger, parts.readings, pilot, device, at, int(minutes * 60e6)))
    path = f"/api/v1/pilots/{urllib.parse.quote(pilot, safe='')}/devices/{urllib.parse.quote(device, safe='')}/trace"
    query = {"time": time.isoformat(), "minutes": str(minutes)}
    answer = get(Platform.of(settings.data, running.http, running.certificate), path, query, timeout=60)
    return Traced.model_validate_json(answer)


def _instant(text: str) -> dt.datetime:
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter("write it such as 2026-05-04T14:03", param_hint="TIME") from error
    return time if time.tzinfo else time.replace(tzinfo=ZoneInfo("Europe/Oslo"))


def _short(time: str) -> str:
    """A time of the API, to the millisecond."""
    return f"{time[:23]}Z"
