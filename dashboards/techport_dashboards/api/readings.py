"""The readings themselves, and the latest of each stream."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator
from threading import Event
from typing import Annotated, Any

import msgspec
import pyarrow as pa
from fastapi import APIRouter, Query, Request, Response

from techport_dashboards.api.about_rows import about, links
from techport_dashboards.api.parameters import ReadingsParameters
from techport_dashboards.api.schema import LatestItem, Listed, ReadingsPage
from techport_dashboards.problems import Problem
from techport_dashboards.query import etags, formats, rows
from techport_dashboards.query.etags import edition_of
from techport_dashboards.query.limits import Deadline, Disconnected
from techport_dashboards.query.paging import decode, encode, page_size
from techport_dashboards.query.parameters import Choice, ChoiceParameters
from techport_dashboards.query.question import Answer, Resolved, last_key, resolve, run, select
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.query.shaping import Shape, refuse_large, shaped
from techport_dashboards.query.streaming import Streamed
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.dependencies import Services, ServicesDep, ViewerDep
from techport_dashboards.web.rate_limit import matches
from techport_dashboards.web.request_slots import SlotRoute
from techport_storage import clock
from techport_storage.model import Micros
from techport_storage.model import Query as StoreQuery

router = APIRouter(tags=["readings"], route_class=SlotRoute)
Asked = Annotated[ReadingsParameters, Query()]
SHORT = 1000
"""Bytes that are not worth compressing."""


@router.get(
    "/readings",
    response_model=ReadingsPage,
    responses={200: {"content": formats.DESCRIBED}},
)
def readings(
    request: Request, services: ServicesDep, viewer: ViewerDep, parameters: Asked, disconnected: Disconnected
) -> Response:
    """Readings, or one row a bucket with `every`, by pilot, device, quantity, area and time.

    JSON comes in pages. CSV, NDJSON, Parquet and Arrow come whole, unless a limit is set: then the header `Link` names
    the next page. `fill`, `shape=wide`, `downsample` and an `order` by time need all rows at once, so they come whole
    in every format, up to five million numbers. Each bucket has its `count` and `completeness`: readings ÷ readings
    expected.
    """
    return respond(request, services, viewer, parameters, disconnected)


@router.get("/readings/metadata", response_model=dict[str, Any])
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
    return about(resolved.query, catalogue)


def respond(
    request: Request, services: Services, viewer: Viewer, parameters: ReadingsParameters, left: Event
) -> Response:
    """The answer in the format that the request asks for; `left` is set when nobody waits for it any more."""
    format = formats.choose(parameters.format, request.headers.get("accept", ""))
    shape, settings = parameters.as_shape(), services.settings
    limit = parameters.limit
    if shape.plain and (format == "json" or limit is not None):
        limit = page_size(limit, settings.page_size, settings.max_page_size)
    elif not shape.plain and (limit is not None or parameters.cursor is not None):
        name = "limit" if limit is not None else "cursor"
        raise Problem(
            "bad-parameter",
            "`fill`, `shape=wide`, `downsample` and `order` cannot be combined with paging.",
            parameter=name,
        )
    now, catalogue = clock.now(), services.registry_cache.current()
    resolved = resolve(parameters.question(limit), viewer, catalogue, services.store, settings.zone, now)
    tag = edition_of(resolved.query, services.store, catalogue, format, shape, request.app.version, now)
    headers = {"Vary": "Accept, Accept-Encoding"} | ({"ETag": tag, **etags.HEADERS} if tag else {})
    if tag and matches(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    patience = Deadline(settings.query_seconds, left)
    if shape.plain:
        found = run(services, resolved, catalogue, patience)
    else:
        found = whole(services, resolved, catalogue, shape, patience, now)
    return _written(request, services, found, format, shape, headers)


def whole(
    services: Services, resolved: Resolved, catalogue: RegistryView, shape: Shape, patience: Deadline, now: Micros
) -> Answer:
    """All rows in a shape that needs them at once."""
    query = resolved.query
    if shape.downsample and query.every is not None:
        raise Problem(
            "bad-parameter",
            "`downsample` selects readings and cannot be combined with buckets.",
            parameter="every",
            example="none",
        )
    streams = services.store.streams(query.select) if shape.fill != "none" else []
    refuse_large(query, streams, shape, now)
    reader = services.store.read(query)
    table = shaped(patience.batches(reader), reader.schema, query, streams, shape, now)
    return Answer(resolved, catalogue, table)


def _written(
    request: Request, services: Services, found: Answer, format: formats.Format, shape: Shape, headers: dict[str, str]
) -> Response:
    catalogue, query = found.catalogue, found.resolved.query
    dress = dressing(query, catalogue, shape)
    schema = dress(pa.RecordBatch.from_pylist([], found.rows.schema)).schema
    described = about(query, catalogue)
    headers |= {"Techport-Zone": query.zone, "Link": links(request, described, found.next)}
    batches = formats.pieces(found.rows, dress)
    media_type = formats.MEDIA_TYPES[format]
    if format == "json":
        assert isinstance(found.rows, pa.Table)  # JSON has a limit, or a shape
        if not shape.plain and found.rows.num_rows > services.settings.max_page_size:
            raise Problem(
                "limit-too-large",
                f"{found.rows.num_rows} rows do not fit in one JSON response.",
                parameter="format",
                example="parquet",
            )
        items = msgspec.Raw(formats.json_rows(batches))
        body = msgspec.json.encode({"items": items, "next": found.next, **described})
        return in_one_piece(request, body, headers)
    stream: Generator[bytes]
    match format:
        case "parquet":
            stream = formats.parquet(batches, schema, described)
        case "arrow":
            stream = formats.arrow(batches, schema, described)
        case "csv-nb":
            stream = formats.csv_nb(batches, schema.names, query.zone)
        case "csv":
            stream = formats.csv(batches, schema.names)
        case _:
            stream = formats.ndjson(batches)
    if format != "ndjson":
        name = {"csv-nb": "csv", "arrow": "arrows"}.get(format, format)
        headers["Content-Disposition"] = f'attachment; filename="readings.{name}"'
    encoding = formats.encoding_of(request.headers.get("accept-encoding", ""))
    if format not in ("parquet", "arrow") and encoding is not None:
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


def dressing(query: StoreQuery, catalogue: RegistryView, shape: Shape) -> formats.Dress:
    """What the API adds to rows of the store: units, and completeness to buckets. A wide table has both elsewhere."""
    now = clock.now()

    def dress(batch: pa.RecordBatch) -> pa.RecordBatch:
        if shape.wide:
            return batch
        if query.every is not None:
            batch = rows.with_completeness(batch, query, lambda stream: catalogue.stream(stream).interval_us, now)
        return rows.with_units(batch, catalogue.unit)

    return dress


@router.get("/latest", response_model=Listed[LatestItem])
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
