"""One `[[sources]]` entry of a pilot, ready for messages: a decoder with its settings, the device, the fields' names.

    message ─► device of the topic ─► decoder ─► device rule ─► fields ─► what is found, in the pilot's words

A field is found by what the message calls it, or by the name that `techport decode` shows. Units are left to the check
step, which converts them to the quantity's.
"""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import msgspec

from techport_ingest.checking.absence import RULE as MISSING
from techport_ingest.checking.channels import channel_of
from techport_ingest.checking.unit_names import divided
from techport_ingest.decoding.bare_numbers import AGREED, rule_of, unit_in_name, with_unit
from techport_ingest.decoding.decoder import Decoder, DecoderSettings, make_decoder
from techport_ingest.decoding.fields import mapped
from techport_ingest.decoding.javascript import CodecShelf, JavaScriptCodec, Uplink
from techport_ingest.decoding.json_paths import parse_path
from techport_ingest.decoding.lorawan import Codecs, PayloadCodec, RadioDecoder
from techport_ingest.decoding.time_fields import TimeReader
from techport_ingest.decoding.topic_levels import joined_levels
from techport_ingest.message import Found, Ignored, Message, Observed, RejectedMessage
from techport_pilots.formats import DEFAULT, Sender, formats, options_of
from techport_pilots.model import DeviceRule, FieldMapping, SourceDefinition
from techport_pilots.registry.view import PilotView

_MOST_PLAIN = 5_000
"""Keys of one source that are remembered to need no unit."""


