"""$filter of SensorThings: parsed by odata-query, evaluated here over one entity at a time.

A path over several (`Datastreams/name eq 'x'`) is true where it is for any of its members; `any(d: ...)` and `all` say
it of one member. filter_check.py refuses comparisons of different types; inside `properties`, where anything can be,
such a comparison is false, as is one with nothing; only `eq null` and `ne null` see nothing.
"""

from __future__ import annotations

import datetime as dt
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import shapely
from shapely.errors import ShapelyError
from shapely.geometry import shape

from techport_dashboards.problems import Problem
from techport_dashboards.query.areas import distance
from techport_dashboards.sta.filter_check import without_variable
from techport_dashboards.sta.odata import Arity, BadExpression, ast, calculate, nodes
from techport_dashboards.sta.odata import parse as parse_odata
from techport_storage.clock import now_datetime

Resolve = Callable[[str], Any]
"""What a name means for the entity at hand. Raises KeyError for one that it does not have."""

LONGEST = 4_000
MOST_TERMS = 100
DEEPEST = 150
MOST_SEGMENTS = 12
EXAMPLE = "name eq 'Air' and Thing/properties/pilot eq 'kai-luft'"
_TIMES = ("phenomenonTime", "resultTime", "validTime", "time")
_IOT_ID = re.compile(r"('(?:[^']|'')*')|@iot\.(id|selfLink)")

_COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_GEO = {
    "geo.intersects": shapely.intersects,
    "st_intersects": shapely.intersects,
    "st_within": shapely.within,
    "st_contains": shapely.contains,
    "st_disjoint": shapely.disjoint,
    "st_equals": shapely.equals,
    "st_touches": shapely.touches,
    "st_overlaps": shapely.overlaps,
    "st_crosses": shapely.crosses,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "concat": lambda a, b: a + b if isinstance(a, str) and isinstance(b, str) else None,
    "contains": lambda a, b: b in a,
    "substringof": lambda a, b: a in b,
    "startswith": str.startswith,
    "endswith": str.endswith,
    "indexof": str.find,
    "length": len,
    "substring": lambda text, begin, count=None: text[begin : None if count is None else begin + count],
    "tolower": str.lower,
    "toupper": str.upper,
    "trim": str.strip,
    "year": lambda t: t.year,
    "month": lambda t: t.month,
    "day": lambda t: t.day,
    "hour": lambda t: t.hour,
    "minute": lambda t: t.minute,
    "second": lambda t: t.second,
    "fractionalseconds": lambda t: t.microsecond / 1e6,
    "date": lambda t: t.date(),
    "time": lambda t: t.time(),
    "totaloffsetminutes": lambda t: t.utcoffset().total_seconds() / 60,
    "mindatetime": lambda: dt.datetime.min.replace(tzinfo=dt.UTC),
    "maxdatetime": lambda: dt.datetime.max.replace(tzinfo=dt.UTC),
    "now": now_datetime,
    "round": lambda x: float(int(x + (0.5 if x >= 0 else -0.5))),
    "floor": lambda x: float(x // 1),
    "ceiling": lambda x: float(-(-x // 1)),
    "geo.distance": lambda a, b: _distance(_geometry(a), _geometry(b)),
    "geo.length": lambda a: float(_geometry(a).length),
    "st_relate": lambda a, b, pattern: bool(shapely.relate_pattern(_geometry(a), _geometry(b), pattern)),
    **{name: (lambda a, b, test=test: bool(test(_geometry(a), _geometry(b)))) for name, test in _GEO.items()},
}
_NO_ARGUMENT = frozenset({"mindatetime", "maxdatetime", "now"})
_TWO_ARGUMENTS = frozenset(
    {"concat", "contains", "substringof", "startswith", "endswith", "indexof", "geo.distance", *_GEO}
)
_ARITIES: Mapping[str, Arity] = {
    **dict.fromkeys(_FUNCTIONS, 1),
    **dict.fromkeys(_NO_ARGUMENT, 0),
    **dict.fromkeys(_TWO_ARGUMENTS, 2),
    "substring": (2, 3),
    "st_relate": 3,
}


def parse(text: str, parameter: str = "$filter") -> Any:
    """The expression. Raises Problem for what is none, or is longer than anybody needs."""
    if len(text) > LONGEST:
        raise Problem("bad-parameter", f"The expression has more than {LONGEST} characters.", parameter=parameter)
    plain = _IOT_ID.sub(lambda match: match[1] or match[2], text.strip())
    try:
        tree = parse_odata(plain, _ARITIES)
    except BadExpression as error:
        raise Problem("bad-parameter", f"{str(error)[:200]}.", parameter=parameter, example=EXAMPLE) from error
    if tree is None or not _is_small(tree):
        raise Problem(
            "bad-parameter",
            f"The expression must have between 1 and {MOST_TERMS} terms, at most {DEEPEST} levels, and paths of "
            f"at most {MOST_SEGMENTS} segments.",
            parameter=parameter,
            example=EXAMPLE,
        )
    return tree


def holds(node: Any, resolve: Resolve) -> bool:
    """Is the expression true for the entity? Raises Problem for names that there are not."""
    return _true(evaluate(node, resolve))


def evaluate(node: Any, resolve: Resolve) -> Any:
    match node:
        case ast.CollectionLambda():
            return _over_members(node, resolve)
        case ast.Identifier():
            return _named(node.name, resolve)
        case ast.Attribute():
            return _member(evaluate(node.owner, resolve), node.attr)
        case ast.Geography():
            return _literal_shape(node.val)
        case ast.List():
            return [evaluate(item, resolve) for item in node.val]
        case ast.DateTime():
            moment = node.py_val
            return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        case ast.Call():
            return _call(node, resolve)
        case ast.Compare():
            return _compare(node, resolve)
        case ast.BoolOp():
            left = _true(evaluate(node.left, resolve))
            if isinstance(node.op, ast.And):
                return left and _true(evaluate(node.right, resolve))
            return left or _true(evaluate(node.right, resolve))
        case ast.UnaryOp():
            value = evaluate(node.operand, resolve)
            return not _true(value) if isinstance(node.op, ast.Not) else _guarded(operator.neg, value)
        case ast.BinOp():
            return _guarded(calculate, node.op, evaluate(node.left, resolve), evaluate(node.right, resolve))
    try:
        return node.py_val
    except (AttributeError, NotImplementedError, ValueError) as error:
        kind = type(node).__name__
        raise Problem("bad-parameter", f"{kind} is not supported in this expression.", parameter="$filter") from error


class ObservationsOf(Protocol):
    """The Observations of an entity, which are in the store: asked for a condition, never listed."""

    def any(self, expression: Any) -> bool: ...


def _over_members(node: Any, resolve: Resolve) -> bool:
    """`any` and `all` over a collection; `any()` alone: whether it has members."""
    members = evaluate(node.owner, resolve)
    members = members if isinstance(members, list) else [] if members is None else [members]
    is_any = isinstance(node.operator, ast.Any)
    results = (_holds_of(member, node.lambda_, resolve, is_any) for member in members)
    return any(results) if is_any else all(results)


def _holds_of(member: Any, condition: Any, resolve: Resolve, is_any: bool) -> bool:
    if condition is None:
        return bool(member.any(None)) if hasattr(member, "any") else True
    if hasattr(member, "any"):  # ObservationsOf
        expression = without_variable(condition.expression, condition.identifier.name)
        return bool(member.any(expression)) if is_any else not member.any(ast.UnaryOp(ast.Not(), expression))
    variable = condition.identifier.name
    return holds(condition.expression, lambda name: member if name == variable else resolve(name))


def names_in(node: Any) -> set[str]:
    """The first part of every path in the expression."""
    match node:
        case ast.CollectionLambda():
            variable = {node.lambda_.identifier.name} if node.lambda_ else set()
            inside = names_in(node.lambda_.expression) if node.lambda_ else set()
            return names_in(node.owner) | (inside - variable)
        case ast.Identifier():
            return {node.name}
        case ast.Attribute():
            return names_in(node.owner)
        case ast.Call():
            return set().union(*(names_in(argument) for argument in node.args))
        case ast.Compare() | ast.BoolOp() | ast.BinOp():
            return names_in(node.left) | names_in(node.right)
        case ast.UnaryOp():
            return names_in(node.operand)
    return set()


def conjuncts(node: Any) -> list[Any]:
    """Expressions that are all true where this one is."""
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        return [*conjuncts(node.left), *conjuncts(node.right)]
    return [] if node is None else [node]


def moment(value: Any) -> Any:
    """A time as text (of an interval its start) as a time to compare with."""
    try:
        return dt.datetime.fromisoformat(value.split("/")[0])
    except (AttributeError, ValueError):
        return None


def _named(name: str, resolve: Resolve) -> Any:
    try:
        value = resolve(name)
    except KeyError:
        raise Problem(
            "bad-parameter", f"There is no property {name[:60]!r}.", parameter="$filter", example=EXAMPLE
        ) from None
    return moment(value) if name in _TIMES and isinstance(value, str) else value


def _member(owner: Any, name: str) -> Any:
    if owner is None:
        return None
    if isinstance(owner, list):
        return _Many(value for member in owner for value in _each(_member(member, name)))
    if isinstance(owner, Mapping):
        return owner.get(name)
    if callable(owner):  # another entity
        return _named(name, owner)
    return None


def _each(value: Any) -> list[Any]:
    """The entities or values that one member of a collection leads to; a list that is a value is one value."""
    several = isinstance(value, _Many) or (isinstance(value, list) and all(map(callable, value)))
    return value if several else [value]


class _Many(list[Any]):
    """Values of a path over a collection."""


def _true(value: Any) -> bool:
    return value is True or (isinstance(value, _Many) and any(member is True for member in value))


def _call(node: Any, resolve: Resolve) -> Any:
    name = node.func.full_name().lower()
    function = _FUNCTIONS.get(name)
    if function is None:
        raise Problem(
            "bad-parameter", f"There is no function {name[:40]!r}.", parameter="$filter", example=", ".join(_FUNCTIONS)
        )
    arguments = [evaluate(argument, resolve) for argument in node.args]
    for place, argument in enumerate(arguments):
        if isinstance(argument, _Many):
            before, after = arguments[:place], arguments[place + 1 :]
            return _Many(_guarded(function, *before, member, *after) for member in argument)
    return _guarded(function, *arguments)


def _guarded(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result, or nothing where the arguments do not fit."""
    if any(argument is None for argument in arguments):
        return None
    try:
        return function(*arguments)
    except (TypeError, ValueError, AttributeError, ArithmeticError, ShapelyError):
        return None


def _compare(node: Any, resolve: Resolve) -> bool:
    left, right = evaluate(node.left, resolve), evaluate(node.right, resolve)
    if isinstance(node.comparator, ast.In):
        return left is not None and isinstance(right, list) and left in right
    test = _COMPARE[type(node.comparator)]
    if isinstance(left, _Many) or isinstance(right, _Many):
        lefts = left if isinstance(left, _Many) else [left]
        rights = right if isinstance(right, _Many) else [right]
        return any(_test(test, a, b) for a in lefts for b in rights)
    return _test(test, left, right)


def _test(test: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    if isinstance(left, dt.datetime) and isinstance(right, str):
        right = moment(right)
    left, right = _comparable(left, right), _comparable(right, left)
    if left is None or right is None:
        return (test is operator.eq and left is right) or (test is operator.ne and left is not right)
    try:
        return bool(test(left, right))
    except TypeError:
        return False


def _comparable(value: Any, other: Any) -> Any:
    """A date as midnight UTC where it is compared with a time."""
    if isinstance(other, dt.datetime) and isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return dt.datetime.combine(value, dt.time(), dt.UTC)
    return value


def _geometry(value: Any) -> shapely.Geometry:
    if isinstance(value, Mapping):
        return shape(value["geometry"] if value.get("type") == "Feature" else value)
    if isinstance(value, shapely.Geometry):
        return value
    raise TypeError("not a geometry")


def _literal_shape(text: str) -> shapely.Geometry:
    try:
        return shapely.from_wkt(text.split(";")[-1])
    except ShapelyError as error:
        example = "geography'POINT(10.4 63.4)'"
        raise Problem("bad-parameter", "Invalid WKT geometry.", parameter="$filter", example=example) from error


def _distance(a: shapely.Geometry, b: shapely.Geometry) -> float:
    """Metres between points (of other shapes: their centres)."""
    centre_a, centre_b = a.centroid, b.centroid
    return distance(centre_a.x, centre_a.y, centre_b.x, centre_b.y)


def _is_small(tree: Any) -> bool:
    """Whether anybody could have written it. A term is about two nodes: a name and what it is compared with."""
    for count, (node, depth) in enumerate(nodes(tree), 1):
        if count > 2 * MOST_TERMS + 1 or depth > DEEPEST or _segments(node) > MOST_SEGMENTS:
            return False
    return True


def _segments(node: Any) -> int:
    """Of a path that ends here."""
    segments = 1
    while isinstance(node, ast.Attribute) and segments <= MOST_SEGMENTS:
        node, segments = node.owner, segments + 1
    return segments
