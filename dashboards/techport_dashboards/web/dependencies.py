"""What routes depend on: the services that create_app gathered, the viewer, and the pilot named in the address.

    def page(services: ServicesDep, viewer: ViewerDep, pilot: PilotDep) -> Response

Dependencies that never block are coroutines: FastAPI would hand each plain one to a thread of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends
from jinja2 import Environment
from prometheus_client import CollectorRegistry
from starlette.requests import HTTPConnection

from techport_dashboards.query.live import Live
from techport_dashboards.query.names import find_pilot
from techport_dashboards.query.registry_cache import RegistryCache
from techport_dashboards.services.dataset_stats import DatasetStatsCache
from techport_dashboards.services.evaluations import Evaluations
from techport_dashboards.services.identity_provider import IdentityProvider
from techport_dashboards.services.jobs import Jobs
from techport_dashboards.services.last_hour import LastHour
from techport_dashboards.services.lifecycle import PilotLifecycle
from techport_dashboards.services.people import People
from techport_dashboards.services.reports import Reports
from techport_dashboards.services.shares import ShareReaders
from techport_dashboards.settings import HealthCheck, Post, WebSettings
from techport_dashboards.viewer import Viewer
from techport_dashboards.web.access import allow
from techport_dashboards.web.assets import Assets
from techport_dashboards.web.identities import Identities
from techport_dashboards.web.paths import below
from techport_dashboards.web.request_slots import RequestSlots
from techport_pilots.access.audit_log import AuditQueue
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.devices.explanation import Explain
from techport_pilots.model import PilotDefinition
from techport_storage.store import ReadingStore


@dataclass(frozen=True, slots=True)
class Services:
    registry_cache: RegistryCache
    store: ReadingStore
    """With counts of people as they may be shown."""
    raw_store: ReadingStore
    """As readings came: for the ledger's proof, and for who may see raw data."""
    ledger: Ledger | None
    settings: WebSettings
    health: HealthCheck
    metrics: CollectorRegistry
    live: Live
    assets: Assets
    templates: Environment
    evaluations: Evaluations
    dataset_stats: DatasetStatsCache
    jobs: Jobs
    lifecycle: PilotLifecycle
    reports: Reports
    last_hour: LastHour
    explain: Explain | None
    request_slots: RequestSlots
    identities: Identities
    people: People
    provider: IdentityProvider | None
    audit: AuditQueue
    shares: ShareReaders
    post: Post | None = None


def services_of(connection: HTTPConnection) -> Services:
    return cast(Services, connection.app.state.services)


def address_of(connection: HTTPConnection) -> str:
    """The address that this platform is known by, without / at the end: what is cited and harvested must stay."""
    public_url = services_of(connection).settings.public_url
    return (
        str(connection.base_url).rstrip("/")
        if public_url is None
        else public_url.rstrip("/") + below(connection.scope, "")
    )


async def _services(connection: HTTPConnection) -> Services:
    return services_of(connection)


ServicesDep = Annotated[Services, Depends(_services)]
ViewerDep = Annotated[Viewer, Depends(allow)]


def _pilot(pilot: str, services: ServicesDep, viewer: ViewerDep) -> PilotDefinition:
    return find_pilot(services.registry_cache.current(), viewer, pilot)


PilotDep = Annotated[PilotDefinition, Depends(_pilot)]
"""The pilot named in the address. Answers 404 for one that does not exist and for one the viewer may not see."""
