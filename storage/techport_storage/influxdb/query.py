"""InfluxQL and Flux texts: names in quotes, streams as conditions that the storage engine answers from its index.

Equality and regular expressions on tags are looked up in the index; hundreds of OR-ed equalities, or `<` on a tag, are
not (docs/influxdb.md has the figures). So several names become one expression.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np

from techport_storage.model import Micros, Selection, Stream, names_of

MEASUREMENT = "reading"
_STREAM = "pilot, device, quantity"
COLUMNS, KINDS = "value, received, quality", (np.float64, np.int64, np.int64)  # `received` in ms
_END = "\u2060"  # word joiner
SINGLE, DOUBLE = "'", '"'
FIRST_NS, LAST_NS = -9_223_372_036_854_775_806, 9_223_372_036_854_775_805  # the times that InfluxDB can keep
FIRST: Micros = FIRST_NS // 1000 + 1
LAST: Micros = LAST_NS // 1000

_PLAIN = re.compile(r"[A-Za-z0-9_.:-]+")
_MEANING = frozenset(r"\.+*?()|[]{}^$/")  # in an expression; Flux refuses a backslash before any other letter
_MANY_TERMS = 8  # more OR-ed groups than that cost more than rows that are read and dropped
_STREAMS = 1000  # in one statement


def tag_of(name: str) -> str:
    """The name as InfluxDB keeps it. Line protocol cannot carry a backslash at the end: something invisible follows."""
    return name + _END if name.endswith(("\\", _END)) else name


def name_of(tag: str) -> str:
    return tag.removesuffix(_END)


def ql_conditions(streams: Sequence[Stream]) -> Iterator[str]:
    """Conditions for the (sorted) streams, in their order, one for each pilot. They may select more than the streams.

    A name that is kept in another form would be sorted by that, so its stream gets a condition of its own.
    """
    for (pilot, _), of_pilot in groupby(streams, key=lambda stream: (stream.pilot, _other_form(stream))):
        members = list(of_pilot)
        for begin in range(0, len(members), _STREAMS):
            yield f"{_ql('pilot', [pilot])} AND {_terms(members[begin : begin + _STREAMS], _ql, 'AND', 'OR')}"


def flux_condition(streams: Sequence[Stream]) -> str:
    """The streams as a condition on `r`. It may select more than them."""
    pilots = []
    for pilot, of_pilot in groupby(streams, key=lambda stream: stream.pilot):
        pilots.append(f"({_flux('pilot', [pilot])} and {_terms(list(of_pilot), _flux, 'and', 'or')})")
    return " or ".join(pilots)


def ql_selection(select: Selection) -> list[str]:
    """Conditions that together cover the selection; none of them selects the same stream twice."""
    if select.streams is not None:
        return list(ql_conditions(sorted(set(select.streams))))
    chosen = (select.pilots, select.devices, select.quantities)
    if any(names is not None and not names for names in chosen):
        return []
    parts = zip(Stream._fields, chosen, strict=True)
    return [" AND ".join(_ql(tag, sorted(set(names))) for tag, names in parts if names is not None)]


def _other_form(stream: Stream) -> Stream | None:
    return stream if any(tag_of(name) != name for name in stream) else None


def delete_predicates(select: Selection) -> Iterator[str]:
    """Predicates for the delete API, which knows only `=` and AND: one call each."""
    for stream in names_of(select):
        named = [(tag, name) for tag, name in zip(Stream._fields, stream, strict=True) if name is not None]
        tags = [f"{tag}={_quoted(tag_of(name), DOUBLE)}" for tag, name in named]
        yield " AND ".join([f'_measurement="{MEASUREMENT}"', *tags])


def ql_times(first: Micros, last: Micros) -> str:
    """Both ends included."""
    return f"time >= {max(first * 1000, FIRST_NS)} AND time <= {min(last * 1000, LAST_NS)}"


def ql_select(columns: str, *conditions: str, bucket: str = "", ending: str = "") -> str:
    """A SELECT over the readings, stream by stream. Names reach the conditions through this module's quoting only."""
    return f"SELECT {columns} FROM {MEASUREMENT}{_where(conditions)} GROUP BY {bucket}{_STREAM}{ending}"  # noqa: S608


def ql_distances(condition: str, times: str, least: Micros) -> str:
    """Distances between neighbouring readings of a stream, in µs, that are at least so long."""
    inner = f"SELECT elapsed(value, 1u) AS distance FROM {MEASUREMENT}{_where([condition, times])} GROUP BY {_STREAM}"  # noqa: S608
    outer = _where([f"distance >= {least}", times])
    return f"SELECT distance FROM ({inner}){outer} GROUP BY {_STREAM}"  # noqa: S608


def ql_show_series(condition: str) -> str:
    return f"SHOW SERIES FROM {MEASUREMENT}{_where([condition])}"


def rfc3339(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    moment = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def parse_key(key: str) -> Stream | None:
    """The stream of a series key as SHOW SERIES gives it, `reading,device=d,pilot=p,quantity=q` with escapes."""
    _, *tags = re.split(r"(?<!\\),", key)
    tag_values = {}
    for tag in tags:
        name, _, value = tag.partition("=")  # our tag names need no escapes
        tag_values[name] = name_of(re.sub(r"\\([,= ])", r"\1", value))
    return Stream(*(tag_values[tag] for tag in Stream._fields)) if tag_values.keys() == set(Stream._fields) else None


def _where(conditions: Sequence[str]) -> str:
    given = [f"({condition})" for condition in conditions if condition]
    return f" WHERE {' AND '.join(given)}" if given else ""


def _terms(streams: Sequence[Stream], one_of: Callable[[str, Sequence[str]], str], both: str, either: str) -> str:
    """(devices and quantities) or (...): devices that share their quantities together."""
    quantities: dict[str, list[str]] = {}
    for stream in streams:
        quantities.setdefault(stream.device, []).append(stream.quantity)
    groups: dict[tuple[str, ...], list[str]] = {}
    for device, names in quantities.items():
        groups.setdefault(tuple(names), []).append(device)
    if len(groups) > _MANY_TERMS:
        groups = {tuple(sorted({stream.quantity for stream in streams})): list(quantities)}
    terms = [f"({one_of('device', d)} {both} {one_of('quantity', q)})" for q, d in groups.items()]
    return f"({f' {either} '.join(terms)})"


def _ql(tag: str, names: Sequence[str]) -> str:
    return f"{tag} = {_quoted(tag_of(names[0]), SINGLE)}" if len(names) == 1 else f"{tag} =~ {_pattern(names)}"


def _flux(tag: str, names: Sequence[str]) -> str:
    if len(names) == 1 and _PLAIN.fullmatch(names[0]):
        return f'r.{tag} == "{names[0]}"'
    return f"r.{tag} =~ {_pattern(names)}"


def _pattern(names: Sequence[str]) -> str:
    return f"/^(?:{'|'.join(''.join(map(_literal, tag_of(name))) for name in names)})$/"


def _literal(letter: str) -> str:
    return f"\\{letter}" if letter in _MEANING else letter


def _quoted(name: str, quote: str) -> str:
    escaped = name.replace("\\", "\\\\").replace(quote, f"\\{quote}")
    return f"{quote}{escaped}{quote}"
