"""Numbers as people read them, in pages and reports alike."""

from __future__ import annotations

from babel import Locale
from babel.numbers import format_decimal

_DIGITS_END = 1e15  # a float64 has no more digits


def decimal(value: float, pattern: str, locale: Locale) -> str:
    """By the pattern, with a true minus sign; what no instrument measures as a power of ten: 1,00E300."""
    pattern = pattern if abs(value) < _DIGITS_END else "0.00E0"
    text = str(format_decimal(value, format=pattern, locale=locale)).replace("-", "−")
    return text if any(digit in text for digit in "123456789") else text.lstrip("−")  # a zero has no sign
