"""The one way from a question to readings, for the API and the pages alike.

    Question (as asked) ─► resolve: names against the registry and the viewer, times, bucket ─► Query ─► store ─► Answer

Every name is resolved before the store sees it, so nothing outside what the viewer may see can be asked for, and a
misspelt name is an error instead of an empty answer.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import pyarrow as pa

from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.cursors import decode_cursor, encode_cursor
from techport_dashboards.query.groups import TIME_MEAN, Groups
from techport_dashboards.query.limits import Deadline, reject_expensive
from techport_dashboards.query.names import select
from techport_dashboards.query.registry_cache import RegistryCache, RegistryView
from techport_dashboards.query.row_choice import fitting_aggregates
from techport_dashboards.settings import WebSettings
from techport_dashboards.viewer import Viewer
from techport_storage import clock
from techport_storage.buckets import format_width, parse_width
from techport_storage.errors import BadQuery
from techport_storage.model import (
    AGGREGATES,
    Aggregate,
    BucketWidth,
    Cursor,
    Extent,
    Micros,
    QualityChoice,
    Query,
    Selection,
    Stream,
    percentile_of,
)
from techport_storage.store import ReadingStore

__all__ = ["Answer", "Question", "Resolved", "answer", "resolve", "run", "select"]

TIME_EXAMPLE = "2026-11-22T08:00:00+01:00 (write %2B for + in a URL), 2026-11-22T07:00:00Z, 2026-11-22 or -P7D"
EVERY_EXAMPLE = "PT10M, PT1H, P1D, P1W or P1M"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, in the words of the URL. Names may be comma lists and hold `*`; none means all."""

    pilots: Sequence[str] = ()
    devices: Sequence[str] = ()
    quantities: Sequence[str] = ()
    bbox: str | None = None
    within: str | None = None
    near: str | None = None
    start: str | None = None
    end: str | None = None
    every: str | None = None
    aggregate: Sequence[str] = ()
    zone: str | None = None
    quality: QualityChoice = "all"
    limit: int | None = None
    cursor: str | None = None
    presentation: str = ""  # what else decides which rows a page has, such as their order
    grouped: bool = False  # rows are of several readings, also without `every`
    profile: bool = False  # rows are of several buckets
    wall_clock: bool = False  # times without an offset are local times of the zone: only the pages' own charts ask so


class ChartQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """One chart, in the words of its address. No devices means all; `against` is a duration such as -P7D."""

    pilot: str
    quantity: str
    devices: Sequence[str] = ()
    start: str
    end: str
    against: str | None = None


class QueryContext(Protocol):
    """What answering a question takes: where names and readings are looked up, and the settings that limit it."""

    @property
    def registry_cache(self) -> RegistryCache: ...
    @property
    def store(self) -> ReadingStore: ...
    @property
    def settings(self) -> WebSettings: ...


@dataclass(frozen=True, slots=True)
class Resolved:
    """A question that the store can answer."""

    query: Query
    fingerprint: str

    @property
    def every(self) -> str | None:
        return format_width(self.query.every) if self.query.every else None


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows, as one table where a limit was set (then `next` continues it) and as a reader otherwise."""

    resolved: Resolved
    catalogue: RegistryView  # that it was resolved with
    rows: pa.Table | pa.RecordBatchReader
    next: str | None = None
    groups: Groups | None = None  # where rows are of groups of streams


def answer(context: QueryContext, viewer: Viewer, question: Question) -> Answer:
    """Resolve and run. Raises Problem, BadQuery, StoreUnavailable."""
    catalogue = context.registry_cache.current()
    resolved = resolve(question, viewer, catalogue, context.store, context.settings.zone, clock.now())
    return run(context, resolved, catalogue, Deadline(context.settings.query_seconds))


def run(
    context: QueryContext,
    resolved: Resolved,
    catalogue: RegistryView,
    deadline: Deadline,
    extent: Extent | None = None,
) -> Answer:
    """The answer to what was resolved with that catalogue. `extent` is what the store knows of its readings, where that
    was asked already."""
    query = resolved.query
    if query.limit is None:
        return Answer(resolved, catalogue, context.store.read(query))
    stored = None
    if query.every is not None:
        stored = (extent or context.store.extent(query.select, query.start, query.end)).readings
    reject_expensive(query, stored, catalogue, context.settings.max_scan, clock.now(), deadline.way_out)
    return first_page(resolved, catalogue, deadline.table(context.store.read(one_more(query))))


def one_more(query: Query) -> Query:
    """With one row more than was asked for, which says whether there is a next page."""
    return query if query.limit is None else msgspec.structs.replace(query, limit=query.limit + 1)


def first_page(resolved: Resolved, catalogue: RegistryView, table: pa.Table) -> Answer:
    """As many rows of the table as the limit says, and the cursor behind them where there are more."""
    query = resolved.query
    if query.limit is None or table.num_rows <= query.limit:
        return Answer(resolved, catalogue, table)
    page = table.slice(0, query.limit)
    following = encode_cursor(resolved.fingerprint, query.start, query.end, last_key(page))
    return Answer(resolved, catalogue, page, following)


def resolve(
    question: Question, viewer: Viewer, catalogue: RegistryView, store: ReadingStore, default_zone: str, now: Micros
) -> Resolved:
    """The store's query for the question. Raises Problem with the wrong parameter and an example of a right one."""
    selection = select(question, viewer, catalogue, store)
    zone = pick_zone(question, selection, catalogue, default_zone)
    fingerprint = fingerprint_of(question)
    if question.cursor is None:
        after = None
        start = instant("start", question.start, zone, now, question.wall_clock)
        end = instant("end", question.end, zone, now, question.wall_clock)
    else:  # the range is the first page's, so that "-P7D" means the same on every page
        start, end, after = decode_cursor(question.cursor, fingerprint)
    if start is not None and end is not None and start >= end:
        raise Problem(
            "bad-parameter",
            f"The time range is empty: it starts at {times.iso(start)} and ends before {times.iso(end)}.",
            parameter="end",
            example="an end that is later than the start",
        )
    query = Query(
        select=selection,
        start=start,
        end=end,
        every=bucket(question.every),
        aggregates=aggregates(question) or fitting_aggregates(catalogue, selection, question.profile),
        zone=zone,
        quality=question.quality,
        limit=question.limit,
        after=after,
    )
    return Resolved(query, fingerprint)


