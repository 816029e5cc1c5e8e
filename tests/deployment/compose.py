"""Runs docker-compose.yml without a container engine: the same commands, configuration files, variables, host names and
paths, as processes in a mount and network namespace of their own.

    unshare --mount --net --pid --fork --kill-child python -m tests.deployment.compose FOLDER

What an engine would do and this does not: images, users of the techport processes, read-only roots, limits, published
ports. What the images' entry points do is done here by hand: initdb with its user and password, and InfluxDB's set-up.
Prints one JSON object a line; ends when standard input does.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.servers.influxd import find_influxd
from tests.servers.postgres import find as find_programs

ROOT = Path(__file__).resolve().parents[2]
MOSQUITTO_USER = 1883
AS_MOSQUITTO = ["setpriv", f"--reuid={MOSQUITTO_USER}", f"--regid={MOSQUITTO_USER}", "--clear-groups"]
AS_MOSQUITTO += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
"""Owns what it writes, and may read our environment, wherever that is: in a container it is in the image."""
PATH = f"{Path(sys.executable).parent}:/usr/sbin:{os.environ['PATH']}"


class Deployment:
    """The services of the compose file, started as compose would: each when those it depends on are well."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def prepare(self) -> None:
        """Paths and names as the containers see them: bind mounts, and every service name on the loopback."""
        names = "\n".join(f"127.0.0.1 {name}" for name in ("localhost", *self.services))
        (self.folder / "hosts").write_text(names + "\n")
        (self.folder / "hosts").chmod(0o644)  # the servers' own users read it, whatever our umask is
        secrets = self.folder / "secrets"
        shutil.copytree(ROOT / "deploy", self.folder / "deploy", ignore=shutil.ignore_patterns("secrets"))
        subprocess.run([self.folder / "deploy/make-secrets"], check=True, stdout=subprocess.DEVNULL)
        shutil.move(self.folder / "deploy/secrets", secrets)
        for path in ("data", "mosquitto", "tokens", "broker", "demo"):
            (self.folder / path).mkdir(0o700)
        for path in ("mosquitto", "broker", "demo"):
            os.chown(self.folder / path, MOSQUITTO_USER, MOSQUITTO_USER)
        self.folder.chmod(0o755)
        _bind(self.folder / "hosts", Path("/etc/hosts"))
        Path("/run/secrets").mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/secrets"], check=True)
        for secret in secrets.iterdir():  # one by one, as an engine does: the folder itself is closed to others
            (Path("/run/secrets") / secret.name).touch()
            _bind(secret, Path("/run/secrets") / secret.name)
        _bind(self.folder / "deploy/mosquitto", Path("/mosquitto/config"))
        _bind(self.folder / "mosquitto", Path("/mosquitto/data"))
        _bind(self.folder / "data", Path("/data"))
        for path in ("tokens", "broker", "demo"):
            _bind(self.folder / path, Path(f"/{path}"))
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

    def start(self, name: str) -> None:
        """Start a service and what it depends on, and return when it is well or, where it only prepares, done."""
        if name in self.running:
            return
        service = self.services[name]
        for other in service.get("depends_on", {}):
            self.start(other)
        environment = {str(k): str(v) for k, v in service.get("environment", {}).items()}
        log = (self.folder / f"{name}.log").open("wb")
        own = self.folder / "work" / name  # instead of the /tmp that each container has to itself
        own.mkdir(parents=True)
        as_user = AS_MOSQUITTO if service.get("user") == f"{MOSQUITTO_USER}:{MOSQUITTO_USER}" else []
        self.running[name] = subprocess.Popen(
            [*as_user, *self._command(name, service, environment)],
            env={
                "PATH": f"{Path(sys.executable).parent}:/usr/sbin:{os.environ['PATH']}",
                "HOME": "/tmp",
                **environment,
            },
            cwd=own,
            stdout=log,
            stderr=log,
        )
        if service["restart"] == "no":
            assert self.running[name].wait(120) == 0, (self.folder / f"{name}.log").read_text()
        else:
            self._until_well(name, service)

    def _command(self, name: str, service: dict[str, Any], environment: dict[str, str]) -> list[str]:
        if name == "postgres":
            return self._postgres(environment)
        if name == "influxdb":
            state = self.folder / "influxdb"
            return [str(find_influxd()), f"--bolt-path={state}.bolt", f"--engine-path={state}", "--reporting-disabled"]
        return [*service.get("entrypoint", []), *service["command"]]

    def _postgres(self, environment: dict[str, str]) -> list[str]:
        programs = find_programs()
        assert programs is not None
        data = self.folder / "postgres"
        data.mkdir()
        shutil.chown(data, "postgres")
        secret = environment["POSTGRES_PASSWORD_FILE"]
        as_user = ["runuser", "-u", "postgres", "--"]
        user = environment["POSTGRES_USER"]
        command = [programs / "initdb", "-D", data, "-U", user, "--pwfile", secret, "--auth", "scram-sha-256"]
        subprocess.run([*as_user, *map(str, command)], check=True, stdout=subprocess.DEVNULL, cwd="/")
        return [*as_user, str(programs / "postgres"), "-D", str(data), "-k", str(data)]

    def _until_well(self, name: str, service: dict[str, Any]) -> None:
        until = time.monotonic() + 300  # machines may be busy
        while not self._well(name, service):
            log = (self.folder / f"{name}.log").read_text()[-2000:]
            assert self.running[name].poll() is None, f"{name} ended:\n{log}"
            assert time.monotonic() < until, f"{name} is not well:\n{log}"
            time.sleep(0.3)
        if name == "influxdb":
            self._set_up_influxdb(service["environment"])
        if name == "postgres":
            self._create_database(service["environment"])

    def _well(self, name: str, service: dict[str, Any]) -> bool:
        """The service's own health check, where its tool is here."""
        if name == "influxdb":  # `influx ping` comes with the image
            return _answers("http://influxdb:8086/ping")
        test = (
            [word.replace("$$", "$") for word in service["healthcheck"]["test"][1:]]
            if "healthcheck" in service
            else ["true"]
        )
        if name == "postgres":
            programs = find_programs()
            assert programs is not None
            test = [str(programs / test[0]), "-h", "127.0.0.1", *test[1:]]
        environment = {**os.environ, **{str(k): str(v) for k, v in service.get("environment", {}).items()}}
        environment["PATH"] = PATH
        return subprocess.run(test, env=environment, capture_output=True, check=False).returncode == 0

    def _set_up_influxdb(self, environment: dict[str, str]) -> None:
        prefix = "DOCKER_INFLUXDB_INIT_"
        body = {
            "username": environment[f"{prefix}USERNAME"],
            "password": Path(environment[f"{prefix}PASSWORD_FILE"]).read_text().strip(),
            "token": Path(environment[f"{prefix}ADMIN_TOKEN_FILE"]).read_text().strip(),
            "org": environment[f"{prefix}ORG"],
            "bucket": environment[f"{prefix}BUCKET"],
        }
        request = urllib.request.Request("http://influxdb:8086/api/v2/setup", json.dumps(body).encode())
        urllib.request.urlopen(request, timeout=30).read()

    def _create_database(self, environment: dict[str, str]) -> None:
        import psycopg

        password = Path(environment["POSTGRES_PASSWORD_FILE"]).read_text().strip()
        user, name = environment["POSTGRES_USER"], environment["POSTGRES_DB"]
        with psycopg.connect(
            host="postgres", user=user, password=password, dbname="postgres", autocommit=True
        ) as server:
            server.execute(f'CREATE DATABASE "{name}"')


