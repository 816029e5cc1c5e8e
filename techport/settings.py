"""All settings, read once at the edge: flags, then TECHPORT_* variables, then a TOML file, then the defaults here.

docs/settings.md is made from these descriptions; a test compares them.
"""

from __future__ import annotations

import glob
import os
import re
import tomllib
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from techport_pilots.access.policy import ROLES

CONFIG_VARIABLE = "TECHPORT_CONFIG"
DEFAULT_CONFIG = Path("techport.toml")


REMOVED = {
    "allow_remote": "has had no effect and is gone: everybody needs a credential, wherever they are. Remove it",
    "web_changes": "is gone: who may change what is decided by roles. Give people who only look the role viewer",
}
"""Settings of earlier versions, and what to do instead."""


class Address(msgspec.Struct, frozen=True):
    """HOST:PORT of a server."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read "127.0.0.1:8080", "[::1]:8080" or ":8080" (loopback). Raises ValueError that says what would do."""
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{text!r} is not HOST:PORT; write for example 127.0.0.1:8080")
        return cls(host.strip("[]") or "127.0.0.1", int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone reaches it."""
        return self.host == "localhost" or self.host == "::1" or self.host.startswith("127.")

    @property
    def reachable(self) -> Address:
        """The address for a client on this machine, where it listens on all."""
        return Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host), self.port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class NatsUrl(msgspec.Struct, frozen=True):
    """nats://HOST:PORT,HOST:PORT,HOST:PORT: servers of one cluster."""

    servers: tuple[Address, ...]
    quality_0: bool = True  # take messages of QoS 0, too

    @classmethod
    def parse(cls, text: str) -> NatsUrl:
        """Raises ValueError that says what would do. The port is 4222 unless told."""
        place, _, query = text.removeprefix("nats://").partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True))
        quality_0 = options.pop("quality_0", "yes")
        wrong = not text.startswith("nats://") or "@" in place or not all(place.split(","))
        if wrong or options or quality_0 not in ("yes", "no"):
            raise ValueError(
                f"{text!r} is no cluster of NATS servers: write nats://HOST:PORT,HOST:PORT,HOST:PORT, and behind it "
                "?quality_0=no to leave messages of QoS 0; user and password are mqtt_username and mqtt_password_file"
            )
        servers = [server if re.search(r":[^\]]*$", server) else f"{server}:4222" for server in place.split(",")]
        return cls(tuple(map(Address.parse, servers)), quality_0 == "yes")

    def __str__(self) -> str:
        return f"nats://{','.join(map(str, self.servers))}{'' if self.quality_0 else '?quality_0=no'}"


