"""Bringing devices in: a form, the credential once, code to paste, the first messages, and devices nobody knows."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.pages.device_form import INTERVALS, new_device_of, quantities
from techport_dashboards.problems import Problem
from techport_dashboards.query.names import find_pilot
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services.message_formats import labels
from techport_dashboards.services.onboarding import (
    broker_for_devices,
    claim_unknown_device,
    last_values,
    provision_device,
)
from techport_dashboards.services.proposals import SourceProposal, accept_source, propose_source
from techport_dashboards.services.quarantine import find_entry, wait_for_replay
from techport_dashboards.settings import BrokerPlace
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import NO_STORE, needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep
from techport_dashboards.web.forms import Form, FormDep
from techport_dashboards.web.payload import raw
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render, see_other
from techport_pilots.access.credentials import Credentials
from techport_pilots.accounting.message_tap import MessageTap
from techport_pilots.accounting.quarantine import Quarantine
from techport_pilots.device_names import as_id
from techport_pilots.devices.onboarding import (
    TAKES_EFFECT,
    WATCHED_FOR,
    ProvisionedDevice,
    unknown_devices,
)
from techport_pilots.devices.remap import update_definition, with_range
from techport_pilots.devices.snippets import Snippet, snippets
from techport_pilots.errors import DefinitionError
from techport_pilots.formats import formats
from techport_pilots.model import PilotDefinition
from techport_pilots.quantities import vocabulary_of
from techport_pilots.registry.registry import Registry
from techport_pilots.time import interval_micros
from techport_storage import clock
from techport_storage.model import Selection

router = APIRouter(route_class=SlotRoute)


class OnboardingParameters(Parameters):
    device: str | None = Field(None, max_length=200, description="Whose messages to wait for.")
    replay: int | None = Field(None, ge=0, lt=2**63, description="A replay to tell about.")
    propose: int | None = Field(None, ge=0, lt=2**63, description="An entry in quarantine to propose a source for.")
    lang: str | None = Field(None, max_length=8)


class ArrivalsParameters(Parameters):
    device: str = Field(max_length=200)
    after: int = Field(0, ge=0, lt=2**63)
    lang: str | None = Field(None, max_length=8)


@dataclass(frozen=True, slots=True)
class Admission:
    """A device that may send now, with what its maker needs. Shown once."""

    welcome: ProvisionedDevice
    broker: BrokerPlace | None
    snippets: list[Snippet]


@dataclass(frozen=True, slots=True)
class AskedProposal:
    """The answer to "which source would read this?"; None: none would."""

    found: SourceProposal | None


@dataclass(frozen=True, slots=True)
class Told:
    """What the page tells of that was asked for before."""

    replay: int | None = None
    asked: AskedProposal | None = None


@router.get("/pilots/{pilot}/onboarding")
@needs("devices", logs="saw-raw")
def onboarding_page(
    request: Request,
    services: ServicesDep,
    viewer: ViewerDep,
    pilot: PilotDep,
    parameters: Annotated[OnboardingParameters, Query()],
) -> Response:
    """The form, the devices that nobody knows, and where a device is named the messages that come from it."""
    asked = None
    if parameters.propose is not None:
        registry = services.registry_cache.registry
        asked = AskedProposal(propose_source(services.settings.propose, registry, pilot.id, parameters.propose))
    replayed = Told(parameters.replay, asked)
    return _page(request, viewer, services, pilot, device=parameters.device, told=replayed)


@router.post("/pilots/{pilot}/onboarding")
@needs("devices", about=("device",))
def add(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep) -> Response:
    """Add the device of the form. The credential is in this answer, which nobody may keep, and in no address."""
    registry = services.registry_cache.registry
    new_device = new_device_of(form)
    try:
        provisioned = provision_device(registry, pilot.id, new_device, viewer, replace=form.get("replace") == "yes")
    except (DefinitionError, Problem) as error:
        page = _page(request, viewer, services, pilot, refused=(form, error))
        page.status_code = 422
        return page
    time.sleep(TAKES_EFFECT)  # what the page shows must work by the time it is read
    broker = broker_for_devices(services.settings.broker, request.url.hostname)
    code = snippets(provisioned.credential, broker.address, provisioned.format, provisioned.quantity) if broker else []
    admission = Admission(provisioned, broker, code)
    pilot = find_pilot(services.registry_cache.current(), viewer, pilot.id)  # with the new device
    page = _page(request, viewer, services, pilot, device=provisioned.device, admission=admission)
    page.headers.update(NO_STORE)
    return page


@router.post("/pilots/{pilot}/onboarding/watch")
@needs("devices", about=("device",))
def watch(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep) -> Response:
    """Keep a device's messages to be looked at, for an hour from now."""
    device = _required(form, "device")
    MessageTap(services.registry_cache.registry.database).watch(pilot.id, device, WATCHED_FOR)
    return _back(request, pilot.id, device=device)


@router.post("/pilots/{pilot}/onboarding/revoke")
@needs("devices", about=("device",))
def revoke(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep) -> Response:
    """Take a device's credential back: its connection ends within a second."""
    form.confirmed()
    device = _required(form, "device")
    Credentials(services.registry_cache.registry.database).revoke(pilot.id, device)
    return _back(request, pilot.id, device=device)


@router.post("/pilots/{pilot}/onboarding/claim")
@needs("devices", about=("entry", "device"))
def claim(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep) -> Response:
    """Make an unknown device known; its earlier messages are reprocessed."""
    registry = services.registry_cache.registry
    entry = form.number("entry")  # browsers change line ends and control characters of names in forms
    if entry is None:
        raise Problem("bad-parameter", "The form is not complete.", parameter="entry")
    name = find_entry(registry, pilot.id, entry).device
    claimed = claim_unknown_device(registry, pilot.id, name, viewer, form.get("device") or None)
    MessageTap(registry.database).watch(pilot.id, claimed.device, WATCHED_FOR)
    wait_for_replay(registry, claimed.replay)
    return _back(request, pilot.id, device=claimed.device, replay=str(claimed.replay))


