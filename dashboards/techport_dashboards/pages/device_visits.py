"""Standing in front of the box: its state and last messages on a phone, the log of visits, photos, and its QR code."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import msgspec
import segno
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from markupsafe import Markup
from pydantic import Field

from techport_dashboards.pages.pilot import device_of, pilot_now
from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services.device_changes import described_device
from techport_dashboards.services.photos import photo_store
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep, address_of
from techport_dashboards.web.forms import FormDep
from techport_dashboards.web.paths import device_path
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render, see_other
from techport_pilots.accounting.message_tap import MessageTap
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter
from techport_pilots.devices.onboarding import WATCHED_FOR
from techport_pilots.devices.photos import LARGEST, LONGEST_SIDE, MOST, NotAPhoto, Photo, TooManyPhotos
from techport_pilots.devices.visits import DONE, VisitLog, sentence
from techport_pilots.i18n import N_
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.deployments import deployments
from techport_storage import clock

router = APIRouter(route_class=SlotRoute)

MESSAGES_SHOWN = 5
LABELS_AT_ONCE = 60
"""Labels of one page. Drawing a QR code takes some 20 ms, and a pilot may have thousands of devices."""
_TOO_LARGE = N_("A photo can have at most {most} bytes.")
_NOT_A_PHOTO = {
    "format": N_("This is not a photo in JPEG, PNG or WebP."),
    "pixels": N_("The photo has too many pixels."),
    "bytes": _TOO_LARGE,
}
_LOOPBACK = ("http://127.", "http://localhost", "http://[::1]", "https://127.", "https://localhost", "https://[::1]")


class VisitParameters(Parameters):
    lang: str | None = Field(None, max_length=8)


class LabelParameters(VisitParameters):
    start: int = Field(1, ge=1, le=1_000_000, description="Number of the first device that is shown, from 1.")


@router.get("/pilots/{pilot}/devices/{device}/visits")
@needs("see")
def visits_page(
    request: Request,
    services: ServicesDep,
    viewer: ViewerDep,
    pilot: PilotDep,
    device: str,
    _: Annotated[VisitParameters, Query()],
) -> Response:
    """What the QR code opens: state, values and last messages of the device, and who was there."""
    described = described_device(pilot, device)
    now = clock.now()
    status, _infos = pilot_now(services, viewer, pilot.id, now)
    database = services.registry_cache.registry.database
    raw = viewer.may("see-raw", pilot.id)
    where = QuarantineFilter(pilot=pilot.id, device=device)
    photos = photo_store(services.settings)
    return render(
        request,
        "device_visits.html",
        language_of(request),
        pilot=pilot,
        described=described,
        device=device_of(status, device),
        place=deployments(pilot, described)[-1].position,
        now=now,
        messages=MessageTap(database).messages(pilot.id, device)[::-1][:MESSAGES_SHOWN] if raw else [],
        watched=(pilot.id, device) in MessageTap(database).current(),
        quarantined=Quarantine(database).entries(where, MESSAGES_SHOWN).items if raw else [],
        visits=VisitLog(database).of(pilot.id, device),
        photos=[] if photos is None else photos.of(database, pilot.id, device),
        takes_photos=photos is not None,
        longest_side=LONGEST_SIDE,
        choices=[(done, sentence(done)) for done in DONE],
        sentence=sentence,
    )


@router.post("/pilots/{pilot}/devices/{device}/visits")
@needs("devices", about=("done", "remove", "watch"))
def add_visit(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, device: str, form: FormDep
) -> Response:
    """Write down a visit, or take one back; or have the device's messages kept for an hour. What was done becomes an
    event of the pilot, but for a look."""
    described_device(pilot, device)
    database = services.registry_cache.registry.database
    log = VisitLog(database)
    if form.get("watch"):
        MessageTap(database).watch(pilot.id, device, WATCHED_FOR)
        return see_other(request, device_path(pilot.id, device, "/visits"))
    if form.get("remove"):
        form.confirmed()
        log.remove(pilot, device, form.number("remove") or 0)
        return see_other(request, device_path(pilot.id, device, "/visits"))
    done = form.get("done")
    if done not in DONE:
        raise Problem("bad-parameter", "The form is not complete.", parameter="done")
    photo = form.get("photo")
    if photo:
        photo = _photo(services, pilot.id, device, photo).name
    log.add(pilot, device, done, viewer.who, comment=form.get("comment"), photo=photo)
    return see_other(request, device_path(pilot.id, device, "/visits"))


@router.post("/pilots/{pilot}/devices/{device}/photos")
@needs("devices")
async def add_photo(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, device: str
) -> Response:
    """Keep a photo of the device, sent as it is. Answers with its name and address."""
    described_device(pilot, device)
    content = await _body(request)
    return await asyncio.to_thread(_keep_photo, services, viewer, pilot.id, device, content)


def _keep_photo(services: Services, viewer: Viewer, pilot: str, device: str, content: bytes) -> Response:
    photos = photo_store(services.settings)
    if photos is None:
        raise Problem("not-found", "This process keeps no photos.")
    try:
        photo = photos.add(services.registry_cache.registry.database, pilot, device, content, viewer.who)
    except NotAPhoto as error:
        raise Problem("bad-parameter", _NOT_A_PHOTO[error.code], most=LARGEST, parameter="body") from error
    except TooManyPhotos as error:
        raise Problem(
            "wrong-state", "The device has {n} photos, which is the most: delete some first.", n=MOST
        ) from error
    address = device_path(pilot, device, f"/photos/{photo.name}")
    body = {"photo": photo.name, "address": address}
    return Response(msgspec.json.encode(body), 201, media_type="application/json")


@router.get("/pilots/{pilot}/devices/{device}/photos/{name}")
@needs("see")
def photo(services: ServicesDep, pilot: PilotDep, device: str, name: str) -> Response:
    """A photo, for whoever may see the pilot."""
    store = photo_store(services.settings)
    stored = _photo(services, pilot.id, device, name)
    path = None if store is None else store.path(stored)
    if path is None or not path.is_file():
        raise Problem("not-found", "There is no such photo here.")
    return FileResponse(path, media_type="image/jpeg", headers={"Cache-Control": "private, no-cache"})


@router.post("/pilots/{pilot}/devices/{device}/photos/{name}/delete")
@needs("devices")
def delete_photo(
    request: Request, services: ServicesDep, pilot: PilotDep, device: str, name: str, form: FormDep
) -> Response:
    """Erase a photo."""
    form.confirmed()
    store, stored = photo_store(services.settings), _photo(services, pilot.id, device, name)
    if store is not None:
        store.delete(services.registry_cache.registry.database, stored)
    return see_other(request, device_path(pilot.id, device, "/visits"))


@router.get("/pilots/{pilot}/devices/{device}/label")
@needs("see")
def label(request: Request, pilot: PilotDep, device: str, _: Annotated[VisitParameters, Query()]) -> Response:
    """A label to print and stick on the box."""
    described_device(pilot, device)
    return _labels(request, pilot, [device], device, 1)


@router.get("/pilots/{pilot}/labels")
@needs("see")
def labels(request: Request, pilot: PilotDep, asked: Annotated[LabelParameters, Query()]) -> Response:
    """Labels of the pilot's devices, some at a time."""
    return _labels(request, pilot, [device.id for device in pilot.devices], None, asked.start)


