"""Addresses of shares: below /shared/{key} the platform has one pilot, which is the share.

    /shared/{key}/api/v1/readings ─► SharedAddresses ─► limits, headers, ETags, ... ─► SharedFeeds: the share's app

The app of a share has the routes that read, and services in which there is nothing but what the share shows
(query/shared_view.py). Everything around it, such as rate limits and ETags, is the platform's.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from techport_dashboards.problems import Problem
from techport_dashboards.query.live import Live
from techport_dashboards.query.shared_view import SharedRegistryCache, Withheld, shared_store
from techport_dashboards.services.dataset_stats import SharedDatasetStats
from techport_dashboards.services.last_hour import LastHour
from techport_dashboards.services.shares import ShareReaders, no_share
from techport_dashboards.web import errors
from techport_dashboards.web.dependencies import Services
from techport_dashboards.web.paths import MEMBER, PREFIX, PREVIEWED, SHARE_KEY
from techport_dashboards.web.share_lookup import share_at
from techport_pilots.access.audit_log import AuditQueue, Entry
from techport_pilots.access.shares import KEY, Share
from techport_pilots.errors import RegistryUnavailable
from techport_storage.clock import now

_MOST_OPEN = 100
"""Shares whose services are kept ready."""
_LIVE_MOST = 50
"""Live pages of one share at a time."""
_LOOK_S, _LOOK_AT_BUCKETS_S = 1.0, 15.0
"""Seconds between two looks at what is new in a share that shows each reading, and in one that shows buckets."""


class SharedAddresses:
    """Makes the address of a share that of its app: the root path ends in the key, and routes see what follows it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            key = scope["path"].removeprefix(PREFIX).partition("/")[0]
            if KEY.fullmatch(key):
                scope[SHARE_KEY] = key
                scope["root_path"] = f"{PREFIX}{key}"
                if scope["path"] == scope["root_path"]:
                    scope["path"] += "/"
        await self._app(scope, receive, send)


class SharedFeeds:
    """Answers requests to a share by its own app, and counts them."""

    def __init__(self, app: ASGIApp, opened: OpenShares, readers: ShareReaders, audit: AuditQueue) -> None:
        self._app = app
        self._opened = opened
        self._readers = readers
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if SHARE_KEY not in scope:
            await self._app(scope, receive, send)
            return
        try:
            share = await share_at(self._readers, scope[SHARE_KEY])
            app = None if share is None else await self._opened.app_of(share)
        except RegistryUnavailable as error:
            await errors.respond(Request(scope), Problem("registry-unavailable", str(error)))(scope, receive, send)
            return
        if share is None or app is None:
            await errors.respond(Request(scope), no_share())(scope, receive, send)
            return
        counted = False

        async def send_counted(message: Message) -> None:
            nonlocal counted
            if message["type"] == "http.response.start" and share.terms.audience != "public":
                MutableHeaders(scope=message)["X-Robots-Tag"] = "noindex"
            if message["type"] == "http.response.start" and message["status"] < 400 and not counted:
                counted = True
                if not scope.get(PREVIEWED):
                    self._audit.add(_entry(share, scope.get(MEMBER, "")))
                    if self._readers.count(share):
                        await run_in_threadpool(self._readers.flush)
            await send(message)

        await app(scope, receive, send_counted)


def _entry(share: Share, member: str) -> Entry:
    """One an hour for each share and member of an organisation; of other readers it is not said who they are."""
    address, about = f"GET {PREFIX}{{key}}", f"share={share.id}"
    return Entry(kind="read-share", who=member, at=now(), action="see", what=address, pilot=share.pilot, about=about)


class OpenShares:
    """The apps of shares that were read lately."""

    def __init__(self, services: Services, make_app: Callable[[Services], FastAPI]) -> None:
        self._services = services
        self._make_app = make_app
        self._lock = threading.Lock()
        self._apps: OrderedDict[str, FastAPI] = OrderedDict()
        self._described: Callable[[], dict[str, Any]] | None = None

    async def app_of(self, share: Share) -> FastAPI:
        """The app of the share; a thread is taken where it has to be made. Raises RegistryUnavailable."""
        with self._lock:
            app = self._apps.get(share.id)
        return app if app is not None else await run_in_threadpool(self.app, share)

    def app(self, share: Share) -> FastAPI:
        """The app of the share. Raises RegistryUnavailable."""
        with self._lock:
            app = self._apps.get(share.id)
            if app is None:
                app = self._apps[share.id] = self._make_app(shared_services(self._services, share))
                # All have the same routes: the description takes long to make, and is large.
                self._described = app.openapi if self._described is None else self._described
                app.openapi = self._described  # type: ignore[method-assign]
            self._apps.move_to_end(share.id)
            if len(self._apps) > _MOST_OPEN:
                self._apps.popitem(last=False)  # its live pages end by themselves
            return app

    async def close(self) -> None:
        """Let live pages go."""
        for app in list(self._apps.values()):
            await app.state.services.live.close()


def shared_services(services: Services, share: Share) -> Services:
    """The services of a share: its pilot and its readings in place of all. What readers have no use for is withheld."""
    source = services.registry_cache.current().pilots.get(share.pilot)
    cache = SharedRegistryCache(services.registry_cache, share)
    store = shared_store(services.store, cache, share, services.settings.zone if source is None else source.timezone)
    settings = replace(services.settings, snapshots=None, embed_sites="")
    look = _LOOK_S if share.terms.width is None else _LOOK_AT_BUCKETS_S
    live = Live(store, cache, CollectorRegistry(), look, settings.heartbeat, _LIVE_MOST, settings.live_of_client)
    return replace(
        services,
        registry_cache=cache,
        store=store,
        raw_store=_withheld("readings as they came"),
        ledger=None,
        settings=settings,
        live=live,
        evaluations=_withheld("evaluations"),
        dataset_stats=SharedDatasetStats(store),
        jobs=_withheld("jobs"),
        lifecycle=_withheld("lifecycle"),
        reports=_withheld("reports"),
        last_hour=LastHour(store),
        explain=None,
        people=_withheld("people"),
        provider=None,
        audit=_withheld("audit log"),
        post=None,
    )


def _withheld(ability: str) -> Any:
    return Withheld(ability)
