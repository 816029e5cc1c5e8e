"""Runs the NATS servers of docker-compose.cluster.yml without a container engine: the same script, configuration,
variables, host names, certificate and paths, as processes in a mount and network namespace of their own.

    unshare --mount --net --pid --fork --kill-child python -m tests.deployment.nats_servers FOLDER

Their users are written by `techport broker-access`. A worker's source and a device then reach them with TLS, by name.
Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from techport.platform import nats_settings
from techport.settings import Settings
from techport_ingest.sources.nats.source import NatsSource
from techport_pilots.access.credentials import Credentials
from techport_pilots.registry.registry import Registry
from tests.deployment.compose import ROOT, _bind
from tests.ingest.running import eventually, pilot, reading
from tests.servers.go_programs import find_program

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.cluster.yml").read_text())["services"]
SERVERS = [name for name in SERVICES if name.startswith("nats-")]


def main() -> None:
    folder = Path(sys.argv[1])
    prepare(folder)
    registry_url = f"sqlite:///{folder / 'registry.sqlite'}"
    registry = Registry.open(registry_url)
    registry.import_pilot(pilot(), "", "test")
    issued = Credentials(registry.database).issue("air", "lamp-1", "test")
    started = [access(folder, registry_url), *(server(folder, name) for name in SERVERS)]
    try:
        print(json.dumps(walk(issued.username, issued.password)), flush=True)  # noqa: T201 - the answer to the test
    finally:
        for process in started:
            process.terminate()


def prepare(folder: Path) -> None:
    """Paths and names as the containers see them; each server has an address of its own on the loopback."""
    addresses = {name: f"127.0.1.{number}" for number, name in enumerate(SERVERS, 1)}
    lines = [f"{address} {name}" for name, address in {"localhost": "127.0.0.1", **addresses}.items()]
    (folder / "hosts").write_text("\n".join(lines) + "\n")
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("secrets"))
    subprocess.run([folder / "deploy/make-secrets"], check=True, stdout=subprocess.DEVNULL)
    _bind(folder / "hosts", Path("/etc/hosts"))
    Path("/run/secrets").mkdir(exist_ok=True)
    _bind(folder / "deploy/secrets", Path("/run/secrets"))
    _bind(folder / "deploy/nats", Path("/nats"))
    (folder / "broker").mkdir()
    _bind(folder / "broker", Path("/broker"))
    (folder / "bin").mkdir()
    (folder / "bin/nats-server").symlink_to(find_program("nats-server"))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def access(folder: Path, registry: str) -> subprocess.Popen[bytes]:
    """The service that writes users."""
    service = SERVICES["broker-access"]
    environment = {**os.environ, **service["environment"], "TECHPORT_REGISTRY": registry}
    del environment["TECHPORT_REGISTRY_PASSWORD_FILE"]
    with (folder / "broker-access.log").open("wb") as log:
        command = [sys.executable, "-m", *service["command"]]
        return subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)


def server(folder: Path, name: str) -> subprocess.Popen[bytes]:
    """One of the servers."""
    service = SERVICES[name]
    state = folder / name
    state.mkdir()
    environment = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "NATS_LISTEN": name,
        "NATS_STATE": str(state),
        **{key: str(value) for key, value in service["environment"].items()},
    }
    with (folder / f"{name}.log").open("wb") as log:
        command = [*service["entrypoint"], *service["command"]]
        return subprocess.Popen(command, env=environment, cwd=state, stdout=log, stderr=log)


def walk(username: str, password: str) -> dict[str, Any]:
    """A worker pulls, a device publishes at each server, and one server's users change."""
    variables = SERVICES["ingest-1"]["environment"]
    given = {name.removeprefix("TECHPORT_").lower(): value for name, value in variables.items()}
    settings = Settings(**{name: value for name, value in given.items() if name.startswith("mqtt")})
    source = NatsSource(nats_settings(settings))
    eventually(lambda: source.connected, "the worker pulls", 60)
    arrived: list[int] = []
    for number, name in enumerate(SERVERS):
        device = Client(CallbackAPIVersion.VERSION2, f"device-{number}")
        device.tls_set("/run/secrets/mqtt_ca", tls_version=ssl.PROTOCOL_TLS_CLIENT)
        device.username_pw_set(username, password)
        device.connect(name, 8883)
        device.loop_start()
        device.publish("pilots/air/lamp-1/readings", reading(number), qos=1).wait_for_publish(20)
        device.disconnect()
        device.loop_stop()

        def taken() -> bool:
            messages = source.receive(0.2)
            source.ack(messages)
            arrived.extend(1 for message in messages if message.topic == "pilots/air/lamp-1/readings")
            return len(arrived) > number  # noqa: B023

        eventually(taken, "the reading is here")
    source.close()
    time.sleep(0.1)
    return {
        "arrived": len(arrived),
        "copies": source._settings.replicas,
        "mode": oct(Path("/broker/users.conf").stat().st_mode & 0o777),
    }


if __name__ == "__main__":
    main()
