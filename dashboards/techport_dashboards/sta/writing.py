"""Observations that devices post: writing as in the Sensing profile, on the way that every message takes.

    POST Datastreams(7)/Observations, Observations, CreateObservations
        │  Basic authentication with the device's credential
        ▼
    given Observations ─► Datastreams of that device ─► what would become of them (the linter of messages)
        │
        ▼
    broker, topic pilots/<pilot>/<device>/push/native ──► ingest, ledger, store
        │  PUBACK                                                          │
        └───────────────────────────── 201 when the store has them ◄───────┘

What is known to be rejected is refused here, with the reason. What is answered 201 can be read; 202 says that the
broker has it and the store not yet, as while a store is away, or when many requests wait for it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, NamedTuple

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.sta import observations
from techport_dashboards.sta.answers import Answers, as_json
from techport_dashboards.sta.entities import EntityCache, EntityGraph
from techport_dashboards.sta.observations import Row
from techport_dashboards.sta.options import Options
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import Services, ServicesDep
from techport_dashboards.web.device_messages import sender, to_broker, unpacked
from techport_dashboards.web.request_slots import Slot, SlotRoute
from techport_pilots.access.credentials import Credential
from techport_pilots.registry.lifecycle import NOT_COLLECTED
from techport_storage import clock
from techport_storage.model import Micros, Stream

router = APIRouter(prefix="/sta/v1.1", include_in_schema=False, route_class=SlotRoute)

MOST_AT_ONCE = 10_000
"""Observations of one request."""
MOST_MESSAGES = 200
"""That they become: those of a Datastream with the same time go into one message each."""
STORED_WITHIN = 5.0
"""Seconds that the store has, after the broker, before the answer is 202."""
MOST_WAITING = 8
"""Requests that wait for the store at a time; the others are answered 202 at once. Each holds a slot, which pages need
too, and what a device sends over its budget never comes."""
_OF_A_MESSAGE = 500
_MOST_REASONS = 5
_REFUSED = "error"
"""What CreateObservations answers in the place of an Observation that was not created (OGC 18-088, 12.2)."""
_NOT_KEPT = ("resultQuality", "validTime", "parameters")
_KEPT = ("phenomenonTime", "resultTime", "result", "Datastream", "FeatureOfInterest")
_FOR_DEVICES = "takes Observations of devices, which prove who they are by their own credential"


class Given(NamedTuple):
    """An Observation as it was sent."""

    stream: Stream
    time: Micros
    result: bool | int | float | str


class Batch(NamedTuple):
    """What one request asks for: Observations, or why one is none, in their order."""

    graph: EntityGraph
    given: Sequence[Given | str]


class Checked(NamedTuple):
    """What would become of them: rows of the store in their order, or why there will be none; and the messages."""

    rows: Sequence[Row | str]
    messages: Sequence[tuple[str, bytes]]


def _sender(request: Request, services: ServicesDep) -> Credential:
    return sender(request, services)


SenderDep = Annotated[Credential, Depends(_sender)]


@router.post("/Observations")
@needs("device", anybody=_FOR_DEVICES)
async def create(request: Request, services: ServicesDep, credential: SenderDep) -> Response:
    """One Observation, which names its Datastream."""
    return await _created(request, services, credential, None)


@router.post("/Datastreams({datastream})/Observations")
@needs("device", anybody=_FOR_DEVICES)
async def create_in(request: Request, services: ServicesDep, credential: SenderDep, datastream: str) -> Response:
    """One Observation of the Datastream in the address."""
    return await _created(request, services, credential, datastream)


@router.post("/CreateObservations")
@needs("device", anybody=_FOR_DEVICES)
async def create_observations(request: Request, services: ServicesDep, credential: SenderDep) -> Response:
    """Many Observations as data arrays (OGC 18-088, 12.2). Those that cannot be created do not keep back the others."""
    body = await _document(request)
    batch = await run_in_threadpool(_of_arrays, body, request, services, credential)
    checked = await run_in_threadpool(_checked, batch, services, credential)
    reasons = {number: row for number, row in enumerate(checked.rows, 1) if isinstance(row, str)}
    if len(reasons) == len(checked.rows):
        raise Problem(
            "bad-parameter",
            "None of the {n} Observations can be created. The first: {why}",
            n=len(checked.rows),
            why=next(iter(reasons.values()), "-"),
            parameter="dataArray",
            example='[["2026-05-04T12:00:00Z", 21.5]]',
        )
    stored = await _kept(checked, request, services)
    answers = _answers(request, services, batch.graph)
    links = [
        _REFUSED if isinstance(row, str) else answers.link("Observations", observations.id_of(row, batch.graph))
        for row in checked.rows
    ]
    headers = {}
    if reasons:
        some = list(reasons.items())[:_MOST_REASONS]
        # Headers hold Latin-1, and a quantity may be called anything.
        headers["Techport-Errors"] = json.dumps([{"number": number, "detail": why} for number, why in some])
    return Response(as_json(links), 201 if stored else 202, headers, "application/json")


async def _created(request: Request, services: Services, credential: Credential, datastream: str | None) -> Response:
    body = await _document(request)
    batch = await run_in_threadpool(_of_entity, body, datastream, request, services, credential)
    checked = await run_in_threadpool(_checked, batch, services, credential)
    row = checked.rows[0]
    if isinstance(row, str):
        raise Problem(
            "bad-parameter", "The Observation cannot be created: {why}", why=row, parameter="result", example="21.5"
        )
    stored = await _kept(checked, request, services)
    if stored:  # with the time of its arrival
        row = await run_in_threadpool(observations.at, services.raw_store, row.stream, row.time) or row
    answers = _answers(request, services, batch.graph)
    link = answers.link("Observations", observations.id_of(row, batch.graph))
    return Response(
        as_json(answers.rendered_rows([row], Options())[0]),
        201 if stored else 202,
        {"Location": link},
        "application/json",
    )


def _answers(request: Request, services: Services, graph: EntityGraph) -> Answers:
    return Answers(graph, services.store, f"{str(request.base_url).rstrip('/')}/sta/v1.1")


async def _document(request: Request) -> Any:
    """The JSON that was sent. Raises Problem."""
    body = unpacked(await request.body(), request.headers.get("content-encoding", ""))
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("bad-parameter", "The body is not JSON: {error}.", error=error, parameter="body") from error


def _graph(request: Request, services: Services, credential: Credential) -> EntityGraph:
    """What the sender may know of: the pilot that its device belongs to."""
    entity_cache: EntityCache = request.app.state.entity_cache
    owner = Viewer("device", open_pilots=lambda: frozenset({credential.pilot}))
    return entity_cache.current(services.registry_cache.current(), services.store, owner)


# -- What was sent


def _of_entity(
    body: Any, datastream: str | None, request: Request, services: Services, credential: Credential
) -> Batch:
    """Raises Problem."""
    if not isinstance(body, dict):
        raise _not_an_observation("The body is no JSON object.")
    graph = _graph(request, services, credential)
    linked = _linked(body.get("Datastream"))
    if datastream is None and linked is None:
        raise Problem(
            "bad-parameter",
            "The Observation does not say which Datastream it is of.",
            parameter="Datastream",
            example='{"@iot.id": 7}',
        )
    stream = _stream_of(datastream if datastream is not None else linked, graph, credential)
    if datastream is not None and linked is not None and _stream_of(linked, graph, credential) != stream:
        raise Problem("bad-parameter", "The address names another Datastream than the body.", parameter="Datastream")
    given = _given(body, stream, graph, clock.now())
    if isinstance(given, str):
        raise _not_an_observation(given)
    return Batch(graph, [given])


def _of_arrays(body: Any, request: Request, services: Services, credential: Credential) -> Batch:
    """Raises Problem for what is no data array; an Observation in one that is none keeps its place."""
    graph = _graph(request, services, credential)
    received = clock.now()
    given: list[Given | str] = []
    for group in body if isinstance(body, list) else [body]:
        components, rows = _components(group), group["dataArray"]
        if len(given) + len(rows) > MOST_AT_ONCE:
            raise Problem("too-large", "One request creates at most {n} Observations.", n=MOST_AT_ONCE)
        try:
            stream = _stream_of(_linked(group.get("Datastream")), graph, credential)
        except Problem as error:
            given += [error.detail] * len(rows)
            continue
        for row in rows:
            if not isinstance(row, list) or len(row) != len(components):
                given.append(f"It has not one value for each of the {len(components)} components.")
                continue
            entity = dict(zip(components, row, strict=True))
            feature = entity.pop("FeatureOfInterest/id", entity.pop("FeatureOfInterest/@iot.id", None))
            if feature is not None:
                entity["FeatureOfInterest"] = {"@iot.id": feature}
            given.append(_given(entity, stream, graph, received))
    if not given:
        raise Problem("bad-parameter", "There is no Observation in the body.", parameter="dataArray")
    return Batch(graph, given)


def _components(group: Any) -> list[str]:
    """Raises Problem."""
    components = group.get("components") if isinstance(group, dict) else None
    if (
        not isinstance(components, list)
        or not all(isinstance(name, str) for name in components)
        or "result" not in components
        or len(set(components)) < len(components)
        or not isinstance(group.get("dataArray"), list)
    ):
        raise Problem(
            "bad-parameter",
            "Each data array has a Datastream, components with a result among them, and a dataArray of rows.",
            parameter="components",
            example='{"Datastream": {"@iot.id": 7}, "components": ["phenomenonTime", "result"], "dataArray": '
            '[["2026-05-04T12:00:00Z", 21.5]]}',
        )
    return components


def _linked(entity: Any) -> str | None:
    """The id in {"@iot.id": 7}."""
    entity_id = entity.get("@iot.id", entity.get("id")) if isinstance(entity, Mapping) else None
    return str(entity_id) if isinstance(entity_id, int | str) and not isinstance(entity_id, bool) else None


def _stream_of(datastream: str | None, graph: EntityGraph, credential: Credential) -> Stream:
    """The stream that a Datastream is. Raises Problem, the same one for another device's as for one that is not."""
    named = (datastream or "").strip("'")
    stream = graph.streams.get(int(named)) if named.isascii() and named.isdecimal() and len(named) < 20 else None
    if stream is None or (stream.pilot, stream.device) != (credential.pilot, credential.device):
        raise Problem(
            "not-found",
            "The device {device} has no Datastream {id}.",
            device=credential.device,
            id=named[:40] or "without an id",
        )
    return stream


