"""The truth log: for every reading what was true, what was sent, and what must have become of it.

One JSON object a line, so that a test, or a person with `jq`, compares a store with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal

import msgspec

Outcome = Literal["stored", "quarantined", "lost"]


class Truth(msgspec.Struct, frozen=True, omit_defaults=True):
    """One reading of a device. `time` is when it was measured, `sent_time` what the device's clock said (µs, UTC)."""

    pilot: str
    device: str
    time: int
    true: dict[str, float | int]
    outcome: Outcome
    sent_time: int | None = None
    sent: dict[str, float | int] | None = None
    copies: int = 1  # how often the message went out
    faults: list[str] = []
    payload: str | None = None  # what went out, where it cannot be read


class TruthLog:
    """Appends to an NDJSON file. Lines are written before their messages go out: nothing is sent that is not in it."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("ab")
        self._encoder = msgspec.json.Encoder()

    def write(self, truth: Truth) -> None:
        self._file.write(self._encoder.encode(truth) + b"\n")

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> TruthLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def read_truth(path: Path) -> Iterator[Truth]:
    """The entries of a truth log in the order in which they were written."""
    decoder = msgspec.json.Decoder(Truth)
    with path.open("rb") as lines:
        for line in lines:
            yield decoder.decode(line)
