"""Addresses of SensorThings: what a path leads to, and the answer in the form that was asked for."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from fastapi import APIRouter, Request, Response

from techport_dashboards.problems import Problem
from techport_dashboards.sta import observations, old_links
from techport_dashboards.sta.answers import Answers, as_json
from techport_dashboards.sta.entities import PROPERTIES, RELATIONS, Entity, EntityCache, EntityGraph
from techport_dashboards.sta.geojson import features
from techport_dashboards.sta.observations import Row
from techport_dashboards.sta.options import Options, read
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import OPEN_DATA, needs
from techport_dashboards.web.dependencies import Services, ServicesDep, ViewerDep
from techport_dashboards.web.paths import route_path
from techport_dashboards.web.request_slots import SlotRoute

router = APIRouter(prefix="/sta/v1.1", include_in_schema=False, route_class=SlotRoute)
_SEGMENT = re.compile(r"([A-Za-z]+)(?:\(([0-9]{1,26}|'[0-9-]{1,40}')\))?")
CONFORMANCE = [
    f"http://www.opengis.net/spec/iot_sensing/1.1/req/{name}"
    for name in (
        *("datamodel", "resource-path/resource-path-to-entities", "request-data", "data-array/data-array"),
        *(f"request-data/{option}" for option in ("filter", "expand", "select", "orderby", "skip", "top", "count")),
    )
]


MQTT = "http://www.opengis.net/spec/iot_sensing/1.1/req/receive-updates-via-mqtt/receive-updates"


@router.get("")
@router.get("/")
@needs("see", anybody=OPEN_DATA)
def root(request: Request, services: ServicesDep) -> Response:
    """The entity sets and what is implemented."""
    base = _root(request)
    sets = [{"name": name, "url": f"{base}/{name}"} for name in RELATIONS]
    settings_answer: dict[str, Any] = {"conformance": CONFORMANCE}
    broker = services.settings.broker
    if services.settings.observations_at_broker and broker is not None and services.post is not None:
        settings_answer["conformance"] = [*CONFORMANCE, MQTT]
        settings_answer[MQTT] = {"endpoints": [f"mqtt{'s' if broker.tls else ''}://{broker.host}:{broker.port}"]}
    return _json({"value": sets, "serverSettings": settings_answer})


@router.get("/{path:path}")
@needs("see", anybody=OPEN_DATA)
def resource(request: Request, services: ServicesDep, viewer: ViewerDep, path: str) -> Response:
    """Whatever the path leads to."""
    return _answer(services, viewer, request, path)


def _answer(services: Services, viewer: Viewer, request: Request, path: str) -> Response:
    catalogue = services.registry_cache.current()
    entity_cache: EntityCache = request.app.state.entity_cache
    graph = entity_cache.current(catalogue, services.store, viewer)
    return _Walk(graph, services, Answers(graph, services.store, _root(request)), request).to(path)


class _Walk:
    """Along the segments of a path, from an entity set to an entity to what it is related to."""

    def __init__(self, graph: EntityGraph, services: Services, answers: Answers, request: Request) -> None:
        self._world = graph
        self._store = services.store
        self._answers = answers
        self._request = request

    def to(self, path: str) -> Response:
        segments = [unquote(segment) for segment in path.strip("/").split("/")]
        if len(segments) > 12 or segments[0].partition("(")[0] not in RELATIONS:
            raise _nothing(path)
        last = segments[-1]
        ending = segments.pop() if last in ("$ref", "$value") else ""
        kind, entity, ids = "", None, None
        for place, segment in enumerate(segments):
            match = _SEGMENT.fullmatch(segment)
            if match is None:
                raise _nothing(path)
            name = match[1]
            if entity is not None and name in PROPERTIES[kind]:
                return self._property(entity, segments[place:], ending)
            if place and (entity is None or name not in RELATIONS[kind]):
                raise _nothing(path)
            kind, ids = (name, None) if entity is None else (RELATIONS[kind][name], self._related(entity, name))
            entity = None
            if match[2] is not None:
                entity = self._entity(kind, match[2], ids)
            elif place and name != kind:  # in the singular: one entity
                if not ids:
                    raise _nothing(path)
                entity = self._world.sets[kind][ids[0]]
        if ending == "$value":
            raise _nothing(path)
        return self._one(entity, kind, ending) if entity is not None else self._many(kind, ids, ending)

    def _related(self, entity: Entity | Row, name: str) -> list[int]:
        if isinstance(entity, Row):
            return [self._answers.beyond(entity, name)]
        if name == "Observations":
            return [entity.id]  # whose they are
        return entity.related[name]

    def _entity(self, kind: str, text: str, among: list[int] | None) -> Entity | Row:
        """What has the id: a number, or of an Observation a text in quotes."""
        nothing = _nothing(f"{kind}({text})")
        if kind == "Observations":
            row = observations.find(text.strip("'"), self._world, self._store)
            if row is None or (among and among[0] not in self._owners(row)):
                raise nothing
            return row
        if not text.isdecimal():
            raise nothing
        entity_id: int | None = int(text)
        if entity_id not in self._world.sets[kind]:
            entity_id = old_links.current_id(kind, int(text), self._world)
        entity = None if entity_id is None else self._world.sets[kind].get(entity_id)
        if entity is None or (among is not None and entity_id not in among):
            raise nothing
        return entity

    def _owners(self, row: Row) -> tuple[int, int]:
        return self._world.datastreams[row.stream], self._world.features(row.stream)

    def _one(self, entity: Entity | Row, kind: str, ending: str) -> Response:
        options = self._options(kind)
        if ending == "$ref":
            entity_id = observations.id_of(entity, self._world) if isinstance(entity, Row) else entity.id
            return _json({"@iot.selfLink": self._answers.link(kind, entity_id)})
        if isinstance(entity, Row):
            return _json(self._answers.rendered_rows([entity], options)[0])
        return _json(self._answers.rendered([entity], options)[0])

    def _many(self, kind: str, ids: list[int] | None, ending: str) -> Response:
        options = self._options(kind)
        path = route_path(self._request.scope)
        address = f"{_base(self._request)}{path}?{self._request.url.query}"
        if kind == "Observations":
            streams = list(self._world.datastreams) if ids is None else self._streams(ids[0])
            body = self._answers.observations(streams, options, address)
        else:
            body = self._answers.entities(kind, ids, options, address)
        if ending == "$ref":
            body["value"] = [{"@iot.selfLink": item["@iot.selfLink"]} for item in body["value"]]
        elif options.format == "GeoJSON":
            return Response(as_json(features(kind, body, self._world)), media_type="application/geo+json")
        return _json(body)

    def _streams(self, owner: int) -> list[Any]:
        if owner in self._world.streams:
            return [self._world.streams[owner]]
        return self._world.streams_at(owner)

    def _property(self, entity: Entity | Row, names: list[str], ending: str) -> Response:
        if isinstance(entity, Row):
            value: Any = self._answers.row_properties(entity)
        elif names[0] in ("phenomenonTime", "resultTime"):
            value = {names[0]: self._answers.time_span(entity)}
        else:
            value = entity.properties
        for name in names:
            if not isinstance(value, dict) or name not in value:
                raise _nothing("/".join(names))
            value = value[name]
        if value is None:
            return Response(status_code=204)
        if ending == "$value":
            return _json(value) if isinstance(value, dict | list) else Response(str(value), media_type="text/plain")
        return _json({names[-1]: value})

    def _options(self, kind: str) -> Options:
        return read(self._request.query_params.multi_items(), kind)


def _json(body: Any) -> Response:
    return Response(as_json(body), media_type="application/json")


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _root(request: Request) -> str:
    return f"{_base(request)}/sta/v1.1"


def _nothing(path: str) -> Problem:
    return Problem("not-found", f"There is no resource at {path[:120]!r}.")