def _given(entity: Mapping[str, Any], stream: Stream, graph: EntityGraph, received: Micros) -> Given | str:
    """The Observation, or why it is none."""
    for name, value in entity.items():
        if name in _NOT_KEPT and value is not None:
            return f"{name} is not kept: leave it out."
        if name not in _KEPT and name not in _NOT_KEPT:
            return f"An Observation has no property {name[:40]!r} that can be written."
    feature = entity.get("FeatureOfInterest")
    if feature is not None and _linked(feature) != str(graph.features(stream)):
        return "The FeatureOfInterest of a device's Observations is the place where it stands: leave it out."
    result = entity.get("result")
    if not isinstance(result, bool | int | float | str):
        return "The result has to be a number, a text or true or false."
    try:
        resulted = _instant(entity.get("resultTime"), "resultTime")
        observed = _instant(entity.get("phenomenonTime"), "phenomenonTime")
    except ValueError as error:
        return str(error)
    return Given(stream, next(at for at in (observed, resulted, received) if at is not None), result)


def _instant(text: Any, name: str) -> Micros | None:
    """An instant, or the start of an interval; None where there is none. Raises ValueError."""
    if text is None:
        return None
    wrong = f"The {name} has to be a time with an offset from UTC, such as 2026-05-04T12:00:00Z, or an interval of two."
    if not isinstance(text, str):
        raise ValueError(wrong)
    parts = text.split("/")
    try:
        moments = [dt.datetime.fromisoformat(part) for part in parts]
    except ValueError:
        raise ValueError(wrong) from None
    if len(parts) > 2 or any(moment.tzinfo is None for moment in moments):
        raise ValueError(wrong)
    return times.micros(moments[0])


