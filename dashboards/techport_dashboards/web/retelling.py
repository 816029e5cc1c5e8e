"""Sentences that were written down in English, told again in the reader's language.

ingest says once, in English, what was wrong with a message and what to do, with the message's own names and values.
Here stands what such sentences look like, with a place for each value; locales/ translates them like all other texts.
What looks like none of them stays in English.
"""

from __future__ import annotations

import re
from functools import cache
from string import Formatter

from techport_pilots.i18n import Language

SENTENCES: tuple[str, ...] = (
    "{key} is nan",
    "{key} is inf",
    "{key} is -inf",
    "{key} is text",
    "{key} is null",
    "{key} is true",
    "{key} is false",
    "{key} is an object",
    "{key} is an array",
    "{key} is beyond all numbers",
    "{key} is beyond all numbers in {unit}",
    "{key} is in {given}: {unit} is no unit that is known here",
    "{key} is wanted in {unit}: {given} cannot be turned into {other} without knowing more",
    "{key} cannot be the name of a quantity",
    "{key} stands twice in one object",
    "the time is {span} ahead of the arrival",
    "the time is {span} before the arrival, before the year 2000",
    "time is {kind}",
    "{text} is not an ISO 8601 time",
    "{text} does not say which time zone it is in",
    "{number} is not an instant",
    "the number is too large for an instant",
    "the pilot {pilot} is closed and its data frozen",
    "there is no pilot {pilot}",
    "the pilot {pilot} has no device {device}",
    "there is no device's name at {pointer} of the payload",
    "there is no device's name at level {level} of the topic",
    "nothing is known about the topic {topic}",
    "the decoder stopped with {error}",
    "the payload is {kind}, not an object",
    "the payload holds {kind} where an object belongs",
    "the payload is empty",
    "the payload is not UTF-8",
    "the payload ends after {n} bytes, in the middle of the JSON",
    "byte {n} ({hex}) is not UTF-8",
    "a byte order mark stands before the JSON",
    "JSON is malformed: {what}",
    "Number out of range - at {where}",
    "there is no value in it",
    "objects or arrays are nested too deeply to be a reading",
    "more than {n} levels of objects",
    "more than {n} values in one message",
    "the radio payload is not base64",
    "the uplink has bytes but no {field}",
    "Leave the key out when there is no value",
    "Numbers end at about 1.8e308",
    "Send 1 or 0, or describe the quantity as a state",
    'Send one number for each quantity: {"pm10": 21.5, "pm25": 7.2}',
    '"{text}" is text: only numbers are readings; send states as numbers and events as events',
    '"{text}" is text: send {number} without quotes',
    '"{text}" is no value: leave it out',
    "Set the device's clock (NTP), it is {span} fast, or check the unit of the time",
    "The device's clock was not set: wait for NTP before the first reading, or leave the time out until then",
    "Say in the pilot's source which unit it is: fields: {{...: {{quantity: {key}, unit: {unit}}}}}",
    "Is it {key} that this value measures? Rename it in the pilot's source, or give its right unit",
    "Check the unit and the value",
    "Take the device down, or give it to a pilot that runs; nothing more is added to this one",
    "Names have 1 to {n} visible characters and no space at either end, such as pm10",
    "Check the second level of the topic, or import the pilot's definition (techport pilot import)",
    "Check the third level of the topic, or add the device to the pilot's definition and import it again",
    "Compare the device: rule of the pilot's source with the message, change it and replay",
    "Readings go to pilots/<pilot>/<device>/readings, or to a topic that a pilot names under sources:",
    "This is a fault of techport, not of the device: report it, and replay the message once it is mended",
    "Send flat objects",
    "Send several smaller messages",
    "Nothing can be read from it; check what the device publishes",
    "Check that the topic carries the format that the source is set to",
    "Encode the text as UTF-8; binary payloads need another format",
    "Encode the text as UTF-8, not Latin-1",
    "Encode the JSON text as UTF-8, not Latin-1; binary payloads need a format",
    "A buffer on the device may be too small for the text; send all of it",
    "Send valid JSON; NaN and Infinity are none",
    "JSON has no NaN and no Infinity: leave the key out when there is no value",
    "Leave the mark out (UTF-8 without BOM)",
    'Send one object, {"time": "2026-05-04T12:30:00Z", "pm10": 21.5}, or an array of such objects',
    "Send each quantity once; two readings belong in two objects, each with its own time",
    'Send UTC as text, "2026-05-04T12:30:00Z", or seconds since 1970 as a number',
    'Put the offset behind the time: "...Z" for UTC, "...+01:00" for Norwegian winter time',
    "The network server writes the radio's bytes as base64; check what stands between it and the broker",
    "Add a payload formatter to the device in {server}, or a codec to this source, then replay the message",
    "The store does not take this value: leave it out, or send it in a unit where it is smaller",
    "not in the vocabulary, kept without a unit",
    "not in the vocabulary, kept without a unit: did you mean {names}?",
    "outside the valid range, kept and flagged",
)

PARTS: tuple[str, ...] = (
    "{one} or {other}",
    "{n} years",
    "{n} days",
    "{n} hours",
    "{n} minutes",
    "{n} seconds",
    "an object",
    "an array",
    "a list",
    "a number",
    "a string",
    "null",
    "true or false",
    "nothing that can be read",
    "{what} (byte {n})",
    "invalid character",
    "trailing characters",
    "object keys must be strings",
    "expected ':'",
    "expected ',' or '}'",
    "expected ',' or ']'",
    "trailing comma in object",
    "trailing comma in array",
    "expected '\"'",
    "invalid number",
    "invalid escape character in string",
)
"""What stands in the places of sentences and has words of its own."""

_PLACE = re.compile(r"\{[a-z]+\}")


def retell(sentence: str, language: Language) -> str | None:
    """The sentence in the reader's language; None where it is not known, and has to be shown in English."""
    return sentence if language.code == "en" else _told(sentence, SENTENCES, language)


def _told(text: str, known: tuple[str, ...], language: Language) -> str | None:
    if text in known and not _PLACE.search(text):
        return language.gettext(text)
    for form, pattern in _patterns(known):
        if match := pattern.fullmatch(text):
            values = {name: _told(value, PARTS, language) or value for name, value in match.groupdict().items()}
            return language.gettext(form, **values)
    return None


@cache
def _patterns(known: tuple[str, ...]) -> list[tuple[str, re.Pattern[str]]]:
    """Sentences with places in them, each with what it looks like; those with more words of their own come first."""
    parsed = [(form, list(Formatter().parse(form))) for form in known if _PLACE.search(form)]
    parsed.sort(key=lambda one: -sum(len(words) for words, *_ in one[1]))
    return [(form, re.compile("".join(map(_pattern, pieces)), re.DOTALL)) for form, pieces in parsed]


def _pattern(piece: tuple[str, str | None, str | None, str | None]) -> str:
    words, name, *_ = piece
    return re.escape(words) + (f"(?P<{name}>.+)" if name else "")
