"""Routes for those who keep it running, and the assets of the pages."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from techport_dashboards.problems import Problem
from techport_dashboards.web.access import NO_PILOT, needs
from techport_dashboards.web.dependencies import Services, ServicesDep, ViewerDep
from techport_storage.errors import StoreUnavailable

router = APIRouter(include_in_schema=False)

FOREVER = "public, max-age=31536000, immutable"


@router.get("/healthz")
@needs("nothing", anybody="says only that the process is alive; asked by supervisors that have no account")
async def alive(services: ServicesDep, response: Response) -> dict[str, str]:
    """The process runs and answers. Says nothing else: see /readyz. The header lets a platform know itself again."""
    if services.settings.token is not None:
        response.headers["X-Techport-Instance"] = services.settings.token.instance
    return {"status": "alive"}


@router.get("/readyz")
@needs("see", anybody="whether the process is ready, without the reasons; asked by supervisors")
def ready(services: ServicesDep, viewer: ViewerDep) -> Response:
    """200 when everything that was wired in works, else 503. To administrators: what is wrong and what to do."""
    problems, details = _check(services)
    body: dict[str, object] = {"status": "not ready" if problems else "ready"}
    if viewer.may("admin"):
        body |= {"problems": problems, "details": details}
    return Response(
        msgspec.json.encode(body), 503 if problems else 200, {"Cache-Control": "no-store"}, "application/json"
    )


def _check(services: Services) -> tuple[list[str], dict[str, object]]:
    health = services.health()
    problems = list(health.problems)
    try:
        services.store.probe()
    except StoreUnavailable as error:
        problems.append(f"store: {error}")
    return problems, dict(health.details)


@router.get("/metrics")
@needs("admin")
def metrics(services: ServicesDep) -> Response:
    """Prometheus text format."""
    text = generate_latest(services.metrics)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


@router.get("/static/{version}/{name:path}")
@needs("nothing", anybody=NO_PILOT)
def asset(request: Request, services: ServicesDep, version: str, name: str) -> Response:
    """A file of the pages. Any version is answered with the present one, but only the present one is kept for good."""
    assets = services.assets
    file = assets.get(name)
    if file is None:
        raise Problem("not-found", f"Asset {name!r} not found.")
    headers = {"Cache-Control": FOREVER if version == assets.version else "no-cache", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.compressed, 200, {**headers, "Content-Encoding": "gzip"}, file.media_type)
    return Response(file.content, 200, headers, file.media_type)


@router.get("/favicon.ico")
@needs("nothing", anybody=NO_PILOT)
def favicon(services: ServicesDep) -> Response:
    """Browsers ask for it unasked; the pages name the SVG themselves."""
    icon = services.assets.get("icon.svg")
    if icon is None:
        raise Problem("not-found", "Icon not found.")
    return Response(icon.content, 200, {"Cache-Control": "public, max-age=86400"}, icon.media_type)
