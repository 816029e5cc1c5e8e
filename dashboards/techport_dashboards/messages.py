"""The pages' texts in bokmål, by their English. A text that is missing here is shown in English."""

from __future__ import annotations

NB: dict[str, str] = {}

SCRIPT_MESSAGES: tuple[str, ...] = (
    "live",
    "connecting",
    "disconnected",
    "paused: looking into the past",
    "the store does not answer",
)
"""Texts that static/js shows."""
