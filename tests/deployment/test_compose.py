"""docker-compose.yml against the code, and then run for real, as far as that goes without an engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from techport.cli import app
from techport.settings import NatsUrl, Settings
from tests.conftest import ROOT, unavailable
from tests.servers.go_programs import find_program
from tests.servers.influxd import find_influxd
from tests.servers.postgres import find as find_postgres

FILES: dict[str, dict[str, Any]] = {
    name: yaml.safe_load((ROOT / name).read_text()) for name in ("docker-compose.yml", "docker-compose.cluster.yml")
}
EVERY_SERVICE = [(file, name) for file, compose in FILES.items() for name in compose["services"]]
COMPOSE = FILES["docker-compose.yml"]
CLUSTER = FILES["docker-compose.cluster.yml"]
SERVICES: dict[str, Any] = COMPOSE["services"]
OF_DEVICES = {("mosquitto", "8883:8883"), ("nats-1", "8883:8883"), ("nats-2", "8884:8883"), ("nats-3", "8885:8883")}


def is_ours(service: dict[str, Any]) -> bool:
    image: str = service["image"]
    return image.startswith("techport:")


@pytest.mark.parametrize(("file", "name"), EVERY_SERVICE)
def test_every_service_is_kept_within_bounds(file: str, name: str) -> None:
    service = FILES[file]["services"][name]
    assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*(@sha256:[0-9a-f]{64})?", service["image"]), "pinned to a version"
    limits = service["deploy"]["resources"]["limits"]
    assert limits.keys() == {"cpus", "memory"}
    assert service["read_only"] is True
    assert service["restart"] == ("no" if name.endswith(("-init", "-account")) else "unless-stopped")
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"]), "not root"
    assert service.get("networks") or service["network_mode"] == "none", "never the network of all"
    for published in service.get("ports", []):
        assert published.startswith("127.0.0.1:") or (name, published) in OF_DEVICES


def _meets(service: str, compose: dict[str, Any] = COMPOSE) -> set[str]:
    """The services that it shares a network with."""
    services = compose["services"]
    networks = set(services[service].get("networks", []))
    return {name for name, other in services.items() if networks & set(other.get("networks", []))} - {service}


def test_services_meet_only_those_that_they_need() -> None:
    assert _meets("grafana") == {"influxdb"}
    assert _meets("simulator") == {"mosquitto", "ingest-1", "ingest-2", "web"}
    assert _meets("postgres") == {"broker-access", "ingest-1", "ingest-2", "web"}
    assert _meets("broker-access") == {"postgres", "ingest-1", "ingest-2", "web", "mosquitto"}
    assert "postgres" not in _meets("mosquitto")
    assert "influxdb" not in _meets("mosquitto")


def test_services_of_the_cluster_meet_only_those_that_they_need() -> None:
    workers = {"ingest-1", "ingest-2", "ingest-3"}
    web = {"web-1", "web-2"}
    nodes = {"iotdb-config", "iotdb-data-1", "iotdb-data-2", "iotdb-data-3"}
    assert _meets("proxy", CLUSTER) == web
    assert _meets("postgres", CLUSTER) == {"broker-access", *workers, *web}
    assert _meets("iotdb-data-1", CLUSTER) == {*workers, *web, *nodes, "store-init"} - {"iotdb-data-1"}
    assert not _meets("nats-1", CLUSTER) & {"postgres", "proxy", *nodes}


@pytest.mark.parametrize("compose", FILES.values(), ids=FILES)
def test_only_who_publishes_a_port_is_on_a_network_with_a_way_out(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, network in compose["networks"].items():
        members = [service for service, other in services.items() if name in other.get("networks", [])]
        published = [service for service in members if services[service].get("ports")]
        internal = bool(network and network.get("internal"))
        assert members, f"{name} is nobody's"
        assert internal or published == members, name


@pytest.mark.parametrize("compose", FILES.values(), ids=FILES)
def test_only_the_demo_has_the_account_of_the_simulator(compose: dict[str, Any]) -> None:
    holders = [
        service for service in compose["services"].values() if "mqtt_simulator_password" in service.get("secrets", [])
    ]
    assert holders
    assert all(service["profiles"] == ["demo"] for service in holders)


def test_grafana_never_sees_the_token_that_writes() -> None:
    def volumes(name: str) -> set[str]:
        return {volume.split(":")[0] for volume in SERVICES[name].get("volumes", [])}

    writing = volumes("store-init") & COMPOSE["volumes"].keys()
    assert writing
    assert not writing & volumes("grafana")
    assert "influx_operator_token" not in SERVICES["grafana"]["secrets"]


def test_what_is_downloaded_has_a_version_and_runs_no_scripts() -> None:
    makefile, dockerfile = (ROOT / "Makefile").read_text(), (ROOT / "Dockerfile").read_text()
    locked = re.findall(r"UV_VERSION := ([\d.]+)", makefile)
    assert locked == re.findall(r"pip install [^\n]*\buv==([\d.]+)", dockerfile)
    assert "npm ci --ignore-scripts" in makefile
    assert not re.findall(r"pip install[^\n]* uv(?!==)", makefile + dockerfile)


def test_pinning_images_writes_the_digests_of_the_engine(tmp_path: Path) -> None:
    for name in ("docker-compose.yml", "Dockerfile"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy/pin-images", tmp_path / "deploy/pin-images")
    script = tmp_path / "deploy/pin-images"
    refused = subprocess.run(
        [script], env={**os.environ, "ENGINE": "false"}, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "nothing was changed" in refused.stderr
    assert (tmp_path / "docker-compose.yml").read_text() == (ROOT / "docker-compose.yml").read_text()

    digest = "sha256:" + "1a" * 32
    engine = tmp_path / "engine"
    engine.write_text(f'#!/bin/sh\n[ "$2" = inspect ] && echo "docker.io/some@{digest}"\nexit 0\n')
    engine.chmod(0o755)
    for _ in range(2):  # a second time changes nothing
        subprocess.run([script], env={**os.environ, "ENGINE": str(engine)}, check=True, stdout=subprocess.DEVNULL)
        pinned = yaml.safe_load((tmp_path / "docker-compose.yml").read_text())["services"]
        for name, service in pinned.items():
            image = SERVICES[name]["image"].partition("@")[0]
            assert service["image"] == (image if image.startswith("techport:") else f"{image}@{digest}")
        froms = re.findall(r"^FROM (\S+)", (tmp_path / "Dockerfile").read_text(), re.MULTILINE)
        assert froms
        assert all(image.endswith(f"@{digest}") and image.count("@") == 1 for image in froms)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("profiles", [[], ["demo"], ["grafana"], ["demo", "grafana"]])
def test_docker_compose_itself_accepts_the_file(file: str, profiles: list[str], tmp_path: Path) -> None:
    flags = [word for profile in profiles for word in ("--profile", profile)]
    command = [find_program("docker-compose"), "--file", str(ROOT / file), *flags, "config", "--quiet"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stderr
    assert not result.stderr, "no warnings either"


@pytest.mark.slow
def test_docker_compose_refuses_a_mistake(tmp_path: Path) -> None:
    """So that the test above can fail."""
    broken = tmp_path / "docker-compose.yml"
    broken.write_text((ROOT / "docker-compose.yml").read_text().replace("cap_drop:", "cap_dorp:", 1))
    command = [find_program("docker-compose"), "--file", str(broken), "config", "--quiet"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode != 0
    assert "cap_dorp" in result.stderr


@pytest.mark.parametrize(
    ("file", "name"), [(file, name) for file, name in EVERY_SERVICE if is_ours(FILES[file]["services"][name])]
)
def test_our_services_run_what_the_code_has(file: str, name: str) -> None:
    service = FILES[file]["services"][name]
    known = {f"TECHPORT_{field.upper()}" for field in Settings.model_fields}
    assert set(service.get("environment", {})) <= known
    program, *arguments = service["command"]
    if name in ("demo-account", "volumes-init"):
        return  # only copies a file, or gives volumes their owners
    for variable, value in service.get("environment", {}).items():
        Settings(**{variable.removeprefix("TECHPORT_").lower(): value})  # a value that it takes
    assert program == "techport"
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and arguments and not arguments[0].startswith("--"):
        command = command.commands[arguments.pop(0)]
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= flags


@pytest.mark.parametrize(("file", "name"), EVERY_SERVICE)
def test_what_a_service_refers_to_is_there(file: str, name: str) -> None:
    compose = FILES[file]
    service = compose["services"][name]
    secrets = set(service.get("secrets", []))
    assert secrets <= compose["secrets"].keys()
    for value in map(str, [*service.get("environment", {}).values(), *service.get("command", [])]):
        for secret in re.findall(r"/run/secrets/(\w+)", value):
            assert secret in secrets, f"{name} reads {secret} and is not given it"
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith("./") else source in compose["volumes"]
    for other, condition in service.get("depends_on", {}).items():
        assert other in compose["services"]
        assert condition["condition"] == "service_completed_successfully" or "healthcheck" in compose["services"][other]


def test_the_broker_reads_only_secrets_it_is_given() -> None:
    text = (ROOT / "deploy/mosquitto/mosquitto.conf").read_text()
    assert set(re.findall(r"/run/secrets/(\w+)", text)) <= set(SERVICES["mosquitto"]["secrets"])
    assert {"broker-users:/broker:ro"} <= set(SERVICES["mosquitto"]["volumes"])
    assert set(re.findall(r"(?:password|acl)_file (\S+)", text)) == {
        "/broker/passwords",
        "/broker/access",
        "/mosquitto/config/acl-health",
    }
    for file in re.findall(r"/mosquitto/config/([\w-]+)", text):
        assert (ROOT / "deploy/mosquitto" / file).is_file()


def test_grafana_reads_the_token_that_is_made_for_it() -> None:
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/techport.yaml").read_text())[
        "datasources"
    ][0]
    token_file = re.findall(r"__file\{(.*)\}", source["secureJsonData"]["httpHeaderValue1"])[0]
    assert SERVICES["grafana-init"]["environment"]["TECHPORT_STORE"].endswith(f"token_file={token_file}")
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/pilot.json").read_text())
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}


@pytest.mark.parametrize(("compose", "workers"), [(COMPOSE, 2), (CLUSTER, 3)], ids=FILES)
def test_workers_have_names_of_their_own(compose: dict[str, Any], workers: int) -> None:
    environments = [service.get("environment", {}) for service in compose["services"].values()]
    names = [environment["TECHPORT_WORKER"] for environment in environments if "TECHPORT_WORKER" in environment]
    assert len(names) == len(set(names)) == workers


def test_the_cluster_names_the_servers_that_it_has() -> None:
    """In the addresses of broker and store, in the servers' own settings, in the certificate and behind the proxy."""
    services = CLUSTER["services"]
    servers = {name for name in services if name.startswith("nats-")}
    nodes = {name for name in services if name.startswith("iotdb-data-")}
    for service in services.values():
        environment = service.get("environment", {})
        if "NATS_PEERS" in environment:
            assert set(environment["NATS_PEERS"].split()) == servers
        if (broker := environment.get("TECHPORT_MQTT", "")).startswith("nats:"):
            assert {str(address) for address in NatsUrl.parse(broker).servers} == {f"{name}:4222" for name in servers}
        if "TECHPORT_STORE" in environment:
            assert set(re.findall(r"iotdb-data-\d+(?=:6667)", environment["TECHPORT_STORE"])) == nodes
    assert servers <= set(re.findall(r"DNS:(\S+?)[,\"]", (ROOT / "deploy/make-secrets").read_text()))
    upstream = set(re.findall(r"server (\S+):8080", (ROOT / "deploy/nginx/nginx.conf").read_text()))
    assert upstream == {name for name in services if name.startswith("web-")}
    assert re.search(r"^http_port: 8222", (ROOT / "deploy/nats/nats.conf").read_text(), re.MULTILINE)


