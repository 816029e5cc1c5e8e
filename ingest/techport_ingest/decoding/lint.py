"""What would become of this message? The same steps as in a running platform, without broker, store or database."""

from __future__ import annotations

import contextlib
import secrets

import msgspec

from techport_ingest.checking.check import Columns, shown
from techport_ingest.decoding.javascript import CodecShelf
from techport_ingest.decoding.mapping import PilotSource
from techport_ingest.decoding.pseudonyms import Pseudonymiser
from techport_ingest.decoding.quantity_names import UNKNOWN_UNIT
from techport_ingest.decoding.reader import Reader
from techport_ingest.message import Message, RejectedMessage
from techport_pilots import i18n
from techport_pilots.accounting.rejection import Rejected
from techport_pilots.devices.explanation import Explanation, IgnoredPart, Understood
from techport_pilots.model import DeviceDefinition, DeviceRule, PilotDefinition, SourceDefinition, Text
from techport_pilots.quantities import vocabulary_of
from techport_pilots.registry.view import IngestView
from techport_pilots.state_words import title_of
from techport_storage.model import Micros, Quality

_POSITION = 3  # digits of a position in a list; longer numbers are ids


def explain(
    payload: bytes,
    topic: str,
    received: Micros,
    format_name: str | None = None,
    pilot: PilotDefinition | None = None,
) -> Explanation:
    """What becomes of a message that arrives now.

    Parameters
    ----------
    payload : bytes
        As the device would publish it.
    topic : str
        The topic it would be published to.
    received : Micros
        When it would arrive, µs.
    format_name : str, optional
        Reads the topic where no source of the pilot does.
    pilot : PilotDefinition, optional
        Its sources and devices are used. Without it every device of the message is accepted.

    Returns
    -------
    Explanation
        What would be stored, rejected (codes with parameters) and ignored.

    Raises
    ------
    ValueError
        Neither a format nor a pilot is given.
    """
    message = Message(topic, payload, received, 1)
    if pilot is None:
        if format_name is None:
            raise ValueError("say which format it is, or which pilot's definition describes it")
        pilot = _host_of(message, format_name)
    elif format_name is not None:
        pilot = msgspec.structs.replace(
            pilot, sources=[*pilot.sources, SourceDefinition(topic=topic, format=format_name)]
        )
    snapshot = IngestView.of(1, [pilot], [])
    with contextlib.closing(Reader()) as reader:
        reader.use(snapshot)
        source = reader.source_of(topic)
        if source is not None:
            source.asked = set()
        # With a key that nobody has: what is shown may be passed on, such as in a message to a maker.
        key = secrets.token_bytes(32)
        [message] = Pseudonymiser(lambda *_: key).apply([message], snapshot)
        explanation = _explanation(reader.read([message], snapshot), pilot)
        if source is None or source.asked is None:
            return explanation
        unmatched = [key for key in source.definition.fields if key not in source.asked]
        return msgspec.structs.replace(explanation, unmatched=unmatched)


def _host_of(message: Message, format_name: str) -> PilotDefinition:
    """A pilot to which every device of the message belongs."""
    levels = message.topic.split("/")
    below = len(levels) > 2 and levels[0] == "pilots"
    pilot = levels[1] if below else "any"
    named = levels[2] if below else "device"
    source = SourceDefinition(topic=message.topic, format=format_name, device=DeviceRule(level=3) if below else None)
    try:
        items = PilotSource(pilot, "UTC", source, CodecShelf())(message, named)
        names = sorted({item.device for item in items} | {named, ""})
    except RejectedMessage:
        names = [named, ""]
    devices = [DeviceDefinition(id=name) for name in names]
    return PilotDefinition(id=pilot, title=Text(), question=Text(), devices=devices, sources=[source])


def _explanation(columns: Columns, pilot: PilotDefinition) -> Explanation:
    words = vocabulary_of(pilot)
    untimed = set(columns.untimed)
    readings = []
    for row, reading in enumerate(columns.batch()):
        quantity = words.lookup(reading.quantity)
        remark = None
        if quantity is None:
            near = words.near(reading.quantity)
            stated = columns.stated_units.get(reading.stream)
            if stated is not None:
                remark = i18n.Message("remark.stated-unit", {"unit": stated})
            elif reading.quantity.startswith(UNKNOWN_UNIT):
                remark = i18n.Message("remark.unknown-unit", {"name": reading.quantity.removeprefix(UNKNOWN_UNIT)})
            elif any(level.isdecimal() and len(level) <= _POSITION for level in reading.quantity.split(".")[1:]):
                remark = i18n.Message("remark.position")
            else:
                remark = (
                    i18n.Message("remark.near", {"names": near}) if near else i18n.Message("remark.unknown-quantity")
                )
        elif reading.quality & int(Quality.RANGE):
            remark = i18n.Message("remark.out-of-range")
        unit = columns.stated_units.get(reading.stream) if quantity is None else quantity.unit
        time = None if row in untimed else reading.time
        word = None
        if quantity is not None and quantity.kind == "state":
            word = title_of(reading.value, quantity.states)
        readings.append(Understood(reading.device, reading.quantity, reading.value, unit, time, remark, word))
    rejected = [Rejected(part.rejection, part.field, part.values) for part in columns.rejected]
    events = [f"{happened.event.kind} {happened.event.text}".strip() for happened in columns.events]
    parts = [
        IgnoredPart(passed.rule, passed.key, shown(passed.value))
        for passed in columns.ignored
        if passed.rule != "event"
    ]
    return Explanation(readings, rejected, [part.rule for part in parts], events, not rejected, parts)
