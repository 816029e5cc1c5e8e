"""One device: what it measures now, what is wrong and what to do, its charts and the account of its messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from techport_dashboards.pages.pilot import (
    PageParameters,
    device_of,
    first_charts,
    newest,
    panels,
    pilot_now,
)
from techport_dashboards.pages.time_range import range_values
from techport_dashboards.query import times
from techport_dashboards.services.air_quality import rated
from techport_dashboards.services.device_status import DeviceNow, StreamNow
from techport_dashboards.services.ignored import map_ignored
from techport_dashboards.services.limit_values import LimitValue, limit_of
from techport_dashboards.services.photos import newest_photo
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep
from techport_dashboards.web.forms import FormDep
from techport_dashboards.web.paths import device_path
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render, see_other
from techport_pilots.accounting.device_budgets import DeviceBudgets, Owner, Used
from techport_pilots.accounting.ignored import DeviceProperty, IgnoredKey, ignored_keys, properties_of, request_replay
from techport_pilots.accounting.ledger import DeviceDay, Tally, events_of, ignored_by_rule
from techport_pilots.accounting.message_tap import MessageTap, TappedMessage
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter, QuarantineRecord
from techport_pilots.accounting.tally import BookedEvent
from techport_pilots.devices.explanation import why_ignored
from techport_pilots.model import Event, FieldMapping, PilotDefinition
from techport_pilots.registry.deployments import Deployment, deployments
from techport_pilots.time import micros_of
from techport_storage import clock
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import Micros

router = APIRouter(route_class=SlotRoute)
ACCOUNT_DAYS = 7
MESSAGES_SHOWN = 10
PROBLEMS_SHOWN = 5
IGNORED_SHOWN = 50
STREAMS_SHOWN = 60
LOW_BATTERY = 20.0  # per cent


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the device's values: each of the last days that have any, newest first, and their sum."""

    days: list[tuple[DeviceDay, Tally]]
    total: Tally
    ignored: dict[str, int]  # parts of messages, by rule


@dataclass(frozen=True, slots=True)
class Mail:
    """What the device sent: the raw messages that were kept, and what was quarantined, each newest first."""

    messages: list[TappedMessage]
    quarantined: list[QuarantineRecord]
    quarantined_count: int
    device_events: list[BookedEvent]


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """How much of an hourly budget the device has used; None: less than the hundredth that workers share."""

    name: str
    limit: int
    used: int | None

    @property
    def percent(self) -> int:
        return 100 * min(self.used or 0, self.limit) // max(self.limit, 1)


@router.get("/pilots/{pilot}/devices/{device}")
@needs("see", logs="saw-raw")
def device_page(
    request: Request,
    services: ServicesDep,
    viewer: ViewerDep,
    pilot: str,
    device: str,
    parameters: Annotated[PageParameters, Query()],
) -> Response:
    """The device's page over a range."""
    now = clock.now()
    status, _ = pilot_now(services, viewer, pilot, now)
    device_now = device_of(status, device)
    mail = _mail(services, pilot, device, raw=viewer.may("see-raw", pilot))
    values = range_values(request, status.pilot, newest([status]), parameters, now)
    streams = _streams(device_now)
    shown = panels(status.pilot, [stream.view for stream in device_now.streams[:STREAMS_SHOWN]])
    language = language_of(request)
    return render(
        request,
        "device.html",
        language,
        now=now,
        here=status,
        pilot=status.pilot,
        device=device_now,
        streams=streams[:STREAMS_SHOWN],
        more_streams=len(streams) - STREAMS_SHOWN,
        limits=_limits(status.pilot, device_now),
        air=rated(services.registry_cache.current().streams, services.last_hour, now, language),
        panels=shown,
        first=first_charts(request, status.pilot, shown, values, device),
        account=_account(services, pilot, device),
        budgets=_budgets(services, viewer, pilot, device, now),
        described=device_now.device.described,
        picture=newest_photo(services.settings, services.registry_cache.registry.database, pilot, device),
        note=next((described.note for described in status.pilot.devices if described.id == device), None),
        mail=mail,
        properties=_properties(services, viewer, pilot, device),
        ignored=_ignored(services, viewer, pilot, device),
        why_ignored=why_ignored,
        sends_rejected=_sends_rejected(device_now, mail),
        low_battery=_low_battery(device_now),
        deployments=_deployments(status.pilot, device),
        events=_events(status.pilot, device),
        day_start=lambda day: day * DAY,
        local=_local(status.pilot),
        **values,
    )


def _streams(device: DeviceNow) -> list[StreamNow]:
    """Those with a tile of their own, the described ones first: the state of battery and signal stands above them."""
    above = {stream.view.stream for stream in (device.battery, device.signal) if stream is not None}
    streams = [stream for stream in device.streams if stream.view.stream not in above]
    return sorted(streams, key=lambda stream: not stream.view.described)


def _limits(pilot: PilotDefinition, device: DeviceNow) -> dict[str, LimitValue]:
    limits = {s.view.stream.quantity: limit_of(pilot, s.view.stream.quantity) for s in device.streams}
    return {quantity: limit for quantity, limit in limits.items() if limit is not None}


