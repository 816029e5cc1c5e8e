"""Decode and check: from messages to the columns of a batch. No broker, no store, no database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import msgspec
import structlog

from techport_ingest.checking import key_cache
from techport_ingest.checking.budget import DeviceLimits, HourlyBudgets, Owner
from techport_ingest.checking.check import Columns
from techport_ingest.checking.units import Units
from techport_ingest.decoding.decoder import Decoder, without_stale
from techport_ingest.decoding.javascript import JavaScriptCodec, OnDeath, Uplink
from techport_ingest.decoding.mapping import PilotSource
from techport_ingest.decoding.router import OWN, Route, Router
from techport_ingest.decoding.typed_records import TypedRecords
from techport_ingest.message import Found, Message, RejectedMessage
from techport_pilots.accounting.rejection import Rejection
from techport_pilots.registry.view import IngestView

_LARGE = 4_096
"""Bytes of a message whose keys may take more memory than those of most."""

_MOST_OF_LARGE = 64_000_000
"""Bytes of large messages after which what keys mean is worked out anew: how long keys are is up to their senders."""

_CODEC_CHUNK = 256
"""Messages whose radio bytes are given to codecs at once; bounds what their answers take."""

_CHUNK, _LARGEST_CHUNK = 256, 4_096
"""Messages that are read at once, at first and at most: what the first have taught about devices speeds up the next."""

log = structlog.get_logger(__name__)


class Reader:
    """Reads one worker's messages; its decoders remember. Not thread-safe."""

    def __init__(
        self,
        decoders: Mapping[str, Decoder] | None = None,
        limits: DeviceLimits | None = None,
        on_codec_death: OnDeath | None = None,
    ) -> None:
        self._router = Router(decoders, on_codec_death=on_codec_death)
        self._units = Units()
        self._limits = limits or DeviceLimits()
        self._version: int | None = None  # of the snapshot that `_opened` is about
        self._opened: dict[Owner, set[str]] = {}  # names that are streams since then
        # Decoders that are given for a test are to be asked.
        self._typed_records = TypedRecords() if decoders is None else None
        self._view: IngestView | None = None  # that the records are typed for
        self._bytes_of_large = 0  # since what keys mean was last forgotten

    def use(self, snapshot: IngestView) -> tuple[str, ...] | None:
        """Read with the pilots of this snapshot; the topic filters to subscribe to, if they may have changed."""
        return self._router.topics if self._router.use(snapshot) else None

    @property
    def described(self) -> frozenset[str]:
        """See Router.described."""
        return self._router.described

    def read(self, messages: Sequence[Message], snapshot: IngestView, budgets: HourlyBudgets | None = None) -> Columns:
        """Every message's values, rejected and ignored parts. With `budgets`, a message beyond its device's is counted
        and not read.
        """
        if snapshot.version != self._version:  # holds all that was opened before it
            self._version, self._opened = snapshot.version, {}
        if snapshot is not self._view and self._typed_records is not None:
            self._view = snapshot
            self._typed_records.forget()
        columns = Columns(snapshot, self._units, self._limits, self._opened)
        for chunk in _chunks(len(messages)):
            numbers: Sequence[int] = chunk
            if self._typed_records is not None:
                numbers = self._typed_records.read(messages, chunk, columns, budgets)
            if not self._router.has_codecs:
                self._read_all(messages, numbers, columns, snapshot, budgets)
                continue
            remaining = iter(numbers)
            while asking := list(islice(remaining, _CODEC_CHUNK)):
                asked = self._ask_codecs([messages[number] for number in asking])
                self._read_all(messages, asking, columns, snapshot, budgets)
                for codec in asked:
                    codec.forget()
        columns.arrange()
        return columns

    def source_of(self, topic: str) -> PilotSource | None:
        """The pilot's source that reads a topic; None where the topic's own rule does."""
        route = self._router.route(topic)
        return route.decode if route is not None and isinstance(route.decode, PilotSource) else None

    def close(self) -> None:
        """End the processes of codecs."""
        self._router.close()

    def _ask_codecs(self, messages: Sequence[Message]) -> list[JavaScriptCodec]:
        """Have codecs decode what these messages will ask of them; those that were asked."""
        uplinks: dict[JavaScriptCodec, list[Uplink]] = {}
        for message in messages:
            route = self._router.route(message.topic)
            if route is None or not isinstance(route.decode, PilotSource):
                continue
            asked = route.decode.radio(message)
            if asked is not None:
                uplinks.setdefault(asked[0], []).append(asked[1])
        for codec, inputs in uplinks.items():
            codec.prepare(inputs)
        return list(uplinks)

    def _read_all(
        self,
        messages: Sequence[Message],
        numbers: Iterable[int],
        columns: Columns,
        snapshot: IngestView,
        budgets: HourlyBudgets | None,
    ) -> None:
        for number in numbers:
            message = messages[number]
            columns.number = number
            route = self._router.route(message.topic)
            if route is None:
                columns.reject(message, "", "", "", Rejection("unknown-topic", {"topic": message.topic[:200]}))
            elif route.format == OWN:
                continue
            elif route.decode is None and not columns.collects(route.pilot):
                columns.count_only(message, columns.owner(route.pilot, route.device), 1)
            elif route.decode is None:
                columns.ignore(message, route.pilot, route.device, "status")
            elif message.rejected is not None and columns.collects(route.pilot):
                columns.reject(message, route.pilot, route.device, route.format, message.rejected)
            else:
                self._read(message, route, columns, snapshot, budgets)

    def _read(
        self,
        message: Message,
        route: Route,
        columns: Columns,
        snapshot: IngestView,
        budgets: HourlyBudgets | None,
    ) -> None:
        try:
            if len(message.payload) > _LARGE:
                self._note_large(message)
            items = decode(message, route)
            if route.next is not None and not _knows(snapshot, route.pilot, items):
                route, items = _of_another(message, route, items, snapshot)
            if route.origin != "":
                items = _told_apart(message, route, items, columns, snapshot)
            if not columns.collects(route.pilot):
                columns.count_only(message, columns.owner(route.pilot, items[0].device if items else ""), len(items))
                return
            if budgets is not None:
                owner = columns.owner(route.pilot, items[0].device if items else route.device)
                exceeded = budgets.take(owner, message.received, len(items), len(message.payload))
                if exceeded is not None:
                    columns.exceed(message, owner, route.format, exceeded, len(items))
                    return
            columns.add(message, route.pilot, route.format, items)
            if columns.rows_of_last() == len(items) and self._typed_records is not None and route.by_rule:
                owner = columns.owner(route.pilot, items[0].device if items else route.device)
                self._typed_records.learn(message, owner, items, columns)
            if not items:
                columns.ignore(message, route.pilot, route.device, "empty", unread=True)
        except RejectedMessage as error:
            if not columns.collects(route.pilot):
                columns.count_only(message, columns.owner(route.pilot, route.device), 1)
                return
            columns.reject(message, route.pilot, _sender(message, route), route.format, error.rejection)
        except Exception as error:  # supervises each message: a decoder's bug must not stop the others
            if not columns.collects(route.pilot):
                log.error(
                    "decoder failed on a message that is not kept", format=route.format, error=type(error).__name__
                )
                columns.count_only(message, columns.owner(route.pilot, route.device), 1)
                return
            log.exception("decoder failed", format=route.format, topic=message.topic)
            columns.drop_unfinished()
            failed = Rejection("decoder-failed", {"error": type(error).__name__, "text": str(error)[:200]})
            columns.reject(message, route.pilot, route.device, route.format, failed)

    def _note_large(self, message: Message) -> None:
        self._bytes_of_large += len(message.payload)
        if self._bytes_of_large > _MOST_OF_LARGE:
            self._bytes_of_large = 0
            key_cache.forget()


