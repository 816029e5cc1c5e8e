"""techport simulate | replay: devices that are not there, and data that was recorded."""

from __future__ import annotations

import datetime as dt
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer
from rich.console import Console

from techport import logs, options
from techport.progress import progress_bars
from techport.settings import Settings, load_settings

if TYPE_CHECKING:
    from techport_simulators.gateway import Broker

log = structlog.get_logger(__name__)


@options.needs("nothing")
def simulate(
    mqtt: options.Mqtt = None,
    pilot: Annotated[list[Path] | None, typer.Option("--pilot", help="definition of the devices to simulate")] = None,
    seed: Annotated[int, typer.Option(help="the same seed gives the same readings")] = 1,
    history: Annotated[float, typer.Option(help="hours of history to publish beside the live readings")] = 0.0,
    seldom_history: Annotated[
        float, typer.Option(help="days of history of the devices that read every five minutes or less often")
    ] = 0.0,
    every: Annotated[
        float | None, typer.Option(help="seconds between readings, instead of the definitions' own")
    ] = None,
    faults: Annotated[
        bool, typer.Option("--faults", help="now and then something goes wrong at every third device")
    ] = False,
    truth: Annotated[Path | None, typer.Option(help="file to log what was true and what was sent (NDJSON)")] = None,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", hidden=True, help="stop when standard input ends")
    ] = False,
) -> None:
    """Simulate the devices of pilots (the demo district unless told) at a broker until Ctrl-C."""
    from techport_pilots.definition.load import read_definition
    from techport_simulators.city import CitySettings, run_city
    from techport_simulators.city import Progress as CityProgress
    from techport_simulators.demo import demo_definitions
    from techport_simulators.faults import everyday_faults, no_faults

    settings = load_settings({"mqtt": mqtt})
    logs.configure(settings.log_format, settings.log_level)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if with_parent:
        threading.Thread(target=_wait_for_end_of_input, args=(stop,), daemon=True).start()
    with progress_bars() as bars:
        bar = bars.add_task("history", total=1.0) if history or seldom_history else None

        def report(state: CityProgress) -> None:
            if bar is not None:
                bars.update(bar, completed=state.history_done)

        done = run_city(
            [read_definition(file) for file in pilot or demo_definitions()],
            _broker(settings),
            CitySettings(
                seed=seed,
                interval=dt.timedelta(seconds=every) if every else None,
                backfill=dt.timedelta(hours=history),
                seldom_backfill=dt.timedelta(days=seldom_history),
                faults=everyday_faults if faults else no_faults,
                truth_path=truth,
            ),
            stop_event=stop,
            progress=report,
        )
    log.info("simulation ended", devices=done.devices, live=done.live, history=done.history)


@options.needs("nothing")
def replay(
    file: Annotated[Path, typer.Argument(help="CSV file")],
    mapping: Annotated[
        Path, typer.Option("--mapping", help="which column is which device's quantity, and what its times mean")
    ],
    mqtt: options.Mqtt = None,
    speed: Annotated[
        str, typer.Option(help="1 is real speed, 3600 an hour a second, max as fast as the broker takes it")
    ] = "max",
) -> None:
    """Publish a CSV file as devices, through MQTT."""
    from techport_simulators.replay import Pace
    from techport_simulators.replay import replay as publish

    settings = load_settings({"mqtt": mqtt})
    logs.configure(settings.log_format, settings.log_level)
    factor = None if speed == "max" else _positive(speed)
    with progress_bars() as bars:
        bar = bars.add_task(file.name, total=None)
        result = publish(
            file,
            mapping,
            _broker(settings),
            Pace(speed=factor),
            progress=lambda done, total: bars.update(bar, completed=done, total=total),
        )
    Console(highlight=False).print(
        f"{file.name}: {result.rows} rows, {result.values} values in {result.messages} messages, all acknowledged"
    )


def _broker(settings: Settings) -> Broker:
    from techport_simulators.gateway import Broker

    address = settings.mqtt_address
    authority = str(settings.mqtt_ca) if settings.mqtt_ca else None
    return Broker(address.host, address.port, settings.mqtt_username, settings.password(), authority)


def _wait_for_end_of_input(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


def _positive(speed: str) -> float:
    try:
        factor = float(speed)
    except ValueError:
        factor = 0.0
    if not factor > 0:
        raise typer.BadParameter(f"{speed!r}: write a number above 0, or max", param_hint="--speed")
    return factor
