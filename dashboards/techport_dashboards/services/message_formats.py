"""Names of message formats, as requests give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from techport_dashboards.problems import Problem
from techport_pilots.formats import DEFAULT, formats


def labels() -> Mapping[str, str]:
    """What a form calls the formats, by name."""
    return {name: form.label for name, form in formats().items()}


def format_of(name: str) -> str:
    """The name, if there is such a format. Raises Problem."""
    if name not in formats():
        raise Problem(
            "bad-parameter",
            "There is no message format {name}.",
            name=repr(name[:40]),
            parameter="format",
            example=DEFAULT,
        )
    return name


def _check(name: str) -> str:
    if name not in formats():
        raise ValueError(f"there are: {', '.join(formats())}")
    return name


class _Choices:
    """Describes the formats that there are when the description is asked for."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described: dict[str, Any] = handler(schema)
        return {**described, "enum": list(formats())}


MessageFormat = Annotated[str, AfterValidator(_check), _Choices]
"""In the schema of a request's body."""
