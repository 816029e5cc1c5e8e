"""Asks a cluster of NATS servers whether it lets us in, and what waits for workers."""

from __future__ import annotations

from concurrent.futures import Future
from typing import NamedTuple

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from techport_ingest.brokers.nats_subjects import CONSUMER, STREAM
from techport_ingest.sources.nats.connection import NatsConnection, NatsSettings


class NatsState(NamedTuple):
    """`problem` is None when the servers accept us and the consumer of workers is there."""

    problem: str | None
    copies: int = 0  # of each message
    waiting: int = 0  # messages that no worker has yet


def probe_nats(settings: NatsSettings, patience: float = 5.0) -> NatsState:
    """What the servers say of the stream and of the consumer that workers pull from."""
    reached: Future[None] = Future()

    async def connected(_: bool) -> None:
        if not reached.done():
            reached.set_result(None)

    connection = NatsConnection(settings, connected)
    connection.start()
    try:
        reached.result(patience)
        return connection.run(_look(connection)).result(2 * patience)
    except TimeoutError:
        return NatsState(f"no answer within {patience:g} s, or we are not let in")
    except NotFoundError:
        return NatsState("no worker has been connected yet, and what devices send until then is lost")
    except NatsError as error:
        return NatsState(f"{type(error).__name__}: {error}")
    finally:
        connection.close()


async def _look(connection: NatsConnection) -> NatsState:
    jetstream = connection.client.jetstream(timeout=5)
    stream = await jetstream.stream_info(STREAM)
    consumer = await jetstream.consumer_info(STREAM, CONSUMER)
    return NatsState(None, stream.config.num_replicas or 1, consumer.num_pending or 0)
