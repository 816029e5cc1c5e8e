"""techport device add | rotate | revoke | watch | unknown | claim | forget."""

from __future__ import annotations

import datetime as dt
import getpass
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from techport import options
from techport.commands.decode import known_format
from techport.commands.pilots import open_registry
from techport.data_dir import owner
from techport.errors import CannotRun
from techport.settings import load_settings
from techport.terminal import print_text
from techport_pilots.formats import DEFAULT
from techport_pilots.i18n.message import visible

if TYPE_CHECKING:
    from techport_pilots.accounting.message_tap import TappedMessage

app = typer.Typer(no_args_is_help=True, help="Devices of pilots. Works while the platform runs.")

_FILE = "The file that you imported does not say so: techport pilot show {} --yaml writes the one to go on with"

Pilot = Annotated[str, typer.Argument(help="id of the pilot")]


@app.command("add")
@options.needs("devices")
def add(
    pilot: Pilot,
    device: Annotated[str, typer.Argument(help="id of the device; a new one is added to the definition")],
    data: options.Data = None,
    registry: options.RegistryUrl = None,
    mqtt: options.Mqtt = None,
    title: Annotated[str | None, typer.Option("--title", help="what people call it")] = None,
    format_name: options.MessageFormat = None,
    quantity: Annotated[list[str] | None, typer.Option("--quantity", help="what it measures; may be repeated")] = None,
    interval: Annotated[str | None, typer.Option("--interval", help="how often it sends, such as PT5M")] = None,
    snippet: Annotated[str, typer.Option("--for", help="mosq, python, arduino, micropython, all")] = "mosq",
) -> None:
    """Give a device a credential of its own, which the broker takes within a second, and code to paste into it.

    The password is shown this once; asking again replaces it. The device may use its own topics only.
    """
    from techport_pilots.devices.onboarding import TAKES_EFFECT, NewDevice, provision_device
    from techport_pilots.devices.snippets import BrokerAddress, snippets

    settings = load_settings({"data": data, "registry": registry, "mqtt": mqtt})
    running = owner(settings.data)
    address, tls = settings.broker_of_devices
    if settings.device_broker is None and mqtt is None and running and running.mqtt:
        address, _ = settings.model_copy(update={"mqtt": running.mqtt}).broker_of_devices
    console = Console(highlight=False)
    new_device = NewDevice(
        id=device,
        title=title or "",
        format=known_format(format_name) or DEFAULT,
        quantities=quantity or [],
        interval=interval or "",
    )
    with open_registry(data, registry) as opened:
        provisioned = provision_device(opened, pilot, new_device, getpass.getuser())
    if provisioned.version is not None:
        print_text(console, f"{device} is in the definition (version {provisioned.version}). {_FILE.format(pilot)}")
    if running is not None:
        time.sleep(TAKES_EFFECT)  # what is shown now works now, and the first message is seen
    issued = provisioned.credential
    for line in (f"user name: {issued.username}", f"password:  {issued.password}", f"topic:     {issued.topic}", ""):
        console.print(line, markup=False, soft_wrap=True)
    all_snippets = snippets(
        issued, BrokerAddress(address.host, address.port, tls), provisioned.format, provisioned.quantity
    )
    chosen = [code for code in all_snippets if snippet == "all" or code.title.lower().startswith(snippet.lower())]
    for code in chosen or all_snippets:
        console.print(f"# {code.title}\n{code.text}\n", markup=False, soft_wrap=True)
    console.print(
        f"Then watch it arrive: techport device watch {pilot} {provisioned.device}", markup=False, soft_wrap=True
    )


