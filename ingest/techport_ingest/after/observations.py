"""Publishes what was stored as Observations of SensorThings, for who subscribes to a Datastream (OGC 18-088, 14).

    v1.1/Datastreams(7)/Observations     {"@iot.id": "71763420400123456", "phenomenonTime": ..., "result": 17.2, ...}

At QoS 0: nobody waits for it, and what cannot be sent now is not sent. The readings themselves are in the store.
"""

from __future__ import annotations

import msgspec
import structlog

from techport_ingest.after.follow_ups import CommittedBatch
from techport_ingest.after.notices import Publish
from techport_pilots.devices.observation_topics import ObservationTopics, topic_of
from techport_pilots.errors import RegistryUnavailable
from techport_pilots.registry.entity_ids import observation_id
from techport_pilots.time import iso
from techport_storage.model import Reading, Stream

log = structlog.get_logger(__name__)

MOST_IN_A_SECOND = 1_000
"""Observations that are published at most, so that a backlog that is caught up with is not slowed down."""


class PublishObservations:
    """A follow-up of commits: each reading that is new, or has another value than before, is published once."""

    def __init__(self, topics: ObservationTopics, publish: Publish) -> None:
        self._topics = topics
        self._publish = publish
        self._numbers: dict[Stream, int] = {}
        self._left = MOST_IN_A_SECOND

    def committed(self, batch: CommittedBatch) -> None:
        numbers, rows = self._numbers, batch.accounting.batch
        if not numbers or not len(rows):
            return
        passed_over = {*batch.receipt.duplicate_rows.tolist(), *(row for row, _ in batch.receipt.rejected)}
        for row, reading in enumerate(rows):
            if self._left <= 0:
                return
            number = numbers.get(reading.stream)
            if number is not None and row not in passed_over:
                self._left -= 1
                self._publish(topic_of(number), observation(number, reading))

    def refresh(self) -> None:
        """Take the Datastreams of now. A new stream's first second is not published."""
        if self._left <= 0:
            log.warning("too many readings came at once: some are not published", most_in_a_second=MOST_IN_A_SECOND)
        self._left = MOST_IN_A_SECOND
        try:
            self._numbers = self._topics.numbers()
        except RegistryUnavailable as error:
            log.warning("Observations are published as before", problem=str(error))


def observation(datastream: int, reading: Reading) -> bytes:
    """The entity as a request for it is answered, without links: nobody knows here under which address it is asked."""
    time = iso(reading.time)
    return msgspec.json.encode(
        {
            "@iot.id": observation_id(datastream, reading.time),
            "phenomenonTime": time,
            "resultTime": time,
            "result": reading.value,
            "resultQuality": reading.quality,
            "parameters": {"received": iso(reading.received)},
        }
    )
