"""Query options of SensorThings: $filter, $expand with options of its own inside, and the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from techport_dashboards.problems import Problem
from techport_dashboards.sta.entities import PROPERTIES, RELATIONS
from techport_dashboards.sta.filter_check import checked
from techport_dashboards.sta.filters import LONGEST, parse

DEFAULT_TOP, MOST_TOP = 100, 10_000
MOST_DEPTH = 5
MOST_ORDERS = 10
_IDS = ("id", "@iot.id")
_TIMES = {"phenomenonTime", "resultTime"}
KNOWN = ("$top", "$skip", "$count", "$orderby", "$select", "$filter", "$expand", "$resultFormat", "$skiptoken")


class Order(msgspec.Struct, frozen=True):
    path: Any  # an expression of filters.py
    text: str
    descending: bool


class Options(msgspec.Struct, frozen=True, kw_only=True):
    top: int = DEFAULT_TOP
    skip: int = 0
    count: bool = False
    orderby: list[Order] = []
    select: list[str] | None = None
    filter: Any = None
    filter_text: str = ""
    expand: dict[str, Options] = {}
    format: Literal["entities", "dataArray", "GeoJSON"] = "entities"
    skiptoken: str | None = None

    @property
    def keyset(self) -> bool:
        """Whether the order of Observations is one of their ids or times, so that a page begins behind a row."""
        texts = {order.text for order in self.orderby}
        return not texts or texts <= set(_IDS) or (texts - set(_IDS) <= _TIMES and self.orderby[0].text in _TIMES)


def read(pairs: Iterable[tuple[str, str]], kind: str) -> Options:
    """The options of a request on the entity set `kind`. Raises Problem."""
    options: dict[str, str] = {}
    for name, value in pairs:
        name = name if name.startswith("$") else f"${name}" if name == "resultFormat" else name
        if name not in KNOWN:
            raise Problem("unknown-parameter", f"Unknown query option {name[:40]!r}.", parameter=name[:40])
        if name in options:
            raise Problem("bad-parameter", "The option is given more than once.", parameter=name)
        options[name] = value
    return _built(options, kind, 0)


def _built(options: Mapping[str, str], kind: str, depth: int) -> Options:
    if depth > MOST_DEPTH:
        raise Problem("bad-parameter", f"`$expand` can be at most {MOST_DEPTH} levels deep.", parameter="$expand")
    return Options(
        top=min(_whole("$top", options.get("$top", str(DEFAULT_TOP))), MOST_TOP),
        skip=_whole("$skip", options.get("$skip", "0")),
        count=_choice("$count", options.get("$count", "false"), {"true": True, "false": False}),
        orderby=_orders(options.get("$orderby", "")),
        select=_select(options["$select"], kind) if "$select" in options else None,
        filter=checked(parse(options["$filter"]), kind) if "$filter" in options else None,
        filter_text=options.get("$filter", ""),
        expand=_expand(options.get("$expand", ""), kind, depth),
        format=_choice(
            "$resultFormat",
            options.get("$resultFormat", "entities"),
            {"entities": "entities", "dataArray": "dataArray", "GeoJSON": "GeoJSON"},
        ),
        skiptoken=options.get("$skiptoken"),
    )


def split(text: str, separator: str) -> list[str]:
    """Cut at the separator, but not inside brackets or quotes. Raises ValueError where those do not close."""
    parts, depth, quoted, begin = [], 0, False, 0
    for place, letter in enumerate(text):
        if letter == "'":
            quoted = not quoted
        elif not quoted:
            depth += (letter == "(") - (letter == ")")
            if depth < 0:
                raise ValueError("a closing bracket has no opening bracket")
            if letter == separator and not depth:
                parts.append(text[begin:place])
                begin = place + 1
    if depth or quoted:
        raise ValueError("a bracket or quote is not closed")
    return [part.strip() for part in [*parts, text[begin:]] if part.strip()]


def _parts(name: str, text: str, separator: str = ",") -> list[str]:
    try:
        return split(text, separator)
    except ValueError as error:
        raise Problem("bad-parameter", f"{error}.", parameter=name) from error


def _expand(text: str, kind: str, depth: int) -> dict[str, Options]:
    """`Datastreams($top=1;$expand=Observations),Locations/HistoricalLocations` as options by relation."""
    if len(text) > LONGEST:
        raise Problem("bad-parameter", f"`$expand` has more than {LONGEST} characters.", parameter="$expand")
    raw: dict[str, dict[str, str]] = {}
    for item in _parts("$expand", text):
        head, bracket, inside = item.partition("(")
        if bracket and not inside.endswith(")"):
            raise Problem("bad-parameter", f"The bracket in {item[:80]!r} is not closed.", parameter="$expand")
        relation, _, deeper = head.strip().partition("/")
        if relation not in RELATIONS[kind]:
            raise Problem(
                "bad-parameter",
                f"{kind} have no relation {relation[:40]!r}.",
                parameter="$expand",
                example=", ".join(RELATIONS[kind]),
            )
        options = _inside(inside[:-1]) if bracket and not deeper else {}
        if deeper:  # a/b(...) is a($expand=b(...))
            options = {"$expand": deeper + (bracket + inside if bracket else "")}
        nested = raw.setdefault(relation, {})
        if "$expand" in nested and "$expand" in options:
            options["$expand"] = f"{nested['$expand']},{options['$expand']}"
        nested.update(options)
    return {relation: _built(options, RELATIONS[kind][relation], depth + 1) for relation, options in raw.items()}


def _inside(text: str) -> dict[str, str]:
    options = {}
    for part in _parts("$expand", text, ";"):
        name, equals, value = part.partition("=")
        if not equals or name.strip() not in KNOWN:
            raise Problem(
                "bad-parameter", f"{part[:80]!r} is not a query option.", parameter="$expand", example="$top=1"
            )
        options[name.strip()] = value
    return options


def _select(text: str, kind: str) -> list[str]:
    names = _parts("$select", text)
    for name in names:
        head = name.split("/")[0]
        if head not in ("id", "@iot.id", "@iot.selfLink", *PROPERTIES[kind], *RELATIONS[kind]):
            raise Problem(
                "bad-parameter",
                f"{kind} have no property {name[:40]!r}.",
                parameter="$select",
                example=", ".join(("id", *PROPERTIES[kind])),
            )
    return names


def _orders(text: str) -> list[Order]:
    orders = []
    parts = _parts("$orderby", text)
    if len(parts) > MOST_ORDERS:
        raise Problem("bad-parameter", f"More than {MOST_ORDERS} sort orders.", parameter="$orderby", example="name")
    for part in parts:
        path, _, direction = part.partition(" ")
        direction = direction.strip().lower()  # a client in wide use writes DESC
        if direction not in ("", "asc", "desc"):
            raise Problem(
                "bad-parameter", f"{part[:80]!r} is not a sort order.", parameter="$orderby", example="name desc"
            )
        orders.append(Order(parse(path, "$orderby"), path, direction == "desc"))
    return orders


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise Problem("bad-parameter", f"{text[:40]!r} is not a whole number.", parameter=name, example="10")
    return int(text)


def _choice(name: str, text: str, accepted: Mapping[str, Any]) -> Any:
    if text not in accepted:
        raise Problem(
            "bad-parameter", f"{text[:40]!r} is not an accepted value.", parameter=name, example=", ".join(accepted)
        )
    return accepted[text]
