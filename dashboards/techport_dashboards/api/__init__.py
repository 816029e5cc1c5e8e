"""The HTTP API, version 1. One module a group of resources; each route says what it takes and gives, nothing more."""

from __future__ import annotations

from fastapi import APIRouter

from techport_dashboards.api import (
    about,
    audit,
    complete,
    decode,
    describe,
    device_matters,
    docs,
    events,
    figures,
    life,
    onboarding,
    pilot_matters,
    portfolio,
    quarantine,
    readings,
    snapshots,
)

router = APIRouter(prefix="/api/v1")
router.include_router(describe.router)
router.include_router(readings.router)
router.include_router(figures.router)
router.include_router(complete.router)
router.include_router(pilot_matters.router)
router.include_router(device_matters.router)
router.include_router(events.router)
router.include_router(life.router)
router.include_router(portfolio.router)
router.include_router(onboarding.router)
router.include_router(quarantine.router)
router.include_router(decode.router)
router.include_router(snapshots.router)
router.include_router(audit.router)
router.include_router(docs.router)
router.include_router(about.router)
