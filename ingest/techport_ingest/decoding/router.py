"""From a topic to the pilot and device it speaks for, and the decoder that reads it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import structlog

from techport_ingest.decoding.decoder import Decoder, make_decoder
from techport_ingest.decoding.javascript import CodecShelf, OnDeath
from techport_ingest.decoding.mapping import PilotSource, PushedSource
from techport_pilots.formats import DEFAULT, formats
from techport_pilots.registry.view import IngestView
from techport_pilots.topics import covers, essential, source_reads

log = structlog.get_logger(__name__)

IGNORED = "ignored"
"""Format of topics that carry no readings by rule: counted, not stored, not quarantined."""

OWN = "own"
"""Format of topics on which the platform speaks to devices: what comes back to us from there is nobody's message."""

NATIVE_TOPICS = "pilots/#"


class Route(msgspec.Struct, frozen=True, gc=False):
    pilot: str
    device: str  # "" where only the payload says
    format: str  # a key of the decoders, IGNORED, or OWN
    decode: Decoder | None  # None for the last two
    origin: str | None = ""  # what the names of its devices are unique in; None: the payload says it
    next: Route | None = None  # another pilot whose source takes the topic too; asked when this one has no such device
    by_rule: bool = False  # the platform's own rule for topics, in its own format: no source's definition has a say


class Router:
    """Knows `pilots/<pilot>/<device>/readings`, `.../push/<format>` where messages come that were posted over HTTP, and
    the `[[sources]]` of the pilots of the newest snapshot.

    Below `pilots/` a pilot's sources come before the rule, and can only be about its own devices. Answers are
    remembered: a platform sees the same few thousand topics all day. The memory is bounded, since a topic is whatever
    somebody cares to publish to.
    """

    def __init__(
        self,
        decoders: Mapping[str, Decoder] | None = None,
        remembered: int = 20_000,
        on_codec_death: OnDeath | None = None,
    ) -> None:
        self._decoders = {DEFAULT: make_decoder(DEFAULT)} if decoders is None else decoders
        self._remembered = remembered
        self._routes: dict[str, Route | None] = {}
        self._sources: dict[tuple[str, str, bytes], PilotSource] = {}
        self._pushed: dict[tuple[str, str], PilotSource] = {}
        self._shelf = CodecShelf(on_death=on_codec_death)
        self.has_codecs = False
        self._snapshot: IngestView | None = None

    def use(self, snapshot: IngestView) -> bool:
        """Take the sources of a snapshot; whether the topics may have changed. What a decoder remembers outlives a
        change of everything but its own source.
        """
        if snapshot is self._snapshot:
            return False
        self._snapshot = snapshot
        before, self._sources = self._sources, {}
        for pilot in snapshot.pilots.values():
            for definition in pilot.sources:
                if definition.format not in formats():  # stored when there was such a plug-in
                    log.error("no such format; its messages are not read", pilot=pilot.id, format=definition.format)
                    continue
                key = (pilot.id, pilot.timezone, msgspec.json.encode(definition))
                source = before.get(key) or PilotSource(pilot.id, pilot.timezone, definition, self._shelf)
                self._sources[key] = source
        codecs = [codec for source in self._sources.values() for codec in source.scripts]
        self.has_codecs = bool(codecs)
        self._shelf.keep(codecs)
        self._routes.clear()
        self._pushed.clear()
        return list(before) != list(self._sources)

    def close(self) -> None:
        """End the processes of codecs."""
        self._shelf.close()

    @property
    def topics(self) -> tuple[str, ...]:
        """The filters to subscribe to, none of which another one covers."""
        return essential((NATIVE_TOPICS, *(source.definition.topic for source in self._sources.values())))

    @property
    def described(self) -> frozenset[str]:
        """Those of the topics where retained messages say what the others mean."""
        speaking = [
            described_topic.definition.topic
            for described_topic in self._sources.values()
            if described_topic.format.self_described
        ]
        return frozenset(
            topic
            for topic in self.topics
            if any(topic == described_topic or covers(topic, described_topic) for described_topic in speaking)
        )

    def route(self, topic: str) -> Route | None:
        """The route of a topic, or None for a topic that nobody described."""
        try:
            return self._routes[topic]
        except KeyError:
            pass
        if len(self._routes) >= self._remembered:
            self._routes.clear()
        route = self._routes[topic] = self._of_sources(topic) or self._native(topic)
        return route

    def _of_sources(self, topic: str) -> Route | None:
        route = None
        for source in reversed(self._sources.values()):
            definition = source.definition
            if source_reads(definition.topic, topic) and _is_about(source.pilot, definition.topic, topic):
                device, origin = source.device_of(topic), source.origin_of(topic)
                route = Route(source.pilot, device, definition.format, source, origin, route)
        return route

    def _native(self, topic: str) -> Route | None:
        levels = topic.split("/")
        if len(levels) < 4 or levels[0] != "pilots" or not levels[1] or not levels[2]:
            return None
        pilot, device, purpose, rest = levels[1], levels[2], levels[3], levels[4:]
        if purpose == "push" and rest and rest[0] in formats():
            return Route(pilot, device, rest[0], self._of_pushed(pilot, rest[0]))
        if purpose == "readings" and not rest:
            return Route(pilot, device, DEFAULT, self._decoders[DEFAULT], by_rule=True)
        if purpose == "status" and not rest:
            return Route(pilot, device, IGNORED, None)
        return Route(pilot, device, OWN, None) if purpose == "problems" and not rest else None

    def _of_pushed(self, pilot: str, form: str) -> PilotSource:
        """What reads a format for the device that the topic names."""
        source = self._pushed.get((pilot, form))
        if source is None:
            assert self._snapshot is not None
            view = self._snapshot.pilot(pilot)
            zone = "UTC" if view is None else view.timezone
            source = self._pushed[pilot, form] = PushedSource(pilot, zone, form, self._shelf, view)
        return source


def _is_about(pilot: str, topic_filter: str, topic: str) -> bool:
    """Whether the pilot may read the topic through this filter: what is below pilots/ is that pilot's alone."""
    return not topic.startswith("pilots/") or topic_filter.startswith(f"pilots/{pilot}/")
