"""A payload as a page shows it."""

from __future__ import annotations

from techport_dashboards.web.payload import SHOWN, raw


def test_a_payload_is_shown_as_what_it_is() -> None:
    assert not raw('{"t": "21,5 °C"}'.encode()).binary
    mixed = raw(b"\x01\x67\x00\xd7")
    assert (mixed.binary, mixed.hex, mixed.size) == (True, "01 67 00 d7", 4)
    long = raw(b"x" * (SHOWN + 1))
    assert (long.cut, len(long.text)) == (True, SHOWN)
