"""The readings themselves, and the latest of each stream."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pyarrow as pa
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from techport_dashboards import formats, rows, times
from techport_dashboards.access import Viewer, allow
from techport_dashboards.api.schema import (
    Choice,
    ChoiceParameters,
    LatestItem,
    Listed,
    Names,
    ReadingsPage,
    page_size,
    paged,
)
from techport_dashboards.queries import Answer, Question, ask, select
from techport_dashboards.services import Services, services_of

router = APIRouter(tags=["readings"])
Allowed = Annotated[Viewer, Depends(allow)]


class ReadingsParameters(Choice):
    start: str | None = Field(
        None,
        max_length=64,
        description="First instant: ISO 8601 with offset, a date (midnight in `zone`), or a duration before now.",
        examples=["-P7D", "2026-11-22T08:00:00+01:00"],
    )
    end: str | None = Field(None, max_length=64, description="First instant that is left out, in the same forms.")
    every: str | None = Field(
        None,
        max_length=32,
        description="Bucket width; days and longer follow the calendar of `zone`.",
        examples=["PT1H"],
    )
    aggregate: Names = Field(description="mean (default), min, max, sum, count, first, last, std, median.")
    zone: str | None = Field(None, max_length=64, description="IANA time zone; the pilot's own when left out.")
    quality: Literal["all", "good"] = Field("all", description="good: only readings without a flag.")
    format: str | None = Field(None, max_length=40, description="json, ndjson, csv or parquet; instead of Accept.")


@router.get(
    "/readings",
    response_model=ReadingsPage,
    responses={200: {"content": {media_type: {} for media_type in formats.MEDIA_TYPES.values()}}},
)
async def readings(request: Request, viewer: Allowed, parameters: Annotated[ReadingsParameters, Query()]) -> Response:
    """Readings, or one row a bucket with `every`, by pilot, device, quantity and time.

    JSON comes in pages. CSV, NDJSON and Parquet come whole, unless a limit is set: then the header `Link` names the
    next page. Every row has its unit (UCUM); the zone of calendar buckets is in the header `Techport-Zone`.
    """
    services = services_of(request)
    format = formats.choose(parameters.format, request.headers.get("accept", ""))
    limit = parameters.limit
    if format == "json" or limit is not None:
        limit = page_size(limit, services.settings.page_size, services.settings.max_page_size)
    question = Question(
        pilots=parameters.pilot,
        devices=parameters.device,
        quantities=parameters.quantity,
        limit=limit,
        **parameters.model_dump(include={"start", "end", "every", "aggregate", "zone", "quality", "cursor"}),
    )
    answer = await ask(services, viewer, question)
    return await run_in_threadpool(_respond, request, services, answer, format)


def _respond(request: Request, services: Services, answer: Answer, format: formats.Format) -> Response:
    catalogue = services.catalogues.current()
    schema = rows.with_units(pa.RecordBatch.from_pylist([], answer.rows.schema), catalogue.unit).schema
    headers = {"Techport-Zone": answer.resolved.query.zone, "Vary": "Accept, Accept-Encoding"}
    if answer.next is not None:
        following = request.url.include_query_params(cursor=answer.next)
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    batches = formats.pieces(answer.rows, catalogue)
    media_type = formats.MEDIA_TYPES[format]
    about = _about(answer)
    if format == "json":
        body = {"items": formats.json_items(batches), "next": answer.next, **about}
        return Response(msgspec.json.encode(body), 200, headers, media_type)
    if format == "parquet":
        stream = formats.parquet(batches, schema, about)
    else:
        stream = formats.ndjson(batches) if format == "ndjson" else formats.csv(batches, schema.names)
    if format != "ndjson":
        headers["Content-Disposition"] = f'attachment; filename="readings.{format}"'
    return StreamingResponse(stream, 200, headers, media_type)


def _about(answer: Answer) -> dict[str, Any]:
    query = answer.resolved.query
    return {
        "start": None if query.start is None else times.iso(query.start),
        "end": None if query.end is None else times.iso(query.end),
        "every": answer.resolved.every,
        "zone": query.zone,
    }


@router.get("/latest", response_model=Listed[LatestItem])
async def latest(request: Request, viewer: Allowed, choice: ChoiceParameters) -> dict[str, Any]:
    """The reading with the greatest time of each stream."""
    services = services_of(request)
    return await run_in_threadpool(_latest, services, viewer, choice)


def _latest(services: Services, viewer: Viewer, choice: Choice) -> dict[str, Any]:
    catalogue = services.catalogues.current()
    question = Question(pilots=choice.pilot, devices=choice.device, quantities=choice.quantity)
    table = services.store.latest(select(question, viewer, catalogue, services.store))
    settings = services.settings
    some, following = paged(
        list(rows.latest_items(table, catalogue)),
        lambda item: "\0".join((item["pilot"], item["device"], item["quantity"])),
        choice,
        settings.page_size,
        settings.max_page_size,
    )
    return {"items": some, "next": following}