@pytest.mark.parametrize("server", ["nats", "iotdb"])
def test_a_script_gives_the_variables_that_its_server_has(server: str) -> None:
    """Those that compose sets, and every one that the configuration names."""
    script = (ROOT / "deploy" / server / "run").read_text()
    given = {
        variable
        for service in CLUSTER["services"].values()
        for variable in service.get("environment", {})
        if variable.startswith(f"{server.upper()}_")
    }
    used = set(re.findall(r"\$\{?([A-Z_]+)", script))
    assert given - {"IOTDB_LISTENS"} <= used, "that one is for the health check"
    if server == "nats":
        named = set(re.findall(r"\$([A-Z_]+)", (ROOT / "deploy/nats/nats.conf").read_text()))
        assert named <= set(re.findall(r"[A-Z_]+", re.findall(r"export (.*)", script)[0]))


def test_volumes_get_the_owners_of_who_writes_there() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    owned = {
        folder: owner
        for owner, folders in re.findall(r"install -d -m 700 -o (\d+) -g \d+ ([^\n\\]+)", dockerfile)
        for folder in folders.split()
    }
    services = CLUSTER["services"]
    owners = dict(volume.split(":") for volume in services["volumes-init"]["volumes"])
    for name, service in services.items():
        for volume in service.get("volumes", []) if name.startswith(("nats-", "iotdb-")) else ():
            source, target, *mode = volume.split(":")
            if not source.startswith("./") and mode != ["ro"]:
                assert owned[owners[source]] == service["user"].split(":")[0], volume
                assert target in ("/data", "/iotdb/data")
                assert "volumes-init" in {*service["depends_on"], *services["iotdb-config"]["depends_on"]}


