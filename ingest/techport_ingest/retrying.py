"""Waiting for a store or a registry that is away."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import structlog

from techport_ingest.metrics import Metrics
from techport_pilots.errors import RegistryUnavailable
from techport_storage.errors import StoreBusy, StoreUnavailable

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Stopped(Exception):
    """The pipeline was asked to stop while it waited. What it holds is not acknowledged and comes again."""


class Retrier:
    """Repeats a step of one worker until it succeeds or the worker stops. Not thread-safe; `error` from any thread."""

    def __init__(self, stopping: threading.Event, metrics: Metrics, longest_wait: float) -> None:
        self._stopping = stopping
        self._metrics = metrics
        self._longest_wait = longest_wait
        self._waits_for: str | None = None  # the step that had to wait first
        self._away_since = 0.0  # monotonic s
        self._waits = 0
        self.error: str | None = None  # why a step has to wait, while it has to

    def call(self, step: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `function`, however long the store or the registry is away. Raises Stopped."""
        while True:
            try:
                result = function(*args, **kwargs)
                self.succeeded(step)
                return result
            except (StoreUnavailable, RegistryUnavailable) as error:
                self.wait(step, error)

    def succeeded(self, step: str) -> None:
        """A full disk is read from while it cannot be written to: the step that had to wait first ends the wait."""
        if step == self._waits_for:
            log.info("stores again", step=step, after_seconds=round(time.monotonic() - self._away_since, 1))
            self._waits_for = self.error = None

    def wait(self, step: str, error: Exception) -> None:
        """Sleep before the next attempt: longer each time, with jitter. Raises Stopped when asked to stop."""
        if self._waits_for is None:
            self._waits_for, self._waits, self._away_since = step, 0, time.monotonic()
            level = logging.INFO if isinstance(error, StoreBusy) else logging.WARNING
            log.log(level, "cannot store now; everything is kept and tried again", step=step, problem=str(error))
        self.error = f"{step}: {error}"
        self._metrics.retries.labels(step).inc()
        ceiling = min(self._longest_wait, 0.1 * 2**self._waits)
        self._waits = min(self._waits + 1, 16)
        if self._stopping.wait(random.uniform(ceiling / 2, ceiling)):
            raise Stopped
