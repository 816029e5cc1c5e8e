"""techport propose: the lines of a definition that would read captured messages."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from techport import options
from techport.errors import CannotRun
from techport.settings import Settings, load_settings
from techport_pilots.devices.proposals import Captured
from techport_storage.clock import now


@options.needs("nothing")
def propose(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="captured messages, one in each file; standard input where there are none"),
    ] = None,
    topic: Annotated[str, typer.Option("--topic", help="topic that they were published to")] = "",
    listen: Annotated[str, typer.Option("--listen", help="instead: capture messages of this topic filter")] = "",
    seconds: Annotated[float, typer.Option("--for", help="how long to listen")] = 60.0,
    most: Annotated[int, typer.Option("--most", help="messages after which listening ends")] = 20,
    mqtt: options.Mqtt = None,
) -> None:
    """Propose a source for messages that nothing reads yet, as YAML for the pilot's definition."""
    from techport_ingest.decoding.proposing import propose as proposal_for

    if bool(listen) == bool(topic):
        raise CannotRun("propose needs either --topic TOPIC with messages, or --listen FILTER with a broker")
    captured = _heard(load_settings({"mqtt": mqtt}), listen, seconds, most) if listen else _given(files or [], topic)
    if not captured:
        raise CannotRun(f"no message came on {listen} within {seconds:g} s" if listen else "there is no message")
    proposal = proposal_for(captured, now())
    if proposal is None:
        raise CannotRun("none of the formats reads these messages: `techport decode` says why")
    sys.stdout.write(proposal.yaml())
    summary = (
        f"{len(captured)} messages, {len(proposal.fields)} fields, {len(proposal.open)} of them have to be described"
    )
    Console(stderr=True, highlight=False).print(summary, soft_wrap=True)


def _given(files: list[Path], topic: str) -> list[Captured]:
    """The messages of files, or of standard input: one, or a line of {"topic": ..., "payload": ...} for each."""
    texts = [file.read_bytes() for file in files] or [sys.stdin.buffer.read()]
    return [message for text in texts for message in _lines(text.removesuffix(b"\n"), topic)]


def _lines(text: bytes, topic: str) -> list[Captured]:
    try:
        lines = [msgspec.json.decode(line, type=_Line) for line in text.splitlines() if line.strip()]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [Captured(topic, bytes(text))] if text else []
    return [Captured(line.topic, line.payload.encode()) for line in lines]


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    topic: str
    payload: str


def _heard(settings: Settings, pattern: str, seconds: float, most: int) -> list[Captured]:
    """Messages that arrive at the broker while one listens."""
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    captured: list[Captured] = []
    enough = threading.Event()

    def keep(_client: object, _data: object, message: paho.MQTTMessage) -> None:
        captured.append(Captured(message.topic, bytes(message.payload)))
        if len(captured) >= most:
            enough.set()

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = keep
    if settings.mqtt_username:
        client.username_pw_set(settings.mqtt_username, settings.password())
    if settings.mqtt_ca:
        client.tls_set(ca_certs=str(settings.mqtt_ca))
    client.connect(settings.mqtt_address.host, settings.mqtt_address.port)
    client.subscribe(pattern, qos=1)
    client.loop_start()
    enough.wait(seconds)
    client.disconnect()
    client.loop_stop()
    return captured[:most]
