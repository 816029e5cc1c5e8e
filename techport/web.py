"""The web server over the stores of this process."""

from __future__ import annotations

from concurrent.futures import Future

from techport.errors import CannotRun
from techport.platform import Stores, device_limits, forgetting, publishes_observations
from techport.settings import Settings
from techport_dashboards.app import create_app
from techport_dashboards.map_file import ADDRESS, MapFile, NoMapFile
from techport_dashboards.settings import (
    BrokerPlace,
    Health,
    HealthCheck,
    NotTaken,
    Post,
    ProviderSettings,
    Tiles,
    WebSettings,
    no_health,
)
from techport_dashboards.web.connections import ConnectionLimits
from techport_dashboards.web.server import Certificate, WebServer
from techport_ingest.decoding.lint import explain
from techport_ingest.decoding.proposing import propose
from techport_ingest.pipeline import Pipeline
from techport_ingest.sources.relay import Publisher
from techport_pilots.access.operator_token import OperatorToken
from techport_simulators.demo import example_pilots
from techport_storage.microseconds import DAY, HOUR


def web(
    settings: Settings,
    parts: Stores,
    health: HealthCheck = no_health,
    relay: Publisher | None = None,
    *,
    own_broker: bool = False,
) -> WebServer:
    """The web server, ready to run(). `relay` reaches the broker, which this process may run (`own_broker`), for what
    devices send over HTTP."""
    map_file = _map_file(settings)
    app = create_app(
        parts.registry,
        parts.readings,
        parts.ledger,
        WebSettings(
            listens_on=settings.http_address.host,
            host_names=settings.host_names.split(),
            trusted_proxies=settings.proxies,
            token=OperatorToken.of(settings.data),
            provider=_provider(settings),
            local_passwords=settings.local_passwords,
            alert_seconds=settings.alert_seconds,
            mail=settings.smtp is not None,
            session_lasts=settings.session_days * DAY,
            session_idle=settings.session_idle_hours * HOUR,
            public_url=settings.public_url,
            publisher=settings.publisher,
            publisher_email=settings.publisher_email,
            broker=_broker(settings),
            observations_at_broker=publishes_observations(settings, own_broker),
            embed_sites=settings.embed_sites,
            basemap=settings.basemap,
            map_tiles=_tiles(settings, map_file),
            map_file=map_file,
            cors=settings.cors,
            rate_limit=settings.rate_limit,
            live_most=settings.live_pages,
            live_of_client=settings.live_pages_of_client,
            slot_seconds=settings.slot_seconds,
            query_seconds=settings.query_seconds,
            max_scan=settings.query_readings,
            snapshots=settings.snapshots_folder,
            snapshots_most=settings.snapshots_most,
            snapshots_bytes=settings.snapshots_bytes,
            packages=settings.data / "packages",
            package_bytes=settings.package_bytes,
            spool=settings.data / "spool",
            photos=settings.photos_folder,
            device_limits=device_limits(settings),
            background=True,
            propose=propose,
            examples=example_pilots,
            forget_retained=forgetting(relay, parts.registry),
        ),
        health,
        parts.metrics,
        explain,
        None if relay is None else _post(relay),
    )
    limits = ConnectionLimits(connections=settings.connections, connections_of_client=settings.connections_of_client)
    address, tls = settings.http_address, None
    if settings.http_cert is not None and settings.http_key is not None:
        tls = Certificate(settings.http_cert, settings.http_key)
    return WebServer(app, address.host, address.port, limits=limits, tls=tls)


def _map_file(settings: Settings) -> MapFile | None:
    """The operator's file of map tiles. Raises CannotRun for one that cannot be used."""
    try:
        return None if settings.map_file is None else MapFile(settings.map_file)
    except NoMapFile as error:
        raise CannotRun(f"map_file: {error}") from None


def _tiles(settings: Settings, map_file: MapFile | None) -> Tiles | None:
    if map_file is not None:
        return Tiles(ADDRESS, settings.map_attribution or map_file.attribution, map_file.deepest)
    return Tiles(settings.map_tiles, settings.map_attribution) if settings.map_tiles else None


def _broker(settings: Settings) -> BrokerPlace:
    address, tls = settings.broker_of_devices
    return BrokerPlace(address.host, address.port, own=settings.broker != "external", tls=tls)


def _provider(settings: Settings) -> ProviderSettings | None:
    if settings.oidc_issuer is None:
        return None
    return ProviderSettings(
        issuer=settings.oidc_issuer,
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret(),
        name=settings.oidc_name,
        scopes=settings.oidc_scopes,
        groups_claim=settings.oidc_groups_claim,
        groups=settings.oidc_groups,
        trust_email=settings.oidc_trust_email,
        acr_values=settings.oidc_acr_values,
    )


def _post(relay: Publisher) -> Post:
    """The relay as the web app knows it."""

    def post(topic: str, payload: bytes) -> Future[None]:
        answer: Future[None] = Future()

        def taken(sent: Future[None]) -> None:
            if answer.set_running_or_notify_cancel():
                error = sent.exception()
                answer.set_result(None) if error is None else answer.set_exception(NotTaken(str(error)))

        relay.send(topic, payload).add_done_callback(taken)
        return answer

    return post


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