def _low_battery(device: DeviceNow) -> bool:
    battery = device.battery
    if battery is None or battery.last is None:
        return False
    return battery.view.unit == "%" and battery.last.value <= LOW_BATTERY


def _sends_rejected(device: DeviceNow, mail: Mail) -> bool:
    """Whether what is in quarantine is newer than the last reading that was stored."""
    return bool(mail.quarantined) and mail.quarantined[0].received > (device.seen or 0)


def _mail(services: Services, pilot: str, device: str, *, raw: bool) -> Mail:
    """What the device sent; without `raw` only what it said of itself."""
    registry = services.registry_cache.registry
    device_events = events_of(registry.database, pilot, device, MESSAGES_SHOWN)
    if not raw:
        return Mail([], [], 0, device_events)
    messages = MessageTap(registry.database).messages(pilot, device)
    where = QuarantineFilter(pilot=pilot, device=device)
    quarantine = Quarantine(registry.database)
    problems = quarantine.entries(where, PROBLEMS_SHOWN)
    count = sum(group.entries for group in quarantine.counts(where)) if problems.next else len(problems.items)
    return Mail(messages[::-1][:MESSAGES_SHOWN], problems.items, count, device_events)


@router.post("/pilots/{pilot}/devices/{device}/ignored")
@needs("edit", about=("key", "quantity", "unit"))
def map_ignored_key(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, device: str, form: FormDep
) -> Response:
    """State what an ignored key means, and reprocess the kept messages of the device; without a key, only reprocess:
    whole messages are read once the source is changed.
    """
    registry = services.registry_cache.registry
    if not form.get("key"):
        request_replay(registry.database, pilot.id, device, viewer.who)
        return see_other(request, device_path(pilot.id, device))
    mapping = FieldMapping(quantity=form.get("quantity"), unit=form.get("unit") or None, text=form.get("text") == "yes")
    map_ignored(registry, pilot.id, device, form.get("key"), mapping, form.get("why")[:500], viewer)
    return see_other(request, device_path(pilot.id, device))


def _properties(services: Services, viewer: Viewer, pilot: str, device: str) -> list[DeviceProperty]:
    if services.ledger is None or not viewer.may("see-raw", pilot):
        return []
    return properties_of(services.registry_cache.registry.database, pilot, device)


def _ignored(services: Services, viewer: Viewer, pilot: str, device: str) -> list[IgnoredKey]:
    if services.ledger is None or not viewer.may("see-raw", pilot):
        return []
    return ignored_keys(services.registry_cache.registry.database, pilot, device, IGNORED_SHOWN)


def _budgets(services: Services, viewer: Viewer, pilot: str, device: str, now: Micros) -> list[BudgetUse]:
    """What the device has used of its budgets in this hour, of those who look after it."""
    if services.ledger is None or not viewer.may("see-raw", pilot):
        return []
    limits = services.settings.device_limits
    budgets = DeviceBudgets(services.registry_cache.registry.database)
    used = budgets.used(Owner(pilot, device), now // HOUR)
    of_hour = Used(
        limits.hourly_values,
        limits.hourly_bytes,
        limits.hourly_quarantine_entries,
        limits.hourly_quarantine_bytes,
    )
    return [
        BudgetUse(name, limit, None if used is None else amount)
        for name, limit, amount in zip(Used._fields, of_hour, used or Used(), strict=True)
    ]


def _account(services: Services, pilot: str, device: str) -> Account | None:
    if services.ledger is None:
        return None
    tallies = services.ledger.tallies(pilot, device)
    days = sorted(tallies.items(), reverse=True)[:ACCOUNT_DAYS]
    total = Tally()
    for _, tally in days:
        total.add(tally)
    shown = {day for day, _ in days}
    ignored: dict[str, int] = {}
    for (day, rule), parts in ignored_by_rule(services.registry_cache.registry.database, pilot, device).items():
        if day in shown:
            ignored[rule] = ignored.get(rule, 0) + parts
    return Account(days, total, ignored) if days else None


def _deployments(pilot: PilotDefinition, device: str) -> list[Deployment]:
    """Where the device has been, the latest first; nothing for one that its pilot has not described."""
    described = next((candidate for candidate in pilot.devices if candidate.id == device), None)
    return [] if described is None else deployments(pilot, described)[::-1]


def _events(pilot: PilotDefinition, device: str) -> list[tuple[Micros, Event]]:
    """What the pilot has written down about this device or about all of them, newest first."""
    of_device = [
        (micros_of(event.time, pilot.timezone), event) for event in pilot.events if event.device in (None, device)
    ]
    return sorted(of_device, key=lambda pair: -pair[0])


def _local(pilot: PilotDefinition) -> Callable[[Micros], str]:
    """Instants as a page's address says them: local times of the pilot."""
    zone = times.zone_named(pilot.timezone)
    return lambda instant: times.moment(instant, zone).replace(tzinfo=None, microsecond=0).isoformat()
