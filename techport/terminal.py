"""Printing what devices sent: nothing of it may move the cursor, colour the terminal or turn the text around."""

from __future__ import annotations

from rich.console import Console

from techport_pilots.i18n.message import visible


def print_text(console: Console, text: str) -> None:
    """A line or several as they are, with all other control characters escaped."""
    safe = "\n".join("\t".join(visible(part) for part in line.split("\t")) for line in text.split("\n"))
    console.print(safe, markup=False, soft_wrap=True)
