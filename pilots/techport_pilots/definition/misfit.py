"""What is wrong in a definition, as codes: a place, a message that says what is wrong and one that says how to fix it.

The sentences are in locale/<language>.po: `definition.<code>.problem` and `definition.<code>.remedy`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from techport_pilots.errors import Finding
from techport_pilots.i18n import Message

Path = tuple[str | int, ...]

_MOST_NAMES = 12  # names that a remedy lists when none is near
_MOST_COMPARED = 500  # names that are compared: a word takes 20 us each
_LONGEST_COMPARED = 80  # characters of a word


class Misfit(NamedTuple):
    """Something that is wrong at a path, and what to do about it."""

    path: Path
    problem: Message
    remedy: Message
    near: Path | None = None  # where to look in the file, for something that is not in it

    def finding(self, file: str, line: int = 0) -> Finding:
        """The same, of a file; 0 for what is in no line of it."""
        return Finding(file, line, field_name(self.path), self.problem, self.remedy)


def misfit(path: Path, code: str, *, remedy: Message | None = None, near: Path | None = None, **params: Any) -> Misfit:
    """What is wrong, by its code. Without `remedy` the one of the same code is meant; both are given `params`."""
    usual = Message(f"definition.{code}.remedy", params)
    return Misfit(path, Message(f"definition.{code}.problem", params), remedy or usual, near)


def field_name(path: Path) -> str:
    """A path as people write it: devices[3].position.lat"""
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return name.removeprefix(".")


def did_you_mean(word: str, accepted: Iterable[str], otherwise: str = "") -> Message:
    """A remedy: the accepted word that is near, or all of them; of too many, or none, the remedy named `otherwise`."""
    names = list(accepted)
    near = difflib.get_close_matches(word[:_LONGEST_COMPARED], names[:_MOST_COMPARED], n=2, cutoff=0.6)
    if near:
        return did_you_mean_any(near)
    if otherwise and not 0 < len(names) <= _MOST_NAMES:
        return Message(f"definition.{otherwise}")
    return Message("definition.accepted", {"names": names}) if names else Message("definition.none-accepted")


def did_you_mean_any(near: Sequence[str]) -> Message:
    """A remedy: the names that are near."""
    return Message("definition.did-you-mean", {"names": list(near)})


def known_device(device: str, devices: Sequence[str], path: Path) -> Iterator[Misfit]:
    """A device must be one of the pilot's."""
    if device not in devices:
        yield misfit(path, "unknown-device", remedy=did_you_mean(device, devices, "use-device"), device=device)
