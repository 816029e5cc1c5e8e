"""What a maker's fields are in the vocabulary, as a source or the table of a family says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from techport_ingest.checking import written_values
from techport_ingest.decoding.bare_numbers import key_unit
from techport_ingest.message import Observed
from techport_pilots.model import FieldMapping


def mapped(observed: Observed, field: FieldMapping) -> Observed:
    """The value under the vocabulary's name, in the unit that the definition, the message or its key states. What is no
    number stays as it is, for the check step to explain.
    """
    value, unit = meaning(observed.value, field, observed.unit)
    unit = field.unit or unit
    if type(value) in (int, float):
        if field.factor != 1.0:  # whoever scales says by that what the number is in
            value = _scaled(value, field.factor)
        elif unit is None:
            unit = key_unit(observed.maker or observed.key, field.quantity)
    return Observed(observed.device, observed.time, field.quantity, value, unit, observed.maker, observed.part)


def meaning(value: object, field: FieldMapping, unit: str | None = None) -> tuple[object, str | None]:
    """The number that a word or a number in text stands for, and its unit; anything else as it is."""
    if type(value) is not str:
        return value, unit
    if field.words:
        word = lowered(field.words).get(value.strip().lower())
        if word is not None:
            return word, unit
    if field.text:
        written = written_values.read(value)
        if written is not None:
            return written.value, unit or written.unit
    return value, unit


def lowered(words: Mapping[str, float]) -> dict[str, float]:
    """The words as they are compared."""
    return {word.strip().lower(): float(value) for word, value in words.items()}


def _scaled(value: Any, factor: float) -> object:
    try:
        return float(value) * factor
    except OverflowError:
        return value
