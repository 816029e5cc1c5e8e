"""The pages: server-rendered, readable without JavaScript, made live by small modules under static/js."""

from __future__ import annotations

from fastapi import APIRouter

from techport_dashboards.pages import (
    account,
    alerts,
    audit_log,
    close,
    csv_upload,
    datasets,
    decode,
    device,
    device_access,
    device_edit,
    device_visits,
    embed,
    erasure,
    explore,
    kpis,
    map_tiles,
    onboarding,
    overview,
    people,
    phases,
    pilot,
    pilot_editor,
    portfolio,
    provider,
    public,
    quality,
    quarantine,
    report,
    search,
    shares,
    sign,
    sign_in,
    snapshot,
    trace,
)

router = APIRouter(include_in_schema=False)
router.include_router(sign_in.router)
router.include_router(provider.router)
router.include_router(account.router)
router.include_router(people.router)
router.include_router(sign.router)
router.include_router(audit_log.router)
router.include_router(overview.router)
router.include_router(pilot.router)
router.include_router(pilot_editor.router)
router.include_router(kpis.router)
router.include_router(map_tiles.router)
router.include_router(device.router)
router.include_router(device_access.router)
router.include_router(device_edit.router)
router.include_router(device_visits.router)
router.include_router(report.router)
router.include_router(search.router)
router.include_router(close.router)
router.include_router(erasure.router)
router.include_router(portfolio.router)
router.include_router(quality.router)
router.include_router(alerts.router)
router.include_router(phases.router)
router.include_router(explore.router)
router.include_router(datasets.router)
router.include_router(embed.router)
router.include_router(shares.router)
router.include_router(public.router)
router.include_router(snapshot.router)
router.include_router(onboarding.router)
router.include_router(csv_upload.router)
router.include_router(quarantine.router)
router.include_router(trace.router)
router.include_router(decode.router)
