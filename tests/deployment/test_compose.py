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
from techport.settings import Settings
from tests.conftest import ROOT, unavailable
from tests.servers.influxd import find_influxd
from tests.servers.postgres import find as find_postgres

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("techport:")]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_kept_within_bounds(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", service["image"]), "an image is pinned to a version"
    limits = service["deploy"]["resources"]["limits"]
    assert limits.keys() == {"cpus", "memory"}
    assert service["read_only"] is True
    assert service["restart"] == ("no" if name.endswith("-init") else "unless-stopped")
    for published in service.get("ports", []):
        assert published.startswith("127.0.0.1:") or (name, published) == ("mosquitto", "8883:8883")


@pytest.mark.parametrize("name", OURS)
def test_our_services_run_what_the_code_has(name: str) -> None:
    service = SERVICES[name]
    assert service["user"].split(":")[0] != "0"
    known = {f"TECHPORT_{field.upper()}" for field in Settings.model_fields}
    assert set(service["environment"]) <= known
    program, *arguments = service["command"]
    assert program == "techport"
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and arguments and not arguments[0].startswith("--"):
        command = command.commands[arguments.pop(0)]
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= flags


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_refers_to_is_there(name: str) -> None:
    service = SERVICES[name]
    secrets = set(service.get("secrets", []))
    assert secrets <= COMPOSE["secrets"].keys()
    for value in map(str, service.get("environment", {}).values()):
        for secret in re.findall(r"/run/secrets/(\w+)", value):
            assert secret in secrets, f"{name} reads {secret} and is not given it"
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]
    for other in service.get("depends_on", {}):
        assert other in SERVICES


def test_the_broker_reads_only_secrets_it_is_given() -> None:
    text = (ROOT / "deploy/mosquitto/mosquitto.conf").read_text()
    assert set(re.findall(r"/run/secrets/(\w+)", text)) <= set(SERVICES["mosquitto"]["secrets"])
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


def test_workers_have_names_of_their_own() -> None:
    workers = [
        s["environment"]["TECHPORT_WORKER"] for s in SERVICES.values() if "TECHPORT_WORKER" in s.get("environment", {})
    ]
    assert len(workers) == len(set(workers)) == 2


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
    assert answer["token_mode"] == "0o600"
    assert answer["closed"]["state"] == "closed"
    (package,) = answer["closed"]["packages"]
    assert package["here"], "written by a command, and offered by the pages"
    assert package["rows"] > 0
