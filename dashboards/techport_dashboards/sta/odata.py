"""The one place that knows odata-query: text of an OData expression to its tree, with functions of our own.

The package has its functions in a table of its module, for everybody in the process alike. Here the functions are a
parameter, and that table is neither read nor written. The last release is of June 2024: should the package stop working
one day, this module and `ast`, the classes of the tree, are what has to be replaced.
"""

from __future__ import annotations

import datetime as dt
import operator
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from odata_query import ast as ast
from odata_query import exceptions, grammar

Arity = int | tuple[int, int]
"""How many arguments a function takes: exactly, or at least and at most."""

_CHECKED_NAMESPACES: tuple[tuple[str, ...], ...] = ((), ("geo",))


class BadExpression(ValueError):
    """The text is not an OData expression, or calls a function that there is not. The message is a sentence's start."""


def parse(text: str, functions: Mapping[str, Arity]) -> Any:
    """Parse an OData expression.

    Parameters
    ----------
    text : str
        Such as `name eq 'Air' and length(description) gt 5`.
    functions : Mapping[str, Arity]
        The functions that may be called, by name, with the number of their arguments.

    Returns
    -------
    Any
        The tree, of classes in `ast`; None where the text is empty.

    Raises
    ------
    BadExpression
    """
    parser = grammar.ODataParser()
    parser._function_call = partial(_call, functions)  # type: ignore[method-assign]
    try:
        tree = parser.parse(grammar.ODataLexer().tokenize(text))  # type: ignore[no-untyped-call]
        _check_literals(tree)
    except BadExpression:
        raise
    except (exceptions.ODataException, ValueError, RecursionError) as error:
        raise BadExpression(str(error)) from error
    return tree


_ARITHMETIC: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}
_SCALING = (ast.Mult, ast.Div)
_NO_OPERAND = (ast.String, ast.Boolean, ast.List, ast.Geography, ast.GUID, ast.Time)
_EXACT = 2**53


def calculate(operation: Any, left: Any, right: Any) -> Any:
    """Arithmetic on numbers and times, and on nothing else.

    Parameters
    ----------
    operation : ast._BinOpToken
        Of the expression's tree.
    left, right : Any
        Numbers; or times and durations where the operation is defined for them.

    Returns
    -------
    Any
        A number, time or duration; None where the operands do not fit. Python's own operators mean more: `%` formats a
        text, `*` repeats it, and integers grow without end.
    """
    if _is_number(left) and _is_number(right):
        left, right = (value if -_EXACT < value < _EXACT else float(value) for value in (left, right))
    elif not _fit(operation, left, right):
        return None
    return _ARITHMETIC[type(operation)](left, right)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fit(operation: Any, left: Any, right: Any) -> bool:
    """Whether times are added, subtracted or scaled as times can be."""
    if isinstance(operation, _SCALING):
        if not isinstance(left, dt.timedelta):
            return isinstance(operation, ast.Mult) and _is_number(left) and isinstance(right, dt.timedelta)
        return _is_number(right) or (isinstance(operation, ast.Div) and isinstance(right, dt.timedelta))
    times = (dt.date, dt.timedelta)  # a datetime is a date
    return isinstance(operation, ast.Add | ast.Sub) and isinstance(left, times) and isinstance(right, times)


def nodes(tree: Any) -> Iterator[tuple[Any, int]]:
    """Every node of a tree with its depth, found without recursion."""
    waiting = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        below = [getattr(node, name) for name in ("left", "right", "operand", "owner") if hasattr(node, name)]
        if isinstance(node, ast.CollectionLambda) and node.lambda_ is not None:
            below.append(node.lambda_.expression)
        for several in ("args", "val"):
            value = getattr(node, several, None)
            below += value if isinstance(value, list) else []
        waiting += [(child, depth + 1) for child in below]


def _check_literals(tree: Any) -> None:
    """Raises BadExpression for arithmetic on what is no number or time, and for literals without a value."""
    for node, _ in nodes(tree):
        if isinstance(node, ast.BinOp):
            for operand in (node.left, node.right):
                if isinstance(operand, _NO_OPERAND):
                    raise BadExpression("Arithmetic needs numbers or times on both sides")
        elif isinstance(node, ast._Literal) and not isinstance(node, ast.Geography | ast.List):
            try:
                node.py_val  # noqa: B018 - it raises
            except (ValueError, TypeError, ArithmeticError) as error:
                kind = type(node).__name__
                raise BadExpression(f"{str(getattr(node, 'val', ''))[:40]!r} is not a valid {kind}") from error


def _call(functions: Mapping[str, Arity], function: ast.Identifier, arguments: list[ast._Node]) -> ast.Call:
    """In place of the parser's own method, which looks into the package's table."""
    if function.namespace in _CHECKED_NAMESPACES:
        name = function.full_name()  # type: ignore[no-untyped-call]
        if name not in functions:
            raise exceptions.UnknownFunctionException(name)
        arity = functions[name]
        least, most = arity if isinstance(arity, tuple) else (arity, arity)
        if not least <= len(arguments) <= most:
            raise exceptions.ArgumentCountException(name, least, most, len(arguments))
    return ast.Call(function, arguments)
