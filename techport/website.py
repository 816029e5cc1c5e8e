"""The web server over the stores of this process."""

from __future__ import annotations

from techport.platform import Stores
from techport.settings import Settings
from techport_dashboards.app import create_app
from techport_dashboards.server import WebServer
from techport_dashboards.settings import BrokerPlace, Health, HealthCheck, WebSettings, no_health
from techport_ingest.lint import explain
from techport_ingest.pipeline import Pipeline


def web(settings: Settings, parts: Stores, health: HealthCheck = no_health) -> WebServer:
    """The web server, ready to run()."""
    app = create_app(
        parts.registry,
        parts.readings,
        parts.books,
        WebSettings(
            allow_remote=settings.allow_remote,
            changes=settings.changes,
            public_url=settings.public_url,
            publisher=settings.publisher,
            publisher_email=settings.publisher_email,
            broker=_broker(settings),
            basemap=settings.basemap,
            snapshots=settings.data / "snapshots",
            packages=settings.data / "packages",
        ),
        health,
        parts.metrics,
        explain,
    )
    return WebServer(app, settings.http_address.host, settings.http_address.port)


def _broker(settings: Settings) -> BrokerPlace:
    address = settings.mqtt_address
    return BrokerPlace(address.host, address.port, own=settings.broker != "external")


def pipeline_health(pipeline: Pipeline) -> HealthCheck:
    """What /readyz says of the pipeline."""

    def check() -> Health:
        state = pipeline.health()
        problems = []
        if not state.connected:
            problems.append("not connected to the MQTT broker; see `techport doctor`")
        if state.store_error:
            problems.append(f"the store does not take readings: {state.store_error}; messages wait at the broker")
        details = {"lag_seconds": state.lag_seconds, "last_commit": state.last_commit}
        return Health(problems, details)

    return check