class PilotSource:
    """Callable like a decoder. Not to be shared between threads."""

    def __init__(self, pilot: str, zone: str, definition: SourceDefinition, shelf: CodecShelf) -> None:
        self.pilot = pilot
        self.definition = definition
        self.format = formats()[definition.format]
        options = options_of(definition)
        codecs = self._codecs = _codecs(definition, f"{pilot} {definition.topic}", shelf)
        rule = definition.device
        self._rule = None if self.format.reads_device_rule else rule  # applied here
        local = ZoneInfo(definition.timezone or zone)
        settings = DecoderSettings(options, local, TimeReader(local, definition.time), codecs, rule)
        self._decode: Decoder = make_decoder(definition.format, settings)
        self._level = _first_wildcard(definition) if rule is None else rule.level
        self._to = None if rule is None else rule.to
        pointer = None if self._rule is None else self._rule.pointer
        self._naming = None if pointer is None else pointer.removeprefix("/").replace("/", ".")
        self._fields = {**_position_fields(definition), **definition.fields}
        self._ignore = frozenset(definition.ignore)
        self._maps = bool(self._fields or self._ignore)
        self.asked: set[str] | None = None  # names of what came, for a linter that looks for fields that match nothing
        self._foreign = definition.format != DEFAULT
        self._plain: set[str] = set()  # keys whose numbers need no unit
        self._named_by_us = self.format.keys_are_ours and definition.topic.startswith("pilots/")

    def device_of(self, topic: str) -> str:
        """The device that the topic names; "" where it names none."""
        return "" if self._level is None else joined_levels(topic.split("/"), self._level, self._to, "-")

    def origin_of(self, topic: str) -> str | None:
        """What the names of devices are unique in; "" where the source says itself which device it is."""
        return self.format.origin(topic) if self.format.origin is not None and self.definition.device is None else ""

    def sender(self, message: Message) -> Sender:
        """Who sent a message, also one that was rejected."""
        named = self.format.sender(message.topic, message.payload) if self.format.sender is not None else Sender()
        rule = self.definition.device
        if rule is None:
            return named
        try:
            return msgspec.structs.replace(
                named, device=_named(rule, message, self.device_of(message.topic)), origin=""
            )
        except RejectedMessage:
            return named

    def __call__(self, message: Message, device: str) -> Sequence[Found]:
        """Raises RejectedMessage."""
        rule = self._rule
        if rule is not None:
            device = _named(rule, message, device)
        findings = self._decode(message, device)
        if rule is not None:
            findings = [
                finding if finding.device == device else msgspec.structs.replace(finding, device=device)
                for finding in findings
            ]
        if self._naming is not None:
            findings = [self._without_name(finding) for finding in findings]
        return self._in_words(findings)

    def _without_name(self, finding: Found) -> Found:
        """What names the device is no reading of it, unless the source maps it."""
        if isinstance(finding, Observed) and (finding.maker or finding.key) == self._naming:
            return Ignored(
                finding.device, "identity", finding.key, finding.value, finding.time, finding.unit, finding.maker
            )
        return finding

    def _in_words(self, findings: Sequence[Found]) -> Sequence[Found]:
        """What was found, in the pilot's words."""
        if self._maps:
            return [self._map(finding) for finding in findings]
        if not self._foreign:
            return findings
        plain = self._plain
        return [
            finding
            if type(finding) is Observed and (finding.unit is not None or finding.key in plain)
            else self._with_unit(finding)
            for finding in findings
        ]

    @property
    def scripts(self) -> Sequence[JavaScriptCodec]:
        """The makers' JavaScript among its codecs."""
        return [codec for codec in self._codecs if isinstance(codec, JavaScriptCodec)] if self._codecs else ()

    def radio(self, message: Message) -> tuple[JavaScriptCodec, Uplink] | None:
        """The script that will be asked about this message, and what it will be given, as far as that is known
        before.
        """
        if self._codecs is None or not isinstance(self._decode, RadioDecoder):
            return None
        radio = self._decode.radio(message)
        codec = None if radio is None else self._codecs.of(radio.names)
        if radio is None or not isinstance(codec, JavaScriptCodec):
            return None
        return codec, (radio.payload, radio.port, radio.received)

    def _map(self, finding: Found) -> Found:
        if type(finding) is Ignored:
            return self._revived(finding)
        if type(finding) is not Observed:
            return finding
        maker = finding.maker or finding.key
        channel = f"{finding.key}.{channel_of(finding.part)}" if finding.part else finding.key
        if not self._ignore.isdisjoint((maker, channel, finding.key, _without_unit(maker))):
            return Ignored(finding.device, "mapping", maker, finding.value, finding.time, finding.unit)
        field = self._fields.get(maker) or self._fields.get(channel)
        bare = _without_unit(maker)
        if self.asked is not None:
            self.asked.update((maker, channel, finding.key, bare))
        if field is not None and finding.part:  # the definition says itself where this part's values belong
            return mapped(msgspec.structs.replace(finding, part=""), field)
        field = field or self._fields.get(bare) or self._fields.get(finding.key)
        if field is not None:
            return mapped(finding, field)
        return self._with_unit(finding) if self._foreign else finding

    def _with_unit(self, finding: Found) -> Found:
        """A number without a unit gets one where it can be told, and a name of its own where it cannot."""
        if (
            type(finding) is not Observed
            or finding.unit is not None
            or (self._named_by_us and finding.key in (finding.maker, ""))
        ):
            return finding
        if finding.key == finding.maker or not finding.maker:  # by its key alone: remembered
            if rule_of(finding.key) is None and unit_in_name(finding.key) is None and len(self._plain) < _MOST_PLAIN:
                self._plain.add(finding.key)
        elif finding.key in AGREED and len(self._plain) < _MOST_PLAIN:
            self._plain.add(finding.key)
        return with_unit(finding)

    def _revived(self, ignored: Ignored) -> Found:
        """What the format would ignore is a reading where the source says what its key means."""
        if not ignored.key or ignored.value is None:
            return ignored
        maker = ignored.maker or ignored.key
        if self.asked is not None:
            self.asked.update((maker, ignored.key, _without_unit(maker)))
        fields = self._fields
        field = fields.get(maker) or fields.get(_without_unit(maker)) or fields.get(ignored.key)
        if field is None or ignored.rule == MISSING:
            return ignored
        value = Observed(ignored.device, ignored.time, ignored.key, ignored.value, ignored.unit, ignored.maker)
        return mapped(value, field)


