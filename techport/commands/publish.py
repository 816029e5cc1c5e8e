"""techport simulate | replay: devices that are not there, and data that was recorded."""

from __future__ import annotations

import datetime as dt
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from techport import logs, options
from techport.errors import CannotRun
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
    demo_trouble: Annotated[
        bool, typer.Option("--demo-faults", hidden=True, help="what is wrong in the demo: a silent device, a battery")
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
    from techport_simulators.demo import demo_definitions, demo_faults, with_unknown_box
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

        pilots = [read_definition(file) for file in pilot or demo_definitions()]
        plan = demo_faults(pilots) if demo_trouble else everyday_faults if faults else no_faults
        done = run_city(
            with_unknown_box(pilots) if demo_trouble else pilots,
            _broker(settings),
            CitySettings(
                seed=seed,
                interval=dt.timedelta(seconds=every) if every else None,
                backfill=dt.timedelta(hours=history),
                seldom_backfill=dt.timedelta(days=seldom_history),
                faults=plan,
                truth_path=truth,
            ),
            stop_event=stop,
            progress=report,
        )
    log.info("simulation ended", devices=done.devices, live=done.live, history=done.history)


@options.needs("nothing")
def replay(
    files: Annotated[
        list[str], typer.Argument(help='CSV files, patterns such as "data/*.csv", or - for standard input')
    ],
    mapping: Annotated[
        Path | None,
        typer.Option("--mapping", help="which column is which device's quantity, and what its times mean"),
    ] = None,
    pilot: Annotated[str, typer.Option(help="without a mapping: the pilot that the files are for")] = "",
    device: Annotated[str, typer.Option(help="without a mapping: the device, where no column names it")] = "",
    mqtt: options.Mqtt = None,
    speed: Annotated[
        str, typer.Option(help="1 is real speed, 3600 an hour a second, max as fast as the broker takes it")
    ] = "max",
    resume: Annotated[
        Path | None, typer.Option("--resume", help="file that notes how far it came: what is in it is left out")
    ] = None,
) -> None:
    """Publish CSV files as devices, through MQTT."""
    from techport_simulators.mapping import load_mapping
    from techport_simulators.replay import Memory, Pace, Replayed, publish_file
    from techport_simulators.replay import replay as publish

    if (mapping is None) == (not pilot):
        raise CannotRun("replay needs either --mapping FILE.toml, or --pilot PILOT and --device DEVICE")
    if pilot and not device:
        raise CannotRun("give --device: the device that the lines are of, where no column of the file names it")
    settings = load_settings({"mqtt": mqtt})
    logs.configure(settings.log_format, settings.log_level)
    pace = Pace(speed=None if speed == "max" else _positive(speed))
    plan = None if mapping is None else load_mapping(mapping)
    memory = None if resume is None else Memory(resume)
    with tempfile.TemporaryDirectory() as folder, progress_bars() as bars:
        for file in _files(files, Path(folder)):
            bar = bars.add_task(file.name, total=None)

            def report(done: int, total: int, bar: object = bar) -> None:
                bars.update(bar, completed=done, total=total)  # type: ignore[arg-type]

            result: Replayed
            if plan is None:
                result = publish_file(file, pilot, device, _broker(settings), memory=memory)
                counted = f"{result.rows} rows"
            else:
                result = publish(file, plan, _broker(settings), pace, progress=report, memory=memory)
                counted = f"{result.rows} rows, {result.values} values"
            bars.console.print(
                f"{file.name}: {counted} in {result.messages} messages, all acknowledged", highlight=False
            )


def _files(names: list[str], folder: Path) -> list[Path]:
    """The files that are named, in order; standard input as a file in the folder. Raises CannotRun."""
    files: list[Path] = []
    for name in names:
        if name == "-":
            files.append(folder / "standard-input.csv")
            files[-1].write_bytes(sys.stdin.buffer.read())
        elif not Path(name).exists() and any(sign in name for sign in "*?["):
            pattern = Path(name)
            matches = sorted(Path(pattern.anchor or ".").glob(str(pattern.relative_to(pattern.anchor))))
            if not matches:
                raise CannotRun(f"{name}: no file matches")
            files += matches
        else:
            files.append(Path(name))
    return files


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
