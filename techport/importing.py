"""Imports much at once, as fast as that goes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Import without collecting garbage.

    What is imported is some hundred thousand objects that stay until the end. The collector goes through all that there
    are again and again as their number grows, for a fifth of the processor time of a start: so it is switched on when
    they are there, and told that they stay.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
