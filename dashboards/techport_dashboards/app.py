"""Puts the web app together: routes behind one access function, errors in one form, the live poller's life."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib import metadata

import structlog
from anyio import to_thread
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import iter_route_contexts
from prometheus_client import CollectorRegistry
from starlette.concurrency import run_in_threadpool
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.routing import BaseRoute
from starlette.types import Lifespan

from techport_dashboards import api, edr, features, pages, sta
from techport_dashboards.api import operations, push
from techport_dashboards.dcat import routes
from techport_dashboards.pages import shared_feed
from techport_dashboards.query.answer_files import AnswerFiles
from techport_dashboards.query.formats import ARROW, PARQUET
from techport_dashboards.query.live import Live
from techport_dashboards.query.registry_cache import RegistryCache
from techport_dashboards.services.background_evaluation import BackgroundEvaluation
from techport_dashboards.services.dataset_stats import DatasetStatsCache
from techport_dashboards.services.evaluations import Evaluations
from techport_dashboards.services.identity_provider import IdentityProvider
from techport_dashboards.services.jobs import Jobs
from techport_dashboards.services.last_hour import LastHour
from techport_dashboards.services.lifecycle import PilotLifecycle
from techport_dashboards.services.people import People
from techport_dashboards.services.reports import Reports
from techport_dashboards.services.shares import FLUSH_S, ShareReaders
from techport_dashboards.settings import HealthCheck, Post, WebSettings, no_health
from techport_dashboards.sta.entities import EntityCache
from techport_dashboards.web import access, errors
from techport_dashboards.web.addressing import Addressing
from techport_dashboards.web.assets import PLOTLY, Assets
from techport_dashboards.web.audit_trail import AuditTrail
from techport_dashboards.web.cors import CrossOrigin
from techport_dashboards.web.dependencies import Services
from techport_dashboards.web.etags import ConditionalGet
from techport_dashboards.web.identities import Identities
from techport_dashboards.web.methods import Methods, RouteTable
from techport_dashboards.web.middleware import Measured, PrivateAnswers, SecurityHeaders
from techport_dashboards.web.rate_limit import RateLimiter
from techport_dashboards.web.request_bounds import RequestBounds
from techport_dashboards.web.request_slots import THREADS, RequestSlots
from techport_dashboards.web.shared_feeds import OpenShares, SharedAddresses, SharedFeeds
from techport_dashboards.web.sign_in import SignIn
from techport_dashboards.web.templating import environment
from techport_pilots.access.audit_log import AuditQueue
from techport_pilots.access.request_limits import RequestLimits
from techport_pilots.access.shares import Shares
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.devices.explanation import Explain
from techport_pilots.errors import RegistryUnavailable
from techport_pilots.quality.people_counts import PublishedStore
from techport_pilots.registry.database import Database
from techport_pilots.registry.registry import Registry
from techport_storage.store import ReadingStore

log = structlog.get_logger(__name__)

AUDIT_PERIOD_S = 2.0
"""How long entries of the audit log that need not be written at once may wait."""

DESCRIPTION = """Readings of the pilots and what is known about them.

