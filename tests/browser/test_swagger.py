"""The description of the API, to read and to try: Swagger UI from our own files alone, with examples that answer."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.conftest import Visit

Visitor = Callable[..., Visit]
DOCS = "/api/v1/docs"


def operation(visit: Visitor, anchor: str) -> tuple[Visit, str]:
    """The page with an operation open."""
    here = visit(locale="en-GB")
    page = here.open(f"{DOCS}#/{anchor}")
    block = f"#operations-{anchor.replace('/', '-')}"
    page.locator(f"{block} .execute").wait_for(timeout=60_000)
    return here, block


def test_an_operation_is_tried_out(visit: Visitor) -> None:
    """What must be given is filled in with what there is here: one click answers. No other host is asked (`visit`)."""
    here, block = operation(visit, "pilots/get-pilots-pilot")
    page = here.page
    with page.expect_response("**/api/v1/pilots/*") as answer:
        page.locator(f"{block} .execute").click()
    assert answer.value.status == 200
    expect(page.locator(f"{block} .live-responses-table tbody .response-col_status")).to_contain_text("200")
    expect(page.locator(f"{block} .live-responses-table")).to_contain_text('"question"')


def test_a_body_is_filled_in(visit: Visitor) -> None:
    """The body of a POST is an example that fits this platform."""
    here, block = operation(visit, "snapshots/post-snapshots")
    page = here.page
    expect(page.locator(f"{block} textarea.body-param__text")).to_have_value(re.compile('"quantity"'))