def _labels(
    request: Request, pilot: PilotDefinition, devices: Sequence[str], device: str | None, start: int
) -> Response:
    base = address_of(request)
    end = start + LABELS_AT_ONCE
    shown = []
    for name in devices[start - 1 : end - 1]:
        address = base + device_path(pilot.id, name, "/visits")
        shown.append((described_device(pilot, name), address, qr_code(address)))
    return render(
        request,
        "device_label.html",
        language_of(request),
        pilot=pilot,
        device=None if device is None else described_device(pilot, device),
        labels=shown,
        count=len(devices),
        most=LABELS_AT_ONCE,
        before=max(1, start - LABELS_AT_ONCE) if start > 1 else None,
        after=end if end <= len(devices) else None,
        only_here=base.startswith(_LOOPBACK),
    )


def qr_code(address: str) -> Markup:
    """The address as a QR code (ISO/IEC 18004), dark on white in every theme. A quarter of it may be dirty or torn."""
    code = segno.make(address, micro=False, error="q", boost_error=False)
    return Markup(code.svg_inline(border=4, dark="#000", light="#fff", omitsize=True, svgclass="qr"))


def _photo(services: Services, pilot: str, device: str, name: str) -> Photo:
    """The device's photo of this name. Raises Problem."""
    store = photo_store(services.settings)
    photos = [] if store is None else store.of(services.registry_cache.registry.database, pilot, device)
    match = next((photo for photo in photos if photo.name == name), None)
    if match is None:
        raise Problem("not-found", "There is no such photo here.")
    return match


async def _body(request: Request) -> bytes:
    gathered = bytearray()
    async for piece in request.stream():
        gathered += piece
        if len(gathered) > LARGEST:
            raise Problem("bad-parameter", _TOO_LARGE, most=LARGEST, parameter="body")
    return bytes(gathered)
