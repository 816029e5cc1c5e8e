"""Progress of long work: a bar in a terminal, nothing elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from techport_pilots.handover.package import Progress as Steps


def progress_bars() -> Progress:
    """Bars on standard error that vanish when they are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


@contextmanager
def steps(console: Console) -> Iterator[Steps]:
    """A bar for each step of a piece of work, one under the other while it lasts."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as shown:
        tasks: dict[str, TaskID] = {}

        def progress(step: str, done: int, total: int) -> None:
            if step and step not in tasks:
                for over in tasks.values():
                    shown.stop_task(over)
                tasks[step] = shown.add_task(step, total=total or None)
            if step:
                shown.update(tasks[step], completed=done, total=total or None)

        yield progress
