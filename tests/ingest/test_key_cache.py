"""What keys mean is remembered, but not all that large messages were full of."""

from __future__ import annotations

import pytest

from techport_ingest.checking.key_cache import remembered
from techport_ingest.decoding import reader
from tests.ingest.reading import definition, take


def test_many_large_messages_make_readers_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_MOST_OF_LARGE", 30_000)
    asked = []

    @remembered(10)
    def meaning(key: str) -> str:
        asked.append(key)
        return key.lower()

    def of_messages(length: int, number: int) -> int:
        """How often the meaning of a key is worked out before and behind these messages."""
        asked.clear()
        meaning("T")
        take(definition(""), *(("pilots/kai/a/readings", {"T": 1, f"{at}" * length: 2}) for at in range(number)))
        meaning("T")
        return len(asked)

    assert of_messages(10, 9) == 1
    assert of_messages(8_000, 1) == 0
    assert of_messages(8_000, 5) == 1
