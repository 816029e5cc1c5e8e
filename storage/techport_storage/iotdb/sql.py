"""The SQL of IoTStore: one table, with a tag for each part of a stream's name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from techport_storage.model import Micros, Selection, Stream, names_of

FIRST: Micros = -(10**16 - 1)
LAST: Micros = 10**16 - 1
"""The times that IoTDB takes in microseconds, from 1653 to 2286: sixteen digits."""

_STREAMS = 500  # in one statement
_TERMS = 50  # in one DELETE
TAGS = ", ".join(Stream._fields)
PROBE = "probe"
CREATE_PROBE = f"CREATE TABLE IF NOT EXISTS {PROBE} (writer STRING TAG, ok INT32 FIELD)"


def create_table(name: str) -> str:
    tags = ", ".join(f"{tag} STRING TAG" for tag in Stream._fields)
    fields = "value DOUBLE FIELD, received TIMESTAMP FIELD, quality INT32 FIELD"
    return f"CREATE TABLE IF NOT EXISTS {name} ({tags}, {fields})"


def select(columns: str, table: str, *conditions: str, ending: str = "") -> str:
    """A SELECT over the readings. Names reach the conditions through this module's quoting only."""
    given = [f"({condition})" for condition in conditions if condition]
    where = f" WHERE {' AND '.join(given)}" if given else ""
    return f"SELECT {columns} FROM {table}{where}{ending}"  # noqa: S608


def delete(table: str, select: Selection, first: Micros, last: Micros) -> Iterator[str]:
    """Statements that delete the readings of a selection from first to last, both included.

    A DELETE with a lower bound is sent to the nodes that have data of weeks which begin behind that bound, so it says
    that it deleted and misses the week in which the bound lies. A term without one, which no row can meet, sends it to
    all nodes that have anything before `last`.
    """
    everywhere = f"(pilot = '' AND time <= {last})"
    terms: list[str] = []
    for parts in names_of(select):
        tags = [f"{tag} = {quoted(name)}" for tag, name in zip(Stream._fields, parts, strict=True) if name is not None]
        terms.append(f"({' AND '.join([*tags, times(first, last)])})")
    for begin in range(0, len(terms), _TERMS):
        where = " OR ".join([*terms[begin : begin + _TERMS], everywhere])
        yield f"DELETE FROM {table} WHERE {where}"  # noqa: S608


def forget(table: str, condition: str) -> str:
    """Deletes the names of streams that a condition selects, and whatever is left of them."""
    return f"DELETE DEVICES FROM {table}{f' WHERE {condition}' if condition else ''}"


def times(first: Micros, last: Micros) -> str:
    """Both ends included."""
    return f"time >= {first} AND time <= {last}"


def conditions(streams: Sequence[Stream]) -> Iterator[str]:
    """Conditions for the (sorted) streams, in their order. They may select more than the streams."""
    for begin in range(0, len(streams), _STREAMS):
        yield _terms(streams[begin : begin + _STREAMS])


def selection(select: Selection) -> list[str]:
    """Conditions that together cover the selection; none of them selects the same stream twice."""
    if select.streams is not None:
        return list(conditions(sorted(set(select.streams))))
    chosen = (select.pilots, select.devices, select.quantities)
    if any(names is not None and not names for names in chosen):
        return []
    parts = zip(Stream._fields, chosen, strict=True)
    return [" AND ".join(_one_of(tag, sorted(set(names))) for tag, names in parts if names is not None)]


def quoted(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"


def _terms(streams: Sequence[Stream]) -> str:
    """Streams by pilot and device: devices that share their quantities stand together."""
    quantities: dict[tuple[str, str], list[str]] = {}
    for stream in streams:
        quantities.setdefault((stream.pilot, stream.device), []).append(stream.quantity)
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (pilot, device), names in quantities.items():
        groups.setdefault((pilot, tuple(names)), []).append(device)
    terms = [
        f"(pilot = {quoted(pilot)} AND {_one_of('device', devices)} AND {_one_of('quantity', names)})"
        for (pilot, names), devices in groups.items()
    ]
    return " OR ".join(terms)


def _one_of(tag: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{tag} = {quoted(names[0])}"
    return f"{tag} IN ({', '.join(map(quoted, names))})"