def _not_an_observation(why: str) -> Problem:
    return Problem(
        "bad-parameter",
        "The Observation cannot be created: {why}",
        why=why,
        parameter="body",
        example='{"phenomenonTime": "2026-05-04T12:00:00Z", "result": 21.5}',
    )


# -- What would become of it


def _checked(batch: Batch, services: Services, credential: Credential) -> Checked:
    """What would become of the Observations as a message that arrives now. Raises Problem."""
    pilot = services.registry_cache.current().pilots.get(credential.pilot)
    if pilot is None or services.explain is None:
        raise Problem("not-taken", "This process does not take readings.")
    # What other devices send has no part in it, and there may be thousands of them.
    pilot = msgspec.structs.replace(
        pilot, devices=[device for device in pilot.devices if device.id == credential.device]
    )
    topic = f"{credential.topics}push/native"
    received = clock.now()
    explained = partial(services.explain, topic=topic, received=received, pilot=pilot)
    rows: list[Row | str] = [given if isinstance(given, str) else "" for given in batch.given]
    messages: list[tuple[str, bytes]] = []
    reasons = 0
    for count, numbers in enumerate(_messages(batch.given), 1):
        if count > MOST_MESSAGES:
            raise Problem("too-large", "Too many Observations of one request have the same time: send several.")
        some = [given for number in numbers if isinstance(given := batch.given[number], Given)]
        explanation = explained(_payload(some))
        if NOT_COLLECTED in explanation.ignored:
            raise Problem("wrong-state", "The pilot is a draft with personal data, which collects nothing yet.")
        understood = {
            (Stream(pilot.id, reading.device, reading.quantity), reading.time): reading.value
            for reading in explanation.readings
        }
        accepted = []
        for number, given in zip(numbers, some, strict=True):
            value = understood.get((given.stream, given.time))
            if value is not None:
                rows[number] = Row(given.stream, given.time, value, received, 0)
                accepted.append(given)
                continue
            reasons += 1
            alone = explained(_payload([given])).rejected if reasons <= _MOST_REASONS else explanation.rejected
            why = next((part.rejection.detail() for part in alone), None)
            rows[number] = why or f"{given.stream.quantity} cannot be written under this name."
        if accepted:
            messages.append((topic, _payload(accepted)))
    return Checked(rows, messages)