@app.command("rotate")
@options.needs("devices")
def rotate(
    pilot: Pilot,
    device: Annotated[str, typer.Argument(help="id of a device that the definition has")],
    data: options.Data = None,
    registry: options.RegistryUrl = None,
    overlap: Annotated[str, typer.Option("--overlap", help="how long the old password goes on, such as P7D")] = "P7D",
) -> None:
    """Give a device a second credential. The old one goes on for a while and then ends by itself.

    The password is shown this once. It comes with a user name of its own.
    """
    from techport_pilots.access.credentials import Credentials
    from techport_pilots.time import InvalidDuration, interval_micros
    from techport_storage.clock import now

    console = Console(highlight=False)
    try:
        length = interval_micros(overlap)
    except InvalidDuration as error:
        raise CannotRun(f"--overlap {overlap}: {error}") from error
    with open_registry(data, registry) as opened:
        described = [described_device.id for described_device in opened.pilot(pilot).devices]
        if device not in described:
            raise CannotRun(f"the pilot {pilot} has no device {device}: techport device add {pilot} {device}")
        ends = now() + length
        issued = Credentials(opened.database).rotate(pilot, device, getpass.getuser(), length)
    for line in (f"user name: {issued.username}", f"password:  {issued.password}", f"topic:     {issued.topic}"):
        console.print(line, markup=False, soft_wrap=True)
    until = dt.datetime.fromtimestamp(ends // 1_000_000, dt.UTC).isoformat()
    console.print(f"What the device had goes on until {until}", markup=False, soft_wrap=True)


@app.command("revoke")
@options.needs("devices")
def revoke(pilot: Pilot, device: str, data: options.Data = None, registry: options.RegistryUrl = None) -> None:
    """Take a device's credential back: its connection ends within a second."""
    from techport_pilots.access.credentials import Credentials

    with open_registry(data, registry) as opened:
        had = Credentials(opened.database).revoke(pilot, device)
    print_text(Console(highlight=False), "revoked" if had else f"{pilot}/{device} has no credential")
    raise typer.Exit(0 if had else 1)


@app.command("watch")
@options.needs("see-raw")
def watch(
    pilot: Pilot,
    device: str,
    data: options.Data = None,
    registry: options.RegistryUrl = None,
    messages: Annotated[int, typer.Option(help="stop after so many; 0 goes on until Ctrl-C")] = 1,
    timeout: Annotated[float, typer.Option(help="seconds to wait at most; exit code 1 then")] = 600.0,
) -> None:
    """Wait for a device's messages, and show each: raw, what was understood, and what became of it."""
    from techport_pilots.accounting.message_tap import MessageTap

    console = Console(highlight=False)
    until, seen, last = time.monotonic() + timeout, 0, 0
    with open_registry(data, registry) as opened:
        opened.pilot(pilot)
        message_tap = MessageTap(opened.database)
        message_tap.watch(pilot, device, seconds=timeout)
        print_text(console, f"waiting for a message of {pilot}/{device} ...")
        while time.monotonic() < until:
            for message in message_tap.messages(pilot, device, after=last):
                last, seen = message.id, seen + 1
                _show(message, console)
            if messages and seen >= messages:
                return
            time.sleep(0.5)
    raise typer.Exit(0 if seen else 1)


def _show(message: TappedMessage, console: Console) -> None:
    arrived = dt.datetime.fromtimestamp(message.received / 1e6, dt.UTC).isoformat(timespec="milliseconds")
    later = (message.committed - message.received) / 1e6
    lines = [f"received {arrived} by {message.worker}, visible {later:.2f} s later", f"  {visible(message.topic)}"]
    lines.append(f"  {message.payload[:500].decode(errors='backslashreplace')}")
    for value in message.outcome.values:
        lines.append(f"  {value.outcome}: {visible(value.quantity)} = {value.value:.12g}")
    for part in message.outcome.rejected:
        rejection = part.rejection
        lines.append(f"  rejected, {rejection.reason}: {rejection.detail()} {rejection.hint()}")
    lines += [f"  ignored by rule: {rule}" for rule in message.outcome.ignored]
    for line in lines:
        print_text(console, line)


@app.command("unknown")
@options.needs("see-raw")
def unknown(pilot: Pilot, data: options.Data = None, registry: options.RegistryUrl = None) -> None:
    """Devices that send to the pilot and that its definition does not know."""
    from techport_pilots.devices.onboarding import unknown_devices

    console = Console(highlight=False)
    with open_registry(data, registry) as opened:
        opened.pilot(pilot)
        devices = unknown_devices(opened.database, pilot)
    if not devices:
        console.print("every device that sends is known")
    for unknown_device in devices:
        last = dt.datetime.fromtimestamp(unknown_device.last / 1e6, dt.UTC).isoformat(timespec="seconds")
        payload = unknown_device.payload[:200].decode(errors="backslashreplace")
        about = ", ".join(visible(text) for text in (unknown_device.title, unknown_device.kind) if text)
        who = f"{visible(unknown_device.device)} ({about})" if about else visible(unknown_device.device)
        print_text(console, f"{who}  {unknown_device.messages} messages, the last at {last}")
        print_text(console, f"  {visible(unknown_device.topic)}: {payload}")


@app.command("claim")
@options.needs("devices")
def claim(
    pilot: Pilot,
    name: Annotated[str, typer.Argument(help="the device as its messages call it")],
    data: options.Data = None,
    registry: options.RegistryUrl = None,
    as_: Annotated[str | None, typer.Option("--as", help="id of the device, new or in the definition")] = None,
) -> None:
    """Make an unknown device known, and replay what it sent before."""
    from techport_pilots.devices.onboarding import claim as make_known

    with open_registry(data, registry) as opened:
        claimed = make_known(opened, pilot, name, getpass.getuser(), as_)
    console = Console(highlight=False)
    print_text(console, f"{claimed.device} is in the definition (version {claimed.version})")
    print_text(console, f"{claimed.entries} messages are reprocessed. {_FILE.format(pilot)}")


@app.command("ignored")
@options.needs("see-raw")
def ignored(
    pilot: Pilot,
    data: options.Data = None,
    registry: options.RegistryUrl = None,
    device: Annotated[str | None, typer.Option("--device", help="only this device")] = None,
    reprocess: Annotated[bool, typer.Option("--reprocess", help="read the kept messages again")] = False,
) -> None:
    """What was ignored of the messages of devices, and how often; and reprocess it after the definition has changed."""
    from techport_pilots.accounting.ignored import ignored_keys, request_replay

    console = Console(highlight=False)
    with open_registry(data, registry) as opened:
        opened.pilot(pilot)
        lines = ignored_keys(opened.database, pilot, device)
        replay = request_replay(opened.database, pilot, device, getpass.getuser()) if reprocess else None
    if not lines:
        console.print("nothing was ignored")
    for line in lines:
        value = "" if line.value is None else f" = {visible(line.value)}"
        times = "once" if line.parts == 1 else f"{line.parts:,} times"
        print_text(
            console, f"{visible(line.device)}  {visible(line.key) or 'whole message'}{value}, {times} ({line.rule})"
        )
    if replay is not None:
        print_text(console, f"{replay.entries} messages are reprocessed as soon as an ingest worker runs")


@app.command("forget")
@options.needs("devices")
def forget(
    pilot: Pilot,
    device: Annotated[str, typer.Argument(help="id of the device")],
    data: options.Data = None,
    registry: options.RegistryUrl = None,
    stream: Annotated[
        list[str] | None, typer.Option("--stream", help="name of a stream; may be repeated; all unless given")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Delete streams of a device that no definition describes, so that other names find room. Their readings stay."""
    console = Console(highlight=False)
    with open_registry(data, registry) as opened:
        undescribed = [info.stream.quantity for info in opened.streams(pilot, device) if not info.described]
        chosen = [name for name in undescribed if not stream or name in stream]
        if not chosen:
            print_text(console, f"{pilot}/{device} has no such stream that is not described")
            raise typer.Exit(1)
        print_text(console, ", ".join(visible(name) for name in chosen[:20]) + (" ..." if len(chosen) > 20 else ""))
        if not yes:
            typer.confirm(f"Delete {len(chosen)} streams of {pilot}/{device} from the registry?", abort=True)
        count = len(opened.forget_streams(pilot, device, chosen))
    print_text(console, f"{count} streams deleted; a name that is sent again becomes a stream again")
    print_text(
        console, f"readings that were stored stay; techport retention erase {pilot} --device {device} deletes those"
    )
