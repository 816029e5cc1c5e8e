"""What people see: the HTTP API for researchers and the pages for pilot teams. See dashboards/README.md."""

from techport_dashboards.app import create_app
from techport_dashboards.settings import Health, WebSettings

__all__ = ["Health", "WebSettings", "create_app"]
