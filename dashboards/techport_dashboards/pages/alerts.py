"""Alerts of a pilot, and of all: what needs somebody now and did before, whom they are told, and when nobody is."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services.alerts import is_behind, sentence
from techport_dashboards.services.people import problem_of
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep
from techport_dashboards.web.forms import Form, FormDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render, see_other
from techport_pilots.access.accounts import AccountError
from techport_pilots.alerts.conditions import RULES, TOLD_RULES, title_of
from techport_pilots.alerts.log import PLATFORM, AlertLog, checked_address
from techport_pilots.i18n import Message
from techport_storage import clock
from techport_storage.microseconds import DAY, HOUR

router = APIRouter(route_class=SlotRoute)

PERIODS = {"8h": 8 * HOUR, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "always": None}
"""How long a silence can last, from now."""


class AlertParameters(Parameters):
    lang: str | None = Field(None, max_length=8)


@router.get("/pilots/{pilot}/alerts")
@needs("see")
def alerts_page(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, _: Annotated[AlertParameters, Query()]
) -> Response:
    """What needs somebody, the history, and, for those who may edit the pilot, who is told."""
    alerts, may_edit = _alerts(services), viewer.may("edit", pilot.id)
    return _page(
        request,
        services,
        pilot=pilot,
        open_alerts=alerts.open(pilot.id),
        history=alerts.history(pilot.id, 100),
        may_edit=may_edit,
        recipients=alerts.recipients(pilot.id) if may_edit else [],
        silences=alerts.silences(pilot.id),
    )


@router.get("/alerts")
@needs("admin")
def all_alerts_page(request: Request, services: ServicesDep, _: Annotated[AlertParameters, Query()]) -> Response:
    """What needs somebody in any pilot, and who is told of all of them."""
    alerts = _alerts(services)
    return _page(
        request,
        services,
        pilot=None,
        open_alerts=alerts.open(),
        history=alerts.history(limit=100),
        may_edit=True,
        recipients=alerts.recipients(PLATFORM),
        silences=alerts.silences(PLATFORM),
    )


def _page(request: Request, services: Services, **values: Any) -> Response:
    language, catalogue, now = language_of(request), services.registry_cache.current(), clock.now()
    looked = _alerts(services).looked()
    return render(
        request,
        "alerts.html",
        language,
        sentence=partial(sentence, catalogue=catalogue, language=language),
        zone=values["pilot"].timezone if values["pilot"] else services.settings.zone,
        titles={pilot.id: pilot.title for pilot in catalogue.pilots.values()},
        devices=catalogue.devices,
        rules=[(rule, title_of(rule)) for rule in TOLD_RULES],
        rule_title=lambda rule: title_of(rule) if rule else Message("alert.all.title"),
        mail=services.settings.mail,
        now=now,
        looked=looked,
        behind=is_behind(looked, services.settings.alert_seconds, now),
        **values,
    )


@router.post("/pilots/{pilot}/alerts/acknowledge")
@needs("edit", about=("alert",))
def acknowledge(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep) -> Response:
    """Take care of an alert."""
    _alerts(services).acknowledge(pilot.id, _number(form.get("alert")), viewer.who, form.get("note"))
    return see_other(request, f"/pilots/{pilot.id}/alerts")


@router.post("/pilots/{pilot}/alerts/recipients")
@needs("edit", about=("remove",))
def add_recipient(
    request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep
) -> Response:
    """Tell somebody, or no longer."""
    _change_recipients(_alerts(services), pilot.id, form, viewer.who)
    return see_other(request, f"/pilots/{pilot.id}/alerts")


@router.post("/alerts/recipients")
@needs("admin", about=("remove",))
def add_recipient_of_all(request: Request, services: ServicesDep, viewer: ViewerDep, form: FormDep) -> Response:
    """Tell somebody of all pilots, or no longer."""
    _change_recipients(_alerts(services), PLATFORM, form, viewer.who)
    return see_other(request, "/alerts")


@router.post("/pilots/{pilot}/alerts/silences")
@needs("edit", about=("rule", "device", "remove"))
def add_silence(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep) -> Response:
    """Tell nobody for a while, or again."""
    _change_silences(_alerts(services), pilot.id, form, viewer.who)
    return see_other(request, f"/pilots/{pilot.id}/alerts")


@router.post("/alerts/silences")
@needs("admin", about=("rule", "remove"))
def add_silence_of_all(request: Request, services: ServicesDep, viewer: ViewerDep, form: FormDep) -> Response:
    """Tell nobody of any pilot for a while, or again."""
    _change_silences(_alerts(services), PLATFORM, form, viewer.who)
    return see_other(request, "/alerts")


def _change_recipients(alerts: AlertLog, pilot: str, form: Form, who: str) -> None:
    if form.get("remove"):
        alerts.remove_recipient(pilot, _number(form.get("remove")))
        return
    try:
        address = checked_address(form.get("address"))
    except AccountError as error:
        raise problem_of(error) from None
    language_code = "en" if form.get("language") == "en" else "nb"
    alerts.add_recipient(pilot, address, language_code, who, weekly=form.get("weekly") == "yes")


def _change_silences(alerts: AlertLog, pilot: str, form: Form, who: str) -> None:
    if form.get("remove"):
        alerts.remove_silence(pilot, _number(form.get("remove")))
        return
    rule, lasts = form.get("rule"), form.get("period")
    if rule not in ("", *RULES):
        raise Problem("bad-parameter", "There is no alert rule {name}.", name=repr(rule[:40]), parameter="rule")
    if lasts not in PERIODS:
        raise Problem(
            "bad-parameter", "{name} is not a period.", name=repr(lasts[:40]), parameter="period", example="1d"
        )
    at, length = clock.now(), PERIODS[lasts]
    period = (at, None if length is None else at + length)
    alerts.add_silence(pilot, rule, form.get("device")[:200], period, form.get("reason"), who)


def _alerts(services: Services) -> AlertLog:
    return AlertLog(services.registry_cache.registry.database)


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise Problem("bad-parameter", "This is not a number.", parameter="alert", example="12")
    return int(text)
