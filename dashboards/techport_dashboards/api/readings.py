"""The readings themselves, what is known about an answer, and the latest of each stream."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from threading import Event
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import HTTPConnection

from techport_dashboards.api.schema import Listed
from techport_dashboards.api.words import (
    Attribution,
    DeviceName,
    Instant,
    Licence,
    MaybeInstant,
    PilotName,
    QuantityName,
    Unit,
)
from techport_dashboards.problems import Problem
from techport_dashboards.query import etags, formats, netcdf, rows, times
from techport_dashboards.query.answer_files import (
    MOST_ROWS,
    MOST_ROWS_OF_TEXT,
    AnswerFile,
    AnswerFiles,
    FileAnswer,
    Key,
    spooled,
)
from techport_dashboards.query.by_time import in_time_order, interval_of
from techport_dashboards.query.etags import etag_of, matches
from techport_dashboards.query.formats import MEDIA_TYPES
from techport_dashboards.query.groups import (
    EVERY_OF_PROFILE,
    TIME_MEAN,
    Groups,
    Profile,
    check_no_counts,
    expected_readings,
    group_names,
    groups_of,
    regrouped,
    time_weighted,
)
from techport_dashboards.query.limits import (
    NARROWER,
    WAY_OUT,
    WITHOUT_LIMIT,
    Deadline,
    Disconnected,
    Turns,
    readings_expected,
    reject_expensive,
    reject_many_readings,
)
from techport_dashboards.query.paging import decode, encode, page_size
from techport_dashboards.query.parameters import Choice, ChoiceParameters, Names
from techport_dashboards.query.question import (
    Answer,
    Question,
    Resolved,
    bucket,
    first_page,
    last_key,
    one_more,
    resolve,
    run,
    select,
)
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.query.row_choice import (
    aggregate_of,
    check_columns,
    column_names,
    conditions,
    only_fitting,
    satisfying,
)
from techport_dashboards.query.shaping import (
    MOST_POINTS,
    Fill,
    Order,
    Shape,
    bucket_starts,
    end_of_bucket,
    place_behind,
    refuse_large,
    shaped,
)
from techport_dashboards.query.streaming import Streamed
from techport_dashboards.services.citation import licence_url
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import OPEN_DATA, needs
from techport_dashboards.web.dependencies import Services, ServicesDep, ViewerDep
from techport_dashboards.web.methods import HEAD
from techport_dashboards.web.request_slots import SlotRoute
from techport_pilots.definition.privacy import licence_of
from techport_pilots.i18n import N_
from techport_pilots.quality.completeness import counted_in
from techport_pilots.quantities import vocabulary_of
from techport_pilots.registry.registry import StreamInfo
from techport_pilots.time import interval_micros, micros_of
from techport_storage import clock
from techport_storage.buckets import format_width
from techport_storage.model import RAW_SCHEMA, Extent, Micros, Selection, Stream
from techport_storage.model import Query as StoreQuery
from techport_storage.store import read_with_extent

router = APIRouter(tags=["readings"], route_class=SlotRoute)


class ReadingsParameters(Choice):
    start: str | None = Field(
        None,
        max_length=64,
        description="First instant: ISO 8601 with offset, a date (midnight in `zone`), or a duration before now.",
        examples=["-P7D", "2026-01-22T08:00:00+01:00", "2026-01-22"],
    )
    end: str | None = Field(
        None, max_length=64, description="First instant that is left out, in the same forms.", examples=["now"]
    )
    every: str | None = Field(
        None,
        max_length=32,
        description="Bucket width; days and longer follow the calendar of `zone`.",
        examples=["PT1H"],
    )
    aggregate: Names = Field(
        description="mean, min, max, sum, count, first, last, std, median, p1 to p99, energy_mean (of decibels), "
        "vector_mean (of directions), share (of readings that are not 0), time_mean (each value for as long as it "
        "held, for devices that report changes; needs `every` and `start`). Several with commas. When left out, each "
        "quantity has the one that fits its kind: mean of levels, sum of counts, vector_mean of directions, "
        "energy_mean of sound levels, share of states; the metadata says which.",
        examples=[["mean,p95"]],
    )
    zone: str | None = Field(
        None, max_length=64, description="IANA time zone; the pilot's own when left out.", examples=["Europe/Oslo"]
    )
    quality: Literal["all", "good"] = Field("all", description="good: only readings without a flag.", examples=["good"])
    group: Names = Field(
        description="Readings of several streams together, by these names: pilot, device, quantity, kind, group, or a "
        "tag of devices such as street. What is of different quantities is never put together. With `every` a row for "
        "each group and bucket, else one for the whole range.",
        examples=[["quantity,group"]],
    )
    profile: Profile | None = Field(
        None,
        description="What is usual at an hour of the local day (0 to 23), on a weekday (1 is Monday) or in a month: "
        "`aggregate` over the buckets of each, by default their mean. The buckets (`every`, by default an hour, "
        "otherwise a day) have the aggregate that fits their kind.",
        examples=["hour", "weekday", "month"],
    )
    hold: str | None = Field(
        None,
        max_length=32,
        description="With aggregate=time_mean, how long a value counts when no other follows: by default three "
        "intervals of the stream, or a day where it has none.",
        examples=["PT12H"],
    )
    fill: Fill = Field(
        "none",
        description="Buckets without readings: left out (none), or there with count 0 and null, the value before "
        "(previous), or a straight line between its neighbours (linear). Needs `every` and `start`.",
        examples=["null", "previous", "linear"],
    )
    max_gap: str | None = Field(
        None,
        max_length=32,
        description="previous and linear fill gaps that are not longer than this, as long as their empty buckets are "
        "together; three buckets when left out.",
        examples=["PT3H"],
    )
    rolling: str | None = Field(
        None,
        max_length=32,
        description="A column `rolling`: of each bucket the mean of those in a window of this width that ends with it "
        "(of counts the sum), null where less than three quarters of them have readings. Needs `every`.",
        examples=["PT8H"],
    )
    shape: Literal["long", "wide"] = Field(
        "long",
        description="wide: a row for each time, a column `pilot/device/quantity` for each stream.",
        examples=["wide"],
    )
    downsample: Literal["minmax", "lttb"] | None = Field(
        None,
        description="Some of the readings of each stream, such that a line through them looks the same.",
        examples=["minmax", "lttb"],
    )
    points: int = Field(
        1000, ge=4, le=MOST_POINTS, description="How many of each stream, with `downsample`.", examples=[200]
    )
    order: Order = Field(
        "stream",
        description="stream: by pilot, device, quantity and then time. time, -time: all streams together, the oldest "
        "or the newest first; with `limit` the first so many.",
        examples=["-time"],
    )
    value: Names = Field(
        description="Only rows whose value satisfies this: `value>50`, `value>=10&value<20`. Of buckets it is their "
        "aggregate.",
        examples=[[">50"]],
    )
    columns: Names = Field(description="Only these columns, in this order.", examples=[["time,value"]])
    format: str | None = Field(
        None,
        max_length=40,
        description="json, ndjson, csv, csv-nb (semicolons and decimal commas), parquet, arrow, feather or netcdf (CF "
        "time series of devices that have a position); instead of Accept.",
        examples=list(MEDIA_TYPES),
        json_schema_extra={"enum": [*MEDIA_TYPES, None]},
    )

    def question(self, limit: int | None = None) -> Question:
        shape = self.as_shape()
        same = Shape(
            fitting=shape.fitting,
            max_gap=shape.max_gap,
            points=shape.points,
            columns=shape.columns,
            hold=shape.hold,
            bucketed=shape.bucketed,
        )
        return Question(
            grouped=shape.group != (),
            profile=shape.profile is not None,
            every=self._every(),
            presentation="" if shape == same else msgspec.json.encode(shape).decode(),
            pilots=self.pilot,
            devices=self.device,
            quantities=self.quantity,
            limit=limit,
            **self.model_dump(
                include={
                    *("bbox", "within", "near"),
                    *("start", "end", "aggregate", "zone", "quality", "cursor"),
                }
            ),
        )

    def _window(self) -> Micros | None:
        """Raises Problem."""
        if self.rolling is None:
            return None
        every = bucket(self.every)
        if every is None:
            raise Problem("bad-parameter", "`rolling` requires a bucket width.", parameter="every", example="PT1H")
        try:
            window = interval_micros(self.rolling)
        except ValueError as error:
            raise Problem("bad-parameter", f"{error}.", parameter="rolling", example="PT8H") from error
        if window % times.length(every) or not 2 <= window // times.length(every) <= MOST_IN_WINDOW:
            raise Problem(
                "bad-parameter",
                "A window holds 2 to {most} whole buckets.",
                most=MOST_IN_WINDOW,
                parameter="rolling",
                example="PT8H with every=PT1H",
            )
        named = self._aggregates()
        for wrong, parameter, message, example in (
            (self.shape == "wide", "shape", _ROLLING_AND_WIDE, "long"),
            (len(named) > 1, "aggregate", _ROLLING_AND_SEVERAL, named[0] if named else None),
            (self.profile is not None, "profile", _ROLLING_AND_PROFILE, "rolling without profile"),
        ):
            if wrong:
                raise Problem("bad-parameter", message, parameter=parameter, example=example)
        return window

    def _aggregates(self) -> tuple[str, ...]:
        return tuple(part.strip() for text in self.aggregate for part in text.split(",") if part.strip())

    def _every(self) -> str | None:
        """Raises Problem for buckets that a profile cannot be of."""
        if self.profile is None:
            return self.every
        if self.every is None:
            return EVERY_OF_PROFILE[self.profile]
        width, longest = bucket(self.every), bucket(EVERY_OF_PROFILE[self.profile])
        assert width is not None
        assert longest is not None
        if times.length(width) > times.length(longest):
            raise Problem(
                "bad-parameter",
                "A profile by {profile} is of buckets that are at most {longest} long.",
                profile=self.profile,
                longest=EVERY_OF_PROFILE[self.profile],
                parameter="every",
                example=EVERY_OF_PROFILE[self.profile],
            )
        return self.every

    def _check_together(self) -> None:
        """Raises Problem for parameters that exclude each other."""
        named, weighted = self._aggregates(), TIME_MEAN in self._aggregates()
        for wrong, parameter, message, example in (
            (self.profile and self.fill not in ("none", "null"), "fill", _PROFILE_AND_FILL, "null"),
            ((self.group or self.profile) and self.downsample, "downsample", _DOWNSAMPLED_GROUPS, None),
            (self.group and self.shape == "wide" and not (self.every or self.profile), "every", _WIDE_RANGE, "P1D"),
            (weighted and len(named) > 1, "aggregate", _TIME_MEAN_ALONE, TIME_MEAN),
            (weighted and self.start is None, "start", _TIME_MEAN_FROM, "-P7D"),
            (weighted and not (self.every or self.profile), "every", _TIME_MEAN_FROM, "PT1H"),
            (self.hold is not None and not weighted, "aggregate", _HOLD_OF_NOTHING, TIME_MEAN),
        ):
            if wrong:
                raise Problem("bad-parameter", message, parameter=parameter, example=example)

    def as_shape(self) -> Shape:
        """Raises Problem."""
        gap, hold = _length("max_gap", self.max_gap, "PT3H"), _length("hold", self.hold, "PT12H")
        self._check_together()
        named = self._aggregates()
        return Shape(
            group=group_names(self.group),
            profile=self.profile,
            time_weighted=named == (TIME_MEAN,),
            hold=hold,
            bucketed=self.every is not None,
            rolling=self._window(),
            fill=self.fill,
            max_gap=gap,
            wide=self.shape == "wide",
            downsample=self.downsample,
            points=self.points,
            order=self.order,
            fitting=not named and bool(self.every or self.group or self.profile),
            conditions=conditions(self.value),
            columns=column_names(self.columns),
        )


def _length(parameter: str, text: str | None, example: str) -> Micros | None:
    """Raises Problem."""
    try:
        return None if text is None else interval_micros(text)
    except ValueError as error:
        raise Problem("bad-parameter", f"{error}.", parameter=parameter, example=example) from error


_ROLLING_AND_WIDE = N_("`rolling` is a column of the long shape.")
_ROLLING_AND_SEVERAL = N_("`rolling` is of one aggregate.")
_ROLLING_AND_PROFILE = N_("A profile has no buckets in the order of time, which `rolling` needs.")
_PROFILE_AND_FILL = N_("Between the classes of a profile nothing can be filled in.")
_DOWNSAMPLED_GROUPS = N_("`downsample` selects readings and cannot be combined with groups or profiles.")
_WIDE_RANGE = N_("A wide table of groups has a row for each bucket: it requires a bucket width or a profile.")
_TIME_MEAN_ALONE = N_("`time_mean` stands alone: request other aggregates separately.")
_TIME_MEAN_FROM = N_("`time_mean` requires a start and a bucket width.")
_HOLD_OF_NOTHING = N_("`hold` belongs to the aggregate time_mean.")


class LatestItem(BaseModel):
    pilot: PilotName
    device: DeviceName
    quantity: QuantityName
    time: Instant
    value: float = Field(description="In the unit.")
    unit: Unit
    received: str = Field(description="When it reached us, ISO 8601 in UTC with microseconds.")
    quality: int = Field(description="Flags, added up: 0 is a reading without any.")


class QuantityUnit(BaseModel):
    ucum: str = Field(description="Unit of the values, in UCUM; empty where nobody has described the stream.")
    label: str = Field(description="The unit as people read it.")
    title: str = Field(description="What is measured, in English.")
    cf_name: str | None = Field(description="Standard name of the CF conventions, where there is one.")


class Source(BaseModel):
    pilot: PilotName
    title: str = Field(description="As people call it, in English.")
    licence: Licence
    attribution: Attribution


class AnswerMetadata(BaseModel):
    """The question as it was understood, and what is needed to use and to cite its answer."""

    start: MaybeInstant
    end: MaybeInstant
    every: str | None = Field(description="Width of the buckets, ISO 8601; null for readings as they came.")
    zone: str = Field(description="IANA time zone that days and longer buckets follow.")
    quality: str = Field(description="all, or good: those without a flag.")
    aggregates: dict[str, str] = Field(
        description="With `every`, for each quantity the aggregate of its buckets; where several were named, all, with "
        "+ between."
    )
    group: list[str] = Field(description="What the readings of several streams are put together by.")
    profile: str | None = Field(description="hour, weekday or month, where buckets are put together.")
    units: dict[str, QuantityUnit] = Field(description="For each quantity its UCUM code, label and title.")
    sources: list[Source] = Field(description="Licence and attribution of each pilot.")


class ReadingRow(BaseModel):
    """A reading."""

    pilot: PilotName
    device: DeviceName
    quantity: QuantityName
    time: Instant
    value: float = Field(description="In the unit.")
    unit: Unit
    state: str | None = Field(None, description="Of a state, the word for its number; only where there are states.")
    received: Instant
    quality: int = Field(description="Flags, added up: 0 is a reading without any.")


class BucketRow(BaseModel):
    """A bucket, with `every`. Further fields are the aggregates, by the names they were asked for by, in the unit."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None]

    pilot: PilotName
    device: DeviceName
    quantity: QuantityName
    time: Instant = Field(description="Start of the bucket, ISO 8601 in UTC.")
    date: str | None = Field(None, description="The local day that a bucket of days or longer starts on, in `zone`.")
    local: str | None = Field(None, description="Start of a shorter bucket, ISO 8601 in `zone` with its offset.")
    count: int = Field(description="Readings in it.")
    rolling: float | None = Field(None, description="The running mean, with `rolling`.")
    completeness: float | None = Field(
        description="Readings ÷ readings expected, 0 to 1; null where the device promises no interval."
    )
    unit: Unit


