"""Forms as browsers send them, and nothing else."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI, Request

from techport_dashboards.problems import Problem
from techport_dashboards.web.forms import LARGEST, MOST_FIELDS, form_of

pytestmark = pytest.mark.anyio


async def sent(**request: object) -> object:
    """What form_of makes of a request; a Problem comes back as its text."""
    app = FastAPI()

    @app.post("/")
    async def read(request: Request) -> list[object]:
        try:
            form = await form_of(request)
        except Problem as problem:
            return [problem.detail]
        return [form.get("name"), form.raw("name"), form.all("quantity")]

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        return (await client.post("/", **request)).json()  # type: ignore[arg-type]


async def test_fields_are_read() -> None:
    assert await sent(data={"name": " Bøye 1 ", "quantity": ["pm10", "pm2_5"]}) == [
        "Bøye 1",
        " Bøye 1 ",
        ["pm10", "pm2_5"],
    ]


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ({"json": {"name": "x"}}, "form"),
        ({"files": {"name": b"x"}}, "form"),
        ({"data": {"name": "x" * LARGEST}}, str(LARGEST)),
        ({"data": {f"f{n}": "" for n in range(MOST_FIELDS + 1)}}, "Invalid form: Max number of fields"),
        (
            {"content": b"name=%ff", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
            "Invalid form: 'utf-8'",
        ),
    ],
)
async def test_what_is_no_form_is_refused(request_: dict[str, object], named: str) -> None:
    [said] = await sent(**request_)  # type: ignore[misc]
    assert named in said