def _bind(source: Path, target: Path) -> None:
    """Mount `source` at `target`, making the latter. Only in our own mount namespace."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", source, target], check=True)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def _get(path: str) -> Any:
    return json.loads(_ask(f"http://127.0.0.1:8080{path}", Path("/data")))


def _ask(url: str, data: Path) -> bytes:
    """The answer to who has the token in the data folder."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {(data / 'token').read_text()}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        body: bytes = answer.read()
    return body


def _devices(items: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(item["pilot"], item["device"]) for item in items}


def _messages(deployment: Deployment, worker: str) -> float:
    """How many messages the worker has settled, by its own /metrics."""
    address = deployment.services[worker]["environment"]["TECHPORT_HTTP"]
    text = _ask(f"http://{address}/metrics", deployment.folder / "work" / worker / "data").decode()
    return sum(
        float(line.split()[1]) for line in text.splitlines() if line.startswith("techport_ingest_messages_total")
    )


def _command(deployment: Deployment, *words: str) -> str:
    """A command beside the pages, as `docker compose exec web techport ...` runs it."""
    environment = {**os.environ, **{k: str(v) for k, v in deployment.services["web"]["environment"].items()}}
    command = [sys.executable, "-m", "techport", *words]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def _publish(user: str, password: str, topic: str, payload: str = "{}", *more: str) -> int:
    """Exit code of mosquitto_pub, as a device in the street would start it. 0 means acknowledged."""
    command = ["mosquitto_pub", "-V", "5", "-h", "mosquitto", "-p", "8883", "--cafile", "/run/secrets/mqtt_ca"]
    command += ["-u", user, "-P", password, "-q", "1", "-t", topic, "-m", payload, *more]
    return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode


def _hears(user: str, password: str, topic: str, *more: str) -> bool:
    command = ["mosquitto_sub", "-h", "mosquitto", "-p", "8883", "--cafile", "/run/secrets/mqtt_ca"]
    command += ["-u", user, "-P", password, "-t", topic, "-C", "1", "-W", "3", *more]
    return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0


