"""Printing what devices and people wrote: none of it is markup, moves the cursor or turns the text around."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from techport_pilots.i18n.message import visible


def printable(text: str) -> str:
    """The text with all control characters escaped but the ends of lines and tabs."""
    return "\n".join("\t".join(visible(part) for part in line.split("\t")) for line in text.split("\n"))


def print_text(console: Console, text: str) -> None:
    """A line or several as they are."""
    console.print(printable(text), markup=False, soft_wrap=True)


def add_row(table: Table, *cells: str) -> None:
    """A row of cells, each on one line."""
    table.add_row(*(Text(visible(cell)) for cell in cells))