class PushedSource(PilotSource):
    """What reads messages that were posted with the credential of a device and that no source of the pilot reads.

    They are that device's. A format of servers and gateways, which send for many devices, must say so of every message:
    one that names another device is rejected, since the credential's device would else take all of them.
    """

    def __init__(self, pilot: str, zone: str, form: str, shelf: CodecShelf, view: PilotView | None) -> None:
        super().__init__(pilot, zone, SourceDefinition(f"pilots/{pilot}/+/push/#", form, DeviceRule(level=3)), shelf)
        self._view = view
        self._for_many = self.format.device_from == "message" and not self.format.own_topic

    def __call__(self, message: Message, device: str) -> Sequence[Found]:
        """Raises RejectedMessage."""
        if not self._named_by(message.payload):
            return super().__call__(message, device)
        findings = self._in_words(self._decode(message, device))
        other = next((finding.device for finding in findings if not self._is(finding.device, device)), None)
        if other is not None:
            topic = f"pilots/{self.pilot}/{device}/push/{self.format.name}"
            raise RejectedMessage("other-device", named=other[:80], device=device, topic=topic)
        return [msgspec.structs.replace(finding, device=device) for finding in findings]

    def sender(self, message: Message) -> Sender:
        """Whose the message is by its payload, where that names another device than the credential."""
        named = self._named_by(message.payload)
        return Sender(device=named) if named else super().sender(message)

    def _named_by(self, payload: bytes) -> str:
        """The device that a payload names, of a format of servers and gateways."""
        if not self._for_many or self.format.sender is None:
            return ""
        return self.format.sender("", payload).device

    def _is(self, named: str, device: str) -> bool:
        described = None if self._view is None else self._view.device(named)
        own = None if self._view is None else self._view.device(device)
        return named == device or (described is not None and own is not None and described.id == own.id)


def _position_fields(definition: SourceDefinition) -> dict[str, FieldMapping]:
    """Where a source says where its devices are: readings of latitude and longitude, numbers in text too."""
    where = definition.position
    if where is None:
        return {}
    pairs = ((where.lat, "latitude"), (where.lon, "longitude"))
    return {key: FieldMapping(quantity, unit="deg", text=True) for key, quantity in pairs}


def _without_unit(maker: str) -> str:
    """The name of a column or key that has its unit in brackets behind it; others as they are."""
    return divided(maker)[0].name if maker[-1:] in (")", "]") and divided(maker) else maker


def _named(rule: DeviceRule, message: Message, device: str) -> str:
    """The device that a rule finds. Raises RejectedMessage."""
    if rule.id is not None:
        return rule.id
    if rule.pointer is not None:
        device = _pointed(message.payload, rule.pointer)
    if not device:
        if rule.pointer:
            raise RejectedMessage("no-device.payload", pointer=rule.pointer)
        raise RejectedMessage("no-device.topic", level=rule.level)
    return device


def _pointed(payload: bytes, pointer: str) -> str:
    """The text or whole number at a path, "" where there is none."""
    try:
        document = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    value = parse_path(pointer).first(document, document)
    return str(value) if type(value) in (str, int) else ""


def _first_wildcard(definition: SourceDefinition) -> int | None:
    """The level of the topic, from 1, that names the device when nobody said."""
    levels = definition.topic.split("/")
    if formats()[definition.format].device_from == "message":
        return None
    return next((at for at, level in enumerate(levels, 1) if level in ("+", "#")), None)


def _codecs(definition: SourceDefinition, name: str, shelf: CodecShelf) -> Codecs | None:
    """What reads the bytes of a source's uplinks; None where its network server does."""
    by_name = {key: _codec(text, f"{name} {key}", shelf) for key, text in definition.codecs.items()}
    default = None if definition.codec is None else _codec(definition.codec, name, shelf)
    return Codecs(default, by_name) if by_name or default is not None else None


def _codec(text: str, name: str, shelf: CodecShelf) -> PayloadCodec:
    """Another format, or a maker's JavaScript."""
    form = formats().get(text)
    decode = None if form is None else form.codec
    if decode is None:
        return shelf.codec(name, text)
    return lambda payload, port, received: decode(payload, port)
