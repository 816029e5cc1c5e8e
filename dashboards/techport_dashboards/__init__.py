"""What people see: the HTTP API for researchers and the pages for pilot teams. See dashboards/README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from techport_dashboards.app import create_app
    from techport_dashboards.settings import Health, WebSettings

__all__ = ["Health", "WebSettings", "create_app"]


def __getattr__(name: str) -> object:
    """Import the web server when it is asked for: processes that serve nothing use modules of this package, too."""
    if name == "create_app":
        from techport_dashboards import app

        return app.create_app
    if name in __all__:
        from techport_dashboards import settings

        return getattr(settings, name)
    raise AttributeError(name)
