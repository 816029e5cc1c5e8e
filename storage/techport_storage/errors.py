"""What can go wrong at a store.

StoreError
├── StoreUnavailable   not now: nothing was lost, try again later (the pipeline does, acknowledging nothing)
│   └── StoreBusy      somebody else was at the same rows or the log at this moment: nothing is wrong with the store
├── StoreIncompatible  never: what is there cannot be opened by this version; trying again does not help
└── BadQuery           never: the question itself is wrong; names the parameter and the remedy
"""

from __future__ import annotations


class StoreError(Exception):
    """Base of everything a ReadingStore raises on purpose."""


class StoreUnavailable(StoreError):
    """The store cannot take or give readings now (down, disk full, locked by another process). Worth a retry."""


class StoreBusy(StoreUnavailable):
    """Two users of the store met at the same rows. Nothing is wrong: the same call succeeds in a moment."""


class StoreIncompatible(StoreError):
    """What the URL names cannot be opened by this version of techport, whenever it is tried. Names the way out."""


class BadQuery(StoreError, ValueError):
    """A query that no store can answer.

    `parameter` names the field of the Query, `hint` says what would be accepted.
    """

    def __init__(self, parameter: str, problem: str, hint: str) -> None:
        super().__init__(f"{parameter}: {problem}. {hint}")
        self.parameter = parameter
        self.problem = problem
        self.hint = hint