def pick_zone(question: Question, selection: Selection, catalogue: RegistryView, default: str) -> str:
    """The zone asked for, else that of the pilots when they share one."""
    if question.zone is not None:
        try:
            times.zone_named(question.zone)
        except ValueError as error:
            raise Problem("bad-parameter", f"{error}.", parameter="zone", example="Europe/Oslo or UTC") from error
        return question.zone
    zones = {catalogue.pilots[pilot].timezone for pilot in selection.pilots or ()}
    return zones.pop() if len(zones) == 1 else default


def instant(parameter: str, text: str | None, zone: str, now: Micros, wall_clock: bool) -> Micros | None:
    if text is None:
        return None
    try:
        return times.parse_instant(text, times.zone_named(zone), now, wall_clock=wall_clock)
    except ValueError as error:
        raise Problem("bad-parameter", f"{error}.", parameter=parameter, example=TIME_EXAMPLE) from error


def local_moment(parameter: str, text: str, zone: str) -> dt.datetime:
    """A time that somebody wrote down, with the offset that the zone had then, so that it says which of two equal hours
    it is. Raises Problem."""
    moment = instant(parameter, text, zone, clock.now(), wall_clock=True)
    assert moment is not None
    local = times.moment(moment, times.zone_named(zone))
    return local.replace(tzinfo=dt.timezone(local.utcoffset() or dt.timedelta()))


def bucket(text: str | None) -> BucketWidth | None:
    if text is None:
        return None
    try:
        return parse_width(text)
    except BadQuery as error:
        raise Problem("bad-parameter", f"{error.problem}.", parameter="every", example=EVERY_EXAMPLE) from error


def aggregates(question: Question) -> tuple[Aggregate, ...]:
    """Those that are named. Raises Problem."""
    names = [part.strip() for item in question.aggregate for part in item.split(",")]
    for name in names:
        if name not in AGGREGATES and percentile_of(name) is None and name != TIME_MEAN:
            raise Problem(
                "bad-parameter",
                f"{name[:80]!r} is not an aggregate function.",
                parameter="aggregate",
                example=", ".join((*AGGREGATES, TIME_MEAN, "p5", "p95")),
            )
    if names and question.every is None and not question.grouped:
        raise Problem("bad-parameter", "`aggregate` requires a bucket width.", parameter="every", example=EVERY_EXAMPLE)
    return tuple(dict.fromkeys(names))


def fingerprint_of(question: Question) -> str:
    """Two questions with the same fingerprint can continue each other's pages."""
    same = msgspec.structs.replace(question, limit=None, cursor=None)
    return hashlib.blake2b(msgspec.json.encode(same), digest_size=6).hexdigest()


def last_key(page: pa.Table) -> Cursor:
    row = page.num_rows - 1
    pilot, device, quantity = (page.column(name)[row].as_py() for name in ("pilot", "device", "quantity"))
    return Cursor(Stream(pilot, device, quantity), page.column("time")[row].value)
