"""Swagger UI from our own files: the package's, below one address, with a start script instead of an inline one."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, HTMLResponse
from swagger_ui_bundle import swagger_ui_path

from techport_dashboards.problems import Problem
from techport_dashboards.web.access import NO_PILOT, needs

router = APIRouter(prefix="/docs", include_in_schema=False)

_FILES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "favicon-32x32.png": "image/png"}
_START = """window.onload = () => SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, tryItOutEnabled: true, validatorUrl: null,
  queryConfigEnabled: false
});
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>techport API</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""


@router.get("")
@needs("nothing", anybody=NO_PILOT)
def page() -> Response:
    """The API's description, to read and to try."""
    return HTMLResponse(_PAGE)


@router.get("/start.js")
@needs("nothing", anybody=NO_PILOT)
def start() -> Response:
    """Opens the description. Inline scripts are not allowed on our pages."""
    return Response(_START, media_type="text/javascript")


@router.get("/{name}")
@needs("nothing", anybody=NO_PILOT)
def asset(name: str) -> Response:
    """A file of Swagger UI."""
    if name not in _FILES:
        raise Problem("not-found", f"File {name[:80]!r} not found.")
    headers = {"Cache-Control": "public, max-age=86400"}
    return FileResponse(Path(swagger_ui_path) / name, media_type=_FILES[name], headers=headers)
