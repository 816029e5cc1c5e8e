"""What a maker's fields are in the vocabulary, as a source or the table of a family says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from techport_ingest.decoding.common import number
from techport_ingest.message import Observed
from techport_pilots.model import FieldMapping


def mapped(observed: Observed, field: FieldMapping) -> Observed:
    """The value under the vocabulary's name. What is no number stays as it is, for the check step to explain."""
    value = meaning(observed.value, field)
    if field.factor != 1.0 and type(value) in (int, float):
        value = _scaled(value, field.factor)
    unit = field.unit or observed.unit
    return Observed(observed.device, observed.time, field.quantity, value, unit, observed.maker, observed.part)


def meaning(value: object, field: FieldMapping) -> object:
    """The number that a word or a number in text stands for; anything else as it is."""
    if type(value) is not str:
        return value
    if field.words:
        word = lowered(field.words).get(value.strip().lower())
        if word is not None:
            return word
    if field.text:
        read = number(value.strip().replace(",", ".") if value.count(",") == 1 and "." not in value else value)
        return value if read is None else read
    return value


def lowered(words: Mapping[str, float]) -> dict[str, float]:
    """The words as they are compared."""
    return {word.strip().lower(): float(value) for word, value in words.items()}


def _scaled(value: Any, factor: float) -> object:
    try:
        return float(value) * factor
    except OverflowError:
        return value
