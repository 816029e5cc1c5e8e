"""Addresses of devices, and below that of a shared feed: where they begin, and what stands behind it."""

from __future__ import annotations

from urllib.parse import quote

from starlette.types import Scope

PREFIX = "/shared/"
"""Addresses of shares begin with it; their key follows."""
SHARE_KEY = "techport.share_key"
"""In the scope of a request to a share: the key in its address."""
PREVIEWED = "techport.previewed"
"""In the scope of a request to a share by somebody who may share the pilot, which is not counted."""
MEMBER = "techport.member"
"""In the scope of a request to a share that is for members of an organisation: who it was, as the audit log says it."""


def device_path(pilot: str, device: str, page: str = "") -> str:
    """The path of a device's page, or of one below it, such as "/edit"; an id may have any letters."""
    return f"/pilots/{pilot}/devices/{quote(device, safe='')}{page}"


def route_path(scope: Scope) -> str:
    """The path as routes know it: of a share's address what follows its key."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else "/" if root and path == root else path


def below(scope: Scope, path: str) -> str:
    """The address of one of our paths in answer to this request: of a share, below its own."""
    return f"{scope.get('root_path', '')}{path}"
