"""What the wiring passes in. Nothing here reads the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from urllib.parse import urlsplit

from techport_dashboards.map_file import MapFile
from techport_pilots.access.operator_token import OperatorToken
from techport_pilots.access.sessions import IDLE, LASTS
from techport_pilots.accounting.device_budgets import DeviceLimits
from techport_pilots.devices.proposals import Propose
from techport_pilots.devices.snippets import BrokerAddress
from techport_pilots.handover.broker_messages import ForgetRetained, no_broker


@dataclass(frozen=True, slots=True)
class Tiles:
    """A tile server: the address of a tile with {z}, {x} and {y} in it, and whom to thank."""

    template: str
    attribution: str = ""
    deepest: int = 18

    @property
    def origin(self) -> str:
        """What a page's Content-Security-Policy must let its pictures come from; nothing more for tiles of our own."""
        parts = urlsplit(self.template)
        return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


@dataclass(frozen=True, slots=True)
class BrokerPlace:
    """The MQTT broker as devices reach it."""

    host: str
    port: int
    own: bool = True
    """It takes the credentials that are issued here; an external broker has its own."""
    tls: bool = False

    @property
    def address(self) -> BrokerAddress:
        return BrokerAddress(self.host, self.port, self.tls)


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """An identity provider with OpenID Connect, and what its groups mean here."""

    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    name: str = "OpenID Connect"
    scopes: str = "openid profile email"
    groups_claim: str = "groups"
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By group: administrator, ROLE:PILOT, member:ORGANISATION."""
    trust_email: bool = False
    """Take addresses for verified that the provider does not say are."""
    acr_values: str = ""


@dataclass(frozen=True, slots=True)
class WebSettings:
    """How the web app behaves. Times are seconds."""

    token: OperatorToken | None = None
    """What the operator signs in with. None: nobody can, and only open pilots are shown."""
    listens_on: str = "127.0.0.1"
    """Name or address of the server, one under which it may be asked for."""
    host_names: Sequence[str] = ()
    """Further names under which it may be asked for, beside that of `public_url`."""
    trusted_proxies: Sequence[IPv4Network | IPv6Network] = ()
    """Whose forwarding headers are believed."""
    provider: ProviderSettings | None = None
    """Through which people sign in. None: with passwords only."""
    local_passwords: bool = True
    """People with a password may sign in with it."""
    alert_seconds: float = 60.0
    """Between two looks at what needs somebody."""
    mail: bool = False
    """E-mails are sent: invitations, links to a new password."""
    session_lasts: int = LASTS
    session_idle: int = IDLE
    """After which a person's session ends, and ends unless it is used; µs."""
    public_url: str | None = None
    """The address that catalogue and citations name; None: the one that the request came to."""
    publisher: str = "techport"
    """Who publishes the catalogue."""
    publisher_email: str | None = None
    broker: BrokerPlace | None = None
    """For the code that a device's maker pastes."""
    observations_at_broker: bool = False
    """New readings are published there, as SensorThings has it."""
    zone: str = "Europe/Oslo"
    """For what belongs to no single pilot, such as a query over several."""
    language: str = "nb"
    """When a reader's browser asks for none that we have."""
    basemap: Path | None = None
    """Folder with GeoJSON outlines; without it the map draws our own outline of Trondheim."""
    map_tiles: Tiles | None = None
    map_file: MapFile | None = None
    """Where `map_tiles` are read from, if they are the platform's own."""
    """A server of map tiles to draw instead of outlines; browsers then ask that server."""
    page_size: int = 1_000
    """Items of a JSON answer when the caller does not say."""
    max_page_size: int = 50_000
    embed_sites: str = ""
    """Sites that may show embedded charts in a frame: origins between spaces, * for all; empty: only our own pages."""
    cors: bool = True
    """Let scripts in pages of other sites read what anybody may read without a credential."""
    rate_limit: int = 6_000
    """Requests of one client to the services of researchers in a minute; 0: any number."""
    live_most: int = 500
    live_of_client: int = 50
    """Live pages that may be open at once, of all and of one client; 0: any number."""
    slot_seconds: float = 30.0
    """How long a request waits for one of the threads that ask registry and store, before it is answered 503."""
    query_seconds: float = 30.0
    """After which an answer in pages is given up; those that stream take as long as they take."""
    max_scan: int = 500_000_000
    """Readings that one question in JSON may make the store look at: by what the store knows of itself, else by what
    the registry expects."""
    snapshots: Path | None = None
    """Folder of frozen answers. None: this process freezes none."""
    snapshots_most: int = 1_000
    snapshots_bytes: int = 10_000_000_000
    """How many there may be, and of how many bytes together."""
    packages: Path | None = None
    """Folder of closed pilots' packages. None: this process closes and opens none."""
    package_bytes: int = 10_000_000_000
    """How large a package that is sent may be."""
    spool: Path | None = None
    """Folder of answers while they are sent, whose files have no name. None: the system's for temporary files."""
    photos: Path | None = None
    """Folder of photos of devices. None: this process keeps none."""
    device_limits: DeviceLimits = field(default_factory=DeviceLimits)
    """What one device may send in an hour, as the workers have it."""
    background: bool = False
    """Whether KPIs are worked out before anybody asks."""
    propose: Propose | None = None
    """Finds a source for captured messages; None: nothing is proposed."""
    examples: Callable[[], Sequence[str]] = tuple
    """Definitions of example pilots, as the text of their files."""
    forget_retained: ForgetRetained = no_broker
    """Erases what a broker still holds of devices."""
    poll_interval: float = 0.1
    """Between two looks into the store while somebody watches."""
    heartbeat: float = 5.0
    """Between two signs of life to a live page; a page that misses three says "disconnected"."""


@dataclass(frozen=True, slots=True)
class Health:
    """Is the rest of the process ready? No problems means yes. Each problem says what is wrong and what to do."""

    problems: Sequence[str] = ()
    details: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)


HealthCheck = Callable[[], Health]


class NotTaken(Exception):
    """The broker did not say that it has the message."""


Post = Callable[[str, bytes], Future[None]]
"""Publishes a payload to a topic. The result is there when the broker has acknowledged it; NotTaken when it has not."""


def no_health() -> Health:
    """For a process that only serves pages: the store's own probe says the rest."""
    return Health()
