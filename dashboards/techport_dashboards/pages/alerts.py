"""A pilot's alerts: what needs somebody now and did before, whom they are told, and when nobody is."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from techport_dashboards.problems import Problem
from techport_dashboards.query.parameters import Parameters
from techport_dashboards.services.alerts import sentence
from techport_dashboards.services.people import problem_of
from techport_dashboards.web.access import needs
from techport_dashboards.web.dependencies import PilotDep, Services, ServicesDep, ViewerDep
from techport_dashboards.web.forms import FormDep
from techport_dashboards.web.request_slots import SlotRoute
from techport_dashboards.web.templating import language_of, render, see_other
from techport_pilots.access.accounts import AccountError
from techport_pilots.alerts.conditions import RULES, title_of
from techport_pilots.alerts.log import AlertLog, checked_address
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
    alerts, language = _alerts(services), language_of(request)
    may_edit = viewer.may("edit", pilot.id)
    return render(
        request,
        "alerts.html",
        language,
        pilot=pilot,
        sentence=partial(sentence, catalogue=services.registry_cache.current(), language=language),
        now=clock.now(),
        open_alerts=alerts.open(pilot.id),
        history=alerts.history(pilot.id, 100),
        may_edit=may_edit,
        recipients=alerts.recipients(pilot.id) if may_edit else [],
        silences=alerts.silences(pilot.id),
        rules=[(rule, title_of(rule)) for rule in RULES],
        rule_title=lambda rule: title_of(rule) if rule else Message("alert.all.title"),
        periods=PERIODS,
        mail=services.settings.mail,
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
    if form.get("remove"):
        _alerts(services).remove_recipient(pilot.id, _number(form.get("remove")))
        return see_other(request, f"/pilots/{pilot.id}/alerts")
    try:
        address = checked_address(form.get("address"))
    except AccountError as error:
        raise problem_of(error) from None
    language_code = "en" if form.get("language") == "en" else "nb"
    _alerts(services).add_recipient(pilot.id, address, language_code, viewer.who, weekly=form.get("weekly") == "yes")
    return see_other(request, f"/pilots/{pilot.id}/alerts")


@router.post("/pilots/{pilot}/alerts/silences")
@needs("edit", about=("rule", "device", "remove"))
def add_silence(request: Request, services: ServicesDep, viewer: ViewerDep, pilot: PilotDep, form: FormDep) -> Response:
    """Tell nobody for a while, or again."""
    if form.get("remove"):
        _alerts(services).remove_silence(pilot.id, _number(form.get("remove")))
        return see_other(request, f"/pilots/{pilot.id}/alerts")
    rule, lasts = form.get("rule"), form.get("period")
    if rule not in ("", *RULES):
        raise Problem("bad-parameter", "There is no alert rule {name}.", name=repr(rule[:40]), parameter="rule")
    if lasts not in PERIODS:
        raise Problem(
            "bad-parameter", "{name} is not a period.", name=repr(lasts[:40]), parameter="period", example="1d"
        )
    at, length = clock.now(), PERIODS[lasts]
    period = (at, None if length is None else at + length)
    _alerts(services).add_silence(pilot.id, rule, form.get("device")[:200], period, form.get("reason"), viewer.who)
    return see_other(request, f"/pilots/{pilot.id}/alerts")


def _alerts(services: Services) -> AlertLog:
    return AlertLog(services.registry_cache.registry.database)


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 18:
        raise Problem("bad-parameter", "This is not a number.", parameter="alert", example="12")
    return int(text)
