"""Readings of the archive, in the order of every store: pilot by pilot, so that only files of one pilot are open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby

from techport_storage.archive.files import ArchivedFile, OpenFile
from techport_storage.archive.merge import Stretch, stretch
from techport_storage.archive.table import ArchiveTable
from techport_storage.model import Cursor, Micros, Selection, Stream, selector

FIRST, LAST = -(2**62), 2**62  # µs: before and after every time


def chosen(files: Iterable[ArchivedFile], select: Selection, first: Micros, last: Micros) -> list[ArchivedFile]:
    """The files that hold a reading of the selection between two times, both included, or may hold one."""
    pilots, is_selected = _pilots(select), selector(select)
    return [
        file
        for file in files
        if (pilots is None or file.pilot in pilots)
        and file.first <= last
        and first <= file.last
        and any(
            is_selected(stream) and piece.first <= last and first <= piece.last for stream, piece in file.pieces.items()
        )
    ]


def rows(
    table: ArchiveTable,
    files: Sequence[ArchivedFile],
    select: Selection,
    first: Micros,
    last: Micros,
    after: Cursor | None = None,
) -> Iterator[Stretch]:
    """Rows of the selection between two times, both included; behind a cursor, where there is one."""
    of_pilots = groupby(sorted(files, key=lambda file: (file.pilot, file.first)), key=lambda file: file.pilot)
    for pilot, of_pilot in of_pilots:
        if after is not None and pilot < after.stream.pilot:
            continue
        yield from _of_pilot(table, list(of_pilot), select, (first, last), after)


def _of_pilot(
    table: ArchiveTable,
    files: Sequence[ArchivedFile],
    select: Selection,
    period: tuple[Micros, Micros],
    after: Cursor | None,
) -> Iterator[Stretch]:
    first, last = period
    is_selected = selector(select)
    holding: dict[Stream, list[ArchivedFile]] = {}
    for file in files:
        for stream, piece in file.pieces.items():
            if piece.first <= last and first <= piece.last and is_selected(stream):
                holding.setdefault(stream, []).append(file)
    with ExitStack() as closing:
        opened: dict[str, OpenFile] = {}
        for stream in sorted(holding):
            if after is not None and stream < after.stream:
                continue
            begin = max(first, after.time + 1) if after is not None and stream == after.stream else first
            for file in sorted(holding[stream], key=lambda file: file.pieces[stream].first):
                if file.path not in opened:
                    opened[file.path] = closing.enter_context(table.opened(file))
                for batch in opened[file.path].rows(file.pieces[stream], begin, last):
                    if batch.num_rows:
                        yield stretch(stream, batch)


def _pilots(select: Selection) -> frozenset[str] | None:
    if select.streams is not None:
        return frozenset(stream.pilot for stream in select.streams)
    return None if select.pilots is None else frozenset(select.pilots)
