"""What SensorThings answers: entities with their links, expanded and cut to what was selected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.cursors import decode_cursor, encode_cursor
from techport_dashboards.sta import observations
from techport_dashboards.sta.entities import PROPERTIES, RELATIONS, Entity, EntityGraph
from techport_dashboards.sta.filters import Resolve, evaluate, holds
from techport_dashboards.sta.observations import Row, sort_key
from techport_dashboards.sta.options import Options
from techport_storage.model import Cursor, Stream
from techport_storage.store import ReadingStore

_PLACE_IN_PAGES = tuple(f"{sign}{name}=" for sign in ("$", "%24") for name in ("skip", "skiptoken"))
_LATEST = ("phenomenonTime", "resultTime")


MOST_EXPANDED = 20_000
"""Entities and Observations that `$expand` may add to one answer. A thousand of them are about a megabyte."""
MOST_VISITED = 500_000
"""Entities that one request may look at for its filters and orders, also along paths to other entities."""
_QUERY = 10  # a query to the store costs as much as so many entities
_SPAN = 100  # and the times of a Datastream as much as so many that are looked at


class Answers:
    """One request's view: the world as it is, the store, and the address that links begin with."""

    def __init__(self, world: EntityGraph, store: ReadingStore, root: str) -> None:
        self._world = world
        self._store = store
        self._root = root
        self._expanded_count = 0
        self._visited = 0

    # Names, for filters and orders

    def resolver(self, entity: Entity) -> Resolve:
        def resolve(name: str) -> Any:
            if name == "id":
                return entity.id
            if name == "selfLink":
                return self.link(entity.kind, entity.id)
            if name in ("phenomenonTime", "resultTime") and entity.kind == "Datastreams":
                return self.time_span(entity)
            relation = RELATIONS[entity.kind].get(name)
            if relation == "Observations":
                return _ObservationsOf(self, self.streams_of(entity))
            if relation is None:
                if name not in PROPERTIES[entity.kind]:
                    raise KeyError(name)
                return entity.properties.get(name)
            self._visit(len(entity.related[name]))
            resolvers = [self.resolver(self._world.sets[relation][entity_id]) for entity_id in entity.related[name]]
            return resolvers if name == relation else next(iter(resolvers), None)

        return resolve

    def row_resolver(self, row: Row) -> Resolve:
        beyond = self.stream_resolver(row.stream)

        def resolve(name: str) -> Any:
            match name:
                case "id":
                    return observations.id_of(row, self._world)
                case "phenomenonTime" | "resultTime":
                    return times.iso(row.time)
                case "result":
                    return row.value
                case "resultQuality":
                    return row.quality
                case "parameters":
                    return self._parameters(row)
                case "validTime":
                    return None
            return beyond(name)

        return resolve

    def stream_resolver(self, stream: Stream) -> Resolve:
        """Of an Observation only what its stream says: Datastream and FeatureOfInterest."""

        def resolve(name: str) -> Any:
            if name == "Datastream":
                return self.resolver(self._world.sets["Datastreams"][self._world.datastreams[stream]])
            if name == "FeatureOfInterest":
                return self.resolver(self._world.sets["FeaturesOfInterest"][self._world.features(stream)])
            raise KeyError(name)

        return resolve

    def has_observation(self, streams: Sequence[Stream], expression: Any) -> bool:
        """Whether one of the streams has an Observation of which the expression is true."""
        self._visit(_SPAN * max(1, len(streams)))
        options = Options(top=1, filter=expression)
        asked = observations.narrowed(streams, options, self.stream_resolver, self._world)
        return bool(observations.page(self._store, self._world, asked, options, self.row_resolver, None)[0])

    # Collections

    def entities(self, kind: str, ids: Sequence[int] | None, options: Options, address: str) -> dict[str, Any]:
        """A page of an entity set, or of those with the ids."""
        by_id = self._world.sets[kind]
        entities = list(by_id.values()) if ids is None else [by_id[entity_id] for entity_id in ids]
        self._visit(len(entities) * (len(options.orderby) + (options.filter is not None)))
        if options.filter is not None:
            entities = [entity for entity in entities if holds(options.filter, self.resolver(entity))]
        for order in reversed(options.orderby):
            key: Callable[[Entity], Any] = lambda e, path=order.path: sort_key(evaluate(path, self.resolver(e)))  # type: ignore[misc] # noqa: E731
            entities.sort(key=key, reverse=order.descending)
        end = options.skip + options.top
        some = entities[options.skip : end]
        # $top=0 asks for the count alone: the page behind it would be this one again.
        following = self._next(address, options, end) if len(entities) > end and options.top else None
        return self._collection(self.rendered(some, options), len(entities) if options.count else None, following)

    def observations(self, streams: Sequence[Stream], options: Options, address: str) -> dict[str, Any]:
        asked = observations.narrowed(streams, options, self.stream_resolver, self._world)
        after = self._after(options)
        rows, more = observations.page(self._store, self._world, asked, options, self.row_resolver, after)
        number = observations.count(self._store, asked, self.row_resolver) if options.count else None
        following = None
        more = more and options.top > 0
        if more and options.keyset:
            last = Cursor(rows[-1].stream, rows[-1].time) if rows else None
            token = encode_cursor(_mark(options), None, None, last) if last else None
            following = self._next(address, options, None, token) if token else None
        elif more:
            following = self._next(address, options, options.skip + options.top)
        if options.format == "dataArray":
            return self._collection(self._data_arrays(rows, options), number, following)
        return self._collection(self.rendered_rows(rows, options), number, following)

    def _collection(self, value: list[Any], count: int | None, following: str | None) -> dict[str, Any]:
        body: dict[str, Any] = {} if count is None else {"@iot.count": count}
        return body | ({"@iot.nextLink": following} if following else {}) | {"value": value}

    def _after(self, options: Options) -> Cursor | None:
        return None if options.skiptoken is None else decode_cursor(options.skiptoken, _mark(options))[2]

    def _next(self, address: str, options: Options, skip: int | None, token: str | None = None) -> str:
        path, _, text = address.partition("?")
        pairs = [pair for pair in text.split("&") if pair and not pair.startswith(_PLACE_IN_PAGES)]
        if not any(pair.startswith(("$top=", "%24top=")) for pair in pairs):
            pairs.append(f"$top={options.top}")
        pairs.append(f"$skip={skip}" if token is None else f"$skiptoken={token}")
        return f"{path}?{'&'.join(pairs)}"

    # Entities

    def link(self, kind: str, entity_id: int | str, relation: str = "") -> str:
        text = f"'{entity_id}'" if isinstance(entity_id, str) else str(entity_id)
        return f"{self._root}/{kind}({text})" + (f"/{relation}" if relation else "")

    def rendered(self, entities: Sequence[Entity], options: Options) -> list[dict[str, Any]]:
        expanded = {name: self._expanded(entities, name, inner) for name, inner in options.expand.items()}
        bodies = []
        for place, entity in enumerate(entities):
            body = self._base(entity.kind, entity.id)
            body |= {name: entity.properties[name] for name in PROPERTIES[entity.kind] if name in entity.properties}
            if entity.kind == "Datastreams" and (len(entities) == 1 or self._wants_times(options)):
                body |= {"phenomenonTime": self.time_span(entity), "resultTime": self.time_span(entity)}
            bodies.append(
                _selected(body, options)
                | {k: v for expansions in expanded.values() for k, v in expansions[place].items()}
            )
        return bodies

    def rendered_rows(self, rows: Sequence[Row], options: Options) -> list[dict[str, Any]]:
        bodies = []
        for row in rows:
            body = self._base("Observations", observations.id_of(row, self._world)) | self.row_properties(row)
            body = _selected(body, options)
            for name, inner in options.expand.items():
                kind = RELATIONS["Observations"][name]
                self._expand(1)
                entity = self._world.sets[kind][self.beyond(row, name)]
                body[name] = self.rendered([entity], inner)[0]
            bodies.append(body)
        return bodies

    def beyond(self, row: Row, relation: str) -> int:
        """Id of the entity that an Observation's relation leads to."""
        return self._world.datastreams[row.stream] if relation == "Datastream" else self._world.features(row.stream)

    def row_properties(self, row: Row) -> dict[str, Any]:
        at = times.iso(row.time)
        return {
            "phenomenonTime": at,
            "resultTime": at,
            "result": row.value,
            "resultQuality": row.quality,
            "parameters": self._parameters(row),
        }

    def time_span(self, entity: Entity) -> str | None:
        self._visit(_SPAN)
        span = observations.span_of(self._store, self._world.streams[entity.id])
        return f"{times.iso(span[0])}/{times.iso(span[1])}" if span else None

    def _parameters(self, row: Row) -> dict[str, Any]:
        return {"received": times.iso(row.received)}

    def _wants_times(self, options: Options) -> bool:
        return any(name in ("phenomenonTime", "resultTime") for name in options.select or ())

    def _base(self, kind: str, entity_id: int | str) -> dict[str, Any]:
        links = {f"{name}@iot.navigationLink": self.link(kind, entity_id, name) for name in RELATIONS[kind]}
        return {"@iot.selfLink": self.link(kind, entity_id), "@iot.id": entity_id, **links}

    def _expanded(self, entities: Sequence[Entity], name: str, inner: Options) -> list[dict[str, Any]]:
        """Of each entity what the relation adds to it."""
        if not entities:
            return []
        kind = RELATIONS[entities[0].kind][name]
        if kind == "Observations":
            return self._expanded_observations(entities, inner)
        added: list[dict[str, Any]] = []
        for entity in entities:
            self._expand(max(1, min(len(entity.related[name]) - inner.skip, inner.top)))
            if name == kind:
                address = f"{self.link(entity.kind, entity.id, name)}?{_text_of(inner)}"
                added.append(_under(name, self.entities(kind, entity.related[name], inner, address)))
            else:
                related = [self._world.sets[kind][entity_id] for entity_id in entity.related[name]]
                added.append({name: self.rendered(related, inner)[0] if related else None})
        return added

    def _expanded_observations(self, entities: Sequence[Entity], inner: Options) -> list[dict[str, Any]]:
        if _only_latest(inner) and entities[0].kind == "Datastreams":
            streams = [self._world.streams[entity.id] for entity in entities]
            self._expand(len(streams) + _QUERY)
            latest = observations.last_of_each(self._store, streams)
            return [
                {"Observations": self.rendered_rows([latest[stream]] if stream in latest else [], inner)}
                for stream in streams
            ]
        added = []
        for entity in entities:
            self._expand(_QUERY)
            address = f"{self.link(entity.kind, entity.id, 'Observations')}?{_text_of(inner)}"
            collection = self.observations(self.streams_of(entity), inner, address)
            self._expand(len(collection["value"]))
            added.append(_under("Observations", collection))
        return added

    # What one request may cost

    def _expand(self, entities: int) -> None:
        """Take these from what `$expand` may add. Raises Problem when that is used up."""
        self._expanded_count += entities
        if self._expanded_count > MOST_EXPANDED:
            raise Problem(
                "too-costly",
                "`$expand` would add more than {n} entities to this answer.",
                n=f"{MOST_EXPANDED:,}",
                parameter="$expand",
                example="$top=10&$expand=Datastreams($top=10)",
            )

    def _visit(self, entities: int) -> None:
        """Take these from what filters and orders may look at. Raises Problem when that is used up."""
        self._visited += entities
        if self._visited > MOST_VISITED:
            raise Problem(
                "too-costly",
                "This filter or order would have to look at more than {n} entities.",
                n=f"{MOST_VISITED:,}",
                parameter="$filter",
                example="name eq 'Air' and Thing/properties/pilot eq 'kai-luft'",
            )

    def streams_of(self, entity: Entity) -> list[Stream]:
        if entity.kind == "Datastreams":
            return [self._world.streams[entity.id]]
        return self._world.streams_at(entity.id)

    def _data_arrays(self, rows: Sequence[Row], options: Options) -> list[dict[str, Any]]:
        components = options.select or ["id", "phenomenonTime", "resultTime", "result"]
        groups: dict[Stream, list[Row]] = {}
        for row in rows:
            groups.setdefault(row.stream, []).append(row)
        return [
            {
                "Datastream@iot.navigationLink": self.link("Datastreams", self._world.datastreams[stream]),
                "components": components,
                "dataArray@iot.count": len(group),
                "dataArray": [self._values(row, components) for row in group],
            }
            for stream, group in groups.items()
        ]

    def _values(self, row: Row, components: Sequence[str]) -> list[Any]:
        properties = {"id": observations.id_of(row, self._world), **self.row_properties(row)}
        return [properties.get(name.removeprefix("@iot.")) for name in components]