@router.post("/pilots/{pilot}/onboarding/source")
@needs("edit", about=("entry",))
def accept(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep) -> Response:
    """Make a proposed source part of the definition; the messages that it was made for are reprocessed."""
    registry = services.registry_cache.registry
    entry = form.number("entry")
    if entry is None:
        raise Problem("bad-parameter", "The form is not complete.", parameter="entry")
    replay = accept_source(services.settings.propose, registry, pilot.id, entry, viewer)
    wait_for_replay(registry, replay)
    return see_other(request, f"/pilots/{pilot.id}/quarantine", replay=str(replay))


@router.post("/pilots/{pilot}/onboarding/range")
@needs("devices", about=("device", "quantity", "low", "high"))
def widen(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep) -> Response:
    """Say which values of a stream are valid: a new version of the definition."""
    device, quantity = _required(form, "device"), _required(form, "quantity")
    low, high = _number(form, "low"), _number(form, "high")
    why = form.get("why") or f"range of {quantity}"
    registry = services.registry_cache.registry

    def edit(definition: PilotDefinition) -> PilotDefinition:
        return with_range(definition, device, quantity, low, high)

    update_definition(registry, pilot.id, edit, viewer.who, why, may_see=viewer.may_see)
    return _back(request, pilot.id, device=device)


@router.get("/pilots/{pilot}/onboarding/arrivals")
@needs("devices", logs="saw-raw")
def arrivals(
    request: Request,
    services: ServicesDep,
    viewer: ViewerDep,
    pilot: PilotDep,
    parameters: Annotated[ArrivalsParameters, Query()],
) -> Response:
    """The messages of a watched device behind `after`, the newest first: a piece of the page."""
    values = _arrivals(services.registry_cache.registry, pilot, parameters.device, parameters.after)
    page = render(request, "arrivals.html", language_of(request), pilot=pilot, **values)
    page.headers.update(NO_STORE)
    return page


def _page(
    request: Request,
    viewer: Viewer,
    services: Services,
    pilot: PilotDefinition,
    *,
    device: str | None = None,
    told: Told | None = None,
    admission: Admission | None = None,
    refused: tuple[Form, DefinitionError | Problem] | None = None,
) -> Response:
    values = _values(services, pilot, device, None if told is None else told.replay)
    filled, wrong = refused or (Form({}), None)
    return render(
        request,
        "onboarding.html",
        language_of(request),
        pilot=pilot,
        now=clock.now(),
        admission=admission,
        asked=None if told is None else told.asked,
        broker=broker_for_devices(services.settings.broker, request.url.hostname),
        filled=filled,
        wrong=_problems(wrong),
        must_replace=isinstance(wrong, Problem) and wrong.parameter == "replace",
        formats=labels(),
        as_id=as_id,
        format_of=formats().get,
        intervals=[(code, interval_micros(code)) for code in INTERVALS],
        **values,
    )


def _values(services: Services, pilot: PilotDefinition, device: str | None, replay: int | None) -> dict[str, Any]:
    registry = services.registry_cache.registry
    own, others = quantities(pilot)
    unknown = unknown_devices(registry.database, pilot.id)
    issued = {credential.device: credential.at for credential in Credentials(registry.database).all(pilot.id)}
    waiting = {} if device is None else _arrivals(registry, pilot, device, 0)
    sending = services.store.latest(Selection(pilots=(pilot.id,)))["device"].unique().to_pylist()
    return {
        "own_quantities": own,
        "other_quantities": others,
        "unknown": [(unknown_device, raw(unknown_device.payload)) for unknown_device in unknown],
        "unit_label": vocabulary_of(pilot).label,
        "last_values": last_values(services.explain, pilot, unknown),
        "issued": issued,
        "without_data": [item for item in pilot.devices if item.retired is None and item.id not in {*sending, device}],
        "device": device,
        "watched": device is not None and (pilot.id, device) in MessageTap(registry.database).current(),
        "replay": None if replay is None else Quarantine(registry.database).outcome(replay, pilot.id),
        **({"messages": []} if device is None else waiting),
    }


def _arrivals(registry: Registry, pilot: PilotDefinition, device: str, after: int) -> dict[str, Any]:
    """What the page shows of a device's messages: each with its payload, and what is known of its streams."""
    messages = MessageTap(registry.database).messages(pilot.id, device, after)
    return {
        "device": device,
        "messages": [(message, raw(message.payload)) for message in reversed(messages)],
        "streams": {info.stream.quantity: info for info in registry.streams(pilot.id, device)},
    }


def _problems(wrong: DefinitionError | Problem | None) -> list[Problem]:
    if isinstance(wrong, DefinitionError):
        return [Problem("bad-definition", finding.message) for finding in wrong.findings]
    return [] if wrong is None else [wrong]


def _required(form: Form, name: str) -> str:
    value = form.raw(name)
    if not value:
        raise Problem("bad-parameter", "The form is not complete.", parameter=name)
    return value


def _number(form: Form, name: str) -> float:
    try:
        number = float(form.get(name).replace(",", "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Problem("bad-parameter", "This is not a number.", parameter=name, example="-40")
    return number


def _back(request: Request, pilot: str, **parameters: str) -> Response:
    """To the messages that the page shows as they come."""
    return see_other(request, f"/pilots/{pilot}/onboarding", fragment="arrivals", **parameters)
