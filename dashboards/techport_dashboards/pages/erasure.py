"""Requests of people: what is kept that their address, plate or name occurs in, erasing it, and the receipts of it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.query.streaming import Streamed
from techport_dashboards.services.lifecycle import SignedBy, part_of
from techport_dashboards.web.access import NO_STORE, needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep
from techport_dashboards.web.forms import Form, FormDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render, see_other
from techport_pilots.handover.partial_erasure import Part
from techport_pilots.i18n import N_
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.erasures import Erasure
from techport_storage import clock

router = APIRouter(route_class=SlotRoute)

JSON_LINES = "application/x-ndjson"
_FIELDS = ("reference", "device", "start", "end")
ORIGINS: dict[SignedBy, str] = {
    "this-platform": N_("This platform signed the receipt, and it is as it was."),
    "changed": N_("This platform signed the receipt, and it was changed since."),
    "unknown-key": N_("Another platform signed the receipt. Only that one can verify it."),
    "unsigned": N_("The receipt is not signed."),
}


class ErasureParameters(Parameters):
    lang: str | None = Field(None, max_length=8)


@router.get("/pilots/{pilot}/erasure")
@needs("erase")
def erasure_page(
    request: Request, services: ServicesDep, pilot: PilotDep, _: Annotated[ErasureParameters, Query()]
) -> Response:
    """What may be asked for, how far an erasure is, and the receipts of those that are done."""
    return _page(request, services, pilot)


@router.post("/pilots/{pilot}/erasure/count")
@needs("erase", logs="saw-raw")
def count(request: Request, services: ServicesDep, pilot: PilotDep, form: FormDep) -> Response:
    """How much there is of what somebody asks for. A form, so that what they gave is in no address."""
    try:
        counted = services.lifecycle.count_part(_part(pilot, form))
    except Problem as problem:
        return _page(request, services, pilot, filled=form, wrong=problem)
    return _page(request, services, pilot, filled=form, counted=counted)


@router.post("/pilots/{pilot}/erasure/found")
@needs("erase", logs="exported")
def download(services: ServicesDep, pilot: PilotDep, form: FormDep) -> Response:
    """Everything that the reference occurs in, as a file for whoever asked."""
    findings = services.lifecycle.find_reference(pilot.id, form.get("reference"))
    name = f"{pilot.id}-found-{clock.now_datetime():%Y-%m-%d}.jsonl"
    headers = {**NO_STORE, "Content-Disposition": f'attachment; filename="{name}"'}
    return Streamed((msgspec.json.encode(finding) + b"\n" for finding in findings), headers, JSON_LINES)


@router.post("/pilots/{pilot}/erasure")
@needs("erase")
def erase(request: Request, services: ServicesDep, pilot: PilotDep, form: FormDep) -> Response:
    """Begin to erase it. The page then shows how far it is, and the receipt once it is done."""
    try:
        services.lifecycle.erase_part(_part(pilot, form), form.get("confirm"))
    except Problem as problem:
        return _page(request, services, pilot, filled=form, wrong=problem)
    return see_other(request, f"/pilots/{pilot.id}/erasure")


@router.get("/pilots/{pilot}/erasure/receipts/{number}")
@needs("erase")
def receipt_file(services: ServicesDep, pilot: PilotDep, number: str) -> Response:
    """A signed receipt as a file, by its number on the page: 1 is the oldest."""
    receipts = services.lifecycle.receipts(pilot.id)
    index = int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else 0
    if not 1 <= index <= len(receipts):
        raise Problem("not-found", "There is no receipt {name}.", name=repr(number[:20]))
    content = msgspec.json.format(msgspec.json.encode(receipts[-index]), indent=2) + b"\n"
    headers = {**NO_STORE, "Content-Disposition": f'attachment; filename="{pilot.id}-receipt-{index}.json"'}
    return Response(content, 200, headers, "application/json")


@router.post("/pilots/{pilot}/erasure/verify")
@needs("erase", logs=None)
def verify(request: Request, services: ServicesDep, pilot: PilotDep, form: FormDep) -> Response:
    """Whether a receipt that somebody shows is this platform's."""
    try:
        document = msgspec.json.decode(form.get("receipt"), type=dict[str, Any])
    except msgspec.MsgspecError:
        problem = Problem("bad-parameter", "This is not a receipt.", parameter="receipt")
        return _page(request, services, pilot, filled=form, wrong=problem)
    return _page(request, services, pilot, filled=form, origin=services.lifecycle.who_signed(document))


def _part(pilot: PilotDefinition, form: Form) -> Part:
    reference, device, start, end = (form.get(name) or None for name in _FIELDS)
    return part_of(pilot, device, start, end, reference)


def _page(
    request: Request,
    services: Services,
    pilot: PilotDefinition,
    *,
    filled: Form | None = None,
    counted: Erasure | None = None,
    wrong: Problem | None = None,
    origin: SignedBy | None = None,
) -> Response:
    receipts = services.lifecycle.receipts(pilot.id)
    page = render(
        request,
        "erasure.html",
        language_of(request),
        pilot=pilot,
        filled=filled or Form({}),
        counted=counted,
        wrong=[] if wrong is None or wrong.parameter == "receipt" else [wrong],
        wrong_receipt=[] if wrong is None or wrong.parameter != "receipt" else [wrong],
        origin=None if origin is None else ORIGINS[origin],
        genuine=origin == "this-platform",
        receipts=[(len(receipts) - index, receipt) for index, receipt in enumerate(receipts)],
        job=services.jobs.latest("erase", pilot.id),
    )
    page.status_code = 200 if wrong is None else 422
    page.headers.update(NO_STORE)
    return page