def test_the_image_copies_what_the_wheel_needs() -> None:
    text = (ROOT / "Dockerfile").read_text()
    copied = {word for line in text.splitlines() if line.startswith("COPY") for word in line.split()[1:-1]}
    assert {"techport", "ingest", "storage", "pilots", "dashboards", "simulators", "uv.lock"} <= copied
    assert all((ROOT / path).exists() for path in copied if not path.startswith(("/", "--")))


@pytest.mark.slow
def test_the_steps_of_the_image_work(tmp_path: Path) -> None:
    """What COPY copies, and what RUN runs in the build stage, with another place for the environment."""
    uv = shutil.which("uv", path=f"{os.environ['PATH']}:{ROOT / '.bootstrap/bin'}")
    if uv is None:
        unavailable("uv is not here: run `make install` first")
    build = (ROOT / "Dockerfile").read_text().split("\nFROM ")[1].replace("\\\n", " ")
    source = tmp_path / "src"
    source.mkdir()
    for line in build.splitlines():
        if line.startswith("COPY"):
            for name in line.split()[1:-1]:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
                copy(ROOT / name, source / name)
    steps = [line.removeprefix("RUN ") for line in build.splitlines() if line.startswith("RUN uv ")]
    assert len(steps) == 1
    script = steps[0].replace("/opt/techport", str(tmp_path / "techport"))
    environment = {**os.environ, "PATH": f"{Path(uv).parent}:{os.environ['PATH']}", "UV_PYTHON": sys.executable}
    ran = subprocess.run(script, shell=True, cwd=source, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    said = subprocess.run([tmp_path / "techport/bin/techport", "--help"], capture_output=True, text=True, check=True)
    assert "pilots in a living city" in said.stdout


@pytest.mark.slow
def test_the_whole_deployment_runs() -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        unavailable("needs root and unshare, to give the deployment the paths and names of its containers")
    if find_postgres() is None or shutil.which("mosquitto_sub") is None:
        unavailable("needs postgresql, mosquitto and mosquitto-clients: apt-get install them")
    find_influxd()
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
    with tempfile.TemporaryDirectory(prefix="techport-deployment-", ignore_cleanup_errors=True) as folder:
        command += [sys.executable, "-m", "tests.deployment.compose", folder]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stderr[-4000:]
    answer = json.loads(result.stdout.splitlines()[-1])
    assert answer["devices"] >= 40
    assert answer["ready"] == "ready"
    assert answer["shared_out"] == {"ingest-1": True, "ingest-2": True}
    assert answer["wrong_password"] != 0
    assert answer["simulator_without_demo"] != 0
    assert answer["users_mode"] == "0o600"
    assert answer["one_device"] == {
        "let_in": True,
        "pushed": 202,
        "arrived": True,
        "retained_and_after_erasing": [True, False],
        "hears_others": False,
        "wrote_as_another": False,
        "revoked": True,
    }
    assert answer["token_mode"] == "0o600"
    assert answer["closed"]["state"] == "closed"
    (package,) = answer["closed"]["packages"]
    assert package["here"], "written by a command, and offered by the pages"
    assert package["rows"] > 0


def test_nodes_of_the_cluster_have_the_settings_that_the_documentation_asks_for() -> None:
    setting_up = (ROOT / "docs/iotdb.md").read_text().partition("## Setting up")[2].partition("\n## ")[0]
    asked = set(re.findall(r"(?:^|`)([a-z_]+=[\w.]+)(?:$|`)", setting_up, re.MULTILINE))
    left_to_the_default = {"data_region_ratis_log_unsafe_flush_enable=false"}
    written = (ROOT / "deploy/iotdb/run").read_text().splitlines()
    assert len(asked) > 6
    assert asked - set(written) == left_to_the_default