class Settings(BaseSettings):
    """Settings of one techport process. Each field's description is its documentation."""

    model_config = SettingsConfigDict(env_prefix="TECHPORT_", extra="forbid", frozen=True)

    data: Path = Field(
        Path("data"), description="folder of everything this process keeps: readings, registry, broker state"
    )
    http: str = Field("127.0.0.1:8080", description="HOST:PORT of the pages and the API")
    mqtt: str = Field(
        "127.0.0.1:1883",
        description="HOST:PORT of the MQTT broker: where `up` starts one, `ingest` finds one; or "
        "nats://HOST:PORT,HOST:PORT,HOST:PORT, a cluster of NATS servers, see docs/nats.md",
    )
    broker: Literal["auto", "mosquitto", "embedded", "external"] = Field(
        "auto",
        description="who is the broker of `up`: mosquitto where it is installed, else the embedded one (auto); or one "
        "that already runs at the mqtt address (external)",
    )
    store: str | None = Field(
        None, description="URL of the time-series store; duckdb:///DATA/readings.duckdb unless told"
    )
    archive: str | None = Field(
        None,
        description="folder or s3://bucket/folder in which closed days are kept as Delta Lake tables; see "
        "docs/archive.md. None unless told",
    )
    archive_after_days: int = Field(
        2, ge=1, le=366, description="whole days after which a day goes into the archive; the same for all processes"
    )
    archive_keep_months: int = Field(
        0,
        ge=0,
        description="whole months before the present one that stay in the store; older readings are in the archive "
        "alone. 0: the store keeps everything",
    )
    store_address: str | None = Field(
        None,
        description="HOST:PORT on the loopback at which `up` lets other processes of this machine use its embedded "
        "store: `techport serve --store shared://HOST:PORT?token_file=DATA/token`",
    )
    registry: str | None = Field(
        None, description="URL of the registry database; sqlite:///DATA/registry.sqlite unless told"
    )
    registry_password_file: Path | None = Field(
        None, description="file that holds the password of the registry database, where its URL has a user and none"
    )
    registry_seconds: float = Field(
        10.0, gt=0, description="seconds that a PostgreSQL registry has for each answer before it counts as away"
    )
    worker: str = Field("ingest-1", description="stable name of this ingest worker; its session at the broker bears it")
    share: str | None = Field(
        None, description="group name of a shared subscription, when several workers share the load"
    )
    inflight: int = Field(
        10_000, ge=1, le=65_535, description="messages that may wait here for their commit; the broker holds the rest"
    )
    device_streams: int = Field(
        200, ge=0, description="names that no definition describes and that become streams of one device all the same"
    )
    device_values: int = Field(5_000_000, ge=1, description="values that one device may send in an hour")
    device_bytes: int = Field(1_000_000_000, ge=1, description="bytes that one device may send in an hour")
    device_quarantine_entries: int = Field(
        10_000,
        ge=1,
        description="quarantine entries and events of one device in an hour; what is beyond is counted only",
    )
    device_quarantine_bytes: int = Field(
        20_000_000, ge=1, description="bytes of messages that one device may put into quarantine in an hour"
    )
    mqtt_protocol: Literal["auto", "5", "3.1.1"] = Field(
        "auto", description="version of MQTT to speak with the broker; auto asks it when the process starts"
    )
    mqtt_observations: Literal["auto", "on", "off"] = Field(
        "auto",
        description="publish each new reading at the broker on v1.1/Datastreams(N)/Observations, as SensorThings has "
        "it: where the broker is `up`'s own (auto), always (on) or never (off)",
    )
    mqtt_username: str | None = Field(None, description="user name at the broker")
    mqtt_password: SecretStr | None = Field(None, description="password at the broker; better as mqtt_password_file")
    mqtt_password_file: Path | None = Field(None, description="file that holds the password at the broker")
    mqtt_ca: Path | None = Field(None, description="certificate authority of the broker (PEM); switches TLS on")
    mqtt_cert: Path | None = Field(None, description="client certificate (PEM)")
    mqtt_key: Path | None = Field(None, description="key of the client certificate (PEM)")
    broker_cert: Path | None = Field(
        None, description="certificate of `up`'s own broker, with its chain (PEM): devices then connect with TLS"
    )
    broker_key: Path | None = Field(None, description="key of that certificate (PEM)")
    device_ca: Path | None = Field(
        None,
        description="authority (PEM) whose certificates devices show in place of passwords, at `up`'s own mosquitto; "
        "needs broker_cert",
    )
    device_crl: Path | None = Field(None, description="list of certificates that this authority has revoked (PEM)")
    device_ca_port: int = Field(8884, ge=1, le=65_535, description="port for devices with such a certificate")
    device_broker: str | None = Field(
        None,
        description="address of the broker that devices are given to paste: mqtts://broker.example:8883, or mqtt:// "
        "where it has no TLS; the mqtt address unless told",
    )
    http_cert: Path | None = Field(
        None, description="certificate of the pages of `up`, with its chain (PEM): browsers then connect with TLS"
    )
    http_key: Path | None = Field(None, description="key of that certificate (PEM)")
    insecure: bool = Field(
        False, description="let `up` listen beyond this machine without TLS: passwords can then be read on the way"
    )
    basemap: Path | None = Field(
        None, description="folder of GeoJSON outlines to draw under the map instead of our own"
    )
    map_tiles: str = Field(
        "",
        description="address of a map tile with {z}, {x} and {y} in it, to draw instead of outlines; visitors' "
        "browsers then ask that server",
    )
    map_file: Path | None = Field(
        None,
        description="PMTiles file with pictures of map tiles, which the platform serves itself; instead of map_tiles",
    )
    map_attribution: str = Field("", description="whom the map thanks for its tiles, as their licence wants it")
    trusted_proxy: str = Field(
        "",
        description="addresses or networks of reverse proxies, between spaces, whose Forwarded or X-Forwarded headers "
        "say who asks; from everybody else such headers are refused",
    )
    host_names: str = Field(
        "",
        description="names under which the pages and the API may be asked for, between spaces, beside that of "
        "public_url, localhost and the http address",
    )
    embed_sites: str = Field(
        "",
        description="sites that may show embedded charts in a frame: origins such as https://www.example.org, between "
        "spaces; * lets every site",
    )
    session_days: int = Field(30, ge=1, le=366, description="days after which people have to sign in again")
    session_idle_hours: int = Field(
        72, ge=1, description="hours after which a session ends in which nobody has opened a page"
    )
    audit_days: int = Field(730, ge=1, le=36_500, description="days for which entries of the audit log are kept")
    local_passwords: bool = Field(True, description="let people who have a password sign in with it")
    oidc_issuer: str | None = Field(
        None,
        pattern=r"^https?://\S+$",
        description="identity provider through which people sign in: the address before "
        "/.well-known/openid-configuration",
    )
    oidc_name: str = Field("OpenID Connect", description="what the button calls the identity provider, such as Feide")
    oidc_client_id: str = Field("", description="what the identity provider calls this platform")
    oidc_client_secret_file: Path | None = Field(None, description="file that holds the secret of that client")
    oidc_scopes: str = Field("openid profile email", description="what the identity provider is asked for")
    oidc_groups_claim: str = Field("groups", description="claim in which the identity provider names groups")
    oidc_groups: dict[str, list[str]] = Field(
        default_factory=dict,
        description="what groups give: administrator, ROLE:PILOT or member:ORGANISATION, as "
        '`{"air-team" = ["owner:school-air"]}`',
    )
    oidc_trust_email: bool = Field(
        False,
        description="take e-mail addresses for verified that the identity provider does not say are; for one that "
        "gives them out itself, such as an organisation's Entra",
    )
    oidc_acr_values: str = Field("", description="level of assurance that the identity provider is asked for")
    smtp: str | None = Field(None, description="HOST:PORT of the mail server; e-mails are sent when it is set")
    smtp_tls: Literal["starttls", "tls", "none"] = Field("starttls", description="how the mail server speaks TLS")
    smtp_ca: Path | None = Field(
        None, description="certificate authority of the mail server (PEM); public ones unless given"
    )
    smtp_username: str | None = Field(None, description="user name at the mail server")
    smtp_password_file: Path | None = Field(None, description="file that holds the password at the mail server")
    mail_from: str = Field("techport@localhost", description="sender of e-mails")
    alert_seconds: float = Field(60, gt=0, description="how often the platform looks whether something needs somebody")
    private_webhooks: bool = Field(
        False,
        description="deliver to webhooks on this machine and in private networks too, which those who edit pilots name",
    )
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#]+[^\s?#]*$",
        description="address that the catalogue and citations name, such as https://data.example.no; the one that a "
        "request came to unless told",
    )
    publisher: str = Field("techport", description="who publishes the catalogue of open data")
    publisher_email: str | None = Field(None, description="where readers of the catalogue can write to")
    cors: bool = Field(
        True,
        description="let scripts in pages of other sites read what anybody may read without a credential, as open data",
    )
    rate_limit: int = Field(
        6_000,
        ge=0,
        description="requests of one client in a minute to the services for researchers, to pages, and of devices over "
        "HTTP, each; 0: any number",
    )
    live_pages: int = Field(500, ge=0, description="live pages that may be open at once; 0: any number")
    live_pages_of_client: int = Field(50, ge=0, description="of them, of one client; 0: any number")
    connections: int = Field(1_000, ge=0, description="connections that may be open at http at once; 0: any number")
    connections_of_client: int = Field(
        100,
        ge=0,
        description="of them, of one address; 0, any number, where a proxy stands in front and has its own limit",
    )
    slot_seconds: float = Field(
        30.0,
        gt=0,
        description="seconds that a request waits for one of the threads that ask store and registry before it is "
        "answered 503",
    )
    query_seconds: float = Field(
        30.0,
        gt=0,
        description="seconds after which an answer in one piece is given up; files stream for as long as it takes",
    )
    query_readings: int = Field(
        500_000_000,
        ge=1,
        description="readings that one answer in one piece may be made of; more are refused beforehand",
    )
    snapshots: Path | None = Field(None, description="folder of frozen answers; DATA/snapshots unless told")
    snapshots_most: int = Field(1_000, ge=0, description="how many snapshots may be kept")
    snapshots_bytes: int = Field(10_000_000_000, ge=0, description="how many bytes they may have together")
    package_bytes: int = Field(
        10_000_000_000, ge=0, description="how large a package that is sent to be opened may be, in bytes"
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="console in a terminal, JSON otherwise (auto)"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")

    @field_validator("http")
    @classmethod
    def _address(cls, text: str) -> str:
        return str(Address.parse(text))

    @field_validator("mqtt")
    @classmethod
    def _broker_address(cls, text: str) -> str:
        return str(NatsUrl.parse(text)) if text.startswith("nats:") else str(Address.parse(text))

    @field_validator("store_address")
    @classmethod
    def _shared(cls, text: str | None) -> str | None:
        if text is not None and not Address.parse(text).is_loopback:
            raise ValueError(f"{text!r} is reached by other machines, and what is said there is not encrypted")
        return text

    @field_validator("device_broker")
    @classmethod
    def _device_broker(cls, text: str | None) -> str | None:
        if text and not re.fullmatch(r"mqtts?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(:\d{1,5})?", text):
            raise ValueError(f"{text!r} is not a broker: write mqtts://broker.example:8883")
        return text

    @field_validator("smtp")
    @classmethod
    def _server(cls, text: str | None) -> str | None:
        return None if text is None else str(Address.parse(text))

    @field_validator("oidc_groups")
    @classmethod
    def _granted(cls, groups: dict[str, list[str]]) -> dict[str, list[str]]:
        for granted in (name_of_role for several in groups.values() for name_of_role in several):
            role, colon, name = granted.partition(":")
            if granted != "administrator" and not (colon and name and role in (*ROLES, "member")):
                raise ValueError(
                    f"{granted!r} is nothing that a group can give: write administrator, editor:PILOT (or another of "
                    f"{', '.join(ROLES)}) or member:ORGANISATION"
                )
        return groups

    @field_validator("map_tiles")
    @classmethod
    def _tiles(cls, text: str) -> str:
        whole = re.fullmatch(r"https?://[A-Za-z0-9._-]+(:\d{1,5})?/[^\s\"'<>;]*", text)
        if text and not (whole and all(part in text for part in ("{z}", "{x}", "{y}"))):
            raise ValueError(f"{text!r} is no address of tiles: write https://tiles.example.org/{{z}}/{{x}}/{{y}}.png")
        return text

    @field_validator("trusted_proxy")
    @classmethod
    def _networks(cls, text: str) -> str:
        for part in text.split():
            try:
                ip_network(part)
            except ValueError as error:
                raise ValueError(f"{part!r} is not an address or a network: write 192.0.2.1 or 192.0.2.0/24") from error
        return " ".join(text.split())

    @field_validator("embed_sites")
    @classmethod
    def _origins(cls, text: str) -> str:
        for origin in text.split():
            if not re.fullmatch(r"\*|https?://[A-Za-z0-9*._-]+(:\d{1,5})?", origin):
                raise ValueError(f"{origin!r} is no origin: write https://www.example.org, without a path, or *")
        return " ".join(text.split())

    @property
    def http_address(self) -> Address:
        return Address.parse(self.http)

    @property
    def proxies(self) -> list[IPv4Network | IPv6Network]:
        return [ip_network(part) for part in self.trusted_proxy.split()]

    @property
    def web_url(self) -> str:
        """The address at which a person opens the pages."""
        return (self.public_url or f"{'https' if self.http_cert else 'http'}://{self.http_address.reachable}").rstrip(
            "/"
        )

    @property
    def nats(self) -> NatsUrl | None:
        """The cluster of NATS servers, where that is the broker."""
        return NatsUrl.parse(self.mqtt) if self.mqtt.startswith("nats:") else None

    @property
    def mqtt_address(self) -> Address:
        """Where clients speak MQTT: at NATS servers, where devices do."""
        return Address.parse(self.mqtt) if self.nats is None else self.broker_of_devices[0]

    @property
    def broker_of_devices(self) -> tuple[Address, bool]:
        """Where devices reach the broker, and whether with TLS."""
        tls = bool(self.broker_cert or self.mqtt_ca)
        if not self.device_broker:
            nats = self.nats
            return self.mqtt_address if nats is None else Address(nats.servers[0].host, 8883 if tls else 1883), tls
        parts = urlsplit(self.device_broker)
        tls = parts.scheme == "mqtts"
        return Address(parts.hostname or "", parts.port or (8883 if tls else 1883)), tls

    @property
    def store_url(self) -> str:
        return self.store or f"duckdb:///{self.data.resolve() / 'readings.duckdb'}"

    @property
    def embedded(self) -> bool:
        """Whether the store is a file that one process alone may open."""
        return self.store_url.startswith("duckdb:")

    @property
    def registry_url(self) -> str:
        url = self.registry or f"sqlite:///{self.data.resolve() / 'registry.sqlite'}"
        if self.registry_password_file is None:
            return url
        user, at, place = url.partition("@")
        if not at:
            raise SettingsError(f"registry_password_file is set, but the registry URL names no user: {url}")
        return f"{user}:{quote(_secret(self.registry_password_file), safe='')}@{place}"

    @property
    def snapshots_folder(self) -> Path:
        return self.snapshots or self.data / "snapshots"

    @property
    def photos_folder(self) -> Path:
        return self.data / "photos"

    def files(self) -> list[Path]:
        """The files of registry and store, where they are files of this machine, with their logs."""
        paths = [re.fullmatch(r"(?:sqlite|duckdb):///([^?]+).*", url) for url in (self.registry_url, self.store_url)]
        return [
            file
            for path in paths
            if path is not None
            for file in Path(path[1]).parent.glob(f"{glob.escape(Path(path[1]).name)}*")
        ]

    def password(self) -> str | None:
        """The broker password, from the file where one is named."""
        if self.mqtt_password_file is not None:
            return _secret(self.mqtt_password_file)
        return self.mqtt_password.get_secret_value() if self.mqtt_password else None

    @property
    def smtp_address(self) -> Address:
        return Address.parse(self.smtp or "127.0.0.1:25")

    def smtp_password(self) -> str | None:
        return None if self.smtp_password_file is None else _secret(self.smtp_password_file)

    def oidc_client_secret(self) -> str | None:
        return None if self.oidc_client_secret_file is None else _secret(self.oidc_client_secret_file)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, _config_file())


