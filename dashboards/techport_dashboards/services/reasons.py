"""Why messages are refused, in words that can be translated: each reason's name, and what usually mends it.

An entry's own detail and hint are more exact, with the message's own names and values. They are written in English, and
retelling.py tells those that it knows in the reader's language; where it knows none, the remedy stands beside.
"""

from __future__ import annotations

from typing import NamedTuple


class Reason(NamedTuple):
    title: str
    remedy: str


_SHAPE = "Compare it with the example of its format; the page for checking messages says where it goes wrong."
_CLOCK = "Set the device's clock (NTP), or let it send no time at all: the time of arrival is taken then."
_CODEC = "Mend the codec in the pilot's definition or ask its maker, then take the messages again."

REASONS: dict[str, Reason] = {
    "bad-name": Reason("A name that cannot be one", "Give the value a name of visible characters, such as pm10."),
    "bad-time": Reason("A time that cannot be read", "Send ISO 8601 with a zone, or seconds since 1970."),
    "clock-future": Reason("Observed in the future", _CLOCK),
    "clock-past": Reason("Observed before the year 2000", _CLOCK),
    "codec-error": Reason("The JavaScript decoder failed", _CODEC),
    "codec-memory": Reason("The JavaScript decoder took too much memory", _CODEC),
    "codec-stopped": Reason("The JavaScript decoder rests after failures", _CODEC),
    "codec-time": Reason("The JavaScript decoder took too long", _CODEC),
    "decoder-failed": Reason("A fault of techport", "Report it, and replay the messages once it is mended."),
    "duplicate-key": Reason("A name stands twice", "Send each name once in a message."),
    "empty": Reason("An empty message", "Send at least one value."),
    "local-time": Reason("A local time that does not exist, or is two", "Send UTC, or the offset with the time."),
    "nan": Reason("A value that is no number", "Leave the value out when there is none; do not send NaN or null."),
    "no-column": Reason("A column is missing", "Say under columns: in the source what the heading calls it."),
    "no-datastream": Reason("It does not say which datastream", "Send the Datastream with its @iot.id."),
    "no-device": Reason("It does not say which device", "Say under device: in the source where the name stands."),
    "no-heading": Reason("A table without a heading", "Send the names of the columns as the first line."),
    "no-values": Reason("No values in it", "Send at least one value."),
    "not-a-number": Reason(
        "A number was expected", "Send it without quotes and with a decimal point, or say below that it comes as text."
    ),
    "not-base64": Reason("Not Base64", _SHAPE),
    "not-cayenne": Reason("Not Cayenne LPP", _SHAPE),
    "not-cbor": Reason("Not CBOR", _SHAPE),
    "not-csv": Reason("Not a table", _SHAPE),
    "not-decoded": Reason(
        "The network server has not decoded it", "Give the source a codec: cayenne-lpp or the maker's JavaScript."
    ),
    "not-hex": Reason("Not hexadecimal", _SHAPE),
    "not-json": Reason("Not JSON", "Send one JSON object. Names and texts stand in double quotes, numbers do not."),
    "not-line-protocol": Reason("Not line protocol", _SHAPE),
    "not-sparkplug": Reason("Not Sparkplug B", _SHAPE),
    "not-ultralight": Reason("Not UltraLight 2.0", _SHAPE),
    "not-utf8": Reason("Text that is not UTF-8", "Send UTF-8, or choose the format that is binary."),
    "number-too-large": Reason("A number beyond all numbers", "Check the unit and the value."),
    "pilot-closed": Reason("The pilot is closed", "Take the device down, or give it to a pilot that runs."),
    "senml-field": Reason("A SenML field that cannot be", _SHAPE),
    "senml-version": Reason("A SenML version that nobody reads", "Send version 10 (RFC 8428)."),
    "store-refused": Reason("The store does not take the value", "Leave it out, or send it in a smaller unit."),
    "too-deep": Reason("Nested too deeply", "Send a flatter message."),
    "too-long": Reason("Too long", "Send less in one message."),
    "too-many-values": Reason("Too many values in one message", "Send it in several messages."),
    "truncated": Reason("It ends in the middle", "The device's buffer is too small for the message: enlarge it."),
    "unknown-alias": Reason("A Sparkplug alias without its birth", "Let the node send its birth message again."),
    "unknown-device": Reason("Nobody knows the device", "Claim it; its messages are taken again then."),
    "unknown-pilot": Reason("Nobody knows the pilot", "Check the second level of the topic."),
    "unknown-topic": Reason("Nobody reads the topic", "Name the topic under sources: in the pilot's definition."),
    "unknown-type": Reason("A type that nobody reads", _SHAPE),
    "unknown-unit": Reason("A unit that nobody knows", "Say below which unit it is."),
    "wrong-shape": Reason("Not put together as its format says", _SHAPE),
    "wrong-topic": Reason("A topic that its format does not have", "Check the topic filter of the source."),
    "wrong-unit": Reason("A unit of something else", "Say below what it measures, or in which unit."),
}


ABOUT_MEANING = ("not-a-number", "unknown-unit", "wrong-unit", "bad-name", "nan", "number-too-large")
"""Reasons that go away when the pilot's definition says what the field means, or that it is none."""


def reason_of(code: str) -> Reason:
    """The words of a reason; its code where a newer ingest worker knows one that we do not."""
    return REASONS.get(code, Reason(code, ""))