def _secret(name: str) -> str:
    return Path("/run/secrets", name).read_text().strip()


def _eventually(condition: Callable[[], bool], seconds: float = 60) -> bool:
    until = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < until:
        time.sleep(0.5)
    return holds


def _values(pilot: str, device: str) -> set[float]:
    query = f"pilot={pilot}&device={device}&quantity=pm10&start=-PT1H&limit=100"
    return {item["value"] for item in _get(f"/api/v1/readings?{query}")["items"]}


def _one_device(deployment: Deployment, pilot: str) -> dict[str, Any]:
    """A device is given a credential while everything runs, publishes over MQTT and HTTP, and is revoked."""
    added = _command(deployment, "device", "add", pilot, "box-1", "--quantity", "pm10", "--for", "mosq")
    password = re.findall(r"\b[0-9a-f]{32}\b", added)[0]
    user, topics = f"{pilot}/box-1", f"pilots/{pilot}/box-1"
    let_in = _eventually(lambda: _publish(user, password, f"{topics}/readings", '{"pm10": 17.5}') == 0)
    _publish(user, password, f"pilots/{pilot}/somebody-else/readings", '{"pm10": 99.5}')
    request = urllib.request.Request("http://127.0.0.1:8080/push/native", b'{"pm10": 18.5}')
    request.add_header("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        pushed = answer.status
    arrived = _eventually(lambda: {17.5, 18.5} <= _values(pilot, "box-1"))
    _publish(user, password, f"{topics}/status", "of somebody", "-r")
    retained = [_retained(topics)]
    _command(deployment, "retention", "erase", pilot, "--device", "box-1", "--yes")
    retained.append(_retained(topics))
    _command(deployment, "device", "revoke", pilot, "box-1")
    return {
        "retained_and_after_erasing": retained,
        "let_in": let_in,
        "pushed": pushed,
        "arrived": arrived,
        "hears_others": _hears(user, "wrong", "#") or _hears("web", _secret("mqtt_web_password"), "pilots/#"),
        "wrote_as_another": bool(_quarantined_or_stored(pilot, "somebody-else")),
        "revoked": _eventually(lambda: _publish(user, password, f"{topics}/readings") != 0),
    }


def _retained(topics: str) -> bool:
    """Whether the broker holds a message of the device."""
    return _hears("ingest", _secret("mqtt_ingest_password"), f"{topics}/#", "--retained-only")


def _quarantined_or_stored(pilot: str, device: str) -> list[Any]:
    items = [*_get("/api/v1/latest")["items"], *_get(f"/api/v1/pilots/{pilot}/quarantine")["items"]]
    return [item for item in items if item.get("device") == device]


def _walk(deployment: Deployment) -> dict[str, Any]:
    """Bring the deployment up with its simulator, and tell what web and the workers say."""
    for name in ("mosquitto", "postgres", "influxdb", "store-init", "ingest-1", "ingest-2", "web"):
        deployment.start(name)
    definitions = sorted((ROOT / "simulators/techport_simulators/pilots").glob("*.yaml"))
    for file in definitions:
        _command(deployment, "pilot", "import", str(file))
    without_demo = _publish("simulator", _secret("mqtt_simulator_password"), "pilots/x/y/readings")
    one_device = _one_device(deployment, definitions[1].stem)
    deployment.services["simulator"]["command"][-1] = "0"  # hours of history: none, to be quick
    deployment.start("simulator")
    until = time.monotonic() + 300
    while len(_devices(items := _get("/api/v1/latest")["items"])) < 40 and time.monotonic() < until:
        time.sleep(0.5)
    for step in (["start"], ["end"], ["close", "--yes"]):
        _command(deployment, "pilot", step[0], definitions[0].stem, *step[1:])
    return {
        "closed": _get(f"/api/v1/pilots/{definitions[0].stem}/life"),
        "latest": len(items),
        "devices": len(_devices(items)),
        "ready": _get("/readyz")["status"],
        "shared_out": {name: _messages(deployment, name) > 0 for name in ("ingest-1", "ingest-2")},
        "wrong_password": _publish("simulator", "wrong", "pilots/x/y/readings"),
        "simulator_without_demo": without_demo,
        "one_device": one_device,
        "users_mode": oct(Path("/broker/passwords").stat().st_mode & 0o777),
        "token_mode": oct(Path("/tokens/influx").stat().st_mode & 0o777),
    }


def main() -> None:
    deployment = Deployment(Path(sys.argv[1]))
    deployment.prepare()
    print(json.dumps(_walk(deployment)), flush=True)  # noqa: T201 - the answer to the test
    for process in deployment.running.values():
        process.terminate()


if __name__ == "__main__":
    main()
