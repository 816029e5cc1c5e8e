"""What is wrong with an expression whatever it is asked of, and its paths over Observations as conditions on them.

result gt 'much'                         a number is compared with a text: 400, not an empty answer
Datastreams/Observations/result gt 5     Datastreams/Observations/any(o: o/result gt 5)
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Literal

from techport_dashboards.problems import Problem
from techport_dashboards.sta.entities import PROPERTIES, RELATIONS
from techport_dashboards.sta.odata import ast, nodes

Type = Literal["number", "text", "time"]

_OBSERVATION = "$observation"
_PROPERTY_TYPES: Mapping[str, Type] = {
    "result": "number",
    "resultQuality": "number",
    "phenomenonTime": "time",
    "resultTime": "time",
    "validTime": "time",
    "time": "time",
    "name": "text",
    "description": "text",
    "definition": "text",
    "encodingType": "text",
    "observationType": "text",
}
_FUNCTION_TYPES: Mapping[str, Type] = {
    **dict.fromkeys(("length", "indexof", "year", "month", "day", "hour", "minute", "second"), "number"),
    **dict.fromkeys(("fractionalseconds", "totaloffsetminutes", "round", "floor", "ceiling"), "number"),
    **dict.fromkeys(("geo.distance", "geo.length"), "number"),
    **dict.fromkeys(("concat", "substring", "tolower", "toupper", "trim"), "text"),
    **dict.fromkeys(("now", "mindatetime", "maxdatetime", "date"), "time"),
}
_ARTICLE: Mapping[Type, str] = {"number": "a number", "text": "a text", "time": "a time"}
_EXAMPLES: Mapping[Type, str] = {
    "number": "result gt 5",
    "text": "name eq 'Air'",
    "time": "phenomenonTime ge 2026-11-01T00:00:00Z, or a date, which is midnight UTC",
}


def checked(tree: Any, kind: str, parameter: str = "$filter") -> Any:
    """The expression for entities of the kind, with paths over Observations as conditions on them. Raises Problem."""
    for node, _ in nodes(tree):
        if isinstance(node, ast.Compare):
            _check_types(node, kind, parameter)
    return _as_conditions(tree)


def path_of(node: Any) -> list[str] | None:
    """`a/b/c` as names; None for what is no path."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.owner
    return [node.name, *reversed(names)] if isinstance(node, ast.Identifier) else None


def without_variable(node: Any, variable: str) -> Any:
    """The expression with `o/result` as `result`."""
    if isinstance(node, ast.Attribute) and isinstance(node.owner, ast.Identifier) and node.owner.name == variable:
        return ast.Identifier(node.attr)
    return _mapped(node, lambda part: without_variable(part, variable))


def _check_types(node: Any, kind: str, parameter: str) -> None:
    rights = (
        node.right.val if isinstance(node.comparator, ast.In) and isinstance(node.right, ast.List) else [node.right]
    )
    for right in rights:
        types = {_type_of(node.left, kind), _type_of(right, kind)} - {None}
        if len(types) == 2 and not (types == {"time", "text"} and (_is_time(node.left) or _is_time(right))):
            expected = next((_type_of(side, kind) for side in (node.left, right) if path_of(side)), None) or "number"
            (other,) = types - {expected}
            raise Problem(
                "bad-parameter",
                f"The expression compares {_ARTICLE[expected]} with {_ARTICLE[other]}, which is never true.",  # type: ignore[index]
                parameter=parameter,
                example=_EXAMPLES[expected],
            )


def _is_time(node: Any) -> bool:
    """Whether a text is a time, as some clients write them."""
    if not isinstance(node, ast.String):
        return False
    try:
        dt.datetime.fromisoformat(str(node.py_val).split("/")[0])
    except ValueError:
        return False
    return True


def _type_of(node: Any, kind: str) -> Type | None:
    """Of a literal, a function's value, or a property that the standard defines; None where it could be anything."""
    if isinstance(node, ast.Integer | ast.Float):
        return "number"
    if isinstance(node, ast.String):
        return "text"
    if isinstance(node, ast.DateTime | ast.Date):
        return "time"
    if isinstance(node, ast.Call):
        return _FUNCTION_TYPES.get(node.func.full_name().lower())  # type: ignore[no-untyped-call]
    path = path_of(node)
    if path is None:
        return None
    *relations, name = path
    for relation in relations:
        if relation not in RELATIONS[kind]:
            return None  # inside `properties`, or of a variable
        kind = RELATIONS[kind][relation]
    if name == "id":
        return "text" if kind == "Observations" else "number"
    return _PROPERTY_TYPES.get(name) if name in PROPERTIES[kind] else None


def _as_conditions(node: Any) -> Any:
    if isinstance(node, ast.Compare):
        for side in ("left", "right"):
            path = path_of(getattr(node, side))
            if path and "Observations" in path[:-1]:
                place = path.index("Observations")
                owner, inner = _path(path[: place + 1]), _path([_OBSERVATION, *path[place + 1 :]])
                condition = ast.Lambda(ast.Identifier(_OBSERVATION), replace(node, **{side: inner}))
                return ast.CollectionLambda(owner, ast.Any(), condition)
        return node
    return _mapped(node, _as_conditions)


def _path(names: list[str]) -> Any:
    node: Any = ast.Identifier(names[0])
    for name in names[1:]:
        node = ast.Attribute(node, name)
    return node


def _mapped(node: Any, change: Any) -> Any:
    """The node with each of its parts changed."""
    if not isinstance(node, ast._Node):
        return node
    changed: dict[str, Any] = {}
    for field in fields(node):
        part = getattr(node, field.name)
        if isinstance(part, list):
            changed[field.name] = [change(item) for item in part]
        elif isinstance(part, ast._Node):
            changed[field.name] = change(part)
    return replace(node, **changed) if changed else node
