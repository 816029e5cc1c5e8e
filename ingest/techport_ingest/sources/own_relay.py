"""Publishes for the platform itself at the embedded broker: by a call, without a client and its connection.

paho waits for its connection with select(), which ends at descriptor 1,024; here each device has one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import BoundedSemaphore

import structlog

from techport_ingest.sources.embedded import EmbeddedBroker
from techport_ingest.sources.relay import MOST_UNDER_WAY, BrokerAway

log = structlog.get_logger(__name__)

_LONGEST = 30.0  # seconds until the retained messages are looked through


class OwnRelay:
    """A Publisher at the embedded broker."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker
        self._under_way = BoundedSemaphore(MOST_UNDER_WAY)

    @property
    def connected(self) -> bool:
        return self._broker.connected

    def send(self, topic: str, payload: bytes) -> Future[None]:
        answer: Future[None] = Future()
        if not self._under_way.acquire(blocking=False):
            answer.set_exception(BrokerAway("the broker takes no messages from here now"))
            return answer

        def kept(done: Future[None]) -> None:
            self._under_way.release()
            if answer.set_running_or_notify_cancel():
                if error := done.exception():
                    answer.set_exception(BrokerAway(str(error)))
                else:
                    answer.set_result(None)

        self._broker.publish_own(topic, payload, qos=1).add_done_callback(kept)
        return answer

    def publish(self, topic: str, payload: bytes) -> None:
        self._broker.publish_own(topic, payload, qos=1)

    def tell(self, topic: str, payload: bytes) -> None:
        self._broker.publish_own(topic, payload, qos=0)

    def forget_retained(self, filters: Sequence[str], belongs: Callable[[str, bytes], bool]) -> int:
        try:
            return self._broker.forget_retained(filters, belongs).result(_LONGEST)
        except TimeoutError:
            log.warning("retained messages at the broker stay", problem="the embedded broker does not answer")
            return 0

    def close(self) -> None:
        """The broker is closed by who opened it."""