def _messages(given: Sequence[Given | str]) -> Iterator[list[int]]:
    """The numbers of the Observations that go into one message each: of one stream, each of another time."""
    open_messages: dict[Stream, dict[Micros, int]] = {}
    for number, observation in enumerate(given):
        if isinstance(observation, Given):
            message = open_messages.setdefault(observation.stream, {})
            if observation.time in message or len(message) >= _OF_A_MESSAGE:
                yield list(message.values())
                message.clear()
            message[observation.time] = number
    yield from (list(message.values()) for message in open_messages.values())


def _payload(given: Sequence[Given]) -> bytes:
    """As the device would send it in techport's own JSON."""
    records = [
        {"time": times.iso(observation.time), observation.stream.quantity: observation.result} for observation in given
    ]
    return msgspec.json.encode(records if len(records) > 1 else records[0])


# -- On its way


class _Waiting:
    """How many requests wait for the store now. Used in the event loop only."""

    count = 0


async def _kept(checked: Checked, request: Request, services: Services) -> bool:
    """Hand the messages to the broker, and wait for the store; whether it has them. Raises Problem.

    The request has a slot again if the store has them, and only then needs it.
    """
    async with to_broker(request, services) as give:
        for topic, payload in checked.messages:
            await give(topic, payload)
    last = {row.stream: row for row in checked.rows if isinstance(row, Row)}  # messages are stored in their order
    if _Waiting.count >= MOST_WAITING:
        return False
    _Waiting.count += 1
    try:
        pause, until = 0.01, time.monotonic() + STORED_WITHIN
        if not await _slot_again(request):
            return False
        while not await run_in_threadpool(_stored, list(last.values()), services):
            if time.monotonic() > until:
                return False
            await asyncio.sleep(pause)
            pause = min(0.2, 2 * pause)
    finally:
        _Waiting.count -= 1
    return True


async def _slot_again(request: Request) -> bool:
    """Whether a slot, given back for the broker, became free in time. The messages are kept in any case."""
    slot: Slot = request.state.slot
    try:
        async with asyncio.timeout(STORED_WITHIN):
            await slot.take()
    except (Problem, TimeoutError):
        return False
    return True


def _stored(rows: Sequence[Row], services: Services) -> bool:
    """Whether the store has these rows, counts of people too, which it may not show."""
    for row in rows:
        stored_row = observations.at(services.raw_store, row.stream, row.time)
        if stored_row is None or stored_row.value != row.value:
            return False
    return True