class GroupRow(BaseModel):
    """A group, with `group` or `profile`. Further fields are the names of the group (for a profile without `group`
    pilot and device), its hour, weekday or month, and the aggregates, in the unit."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str | float | None]

    quantity: QuantityName
    time: Instant | None = Field(None, description="Start of the bucket, with `every` and without `profile`.")
    count: int = Field(description="Readings in it; of a profile, buckets.")
    completeness: float | None = Field(
        None, description="Readings ÷ readings expected in the time of its class or range, 0 to 1."
    )
    unit: Unit


class WideRow(BaseModel):
    """All streams at one time, with `shape=wide`. Further fields are the values, by `pilot/device/quantity`, or by the
    names of the groups."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None]

    time: Instant
    date: str | None = Field(None, description="The local day, as in buckets.")
    local: str | None = Field(None, description="The local time, as in buckets.")


class WideHour(BaseModel):
    """All streams at one hour of the local day, with `profile=hour` and `shape=wide`. Further fields as in WideRow."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None]

    hour: int = Field(description="0 to 23.")


class WideWeekday(BaseModel):
    """All streams on one weekday, in the same way."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None]

    weekday: int = Field(description="1, Monday, to 7.")


class WideMonth(BaseModel):
    """All streams in one month, in the same way."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None]

    month: int = Field(description="1 to 12.")


class ReadingsPage(AnswerMetadata):
    items: list[ReadingRow | BucketRow | GroupRow | WideRow | WideHour | WideWeekday | WideMonth] = Field(
        description="Readings as they came, buckets with `every`, or with `shape=wide` a row for each time; "
        "of each only the fields that `columns` names."
    )
    next: str | None = Field(description="Cursor of the next page; null on the last.")


Asked = Annotated[ReadingsParameters, Query()]

MOST_IN_WINDOW = 10_000
"""Buckets of the window of a running mean."""
SHORT = 1000
"""Bytes that are not worth compressing."""


def _whole_pilots(connection: HTTPConnection) -> bool:
    """Whether a file of all devices is asked for, and not a page or a part of it."""
    asked = connection.query_params
    if asked.keys() & {"device", "limit", "cursor"}:
        return False
    if (file_format := asked.get("format")) is not None:
        return file_format != "json"
    accepted = connection.headers.get("accept", "")
    return any(media_type in accepted for name, media_type in formats.MEDIA_TYPES.items() if name != "json")


@router.get(
    "/readings",
    response_model=ReadingsPage,
    responses={200: {"content": formats.DESCRIBED}},
)
@needs("see", anybody=OPEN_DATA, logs="exported", when=_whole_pilots)
def readings(
    request: Request, services: ServicesDep, viewer: ViewerDep, parameters: Asked, disconnected: Disconnected
) -> Response:
    """Readings, or one row a bucket with `every`, by pilot, device, quantity, area and time.

    JSON comes in pages. CSV, NDJSON, Parquet and Arrow come whole, unless a limit is set: then the header `Link` names
    the next page. `fill`, `shape=wide`, `downsample` and an `order` by time without a limit need all rows at once, so
    they come whole in every format, up to five million numbers. Each bucket has its `count`, its `completeness`
    (readings ÷ readings expected) and, beside its time in UTC, what the calendar of `zone` calls it.
    """
    return respond(request, services, viewer, parameters, disconnected)


@router.get("/readings/metadata", response_model=AnswerMetadata)
@needs("see", anybody=OPEN_DATA)
def metadata(services: ServicesDep, viewer: ViewerDep, parameters: Asked) -> dict[str, Any]:
    """What there is to know about an answer of /readings to the same parameters: range, zone, units, licences,
    attribution. Parquet and Arrow carry it inside, JSON around the items; for CSV and NDJSON the header `Link` names
    this address (`rel="describedby"`).
    """
    return _metadata(services, viewer, parameters)


def _metadata(services: Services, viewer: Viewer, parameters: ReadingsParameters) -> dict[str, Any]:
    catalogue = services.registry_cache.current()
    resolved = resolve(
        parameters.question(None), viewer, catalogue, services.store, services.settings.zone, clock.now()
    )
    return about(resolved.query, catalogue, parameters.as_shape())


def respond(
    request: Request, services: Services, viewer: Viewer, parameters: ReadingsParameters, left: Event
) -> Response:
    """The answer in the format that the request asks for; `left` is set when nobody waits for it any more."""
    file_format = formats.choose(parameters.format, request.headers.get("accept", ""))
    shape, settings = parameters.as_shape(), services.settings
    limit = parameters.limit
    if limit is not None or parameters.cursor is not None or (shape.plain and file_format == "json"):
        limit = page_size(limit, settings.page_size, settings.max_page_size)
    files: AnswerFiles = request.app.state.answer_files
    key = _file_key(request, viewer, file_format)
    if _wants_file(request) and (file := files.find(key, fresh="range" not in request.headers)):
        return FileAnswer(file)
    now, catalogue = clock.now(), services.registry_cache.current()
    resolved = resolve(parameters.question(limit), viewer, catalogue, services.store, settings.zone, now)
    if file_format == "netcdf":
        netcdf.check_shape(resolved.query, shape)
    query, looked = resolved.query, _looked_at(resolved.query, shape)
    reader: pa.RecordBatchReader | None = None
    if _is_raw_page(query, shape) and "if-none-match" not in request.headers:
        extent, reader = read_with_extent(services.store, one_more(query))
    else:
        extent = services.store.extent(looked.select, looked.start, looked.end)
    tag = etag_of(looked, extent.version_token, catalogue, file_format, shape, request.app.version, now)
    headers = {"Vary": "Accept, Accept-Encoding"} | ({"ETag": tag, **etags.HEADERS} if tag else {})
    if tag and matches(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    way_out = NARROWER if not shape.plain else WAY_OUT if file_format == "json" else WITHOUT_LIMIT
    deadline = Deadline(settings.query_seconds, left, way_out)
    if reader is not None:
        result = first_page(resolved, catalogue, deadline.table(reader))
    elif shape.plain and not (limit is not None and shape.conditions):
        result = run(services, resolved, catalogue, deadline, extent)
    elif shape.plain:
        result = some_of(services, resolved, catalogue, shape, deadline, extent)
    elif shape.by_time and limit is not None and query.every is None:
        result = by_time(services, resolved, catalogue, shape, deadline)
    else:
        with _IN_MEMORY.taken(deadline):
            result = whole(services, resolved, catalogue, shape, deadline, now)
    answer = _written(request, services, result, file_format, shape, headers, deadline)
    compressed = "content-encoding" in answer.headers
    if not isinstance(answer, Streamed) or compressed or not _is_bounded(extent, result, file_format, now):
        return answer
    media_type = formats.MEDIA_TYPES[file_format]
    made = spooled(_while_waited_for(answer.pieces, left), answer.headers, media_type, settings.spool)
    if not isinstance(made, AnswerFile):
        return Streamed(made, answer.headers, media_type)
    if _wants_file(request):
        files.keep(key, made)
    return FileAnswer(made)


_IN_MEMORY = Turns(4)
"""Answers of up to five million numbers, of readings that may be several times as many while they are looked at."""

_NETCDF = Turns(1)
"""Files of which there are several copies in memory while they are made."""


def _looked_at(query: StoreQuery, shape: Shape) -> StoreQuery:
    """The query with the time before its start that its answer depends on as well."""
    if query.start is None or not (shape.time_weighted or shape.rolling):
        return query
    return msgspec.structs.replace(query, start=None if shape.rolling is None else query.start - shape.rolling)


def _while_waited_for(pieces: Generator[bytes], left: Event) -> Generator[bytes]:
    """The pieces for as long as somebody waits for the file that they become. Raises Problem."""
    try:
        for piece in pieces:
            if left.is_set():
                raise Problem("too-costly", "The client has disconnected.")
            yield piece
    finally:
        pieces.close()


def _wants_file(request: Request) -> bool:
    """Whether it asks for the length or for a part: then more such requests will follow."""
    return "range" in request.headers or HEAD in request.scope


def _file_key(request: Request, viewer: Viewer, file_format: str) -> Key:
    client = request.client.host if request.client else ""
    pilots = "" if viewer.pilots is None else ",".join(sorted(viewer.pilots))
    return client, viewer.who, pilots, request.url.path, request.url.query, file_format


def _is_raw_page(query: StoreQuery, shape: Shape) -> bool:
    """Whether the answer is the first rows of the store, as they are."""
    return query.every is None and query.limit is not None and shape.plain and not shape.conditions


def _is_bounded(extent: Extent, result: Answer, file_format: formats.Format, now: Micros) -> bool:
    """Whether the answer is worth making whole before it is sent, by the rows that there may be."""
    query, most = result.resolved.query, MOST_ROWS.get(file_format, MOST_ROWS_OF_TEXT)
    if isinstance(result.rows, pa.Table):
        return bool(result.rows.num_rows <= most)
    expected = readings_expected(query, result.catalogue, now) if extent.readings is None else extent.readings
    return (expected if query.limit is None else min(expected, query.limit)) <= most


def whole_answer(services: Services, viewer: Viewer, parameters: ReadingsParameters) -> Answer:
    """All rows of an answer, in the shape that is asked for. Raises Problem."""
    now, catalogue, shape = clock.now(), services.registry_cache.current(), parameters.as_shape()
    resolved = resolve(parameters.question(), viewer, catalogue, services.store, services.settings.zone, now)
    deadline = Deadline(services.settings.query_seconds, way_out=NARROWER)
    if shape.plain:
        return run(services, resolved, catalogue, deadline)
    with _IN_MEMORY.taken(deadline):
        return whole(services, resolved, catalogue, shape, deadline, now)


def some_of(
    services: Services,
    resolved: Resolved,
    catalogue: RegistryView,
    shape: Shape,
    deadline: Deadline,
    extent: Extent,
) -> Answer:
    """A page of the rows that satisfy the conditions, in the order of the store."""
    query = resolved.query
    assert query.limit is not None
    most = services.settings.max_scan
    reject_expensive(query, extent.readings, catalogue, most, clock.now(), deadline.way_out)
    reader = services.store.read(msgspec.structs.replace(query, limit=None))
    batches, rows = [], 0
    for batch in deadline.batches(reader):
        batches.append(_chosen(batch, query, catalogue, shape))
        rows += batches[-1].num_rows
        if rows > query.limit:
            break
    return first_page(resolved, catalogue, pa.Table.from_batches(batches, reader.schema))


def by_time(
    services: Services, resolved: Resolved, catalogue: RegistryView, shape: Shape, deadline: Deadline
) -> Answer:
    """A page of readings in the order of time, found from that end on."""
    query = resolved.query
    assert query.limit is not None
    interval = interval_of([info.interval_us for info in catalogue.chosen(query.select)])
    tables = in_time_order(
        services.store, query, query.limit, interval, descending=shape.order == "-time", after=query.after
    )
    batches: list[pa.RecordBatch] = []
    rows = 0
    for table in tables:
        batches += [_chosen(batch, query, catalogue, shape) for batch in table.to_batches()]
        rows = sum(batch.num_rows for batch in batches)
        if rows > query.limit:
            break
        deadline.check()
    page = pa.concat_tables([pa.Table.from_batches([batch]) for batch in batches]) if batches else None
    return first_page(resolved, catalogue, RAW_SCHEMA.empty_table() if page is None else page.slice(0, query.limit + 1))


def whole(
    services: Services, resolved: Resolved, catalogue: RegistryView, shape: Shape, deadline: Deadline, now: Micros
) -> Answer:
    """Rows in a shape that needs all of them at once; with a limit, a page of them."""
    found_with = catalogue
    query = msgspec.structs.replace(resolved.query, limit=None, after=None)
    if (window := shape.rolling) is not None and query.start is not None:
        shape = msgspec.structs.replace(shape, asked_from=query.start)
        query = msgspec.structs.replace(query, start=max(query.start - window, times.FIRST))
    for wrong, parameter, message in (
        (shape.downsample and query.every is not None, "every", _BUCKETS_AND_DOWNSAMPLE),
        (shape.fill != "none" and shape.conditions, "value", _FILL_AND_VALUE),
        (shape.wide and resolved.query.limit is not None, "limit", _WIDE_AND_LIMIT),
    ):
        if wrong:
            raise Problem("bad-parameter", message, parameter=parameter, example="leave it out")
    all_streams = shape.fill != "none" or shape.wide or shape.regrouped
    present = services.store.streams(query.select) if all_streams else []
    described = (info.stream for info in catalogue.chosen(query.select) if info.described)
    streams: Sequence[Stream] = sorted({*present, *described}) if all_streams else []
    groups = groups_of(shape.group, streams, catalogue) if shape.regrouped else None
    if groups is not None:
        streams, catalogue = groups.streams, groups.catalogue
    refuse_large(query, streams, shape, now)
    if groups is None:
        reader = services.store.read(query)
        batches, schema = deadline.batches(reader), reader.schema
    else:
        asked = msgspec.structs.replace(query, select=Selection(streams=tuple(present)))
        together = _regrouped(services, asked, groups, shape, deadline, now)
        batches, schema = iter(together.to_batches()), together.schema
    chosen = (_chosen(batch, query, catalogue, shape) for batch in batches)
    fitting = partial(aggregate_of, catalogue, of_buckets=shape.profile is not None) if shape.fitting else None
    label = groups.label if groups else "/".join
    table = shaped(chosen, schema, query, streams, shape, now, fitting, label)
    if resolved.query.after is not None:
        table = table.slice(place_behind(table, resolved.query.after, shape.order))
    page = first_page(resolved, found_with, table)
    return page if groups is None else dataclasses.replace(page, groups=groups)


def _regrouped(
    services: Services, query: StoreQuery, groups: Groups, shape: Shape, deadline: Deadline, now: Micros
) -> pa.Table:
    """Rows of groups, profiles and time-weighted means."""
    if shape.time_weighted:
        check_no_counts(groups)
    stored = services.store.extent(query.select, query.start, query.end).readings
    reject_many_readings(query, stored, groups.catalogue, services.settings.max_scan, now, NARROWER)
    if not shape.time_weighted:
        return regrouped(services.store, query, groups, shape.profile, deadline)
    assert query.every is not None
    assert query.start is not None
    end = now if query.end is None else min(now, query.end)
    query = msgspec.structs.replace(query, end=max(end, query.start))
    starts = bucket_starts(query, now)
    edges = np.append(starts, end_of_bucket(query, starts))
    return time_weighted(services.store, query, groups, edges, shape.hold, deadline, shape.profile)


_BUCKETS_AND_DOWNSAMPLE = N_("`downsample` selects readings and cannot be combined with buckets.")
_FILL_AND_VALUE = N_("`fill` shows every bucket, so `value` cannot leave some out.")
_WIDE_AND_LIMIT = N_("A wide table has no pages.")


def _chosen(batch: pa.RecordBatch, query: StoreQuery, catalogue: RegistryView, shape: Shape) -> pa.RecordBatch:
    """The batch with the aggregate that fits each stream, without rows that do not satisfy the conditions."""
    if shape.fitting:
        of_buckets = shape.profile is not None
        batch = only_fitting(batch, query.aggregates, partial(aggregate_of, catalogue, of_buckets=of_buckets))
    if not shape.conditions:
        return batch
    columns = ("value",) if query.every is None and not shape.regrouped else query.aggregates
    if len(columns) > 1 and not shape.fitting:
        raise Problem(
            "bad-parameter",
            "`value` needs one aggregate to compare.",
            parameter="aggregate",
            example=query.aggregates[0],
        )
    return satisfying(batch, shape.conditions, columns)


def _written(
    request: Request,
    services: Services,
    result: Answer,
    file_format: formats.Format,
    shape: Shape,
    headers: dict[str, str],
    deadline: Deadline,
) -> Response:
    catalogue, query = result.catalogue, result.resolved.query
    dress = dressing(query, catalogue, shape, result.groups)
    described = about(query, catalogue, shape)
    headers |= {"Techport-Zone": query.zone, "Link": links(request, described, result.next)}
    batches = formats.pieces(result.rows, dress)
    media_type = formats.MEDIA_TYPES[file_format]
    if file_format == "json":
        assert isinstance(result.rows, pa.Table)  # JSON has a limit, or a shape
        if not shape.plain and result.rows.num_rows > services.settings.max_page_size:
            raise Problem(
                "limit-too-large",
                f"{result.rows.num_rows} rows do not fit in one JSON response.",
                parameter="format",
                example="parquet",
            )
        items = msgspec.Raw(formats.json_rows(batches))
        body = msgspec.json.encode({"items": items, "next": result.next, **described})
        return in_one_piece(request, body, headers)
    schema = dress(pa.RecordBatch.from_pylist([], result.rows.schema)).schema
    if described["aggregates"]:
        headers["Techport-Aggregates"] = ",".join(f"{name}={used}" for name, used in described["aggregates"].items())
    stream: Generator[bytes]
    match file_format:
        case "parquet":
            stream = formats.parquet(batches, schema, described)
        case "arrow":
            stream = formats.arrow(batches, schema, described)
        case "feather":
            stream = formats.feather(batches, schema, described)
        case "netcdf":
            with _NETCDF.taken(deadline):
                stream = formats.whole(netcdf.netcdf(batches, query, catalogue, described))
        case "csv-nb":
            stream = formats.csv_nb(batches, schema.names, query.zone)
        case "csv":
            stream = formats.csv(batches, schema.names)
        case _:
            stream = formats.ndjson(batches)
    if file_format != "ndjson":
        name = {"csv-nb": "csv", "arrow": "arrows", "netcdf": "nc"}.get(file_format, file_format)
        headers["Content-Disposition"] = f'attachment; filename="readings.{name}"'
    encoding = formats.encoding_of(request.headers.get("accept-encoding", ""))
    if file_format not in formats.BINARY_FORMATS and encoding is not None and not _wants_file(request):
        stream = formats.encoded(stream, encoding)
        headers["Content-Encoding"] = encoding
    return Streamed(stream, headers, media_type)


def in_one_piece(request: Request, body: bytes, headers: dict[str, str]) -> Response:
    """JSON, compressed where it is long and the client can read that."""
    encoding = formats.encoding_of(request.headers.get("accept-encoding", ""))
    if encoding is not None and len(body) > SHORT:
        body = b"".join(formats.encoded(iter([body]), encoding))
        headers = headers | {"Content-Encoding": encoding}
    return Response(body, 200, headers, formats.MEDIA_TYPES["json"])


def dressing(query: StoreQuery, catalogue: RegistryView, shape: Shape, groups: Groups | None = None) -> formats.Dress:
    """What the API makes of rows of the store: those and the columns that are wanted, with units, and to buckets their
    completeness and what the local calendar calls them. A wide table has units and completeness elsewhere."""
    now = clock.now()
    in_buckets = query.every is not None and not shape.timeless
    states = query.every is None and not shape.group and any(i.kind == "state" for i in catalogue.chosen(query.select))
    described = groups.catalogue if groups else catalogue
    due: Mapping[tuple[Stream, int], float] = {}
    if groups is not None and shape.timeless and not shape.time_weighted:
        due = expected_readings(groups, shape.profile, query.zone, _spans(query, catalogue, groups, now))

    def dress(batch: pa.RecordBatch) -> pa.RecordBatch:
        if not shape.wide:
            batch = _chosen(batch, query, described, shape)
            if in_buckets:
                batch = rows.with_completeness(batch, query, described.stream, now)
            elif groups is not None and not shape.time_weighted:
                batch = rows.with_shares(batch, groups.seen.readings, due)
            batch = rows.with_units(batch, described.unit)
            if states:
                batch = rows.with_states(batch, described.state_words)
            batch = groups.named(batch) if groups else batch
        if shape.timeless:
            batch = rows.without_time(batch, shape.profile)
        elif in_buckets:
            batch = rows.with_local(batch, query)
        if shape.columns:
            check_columns(shape.columns, batch.schema)
            batch = batch.select(list(shape.columns))
        return batch

    return dress


def _spans(
    query: StoreQuery, catalogue: RegistryView, groups: Groups, now: Micros
) -> dict[Stream, tuple[Micros, Micros]]:
    """From when and until when readings of each stream are expected: within the range, from its pilot's first phase (or
    where there are none, from the first reading) and the first time that its device was installed."""
    first, last = groups.seen.first, now if query.end is None else min(now, query.end)
    if first is None:
        return {}
    spans: dict[Stream, tuple[Micros, Micros]] = {}
    for stream in groups.place:
        pilot = catalogue.pilots.get(stream.pilot)
        begun = first
        if pilot is not None and pilot.phases:
            begun = min(micros_of(phase.start, pilot.timezone) for phase in pilot.phases)
        start = begun if query.start is None else max(begun, query.start)
        counted = (start, last) if pilot is None else counted_in(pilot, stream.device, start, last)
        if counted is not None and counted[0] < counted[1]:
            spans[stream] = (counted[0], counted[1])
    return spans


@router.get("/latest", response_model=Listed[LatestItem])
@needs("see", anybody=OPEN_DATA)
def latest(request: Request, services: ServicesDep, viewer: ViewerDep, choice: ChoiceParameters) -> Response:
    """The reading with the greatest time of each stream."""
    return _latest(request, services, viewer, choice)


def _latest(request: Request, services: Services, viewer: Viewer, choice: Choice) -> Response:
    catalogue, settings = services.registry_cache.current(), services.settings
    table = services.store.latest(select(choice.question(), viewer, catalogue, services.store))
    size = page_size(choice.limit, settings.page_size, settings.max_page_size)
    if choice.cursor is not None:
        keys = [
            "\0".join(key) for key in zip(*(table[name].to_pylist() for name in table.column_names[:3]), strict=True)
        ]
        table = table.slice(bisect_right(keys, decode(choice.cursor)))
    page = table.slice(0, size)
    following = encode("\0".join(last_key(page).stream)) if page.num_rows < table.num_rows else None
    batches = formats.pieces(page, lambda batch: rows.with_units(batch, catalogue.unit))
    body = msgspec.json.encode({"items": msgspec.Raw(formats.json_rows(batches)), "next": following})
    return in_one_piece(request, body, {"Vary": "Accept-Encoding"})


def about(query: StoreQuery, catalogue: RegistryView, shape: Shape) -> dict[str, Any]:
    """The question as it was understood, and what is needed to use and to cite its answer. Of a shape that is fitting
    each quantity has the aggregate of its kind, otherwise all that were named."""
    chosen = catalogue.chosen(query.select)
    present = {info.stream.pilot for info in chosen} or set(query.select.pilots or ())
    pilots = [catalogue.pilots[name] for name in sorted(present) if name in catalogue.pilots]
    return {
        "start": None if query.start is None else times.iso(query.start),
        "end": None if query.end is None else times.iso(query.end),
        "every": format_width(query.every) if query.every else None,
        "zone": query.zone,
        "quality": query.quality,
        "aggregates": _aggregates_used(query, catalogue, shape),
        "group": list(shape.group),
        "profile": shape.profile,
        "units": {info.stream.quantity: _unit(info, catalogue) for info in chosen},
        "sources": [
            {"pilot": p.id, "title": p.title.get("en"), "licence": licence_of(p), "attribution": p.attribution}
            for p in pilots
        ],
    }


def _aggregates_used(query: StoreQuery, catalogue: RegistryView, shape: Shape) -> dict[str, str]:
    if query.every is None and not shape.group:
        return {}
    named, of_buckets = "+".join(query.aggregates), shape.profile is not None
    return {
        info.stream.quantity: aggregate_of(catalogue, info.stream, of_buckets) if shape.fitting else named
        for info in catalogue.chosen(query.select)
    }


def _unit(info: StreamInfo, catalogue: RegistryView) -> dict[str, Any]:
    pilot = catalogue.pilots.get(info.stream.pilot)
    quantity = vocabulary_of(pilot).lookup(info.stream.quantity) if pilot else None
    return {
        "ucum": info.unit or "",
        "label": info.unit_label,
        "title": info.title.get("en"),
        "cf_name": quantity.cf_name if quantity else None,
    }


def links(request: Request, described: dict[str, Any], cursor: str | None) -> str:
    """The header Link: licences, where the metadata is, and the next page."""
    licences = sorted({source["licence"] for source in described["sources"]})
    link_values = [f'<{url}>; rel="license"' for licence in licences if (url := licence_url(licence))]
    without_page = request.url.remove_query_params(["format", "limit", "cursor"])
    link_values.append(
        f'<{without_page.path}/metadata?{without_page.query}>; rel="describedby"; type="application/json"'
    )
    if cursor is not None:
        following = request.url.include_query_params(cursor=cursor)
        link_values.append(f'<{following.path}?{following.query}>; rel="next"')
    return ", ".join(link_values)
