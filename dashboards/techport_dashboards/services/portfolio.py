"""The portfolio: where every pilot stands and how its devices are, worst first. For page, API and command line alike.

registry ─► portfolio.Standing ─┐
store ────► state.survey ───────┴─► Row, with what needs somebody ─► worst first, or by a column
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from techport_dashboards.problems import Problem
from techport_dashboards.query import times
from techport_dashboards.query.question import QueryContext
from techport_dashboards.query.registry_cache import RegistryView
from techport_dashboards.services import device_status
from techport_dashboards.services.device_status import PilotNow, State
from techport_dashboards.viewer import Viewer
from techport_pilots.evaluation.roles import primary_kpi
from techport_pilots.handover.portfolio import PilotStanding, portfolio
from techport_pilots.i18n import Language
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.registry import Registry
from techport_pilots.reports.kpi_text import KpiText, describe_kpi
from techport_storage import clock
from techport_storage.model import Micros, Selection

WORST = "worst"
_ORDER = ("running", "ended", "draft", "closed")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A pilot. `attention` says what needs attention, the most urgent first; empty means nothing does."""

    standing: PilotStanding
    devices: int
    online: int
    with_problems: int  # devices that should send and do not, or not all they should
    attention: Sequence[str]
    pilot: PilotDefinition

    def text(self, language: Language) -> KpiText | None:
        """What is to be believed of the pilot's primary KPI; None where nobody evaluated it yet."""
        kpi = primary_kpi(self.pilot)
        if kpi is None or self.standing.primary is None:
            return None
        return describe_kpi(self.pilot, kpi, self.standing.primary, language)


def rows(catalogue: RegistryView, registry: Registry, latest: pa.Table | None, at: Micros) -> list[Row]:
    """Every pilot, worst first. `latest` are the latest readings; without, no device is online or has problems."""
    now: dict[str, PilotNow] = {}
    if latest is not None:
        now = {
            status.pilot.id: status
            for status in device_status.device_statuses(catalogue, latest, list(catalogue.pilots.values()), at)
        }
    standings = [standing for standing in portfolio(registry, at) if standing.pilot in catalogue.pilots]
    return sorted(
        (_row(standing, catalogue.pilots[standing.pilot], now.get(standing.pilot)) for standing in standings),
        key=_worst,
    )


def visible_rows(context: QueryContext, viewer: Viewer) -> list[Row]:
    """The portfolio as the viewer may see it, worst first. Raises what store and registry raise."""
    view = context.registry_cache.current()
    visible = tuple(pilot for pilot in view.pilots if viewer.may_see(pilot))
    latest = context.store.latest(Selection(pilots=visible))
    return [
        row for row in rows(view, context.registry_cache.registry, latest, clock.now()) if row.standing.pilot in visible
    ]


def ordered(unordered: Sequence[Row], sort: str) -> list[Row]:
    """Rows by a column, with a minus in front turned round. Raises Problem for what is no column."""
    name = sort.removeprefix("-")
    if name not in KEYS:
        raise Problem(
            "bad-parameter", "{name} is not a column.", name=repr(sort[:80]), parameter="sort", example=", ".join(KEYS)
        )
    key = KEYS[name]
    with_value = [row for row in unordered if key(row) is not None]
    return [*sorted(with_value, key=key, reverse=sort.startswith("-")), *(row for row in unordered if key(row) is None)]


def item(row: Row) -> dict[str, Any]:
    """The row as JSON; times as the API writes them."""
    built: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(row.standing, primary=None))
    del built["primary"]
    texts = {code: row.text(Language(code)) for code in ("nb", "en")}
    built["sentence"] = {code: "" if text is None else text.whole for code, text in texts.items()}
    for name in ("ends", "erase_at"):
        built[name] = None if built[name] is None else times.iso(built[name])
    counts = {
        "devices": row.devices,
        "online": row.online,
        "with_problems": row.with_problems,
        "alive": row.online,  # the names of the release before
        "troubled": row.with_problems,
    }
    return {"id": built.pop("pilot"), **built, **counts, "attention": row.attention}


def _row(standing: PilotStanding, pilot: PilotDefinition, now: PilotNow | None) -> Row:
    online = 0 if now is None else now.count(State.LIVE)
    with_problems = 0 if now is None else sum(device.needs_attention for device in now.devices)
    if standing.state in ("ended", "closed"):
        with_problems = 0  # nobody expects them to send
    needs = {
        "erasure-overdue": standing.erasure_overdue,
        "differs": standing.differing > 0,
        "personal-draft": standing.draft_holds,
        "not-collected": standing.state == "draft" and standing.not_collected > 0,
        "overdue": standing.overdue,
        "devices": with_problems > 0,
        "targets": standing.state == "running" and "target not met" in standing.verdicts,
        "ends-soon": standing.ends_soon,
        "hand-over": standing.state == "ended",
    }
    attention = [name for name, so in needs.items() if so]
    return Row(
        standing=standing,
        devices=len(pilot.devices),
        online=online,
        with_problems=with_problems,
        attention=attention,
        pilot=pilot,
    )


def _worst(row: Row) -> tuple[int, int, float, str]:
    """Running before what is over; what is overdue, then the greatest share of devices in trouble."""
    urgent = 0 if row.standing.overdue or row.standing.erasure_overdue else 1 if row.attention else 2
    return _ORDER.index(row.standing.state), urgent, -row.with_problems / max(row.devices, 1), row.standing.pilot


KEYS: dict[str, Callable[[Row], Any]] = {
    WORST: _worst,
    "name": lambda row: row.standing.title.get("nb").casefold(),
    "state": lambda row: _ORDER.index(row.standing.state),
    "devices": lambda row: row.online / row.devices if row.devices else None,
    "targets": lambda row: row.standing.reached / row.standing.targets if row.standing.targets else None,
    "ends": lambda row: row.standing.ends,
}
"""What the table can be sorted by."""
