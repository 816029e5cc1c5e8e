"""What a page's form sent: a few short fields, read without a parser for uploads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends
from starlette.requests import Request

from techport_dashboards.problems import Problem
from techport_pilots.definition.text import MAX_BYTES

LARGEST = 256 * 1024
MOST_FIELDS = 2_000
FORM = "application/x-www-form-urlencoded"


class Form:
    """The fields of a form. A field that is not there is empty, as a browser leaves out what is not ticked."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self._fields = fields

    def get(self, name: str) -> str:
        """The field's text, trimmed."""
        return self._fields.get(name, [""])[0].strip()

    def raw(self, name: str) -> str:
        """The field's text as it was sent."""
        return self._fields.get(name, [""])[0]

    def all(self, name: str) -> list[str]:
        return self._fields.get(name, [])

    def names(self) -> list[str]:
        """The fields that were sent, in their order."""
        return list(self._fields)

    def number(self, name: str) -> int | None:
        """The field as the number of a row; None where it is not one."""
        text = self.get(name)
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None

    def confirmed(self) -> None:
        """Raise a Problem unless the box was ticked that says what will be gone."""
        if self.get("confirmed") != "yes":
            raise Problem("bad-parameter", "Tick the box to confirm what will happen.", parameter="confirmed")


async def form_of(request: Request) -> Form:
    """Read a form as browsers send it. Raises Problem where it is none, or larger than most of ours."""
    return await _read(request, LARGEST, MOST_FIELDS)


async def definition_form_of(request: Request) -> Form:
    """The same for a pilot's definition, by its fields or as the text of its file, which is longer in a form."""
    return await _read(request, 4 * MAX_BYTES, 10_000)


async def _read(request: Request, most_bytes: int, most_fields: int) -> Form:
    if request.headers.get("content-type", "").partition(";")[0].strip() != FORM:
        raise Problem(
            "bad-parameter", "This address accepts a form ({form}); /api/v1 accepts JSON.", form=FORM, parameter="body"
        )
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most_bytes:
            raise Problem("bad-parameter", "A form can have at most {most} bytes.", most=most_bytes, parameter="body")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=most_fields, errors="strict")
    except ValueError as error:
        raise Problem("bad-parameter", "Invalid form: {what}.", what=error, parameter="body") from error
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    form = request.state.form = Form(fields)  # the audit log says what it was about
    return form


FormDep = Annotated[Form, Depends(form_of)]
DefinitionFormDep = Annotated[Form, Depends(definition_form_of)]
