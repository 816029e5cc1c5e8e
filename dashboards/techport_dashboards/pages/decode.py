"""A page for device makers: paste a message, and see what would become of it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services.decoding import LONGEST_MESSAGE, PastedMessage, explain_message, payload_of
from techport_dashboards.services.message_formats import format_of, labels
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import ServicesDep, ViewerDep, services_of
from techport_dashboards.web.forms import Form, FormDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render
from techport_pilots.devices.explanation import Explanation
from techport_pilots.quantities import builtin

router = APIRouter(route_class=SlotRoute)
EXAMPLE = '{"air_temperature": "21,5"}'


class DecodeParameters(Parameters):
    pilot: str | None = Field(None, max_length=64)
    lang: str | None = Field(None, max_length=8)


@router.get("/decode")
@needs("see")
def decode_page(request: Request, viewer: ViewerDep, parameters: Annotated[DecodeParameters, Query()]) -> Response:
    """The form."""
    topic = f"pilots/{parameters.pilot or 'pilot'}/device/readings"
    form = Form({"pilot": [parameters.pilot or ""], "topic": [topic], "payload": [EXAMPLE], "format": ["native"]})
    return _page(request, viewer, form, None, None)


@router.post("/decode")
@needs("see")
def decoded(request: Request, services: ServicesDep, viewer: ViewerDep, form: FormDep) -> Response:
    """The form with the answer. Nothing of it is kept."""
    explanation, wrong = None, None
    try:
        explanation = explain_message(services.explain, services.registry_cache.current(), viewer, _pasted(form))
    except Problem as problem:
        wrong = problem
    page = _page(request, viewer, form, explanation, wrong)
    if wrong:
        page.status_code = 422
    return page


def _pasted(form: Form) -> PastedMessage:
    format_name = form.get("format")
    payload = form.raw("payload").replace("\r\n", "\n")  # browsers send line ends so
    if len(payload) > LONGEST_MESSAGE:
        raise Problem(
            "bad-parameter", "A message can have at most {most} characters.", most=LONGEST_MESSAGE, parameter="payload"
        )
    return PastedMessage(
        topic=form.get("topic")[:1000],
        payload=payload_of(payload, payload if form.get("as") == "hex" else None),
        format=format_of(format_name) if format_name else None,
        pilot=form.get("pilot") or None,
    )


def _page(
    request: Request, viewer: Viewer, form: Form, explanation: Explanation | None, wrong: Problem | None
) -> Response:
    catalogue = services_of(request).registry_cache.current()
    values: dict[str, Any] = {
        "filled": form,
        "said": explanation,
        "wrong": wrong,
        "formats": labels(),
        "pilots": [pilot for pilot in catalogue.pilots.values() if viewer.may_see(pilot.id)],
        "label": builtin().label,
    }
    return render(request, "decode.html", language_of(request), **values)