class SettingsError(Exception):
    """Settings that cannot be used; the text names the setting, what was wrong, and where settings come from."""


def load_settings(flags: Mapping[str, Any]) -> Settings:
    """Settings from the flags that were given (None means: not given), the environment and the TOML file.

    Raises SettingsError.
    """
    for name, advice in REMOVED.items():
        if f"TECHPORT_{name.upper()}" in os.environ:
            raise SettingsError(f"TECHPORT_{name.upper()}: {advice}. See docs/access.md")
    config = _config_file()
    if config is None and os.environ.get(CONFIG_VARIABLE):
        raise SettingsError(f"{CONFIG_VARIABLE} names {os.environ[CONFIG_VARIABLE]}, which is not there")
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        lines = [
            f"{e['loc'][0]}: {REMOVED[str(e['loc'][0])]}"
            if e["loc"][:1] and str(e["loc"][0]) in REMOVED
            else f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')} (got {e['input']!r})"
            if "password" not in map(str, e["loc"])
            else f"{'.'.join(map(str, e['loc']))}: {e['msg']}"
            for e in error.errors()
        ]
        raise SettingsError("settings: " + "; ".join(lines) + ". See docs/settings.md") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{config}: not TOML: {error}") from error


def _secret(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError as error:
        raise SettingsError(f"cannot read the password file {file}: {error.strerror}") from error


def _config_file() -> Path | None:
    path = Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG)
    return path if path.is_file() else None


def settings_table() -> str:
    """The table of docs/settings.md: setting, variable, default, meaning."""
    rows = ["| setting (TOML) | variable | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = (
            ""
            if field.default is None or field.default_factory is not None
            else f"`{str(field.default).lower() if field.default in (True, False) else field.default}`"
        )
        rows.append(f"| `{name}` | `TECHPORT_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"
