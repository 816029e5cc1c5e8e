"""Marks by which senders say that there is no value. What bears one is ignored (rule `missing`), never a reading.

    mark                                   where it is one                       said by
    -------------------------------------  ------------------------------------  -------------------------------------
    null                                   every format but `native`             JSON; Shelly: a value is gone
    unavailable, unknown, undefined        text of every foreign format          Home Assistant: states of an entity
    nan, inf, n/a, na, none, null, -, ""   text of every foreign format          spreadsheets, Campbell, vegvesen
    -999, -9999, -99999 (also .9, .99)     numbers outside what the quantity     loggers, ICARTT, ESRI grids; NILU files
                                           can be, or of no known quantity
    -6999, -7999                           the same                              Campbell's loggers: out of range
    255, 32767, -32768, 65535, 2^31 - 1,   numbers outside what the quantity     all bits set: LoRaWAN (battery 255,
    -2^31, 2^32 - 1; also tenths and       can be                                DevStatusAns), Ruuvi, Milesight;
    hundredths of them                                                           Dragino without probe: 327.67
    -127                                   numbers outside what the quantity     Arduino library DallasTemperature,
                                           can be                                DEVICE_DISCONNECTED_C: no DS18B20
    batteryLevelUnavailable,               status events of ChirpStack           ChirpStack: battery_level is then 0
    externalPowerSource

A number is taken for a mark only where it cannot be a value: 255 is a good illuminance. So is a number in text, such as
"-327.7". `native` devices are told to leave a value out instead. A field that a definition maps is judged by the
quantity's range like any other.
"""

from __future__ import annotations

RULE = "missing"
"""The rule under which absent values are counted."""

TEXTS = frozenset(
    ("", "-", "--", "n/a", "na", "nan", "-nan", "inf", "-inf", "null", "none", "unavailable", "unknown", "undefined")
)
"""Lower case, without spaces around."""

SENTINELS = frozenset(
    (
        *(-(number + fraction) for number in (999, 9999, 99999) for fraction in (0.0, 0.9, 0.99)),
        *(-6999.0, -7999.0),
    )
)
"""No value by the custom of loggers and data files, where the quantity cannot be so low or is not known."""

_ALL_BITS = (255, 32_767, -32_768, 65_535, 2_147_483_647, -2_147_483_648, 4_294_967_295)

ALL_BITS_SET = frozenset(
    round(number / divisor, digits) for number in _ALL_BITS for divisor in (1, 10, 100) for digits in (1, 3)
)
"""The largest and smallest numbers of radio frames, scaled as their decoders scale."""

NO_PROBE = -127
"""What readers of one-wire thermometers give where none answers."""


def is_absent_text(text: str) -> bool:
    """Whether a text says that there is no value."""
    return len(text) <= 20 and text.strip().lower() in TEXTS


def is_absent_number(value: object, known_range: bool) -> bool:
    """Whether a number that is outside its stream's range, or of a stream without one, says that there is no value.

    `known_range` says which of the two.
    """
    if type(value) is not float and type(value) is not int:
        return False
    return value in SENTINELS or (known_range and (value == NO_PROBE or value in ALL_BITS_SET))
