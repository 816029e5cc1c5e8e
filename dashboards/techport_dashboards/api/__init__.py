"""The HTTP API, version 1. A module for each resource: its routes and what they take and answer."""

from __future__ import annotations

from fastapi import APIRouter

from techport_dashboards.api import (
    about,
    accounting,
    audit_log,
    completeness,
    decode,
    device_credentials,
    devices,
    docs,
    events,
    figures,
    ignored,
    kpis,
    lifecycle,
    me,
    onboarding,
    pilots,
    portfolio,
    quarantine,
    readings,
    shares,
    snapshots,
)

shared_router = APIRouter(prefix="/api/v1")
"""What readers of a share have: its pilot, devices and readings, and the API's description."""
for reading in (pilots, devices, readings, figures, docs, about):
    shared_router.include_router(reading.router)

router = APIRouter(prefix="/api/v1")
router.include_router(pilots.router)
router.include_router(devices.router)
router.include_router(readings.router)
router.include_router(completeness.router)
router.include_router(kpis.router)
router.include_router(figures.router)
router.include_router(quarantine.router)
router.include_router(accounting.router)
router.include_router(audit_log.router)
router.include_router(ignored.router)
router.include_router(events.router)
router.include_router(lifecycle.router)
router.include_router(portfolio.router)
router.include_router(onboarding.router)
router.include_router(device_credentials.router)
router.include_router(decode.router)
router.include_router(snapshots.router)
router.include_router(shares.router)
router.include_router(docs.router)
router.include_router(me.router)
router.include_router(about.router)
