"""What needs somebody right now, of all pilots: the conditions that alerts are made of, found in store and registry.

registry, latest readings ─► Watch.conditions ─► AlertLog.update ─► alerts, and messages in the outbox
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import structlog

from techport_dashboards.query.registry_cache import RegistryCache, RegistryView
from techport_dashboards.services.device_status import GRACE, DeviceNow, State, StreamNow, device_statuses
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter
from techport_pilots.accounting.worker_sessions import WorkerSessions
from techport_pilots.alerts.conditions import (
    COMPLETENESS_IS,
    COMPLETENESS_WAS,
    ENDS_SOON,
    ERASURE_SOON,
    NEWS,
    QUARANTINE_PER_HOUR,
    Condition,
    Rule,
    still_low,
)
from techport_pilots.alerts.log import Alert, AlertLog, Change
from techport_pilots.handover.portfolio import portfolio
from techport_pilots.i18n import Language, Message
from techport_pilots.model import LimitAlert, PilotDefinition
from techport_pilots.quality.completeness import (
    Completeness,
    counted_completeness,
    pilot_intervals,
    together,
)
from techport_pilots.quality.people_counts import PublishedStore
from techport_pilots.registry.database import Database
from techport_pilots.reports.build import kept_evaluations
from techport_pilots.time import interval_micros, micros_of
from techport_storage import clock
from techport_storage.microseconds import DAY, HOUR, MINUTE
from techport_storage.model import Micros, Query, Selection
from techport_storage.store import ReadingStore

log = structlog.get_logger(__name__)

COMPLETENESS_EVERY: Micros = 15 * MINUTE
"""How often completeness is worked out anew; the other conditions at every look."""

NEVER_SENT_AFTER: Micros = DAY
"""A described device of a pilot that has run for so long should have sent something."""

UNKNOWN_DEVICES = 20
"""Unknown devices of one pilot that become alerts of their own."""

_ABSENT: frozenset[Rule] = frozenset({"device-offline", "completeness"})
"""Rules about messages that did not come."""

_CLEARS = 0.05
"""Share of a limit by which a value must come back before an alert about it is over."""

WEEKLY_DAY, WEEKLY_HOUR = 0, 7
"""Monday, seven o'clock in the pilot's time zone."""


class Watch:
    """Looks at all pilots. Not thread-safe: one thread looks."""

    def __init__(self, registry_cache: RegistryCache, store: ReadingStore, address: str) -> None:
        """`address` is that of the platform, for links in messages."""
        self._registry_cache = registry_cache
        # Messages to people tell no more of counts of people than any other way out.
        self._store = PublishedStore(store, lambda: registry_cache.current().pilots)
        self._address = address.rstrip("/")
        self._log = AlertLog(registry_cache.registry.database)
        self._completeness: dict[str, tuple[Micros, tuple[Completeness, Completeness]]] = {}
        self._first = True

    def look(self) -> Change:
        """Find what is so, and write down what changed. Raises what store and registry raise.

        The first look after others have looked begins no alert about messages that are missing: the next one does.
        """
        catalogue = self._registry_cache.current()
        pilots = {pilot.id: pilot for pilot in catalogue.pilots.values() if pilot.id not in catalogue.over}
        at = clock.now()
        open_alerts = {alert.condition.key: alert for alert in self._log.open()}
        conditions = list(self._conditions(catalogue, pilots, open_alerts, at))
        if self._first and self._log.looked() is not None:
            # What the broker kept while the platform was down has not been read yet.
            conditions = [
                condition for condition in conditions if condition.rule not in _ABSENT or condition.key in open_alerts
            ]
        self._first = False
        change = self._log.update(conditions, catalogue.pilots.keys(), _Words(catalogue, self._address))
        if change.began or change.recovered:
            log.info("alerts", began=len(change.began), recovered=len(change.recovered))
        self._weekly(catalogue, pilots, at)
        return change

    # -- conditions ------------------------------------------------------------------------------------------------

    def _conditions(
        self,
        catalogue: RegistryView,
        pilots: Mapping[str, PilotDefinition],
        open_alerts: Mapping[tuple[str, str, str], Alert],
        at: Micros,
    ) -> Iterator[Condition]:
        latest = self._store.latest(Selection(pilots=tuple(pilots)))
        for now in device_statuses(catalogue, latest, list(pilots.values()), at):
            if now.ended:
                continue
            down = _outages(now.pilot, at)
            if None in down:
                continue  # the whole pilot
            for device in now.devices:
                if device.device.device not in down and device.state is not State.ENDED:
                    yield from self._of_device(device, open_alerts, at)
            yield from self._of_quarantine(now.pilot, at)
            yield from self._of_completeness(now.pilot, at)
        yield from self._of_standing(pilots, at)

    def _of_device(
        self, device: DeviceNow, open_alerts: Mapping[tuple[str, str, str], Alert], at: Micros
    ) -> Iterator[Condition]:
        pilot, name = device.pilot, device.device.device
        if device.state in (State.LATE, State.SILENT) and device.seen is not None:
            params = {"device": name, "age": at - device.seen}
            yield Condition(pilot=pilot.id, rule="device-offline", subject=name, params=params)
        elif (
            device.state is State.NEVER
            and _runs_since(pilot, at) > NEVER_SENT_AFTER
            and self._registry_cache.registry.state(pilot.id) != "draft"  # whose devices are still being connected
        ):
            params = {"device": name, "case": "never"}
            yield Condition(pilot=pilot.id, rule="device-offline", subject=name, params=params)
        battery = device.battery
        if (
            battery is not None
            and battery.last is not None
            and battery.view.stream.quantity.startswith("battery_level")
        ):
            level = battery.last.value
            if still_low(level, open_already=(pilot.id, "battery-low", name) in open_alerts):
                params = {"device": name, "level": round(level, 1)}
                yield Condition(pilot=pilot.id, rule="battery-low", subject=name, params=params)
        for limit in pilot.alerts:
            for stream in device.streams:
                if _concerns(limit, stream):
                    yield from self._of_limit(pilot, limit, stream, open_alerts)

    def _of_limit(
        self,
        pilot: PilotDefinition,
        limit: LimitAlert,
        stream: StreamNow,
        open_alerts: Mapping[tuple[str, str, str], Alert],
    ) -> Iterator[Condition]:
        last, name = stream.last, stream.view.stream
        if last is None:
            return
        case, bound = ("above", limit.above) if limit.above is not None else ("below", limit.below)
        assert bound is not None  # the definition's check
        subject = f"{name.device} {name.quantity} {case} {bound:g}"
        sign = 1.0 if case == "above" else -1.0
        alert = open_alerts.get((pilot.id, "limit", subject))
        if alert is not None:
            holds = sign * (last.value - bound) > -_CLEARS * abs(bound)
        elif sign * (last.value - bound) <= 0:
            holds = False
        else:
            holds = self._lasts(stream, sign, bound, interval_micros(limit.lasting)) if limit.lasting else True
        if holds:
            params = {
                "case": case,
                "device": name.device,
                "quantity": msgspec.to_builtins(stream.view.title),
                "value": float(f"{last.value:.6g}"),
                "limit": bound,
                "unit": stream.view.unit_label,
            }
            yield Condition(pilot=pilot.id, rule="limit", subject=subject, params=params)

    def _lasts(self, stream: StreamNow, sign: float, bound: float, lasting: Micros) -> bool:
        """Whether all readings since `lasting` before the last one are beyond the limit, and the first is that old."""
        last, name = stream.last, stream.view.stream
        assert last is not None
        select = Selection(pilots=(name.pilot,), devices=(name.device,), quantities=(name.quantity,))
        start = last.time - 2 * lasting - (stream.view.interval_us or HOUR)
        rows = self._store.read(Query(select=select, start=start, end=last.time + 1, quality="good")).read_all()
        times = rows["time"].cast("int64").to_numpy()
        within = np.flatnonzero(sign * (rows["value"].to_numpy() - bound) <= 0)
        first_beyond = within[-1] + 1 if len(within) else 0
        return first_beyond < len(times) and last.time - int(times[first_beyond]) >= lasting

    def _of_quarantine(self, pilot: PilotDefinition, at: Micros) -> Iterator[Condition]:
        groups = Quarantine(self._database).groups(QuarantineFilter(pilot=pilot.id, start=at - HOUR), limit=1_000)
        unknown = [group for group in groups if group.reason == "unknown-device"]
        names = sorted({group.device for group in unknown if group.device})[:UNKNOWN_DEVICES]
        for name in names:
            yield Condition(pilot=pilot.id, rule="unknown-device", subject=name, params={"device": name})
        others: dict[str, int] = {}
        for group in groups:
            if group.reason != "unknown-device":
                others[group.reason] = others.get(group.reason, 0) + group.entries
        entries = sum(others.values())
        if entries >= QUARANTINE_PER_HOUR:
            params = {"entries": entries, "reason": _most_frequent(others)}
            yield Condition(pilot=pilot.id, rule="quarantine", params=params)
            return
        waiting: dict[str, int] = {}
        for group in Quarantine(self._database).groups(QuarantineFilter(pilot=pilot.id), limit=1_000):
            left = group.entries - group.waiting  # the others are being reprocessed
            if left and not (group.reason == "unknown-device" and group.device in names):
                waiting[group.reason] = waiting.get(group.reason, 0) + left
        if waiting:
            params = {"n": sum(waiting.values()), "reason": _most_frequent(waiting)}
            yield Condition(pilot=pilot.id, rule="quarantine-waiting", params=params)

    @property
    def _database(self) -> Database:
        return self._registry_cache.registry.database

    def _of_completeness(self, pilot: PilotDefinition, at: Micros) -> Iterator[Condition]:
        if _runs_since(pilot, at) < 8 * DAY:
            return
        today, before = self._recent(pilot, at)
        if (
            before.share is not None
            and today.share is not None
            and before.share >= COMPLETENESS_WAS
            and today.share < COMPLETENESS_IS
        ):
            params = {"share": round(today.share, 3), "before": round(before.share, 3)}
            yield Condition(pilot=pilot.id, rule="completeness", params=params)

    def _recent(self, pilot: PilotDefinition, at: Micros) -> tuple[Completeness, Completeness]:
        """Of the last day, and of the seven days before it."""
        worked_out = self._completeness.get(pilot.id)
        if worked_out is None or at - worked_out[0] >= COMPLETENESS_EVERY:
            intervals = pilot_intervals(pilot, at)
            today = together(counted_completeness(self._store, pilot, intervals, at - DAY, at).values())
            before = together(counted_completeness(self._store, pilot, intervals, at - 8 * DAY, at - DAY).values())
            worked_out = self._completeness[pilot.id] = at, (today, before)
        return worked_out[1]

    def _of_standing(self, pilots: Mapping[str, PilotDefinition], at: Micros) -> Iterator[Condition]:
        """What evaluations, dates and sessions of workers say; of pilots that are over, too: their data is still to be
        erased."""
        evaluations = kept_evaluations(self._database)
        losses = [loss for loss in WorkerSessions(self._database).losses() if loss.accepted_by is None]
        for standing in portfolio(self._registry_cache.registry, at):
            pilot = self._registry_cache.current().pilots.get(standing.pilot)
            if pilot is None:
                continue
            kpis = {kpi.id: kpi for kpi in pilot.kpis}
            for evaluation in evaluations.get(pilot.id, []):
                kpi = kpis.get(evaluation.kpi)
                if kpi is None or kpi.target is None or not evaluation.final or pilot.id not in pilots:
                    continue
                params = {"kpi": msgspec.to_builtins(kpi.title)}
                if evaluation.verdict == "target met":
                    yield Condition(pilot=pilot.id, rule="target-met", subject=kpi.id, params=params)
                elif evaluation.verdict == "target not met":
                    yield Condition(pilot=pilot.id, rule="target-not-met", subject=kpi.id, params=params)
            if standing.state == "running" and standing.ends is not None and at < standing.ends <= at + ENDS_SOON:
                yield Condition(
                    pilot=pilot.id, rule="ends-soon", params={"day": _last_day(standing.ends, pilot.timezone)}
                )
            erased = standing.erase_at
            if erased is not None and (standing.erasure_overdue or at < erased <= at + ERASURE_SOON):
                yield Condition(pilot=pilot.id, rule="erasure-due", params={"day": _day(erased)})
            for loss in losses if standing.state == "running" else ():  # whose messages they were, nobody can know
                params = {"case": loss.kind, "worker": loss.worker, "day": _day(loss.at)}
                yield Condition(pilot=pilot.id, rule="messages-lost", subject=loss.worker, params=params)

    # -- the weekly summary ----------------------------------------------------------------------------------------

    def _weekly(self, catalogue: RegistryView, pilots: Mapping[str, PilotDefinition], at: Micros) -> None:
        """On Monday morning, once: to whom it concerns."""
        for pilot in pilots.values():
            local = dt.datetime.fromtimestamp(at / 1e6, tz=ZoneInfo(pilot.timezone))
            if local.weekday() != WEEKLY_DAY or local.hour < WEEKLY_HOUR:
                continue
            year, week, _ = local.isocalendar()
            self._log.send_weekly(pilot.id, f"{year}-W{week:02}", self._summary(catalogue, pilot, at))

    def _summary(
        self, catalogue: RegistryView, pilot: PilotDefinition, at: Micros
    ) -> Callable[[Language], tuple[str, str]]:
        def compose(language: Language) -> tuple[str, str]:
            [now] = device_statuses(catalogue, self._store.latest(Selection(pilots=(pilot.id,))), [pilot], at)
            intervals = pilot_intervals(pilot, at)
            week = together(counted_completeness(self._store, pilot, intervals, at - 7 * DAY, at).values())
            open_alerts = self._log.open(pilot.id)
            recent = [
                past_alert
                for past_alert in [*open_alerts, *self._log.history(pilot.id)]
                if past_alert.began >= at - 7 * DAY
            ]
            online = now.count(State.LIVE)
            sentences = [
                Message("alert.weekly.devices", {"online": online, "devices": len(now.devices)}),
                *([] if week.share is None else [Message("alert.weekly.completeness", {"share": week.share})]),
                Message("alert.weekly.alerts", {"n": len(recent)}),
                Message("alert.weekly.open", {"n": len(open_alerts)}),
            ]
            words = _Words(catalogue, self._address)
            name = language.text(pilot.title, pilot.id)
            subject = language.message(Message("alert.weekly.subject", {"pilot": name}))
            lines = [language.message(sentence) for sentence in sentences]
            lines += [words.sentence(alert.condition, language) for alert in open_alerts[:10]]
            return subject, "\n".join([*lines, "", words.link(pilot.id), ""])

        return compose


@dataclass(frozen=True, slots=True)
class _Words:
    """What messages call pilots and devices, and where they lead (alerts.log.Wording)."""

    catalogue: RegistryView
    address: str

    def title(self, pilot: str, language: Language) -> str:
        definition = self.catalogue.pilots.get(pilot)
        return pilot if definition is None else language.text(definition.title, pilot)

    def sentence(self, condition: Condition, language: Language) -> str:
        return sentence_of(condition, self.catalogue, language)

    def link(self, pilot: str, device: str | None = None) -> str:
        page = "alerts" if device is None else f"devices/{quote(device, safe='')}"
        return f"{self.address}/pilots/{pilot}/{page}"


def attention(alerts: Sequence[Alert], visible: Callable[[str], bool]) -> list[Alert]:
    """Alerts that somebody should do something about, of pilots that may be seen. Devices that are offline are left
    out: the lists that show these name them already.
    """
    return [
        alert
        for alert in alerts
        if alert.rule not in NEWS
        and alert.rule != "device-offline"
        and alert.acknowledged is None
        and visible(alert.pilot)
    ]


def is_behind(looked: Micros | None, every: float, at: Micros) -> bool:
    """Whether nobody has looked, or not for so long that what began since is not known. `every` is in seconds."""
    return looked is None or at - looked > int(3 * every * 1e6) + MINUTE


def sentence(alert: Alert, catalogue: RegistryView, language: Language) -> str:
    """What is so, with the device called by its title."""
    return sentence_of(alert.condition, catalogue, language)


def sentence_of(condition: Condition, catalogue: RegistryView, language: Language) -> str:
    """The same of a condition that is not an alert yet."""
    text, device = condition.text, str(condition.params.get("device", ""))
    info = catalogue.devices.get((condition.pilot, device))
    if info is not None:
        text = msgspec.structs.replace(text, params={**text.params, "device": language.text(info.title, device)})
    return language.message(text)


def _most_frequent(entries: Mapping[str, int]) -> dict[str, Any]:
    """The reason of most entries, as a message in parameters."""
    most = max(entries, key=lambda reason: entries[reason])
    return {"code": f"rejection.{most}.title", "params": {}}


def _outages(pilot: PilotDefinition, at: Micros) -> set[str | None]:
    """Devices with a planned outage now; None stands for the pilot as a whole."""
    down: set[str | None] = set()
    for event in pilot.events:
        if event.kind == "outage" and event.end is not None:
            start, end = micros_of(event.time, pilot.timezone), micros_of(event.end, pilot.timezone)
            if start <= at < end + GRACE:
                down.add(event.device)
    return down


def _runs_since(pilot: PilotDefinition, at: Micros) -> Micros:
    """For how long its first phase has gone on; 0 before it."""
    starts = [micros_of(phase.start, pilot.timezone) for phase in pilot.phases]
    return max(0, at - min(starts)) if starts else 0


def _concerns(limit: LimitAlert, stream: StreamNow) -> bool:
    name = stream.view.stream
    same = name.quantity == limit.quantity or name.quantity.partition(".")[0] == limit.quantity
    return same and limit.device in (None, name.device)


def _last_day(end: Micros, zone: str) -> str:
    """As pages give it: midnight ends the day before."""
    return dt.datetime.fromtimestamp((end - 1) // 1_000_000, tz=ZoneInfo(zone)).date().isoformat()


def _day(at: Micros) -> str:
    return dt.datetime.fromtimestamp(at / 1e6, tz=dt.UTC).date().isoformat()