def _chunks(count: int) -> Iterator[range]:
    """The numbers below `count` in chunks of growing size."""
    first, size = 0, _CHUNK
    while first < count:
        yield range(first, min(first + size, count))
        first, size = first + size, min(2 * size, _LARGEST_CHUNK)


def decode(message: Message, route: Route) -> Sequence[Found]:
    """What is in a message that takes this route.

    Parameters
    ----------
    message : Message
        As it came from the broker; `received` in µs.
    route : Route
        What the router says of its topic: the pilot, the device that the topic names, and the format's decoder.

    Returns
    -------
    sequence of Observed, DeviceEvent or Ignored
        In the order of the payload. Values are in the unit of the payload, times in µs or None; neither is checked yet
        (`checking.check.Columns` does that). Of a retained message, values without a time of their own are Ignored.

    Raises
    ------
    RejectedMessage
        The format refuses the whole message; carries a code and its parameters.
    """
    assert route.decode is not None
    return without_stale(message, route.decode(message, route.device))


def _sender(message: Message, route: Route) -> str:
    """Who sent a message that was rejected: as its payload says, or its topic."""
    return (route.decode.sender(message).device if isinstance(route.decode, PilotSource) else "") or route.device


def _told_apart(
    message: Message, route: Route, items: Sequence[Found], columns: Columns, snapshot: IngestView
) -> Sequence[Found]:
    """The findings, in which a device of the same name in another group or application is called by both."""
    pilot, origin = snapshot.pilot(route.pilot), route.origin
    if origin is None and isinstance(route.decode, PilotSource):
        origin = route.decode.sender(message).origin
    if pilot is None or not origin:
        return items
    names = {item.device for item in items}
    renamed = {name: columns.claims.device_name(pilot, name, origin) for name in names if name}
    if all(name == new for name, new in renamed.items()):
        return items
    return [msgspec.structs.replace(item, device=renamed.get(item.device, item.device)) for item in items]


def _of_another(
    message: Message, route: Route, items: Sequence[Found], snapshot: IngestView
) -> tuple[Route, Sequence[Found]]:
    """The first of the pilots behind this one that has the device; this one when none has."""
    other = route.next
    while other is not None:
        try:
            decoded = decode(message, other)
        except RejectedMessage:
            decoded = []
        if _knows(snapshot, other.pilot, decoded):
            return other, decoded
        other = other.next
    return route, items


def _knows(snapshot: IngestView, pilot: str, items: Sequence[Found]) -> bool:
    view = snapshot.pilot(pilot)
    return view is not None and any(view.device(item.device) is not None for item in items)