@dataclass(frozen=True, slots=True)
class _ObservationsOf:
    """As filters ask for them."""

    answers: Answers
    streams: Sequence[Stream]

    def any(self, expression: Any) -> bool:
        return self.answers.has_observation(self.streams, expression)


def _only_latest(options: Options) -> bool:
    """$top=1 of the newest first, which the store keeps ready."""
    first = options.orderby[0] if options.orderby else None
    newest = first is not None and first.text in _LATEST and first.descending
    return options.top == 1 and not options.skip and newest and options.filter is None and not options.count


def _under(name: str, collection: Mapping[str, Any]) -> dict[str, Any]:
    return {name + (key if key != "value" else ""): value for key, value in collection.items()}


def _selected(body: dict[str, Any], options: Options) -> dict[str, Any]:
    if options.select is None:
        return body
    names = {name.split("/")[0] for name in options.select}
    names |= {"@iot.id"} if "id" in names else set()
    names |= {f"{name}@iot.navigationLink" for name in names}
    return {name: value for name, value in body.items() if name in names}


def _mark(options: Options) -> str:
    """Of a question whose pages a token continues."""
    orders = ",".join(f"{order.text} {'desc' if order.descending else 'asc'}" for order in options.orderby)
    return f"sta {options.filter_text} {orders}"


def _text_of(options: Options) -> str:
    """Options of an expansion as a request's, for its next page."""
    pairs = {"$filter": options.filter_text, "$top": str(options.top)}
    orders = [f"{order.text} desc" if order.descending else order.text for order in options.orderby]
    pairs |= {"$orderby": ",".join(orders), "$select": ",".join(options.select or [])}
    return urlencode({name: value for name, value in pairs.items() if value}, safe="$,", quote_via=quote)


def as_json(body: Any) -> bytes:
    return msgspec.json.encode(body)
