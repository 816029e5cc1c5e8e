"""Somebody on the network between devices and the platform."""

from __future__ import annotations

import contextlib
import socket
import ssl
import stat
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from typer.testing import CliRunner

from techport.certificates import Files, make
from techport.cli import app
from techport.commands.run import check_exposure
from techport.errors import CannotRun
from techport.settings import load_settings
from tests.end_to_end.platforms import PILOT, Platform
from tests.ingest.running import eventually
from tests.servers.mosquitto import free_port

pytestmark = pytest.mark.heavy


def _device(port: int, ca: Path) -> Client:
    """A client that is connected with TLS, its name checked. Raises ssl.SSLError."""
    client = Client(CallbackAPIVersion.VERSION2)
    client.tls_set(ca_certs=str(ca))
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.connect("localhost", port)
    client.loop_start()
    assert connected.wait(30)
    return client


@pytest.mark.slow
@pytest.mark.parametrize("broker", ["mosquitto", "embedded"])
def test_devices_connect_with_tls_and_the_right_authority_only(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, others = make(tmp_path / "tls"), make(tmp_path / "others")
    monkeypatch.setenv("TECHPORT_BROKER_CERT", str(files.certificate))
    monkeypatch.setenv("TECHPORT_BROKER_KEY", str(files.key))
    pilot = tmp_path / "pilot.yaml"
    pilot.write_text(PILOT)
    with Platform(tmp_path, "up", "--pilot", str(pilot), "--broker", broker) as platform:
        device = _device(platform.mqtt_port, files.ca)
        payload = b'{"time": 1760000000, "pm10": 17.5}'
        device.publish("pilots/test-street/lamp-1/readings", payload, qos=1).wait_for_publish(30)
        path = "/api/v1/readings?pilot=test-street&quantity=pm10&start=2025-10-09T00:00:00Z&end=2025-10-10T00:00:00Z"
        eventually(lambda: len(platform.get(path)["items"]) == 1, "the platform itself reads through TLS, too")
        device.disconnect()
        device.loop_stop()
        platform.run("doctor")  # ends with 1 where it does not get through to the broker
        with pytest.raises(ssl.SSLCertVerificationError):
            _device(platform.mqtt_port, others.ca)
        with socket.create_connection(("127.0.0.1", platform.mqtt_port), timeout=30) as plain:
            plain.sendall(bytes([0x10, 13, 0, 4]) + b"MQTT" + bytes([4, 2, 0, 60, 0, 1]) + b"x")  # CONNECT
            with contextlib.suppress(ConnectionResetError):  # one way to refuse
                assert not plain.recv(4).startswith(b"\x20"), "no CONNACK without TLS"


def _techport(command: str, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "techport", command, "--data", str(folder / "data"), *flags]
    return subprocess.run(words, capture_output=True, text=True, cwd=folder, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--mqtt", "--http"])
@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_no_address_beyond_this_machine_without_tls(flag: str, host: str, tmp_path: Path) -> None:
    other = {"--mqtt": "--http", "--http": "--mqtt"}[flag]
    result = _techport("up", tmp_path, flag, f"{host}:{free_port()}", other, f"127.0.0.1:{free_port()}")
    assert result.returncode == 2
    assert "without TLS" in result.stderr
    assert "--insecure" in result.stderr


def test_a_certificate_without_its_key_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TECHPORT_BROKER_CERT", str(make(tmp_path / "tls").certificate))
    result = _techport("up", tmp_path)
    assert result.returncode == 2
    assert "broker_cert and broker_key belong together" in result.stderr


@pytest.mark.slow
def test_the_pages_speak_tls_and_the_command_line_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, others = make(tmp_path / "tls"), make(tmp_path / "others")
    monkeypatch.setenv("TECHPORT_HTTP_CERT", str(files.certificate))
    monkeypatch.setenv("TECHPORT_HTTP_KEY", str(files.key))
    port = free_port()
    command = [sys.executable, "-m", "techport", "up", "--data", str(tmp_path / "data"), "--http", f"0.0.0.0:{port}"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--mqtt", f"127.0.0.1:{free_port()}"], cwd=tmp_path, stderr=log)
    try:
        trusting = ssl.create_default_context(cafile=str(files.ca))

        def ready() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"https://localhost:{port}/healthz", verify=trusting).status_code == 200
            return False

        eventually(ready, "the pages answer over TLS, on an address beyond this machine")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"https://localhost:{port}/healthz", verify=ssl.create_default_context(cafile=str(others.ca)))
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://localhost:{port}/healthz")
        monkeypatch.delenv("TECHPORT_HTTP_CERT")  # another shell, without the settings of the service
        monkeypatch.delenv("TECHPORT_HTTP_KEY")
        audit = _techport("audit", tmp_path)
        assert audit.returncode == 0, audit.stderr
        assert f"https://127.0.0.1:{port} is ready" in _techport("doctor", tmp_path).stdout
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.slow
def test_a_proxy_that_is_trusted_does_tls() -> None:
    open_address = {"http": "0.0.0.0:8080", "mqtt": "127.0.0.1:1883"}
    check_exposure(load_settings({**open_address, "trusted_proxy": "192.0.2.1"}))
    check_exposure(load_settings({**open_address, "insecure": True}))
    with pytest.raises(CannotRun, match="without TLS"):
        check_exposure(load_settings(open_address))


@pytest.mark.parametrize("command", [["serve"], ["ingest"], ["up"]])
def test_every_command_that_listens_looks_where(command: list[str], tmp_path: Path) -> None:
    address = ["--http", "0.0.0.0:8080", "--data", str(tmp_path / "data")]
    result = CliRunner().invoke(app, [*command, *address])
    assert isinstance(result.exception, CannotRun)
    assert "without TLS" in str(result.exception)


@pytest.mark.slow
def test_simulated_devices_need_the_authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = make(tmp_path / "tls")
    monkeypatch.setenv("TECHPORT_BROKER_CERT", str(files.certificate))
    monkeypatch.setenv("TECHPORT_BROKER_KEY", str(files.key))
    result = _techport("demo", tmp_path)
    assert result.returncode == 2
    assert "set mqtt_ca" in result.stderr


def test_keys_are_for_their_owner_only_and_the_authority_stays(tmp_path: Path) -> None:
    def modes(files: Files) -> set[int]:
        return {stat.S_IMODE(file.stat().st_mode) for file in (files.key, files.ca.with_suffix(".key"))}

    first = make(tmp_path / "tls", ["broker.example", "192.0.2.7"])
    authority, certificate = first.ca.read_bytes(), first.certificate.read_bytes()
    assert modes(first) == {0o600}
    again = make(tmp_path / "tls")
    assert again.ca.read_bytes() == authority
    assert again.certificate.read_bytes() != certificate
    assert modes(again) == {0o600}