Times are ISO 8601 in UTC with microseconds. Lists answer `{"items": [...], "next": cursor or null}`: repeat the request
with `cursor=` until `next` is null. Errors are RFC 9457 problem details that name the parameter and show a right one.
"""


def create_app(
    registry: Registry,
    store: ReadingStore,
    ledger: Ledger | None = None,
    settings: WebSettings | None = None,
    health: HealthCheck = no_health,
    metrics: CollectorRegistry | None = None,
    explain: Explain | None = None,
    post: Post | None = None,
) -> FastAPI:
    """The ASGI app over a registry and a store that the caller opens and closes.

    `ledger` holds the ingestor's tallies for device pages, `health` says whether the rest of the process
    is ready, `metrics` is what /metrics shows; the app adds its own. `explain` is the linter of messages, `post`
    publishes what devices send over HTTP. The app holds no state: run as many as needed. Serve it with
    techport_dashboards.server, which lets live pages go when it stops.
    """
    settings = settings or WebSettings()
    metrics = metrics if metrics is not None else CollectorRegistry()
    registry_cache = RegistryCache(registry)
    raw_store, store = store, PublishedStore(store, lambda: registry_cache.recent().pilots)
    assets = Assets()
    jobs = Jobs(registry.database)
    evaluations = Evaluations(registry, store)
    background = BackgroundEvaluation(registry_cache, evaluations)
    live = Live(
        store,
        registry_cache,
        metrics,
        settings.poll_interval,
        settings.heartbeat,
        settings.live_most,
        settings.live_of_client,
    )

    people = People.of(registry.database, lasts=settings.session_lasts, idle=settings.session_idle)
    identities = Identities(people.sessions.find, people.api_tokens.find)
    audit = AuditQueue(registry.database)

    readers = ShareReaders(Shares(registry.database))

    async def write_down_reads() -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            await run_in_threadpool(readers.flush)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        warm = asyncio.create_task(run_in_threadpool(assets.get, PLOTLY))  # the first page need not wait for it
        writing = asyncio.create_task(_write_audit_log(audit))
        flushing = asyncio.create_task(write_down_reads())
        if settings.background:
            background.start()
        yield
        await run_in_threadpool(background.stop)
        writing.cancel()
        await run_in_threadpool(_flush, audit, all_of_it=True)
        await warm
        flushing.cancel()
        await live.close()
        await opened.close()
        await run_in_threadpool(readers.flush)
        await run_in_threadpool(jobs.close)

    services = Services(
        registry_cache,
        store,
        raw_store,
        ledger,
        settings,
        health,
        metrics,
        live,
        assets,
        environment(assets),
        evaluations,
        DatasetStatsCache(registry, store),
        jobs,
        PilotLifecycle(registry, raw_store, ledger, settings, jobs),
        Reports(registry, store, settings.basemap),
        LastHour(store),
        explain,
        RequestSlots(longest_wait=settings.slot_seconds),
        identities,
        people,
        None if settings.provider is None else IdentityProvider(settings.provider, registry.database),
        audit,
        readers,
        post,
    )
    opened = OpenShares(services, lambda shared: _app_over(shared, registry.database, _routes_of_shares()))
    app = _app_over(services, registry.database, _routes(), lifespan)
    app.state.opened_shares = opened
    app.add_middleware(AuditTrail, queue=audit)
    app.add_middleware(SharedFeeds, opened=opened, readers=readers, audit=audit)
    app.add_middleware(ConditionalGet)
    app.add_middleware(
        GZipMiddleware, compresslevel=5, exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, PARQUET, ARROW)
    )
    app.add_middleware(Methods, table=_route_table())
    app.add_middleware(RequestBounds)
    app.add_middleware(RateLimiter, limit=settings.rate_limit, shared=RequestLimits(registry.database))
    app.add_middleware(SignIn, settings=settings)
    app.add_middleware(PrivateAnswers)
    app.add_middleware(SecurityHeaders, tiles=settings.map_tiles)
    if settings.cors:
        app.add_middleware(CrossOrigin)
    app.add_middleware(SharedAddresses)
    app.add_middleware(Addressing, settings=settings)
    routes_of_all = [*app.routes, *_routes_of_shares()]
    paths: dict[object, str] = {route.endpoint: route.path or "" for route in iter_route_contexts(routes_of_all)}
    app.state.paths = paths
    app.add_middleware(Measured, metrics=metrics, paths=paths)
    return app


async def _write_audit_log(audit: AuditQueue) -> None:
    """What waits for being written, every other second."""
    while True:
        await asyncio.sleep(AUDIT_PERIOD_S)
        await run_in_threadpool(_flush, audit)


def _flush(audit: AuditQueue, *, all_of_it: bool = False) -> None:
    try:
        audit.flush(all_of_it=all_of_it)
    except RegistryUnavailable as error:
        log.warning("entries of the audit log wait", problem=str(error))


def _app_over(
    services: Services, database: Database, served: Sequence[BaseRoute], lifespan: Lifespan[FastAPI] | None = None
) -> FastAPI:
    """These routes over these services. Entities of SensorThings have their numbers in the registry's `database`."""
    app = FastAPI(
        title="techport",
        description=DESCRIPTION,
        version=metadata.version("techport"),
        lifespan=lifespan,
        openapi_url=None,  # served by a route of our own, which passes the access function; /docs would load from a CDN
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # web/methods.py does, without sending clients of services elsewhere
    )
    app.state.services = services
    app.state.answer_files = AnswerFiles()
    app.state.entity_cache = EntityCache(database)
    errors.install(app)
    app.router.routes.extend(served)
    return app


@cache
def _routes_of_shares() -> Sequence[BaseRoute]:
    """What there is below the address of a share: the routes that read, and its page."""
    router = APIRouter()
    for guarded in (api.shared_router, sta.router, edr.router, features.router, shared_feed.router):
        router.include_router(guarded, dependencies=[Depends(access.allow)])
    return tuple(router.routes)


@cache
def _routes() -> Sequence[BaseRoute]:
    """The routes, the same for each app: FastAPI takes a tenth of a second to read the signatures of all."""
    router = APIRouter()
    for guarded in (
        operations.router,
        push.router,
        api.router,
        sta.writing_router,
        sta.router,
        edr.router,
        features.router,
        routes.router,
        pages.router,
    ):
        router.include_router(guarded, dependencies=[Depends(access.allow)])
    return tuple(router.routes)


@cache
def _route_table() -> RouteTable:
    return RouteTable.of(_routes())
