"""What devices call the two sides of a state, and what people read for its numbers.

A quantity of the kind `state` is stored as a number. Its words come, in this order, from the `words` of the source's
field, from the pilot's own quantity (`words`, and the titles of its `states`), and from WORDS, which every state has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from techport_pilots.model import Text

_ONE = (
    "1 on open opened true yes active activated enabled running started up high"
    " occupied busy present detected detection motion moving movement presence"
    " alarm alert triggered trigger leak leaking wet water flood smoke fault error warning tampered removed uninstalled"
    " pressed unlocked online connected full light"
    " på åpen åpent åpnet ja sann aktiv opptatt tilstede bevegelse lekkasje våt vått alarmert utløst feil varsel ulåst"
)
_ZERO = (
    "0 off close closed false no inactive deactivated disabled stopped idle down low"
    " vacant free unoccupied absent away clear cleared none undetected still stationary no_motion"
    " normal ok quiet silent dry no_leak untriggered installed attached"
    " released locked offline disconnected empty dark"
    " av lukket lukka nei usann inaktiv ledig fri borte rolig tørr tørt låst"
)

WORDS: Mapping[str, float] = MappingProxyType({**dict.fromkeys(_ONE.split(), 1.0), **dict.fromkeys(_ZERO.split(), 0.0)})
"""Common words in English and Norwegian, lower case, with _ for spaces and hyphens."""

YES_NO = (Text(nb="nei", en="no"), Text(nb="ja", en="yes"))


def plain(word: str) -> str:
    """A word as WORDS has it: "No Motion" is "no_motion"."""
    return word.strip().lower().replace(" ", "_").replace("-", "_")


def number_of(word: str, own: Mapping[str, float], titles: Iterable[Text] = ()) -> float | None:
    """The number of a state that a device says in a word, or None for a word that nobody has explained.

    Parameters
    ----------
    word : str
        As the device wrote it; case, spaces and hyphens do not matter.
    own : mapping of str to float
        The definition's words, of a field or a quantity.
    titles : iterable of Text
        What people read for 0, 1, 2 and so on; devices may write it too.
    """
    name = plain(word)
    for key, number in own.items():
        if plain(key) == name:
            return float(number)
    named = tuple(titles)
    for number, title in enumerate(named):
        if name in (plain(title.nb), plain(title.en)):
            return float(number)
    return WORDS.get(name) if len(named) <= 2 else None


def title_of(value: float, titles: Iterable[Text]) -> Text | None:
    """What people read for a state's number; None for a number that is no state, such as a mean."""
    named = tuple(titles) or YES_NO
    return named[int(value)] if value == int(value) and 0 <= value < len(named) else None
