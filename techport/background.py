"""Work that goes on in a thread of its own for as long as a block lasts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def in_background(name: str, run: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    """Run in a thread until the block ends, then call `stop` and wait until `run` has returned."""
    thread = threading.Thread(target=run, name=name)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join()
