"""The chart in deploy/helm against the code, Docker Compose's cluster file, and the types of Kubernetes' API.

helm renders it and check-manifests decodes what comes out, without a cluster: see tests/servers/build_go.sh.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import typer
import yaml

from techport.cli import app
from techport.settings import NatsUrl, Settings
from tests.conftest import ROOT
from tests.servers.go_programs import find_program

pytestmark = pytest.mark.cluster

CHART = ROOT / "deploy/helm/techport"
CLUSTER = yaml.safe_load((ROOT / "docker-compose.cluster.yml").read_text())["services"]
VALUES = {
    "as it is": (),
    "with addresses": (
        "web.host=data.example.no",
        "web.tlsSecret=tls",
        "web.ingressClass=nginx",
        "broker.host=mqtt.example.no",
    ),
    "with other servers": (
        "store.secrets={influx}",
        "store.url=influxdb://influx:8086/techport/readings?token_file=/run/secrets/influx&writers=several",
        "registry.url=postgresql+psycopg://techport@db.example.no:5432/techport",
        "broker.servers=5",
    ),
    "with classes": (
        "broker.storageClass=fast",
        "store.storageClass=big",
        "web.storageClass=nfs",
        "settings.TECHPORT_RATE_LIMIT=100",
    ),
}


def flags(values: tuple[str, ...]) -> list[str]:
    """For helm, which takes commas for the end of a value."""
    set_ = [word for value in values for word in ("--set-string", value.replace(",", "\\,"))]
    return ["--kube-version", "v1.31.0", *set_]


def rendered(values: tuple[str, ...]) -> str:
    command = [find_program("helm"), "template", "city", str(CHART), *flags(values)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module", params=VALUES.values(), ids=VALUES)
def text(request: pytest.FixtureRequest) -> str:
    return rendered(request.param)


@pytest.fixture
def manifests(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def pods(manifests: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and specification of the pods that something makes."""
    for manifest in manifests:
        if "template" in manifest.get("spec", {}):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def containers(manifests: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for _, pod in pods(manifests):
        for container in pod["containers"]:
            yield container["name"], container


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "a-name") for entry in container.get("env", [])}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_helm_finds_nothing_wrong(values: tuple[str, ...]) -> None:
    command = [find_program("helm"), "lint", "--strict", str(CHART), *flags(values)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "WARNING" not in result.stdout


def test_every_manifest_is_of_kubernetes_types(text: str) -> None:
    result = subprocess.run([find_program("check-manifests")], input=text, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    kinds = result.stdout.split()
    assert {
        "StatefulSet/city-nats",
        "StatefulSet/city-ingest",
        "Deployment/city-web",
        "NetworkPolicy/city-nats",
    } <= set(kinds)
    assert len(kinds) == len(set(kinds))


def test_a_mistake_is_found() -> None:
    """So that the test above can fail."""
    broken = rendered(()).replace("readOnlyRootFilesystem", "readonlyRootFilesystem", 1)
    result = subprocess.run(
        [find_program("check-manifests")], input=broken, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "readonlyRootFilesystem" in result.stderr


def test_our_containers_run_what_the_code_has(manifests: list[dict[str, Any]]) -> None:
    ours = [
        (name, container) for name, container in containers(manifests) if container["image"].startswith("techport:")
    ]
    assert {"broker-access", "ingest", "web"} <= {name for name, _ in ours}
    for name, container in ours:
        for variable, value in variables(container).items():
            if variable != "POD_NAME":
                filled = value.replace("$(POD_NAME)", "city-nats-0")
                Settings(**{variable.removeprefix("TECHPORT_").lower(): filled})
        program, *arguments = container["command"]
        assert program == "techport", name
        command: Any = typer.main.get_command(app)
        while hasattr(command, "commands") and arguments and not arguments[0].startswith("--"):
            command = command.commands[arguments.pop(0)]
        flags = {flag for parameter in command.params for flag in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("--")} <= flags


def test_what_a_pod_refers_to_is_there(manifests: list[dict[str, Any]]) -> None:
    """Volumes, secrets that `make-secrets` makes, claims, maps, services and ports."""
    names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    makes = set(re.findall(r"\w+", (ROOT / "deploy/make-secrets").read_text()))
    for name, pod in pods(manifests):
        claims = next(
            (
                [claim["metadata"]["name"] for claim in manifest["spec"].get("volumeClaimTemplates", [])]
                for manifest in manifests
                if manifest["metadata"]["name"] == name and "template" in manifest.get("spec", {})
            ),
            [],
        )
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        given: set[str] = set()
        for volume in volumes.values():
            if "secret" in volume:
                given = {item["key"] for item in volume["secret"]["items"]}
                assert given - {"influx"} <= makes
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in names
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in names
        for container in pod["containers"]:
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted <= {*volumes, *claims}
            assert "tmp" in mounted, "the root file system cannot be written"
            values = [*variables(container).values(), *container.get("command", [])]
            needed = {secret for value in values for secret in re.findall(r"/run/secrets/(\w+)", value)}
            assert needed <= given, f"{name} reads {needed - given} and is not given it"
            ports = {port["name"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                for action in ("httpGet", "tcpSocket"):
                    port = container.get(probe, {}).get(action, {}).get("port")
                    assert port is None or port in ports


def test_every_container_is_kept_within_bounds(manifests: list[dict[str, Any]]) -> None:
    for name, pod in pods(manifests):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["limits"].keys() == {"cpu", "memory"}


def test_every_pod_has_a_policy_that_says_who_reaches_it(manifests: list[dict[str, Any]]) -> None:
    policies = [m["spec"]["podSelector"]["matchLabels"] for m in manifests if m["kind"] == "NetworkPolicy"]
    for manifest in manifests:
        if "template" in manifest.get("spec", {}):
            labels = manifest["spec"]["template"]["metadata"]["labels"]
            assert labels in policies, manifest["metadata"]["name"]
            selector = manifest["spec"].get("selector")
            assert selector is None or selector["matchLabels"] == labels


def test_services_select_pods_that_listen_there(manifests: list[dict[str, Any]]) -> None:
    by_labels = {
        frozenset(m["spec"]["template"]["metadata"]["labels"].items()): m["spec"]["template"]["spec"]
        for m in manifests
        if "template" in m.get("spec", {})
    }
    for manifest in manifests:
        if manifest["kind"] != "Service":
            continue
        pod = by_labels[frozenset(manifest["spec"]["selector"].items())]
        listening = [port for container in pod["containers"] for port in container.get("ports", [])]
        ports = {value for port in listening for value in (port["name"], port["containerPort"])}
        for port in manifest["spec"].get("ports", []):
            assert port.get("targetPort", port["port"]) in ports


def test_names_in_addresses_are_those_of_pods(manifests: list[dict[str, Any]]) -> None:
    sets = {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "StatefulSet"}
    hosts = {
        f"{name}-{number}.{spec['serviceName']}"
        for name, spec in sets.items()
        for number in range(int(spec["replicas"]))
    }
    for _, container in containers(manifests):
        environment = variables(container)
        if "NATS_PEERS" in environment:
            assert set(environment["NATS_PEERS"].split()) <= hosts
        broker = environment.get("TECHPORT_MQTT", "").replace("$(POD_NAME)", "city-nats-0")
        if broker:
            assert {server.host for server in NatsUrl.parse(broker).servers} <= hosts
        if (store := environment.get("TECHPORT_STORE", "")).startswith("iotdb:"):
            nodes = re.findall(r"([\w.-]+):6667", store)
            assert len(nodes) == 3
            assert set(nodes) <= hosts
        if "IOTDB_SEED" in environment:
            assert environment["IOTDB_SEED"].removesuffix(":10710") in hosts


def test_the_servers_are_those_of_the_compose_file() -> None:
    """Images, and the very files that start them."""
    manifests = [document for document in yaml.safe_load_all(rendered(())) if document]
    images = {container["image"] for _, container in containers(manifests)}
    assert images == {service["image"] for name, service in CLUSTER.items() if name != "proxy"}
    maps = {m["metadata"]["name"]: m["data"] for m in manifests if m["kind"] == "ConfigMap"}
    assert maps["city-nats"] == {name: (ROOT / "deploy/nats" / name).read_text() for name in ("nats.conf", "run")}
    assert maps["city-iotdb"] == {"run": (ROOT / "deploy/iotdb/run").read_text()}
    given = {variable for _, container in containers(manifests) for variable in variables(container)}
    assert {"NATS_PEERS", "NATS_MAX_FILE", "IOTDB_SEED", "IOTDB_ADDRESS", "IOTDB_HEAP", "IOTDB_DIRECT"} <= given
