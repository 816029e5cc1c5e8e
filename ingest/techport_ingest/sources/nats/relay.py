"""Publishes for the platform itself to a cluster of NATS servers, as the gateway for MQTT does what clients publish.

A message of QoS 1 goes to the gateway's stream, for workers and for clients that subscribed with QoS 1, and to its
subject, for those with QoS 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import structlog
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from techport_ingest.brokers.nats_subjects import RETAINED, RETAINED_STREAM, STORED, subject_of, subjects_of, topic_of
from techport_ingest.sources.nats.connection import NatsConnection, NatsSettings
from techport_ingest.sources.relay import MOST_UNDER_WAY, BrokerAway

log = structlog.get_logger(__name__)

_QUALITY_0, _QUALITY_1 = {"Nmqtt-Pub": "0"}, {"Nmqtt-Pub": "1"}
_STORED_WITHIN = 5.0  # seconds
_LONGEST = 60.0  # seconds for all of an erasure
_HEARD = 2.0  # seconds in which every server has heard that a retained message is gone


class NatsRelay:
    """A Publisher. Connects in the background at once and for ever. Safe to use from several threads."""

    def __init__(self, settings: NatsSettings) -> None:
        self._settings = settings
        self._connection = NatsConnection(settings)
        self._lock = threading.Lock()
        self._under_way = 0
        self._connection.start()

    @property
    def connected(self) -> bool:
        return self._connection.up

    def send(self, topic: str, payload: bytes) -> Future[None]:
        """Publish at QoS 1. The result is there when the servers have stored it, a BrokerAway when they have not."""
        with self._lock:
            if not self.connected or self._under_way >= MOST_UNDER_WAY:
                answer: Future[None] = Future()
                answer.set_exception(BrokerAway("the broker takes no messages from here now"))
                return answer
            self._under_way += 1
        sent = self._connection.run(self._store(topic, payload))
        sent.add_done_callback(self._done)
        return sent

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish what may get lost."""
        if self.connected:
            self._connection.run(self._pass_on(topic, payload, stored=True))

    def tell(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 0, to whoever listens."""
        if self.connected:
            self._connection.run(self._pass_on(topic, payload, stored=False))

    def forget_retained(self, filters: Sequence[str], belongs: Callable[[str, bytes], bool]) -> int:
        """As Relay.forget_retained."""
        try:
            return self._connection.run(_erase(self._connection, filters, belongs)).result(_LONGEST)
        except (NatsError, OSError, TimeoutError) as error:
            log.warning("retained messages at the broker stay", broker=str(self._settings), problem=str(error))
            return 0

    def close(self) -> None:
        self._connection.close()

    # -- the loop's thread -----------------------------------------------------------------------------------------

    async def _store(self, topic: str, payload: bytes) -> None:
        client, subject = self._connection.client, subject_of(topic)
        try:
            await client.publish(subject, payload, headers=_QUALITY_1)
            jetstream = client.jetstream(timeout=_STORED_WITHIN)
            await jetstream.publish(STORED + subject, payload, timeout=_STORED_WITHIN, headers=_QUALITY_1)
        except (TimeoutError, NatsError, OSError) as error:
            raise BrokerAway(f"the broker has not stored the message: {type(error).__name__} {error}") from error

    async def _pass_on(self, topic: str, payload: bytes, stored: bool) -> None:
        client, subject = self._connection.client, subject_of(topic)
        headers = _QUALITY_1 if stored else _QUALITY_0
        with contextlib.suppress(NatsError, OSError):
            await client.publish(subject, payload, headers=headers)
            if stored:
                await client.publish(STORED + subject, payload, headers=headers)

    def _done(self, _: Future[None]) -> None:
        with self._lock:
            self._under_way -= 1


def erase_retained(settings: NatsSettings, filters: Sequence[str], belongs: Callable[[str, bytes], bool]) -> int:
    """As NatsRelay.forget_retained, with a connection of its own. Raises OSError, ValueError or BrokerAway."""
    ready: Future[None] = Future()

    async def connected(_: bool) -> None:
        if not ready.done():
            ready.set_result(None)

    connection = NatsConnection(settings, connected)
    connection.start()
    try:
        ready.result(_STORED_WITHIN)
        return connection.run(_erase(connection, filters, belongs)).result(_LONGEST)
    except (NatsError, TimeoutError) as error:
        raise BrokerAway(f"the broker does not answer: {type(error).__name__} {error}") from error
    finally:
        connection.close()


async def _erase(connection: NatsConnection, filters: Sequence[str], belongs: Callable[[str, bytes], bool]) -> int:
    """Overwrite what belongs in the stream's files, and have every server forget it, as an empty retained message does.

    The empty messages, which name the topics, are overwritten when the servers have heard them.
    """
    jetstream = connection.client.jetstream(timeout=_STORED_WITHIN)
    subjects: dict[str, int] = {}
    for subject in (subject for topic_filter in filters for subject in subjects_of(topic_filter)):
        try:
            info = await jetstream.stream_info(RETAINED_STREAM, subjects_filter=RETAINED + subject)
        except NotFoundError:  # no client of MQTT has been there
            return 0
        subjects |= info.state.subjects or {}
    markers = []
    for subject in subjects:
        retained = await jetstream.get_last_msg(RETAINED_STREAM, subject)
        topic = topic_of(subject.removeprefix(RETAINED))
        if not retained.data or retained.seq is None or not belongs(topic, retained.data):
            continue
        await jetstream.delete_msg(RETAINED_STREAM, retained.seq)
        headers = {"Nmqtt-RTopic": topic, "Nmqtt-RFlags": "-1"}
        markers.append((await jetstream.publish(subject, b"", timeout=_STORED_WITHIN, headers=headers)).seq)
    if markers:
        await asyncio.sleep(_HEARD)
    for number in markers:
        with contextlib.suppress(NotFoundError):
            await jetstream.delete_msg(RETAINED_STREAM, number)
    return len(markers)
