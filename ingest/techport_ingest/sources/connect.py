"""Which source for which broker: the codec of MQTT 5 where the broker speaks it, paho for MQTT 3.1.1."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Literal

import mqtt5
import structlog

from techport_ingest.source import Source
from techport_ingest.sources.mqtt5 import Mqtt5Source
from techport_ingest.sources.paho import PahoSource
from techport_ingest.sources.session_watch import SessionEvent
from techport_ingest.sources.settings import MqttSettings

log = structlog.get_logger(__name__)

_PATIENCE = 5.0  # seconds for the broker's answer
_CONNACK = 0x20  # first byte of the packet, in both versions
_CONNACK_3_1_1_LENGTH = 2  # flags and return code; MQTT 5 always has a length of properties as well


def open_source(settings: MqttSettings, on_session: Callable[[SessionEvent], bool] | None = None) -> Source:
    """A source for the protocol that the settings name. `on_session` as in Mqtt5Source."""
    return (Mqtt5Source if settings.protocol == "5" else PahoSource)(settings, on_session)


def spoken_protocol(settings: MqttSettings) -> Literal["5", "3.1.1"]:
    """Ask the broker which protocol it speaks, under a client id of its own; "5" where it does not answer.

    A server without MQTT 5 answers as MQTT 3.1.1 has it, "unacceptable protocol version" (its section 3.2.2.3), or with
    reason code 0x84 (MQTT 5.0, section 3.2.2.2).
    """
    hello = mqtt5.ConnectPacket(
        f"techport-{secrets.token_hex(8)}",
        username=settings.username,
        password=settings.password.encode() if settings.password is not None else None,
        clean_start=True,
        keep_alive=settings.keepalive,
    )
    try:
        with settings.open_connection(_PATIENCE) as connection:
            connection.sendall(hello.write())
            answer = b""
            while len(answer) < 2 or len(answer) < 2 + min(answer[1], 2):
                part = connection.recv(256)
                if not part:
                    return "5"
                answer += part
            connection.sendall(mqtt5.DisconnectPacket().write())
    except (OSError, ValueError) as error:
        log.info("could not ask the broker which protocol it speaks", broker=str(settings), reason=str(error))
        return "5"
    if answer[0] != _CONNACK or answer[1] < _CONNACK_3_1_1_LENGTH:  # it is no broker, or a broken one
        return "5"
    unsupported = int(mqtt5.ConnAckReasonCode.UNSUPPORTED_PROTOCOL_VERSION)
    return "3.1.1" if answer[1] == _CONNACK_3_1_1_LENGTH or answer[3] == unsupported else "5"
