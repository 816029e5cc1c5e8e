"""The one place that knows odata-query: text of an OData expression to its tree, with functions of our own.

The package has its functions in a table of its module, for everybody in the process alike. Here the functions are a
parameter, and that table is neither read nor written. The last release is of June 2024: should the package stop working
one day, this module and `ast`, the classes of the tree, are what has to be replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
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
        return parser.parse(grammar.ODataLexer().tokenize(text))  # type: ignore[no-untyped-call]
    except (exceptions.ODataException, ValueError, RecursionError) as error:
        raise BadExpression(str(error)) from error


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
