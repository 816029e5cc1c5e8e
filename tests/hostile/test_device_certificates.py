"""Devices with certificates of the operator's authority, at a real mosquitto."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from techport import certificates
from techport.certificates import Files
from techport_ingest.brokers.auth import AccessFiles, PlatformUser
from techport_ingest.brokers.mosquitto import DeviceCertificates, Mosquitto, MosquittoSettings, find_mosquitto
from techport_pilots.access.credentials import Credential
from tests.end_to_end.platforms import PILOT, Platform
from tests.ingest.running import eventually
from tests.servers.mosquitto import free_port

pytestmark = pytest.mark.heavy
LAMP = Credential(username="air/lamp-1", pilot="air", device="lamp-1", password="$7$1$AA==$AA==", who="", at=0)
NOW = dt.datetime.now(dt.UTC)


class Authority:
    """The operator's, which gives devices their certificates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = certificates.make(folder)
        self.file = self._files.ca
        self._name = x509.load_pem_x509_certificate(self.file.read_bytes()).subject
        key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key

    def issue(self, name: str, number: int, *, begins: dt.datetime = NOW - dt.timedelta(days=2)) -> Files:
        """A certificate for the next day and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(number)
            .not_valid_before(begins)
            .not_valid_after(begins + dt.timedelta(days=3))
            .sign(self._key, hashes.SHA256())
        )
        files = Files(self.file, self.folder / f"{number}.pem", self.folder / f"{number}.key")
        files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        files.key.write_bytes(key.private_bytes(pem, pkcs8, plain))
        return files

    def revoke(self, file: Path, *numbers: int) -> Path:
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name).last_update(NOW)
        builder = builder.next_update(NOW + dt.timedelta(days=1))
        for number in numbers:
            revoked = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(NOW).build()
            builder = builder.add_revoked_certificate(revoked)
        file.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return file


class Broker:
    def __init__(self, folder: Path) -> None:
        self.server = certificates.make(folder / "server")
        self.authority = Authority(folder / "authority")
        self.known = [LAMP]
        self.port, self.with_certificate = free_port(), free_port()
        executable = find_mosquitto()
        if executable is None:
            pytest.skip("mosquitto is not installed")
        own = PlatformUser("techport-5c1f", "as `up` names it: not to be guessed")
        self.access = AccessFiles(folder / "broker", lambda: self.known, False, lambda: [own])
        self.access.write()
        self.revoked = self.authority.revoke(folder / "revoked.pem", 7)
        self.mosquitto = Mosquitto(
            MosquittoSettings(
                folder=folder / "broker",
                executable=executable,
                host="0.0.0.0",  # where clients need a credential
                port=self.port,
                certificate=self.server.certificate,
                key=self.server.key,
                extra=self.access.configuration,
                certificates=DeviceCertificates(
                    port=self.with_certificate, authority=self.authority.file, revoked=self.revoked
                ),
            )
        )

    def connect(self, device: Files | None, port: int | None = None) -> Client | None:
        """A connected client; None where it is refused."""
        client = Client(CallbackAPIVersion.VERSION2, client_id="made-up", protocol=5)
        files = {} if device is None else {"certfile": str(device.certificate), "keyfile": str(device.key)}
        client.tls_set(ca_certs=str(self.server.ca), **files)
        answered, accepted = threading.Event(), threading.Event()

        def on_connect(_: object, __: object, ___: object, reason: ReasonCode, ____: object) -> None:
            if not reason.is_failure:
                accepted.set()
            answered.set()

        client.on_connect = on_connect  # type: ignore[assignment]
        client.on_disconnect = lambda *_: answered.set()
        with contextlib.suppress(ssl.SSLError, ConnectionResetError):
            client.connect("localhost", port or self.with_certificate)
            client.loop_start()
            answered.wait(10)
            if accepted.is_set():
                return client
            client.loop_stop()
        return None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    broker.mosquitto.start()
    yield broker
    broker.mosquitto.stop()


def may_publish(client: Client, topic: str) -> bool:
    """By the reason in mosquitto's acknowledgement (MQTT 5)."""
    reasons: list[ReasonCode] = []
    acknowledged = threading.Event()

    def on_publish(_: object, __: object, ___: object, reason: ReasonCode, ____: object) -> None:
        reasons.append(reason)
        acknowledged.set()

    client.on_publish = on_publish  # type: ignore[assignment]
    client.publish(topic, b"{}", qos=1)
    assert acknowledged.wait(10)
    return not reasons[0].is_failure


def test_a_certificate_of_the_operator_stands_for_the_password(broker: Broker, tmp_path: Path) -> None:
    lamp = broker.connect(broker.authority.issue("air/lamp-1", 5))
    assert lamp is not None
    assert may_publish(lamp, "pilots/air/lamp-1/readings")
    assert not may_publish(lamp, "pilots/air/lamp-2/readings")
    assert not may_publish(lamp, "elsewhere")
    unknown = broker.connect(broker.authority.issue("air/lamp-9", 6))
    assert unknown is None or not may_publish(unknown, "pilots/air/lamp-9/readings"), "nobody issued it a credential"
    stolen_name = broker.connect(broker.authority.issue("techport", 11))
    assert stolen_name is None or not may_publish(stolen_name, "elsewhere")

    assert broker.connect(None) is None, "without a certificate"
    assert broker.connect(broker.authority.issue("air/lamp-1", 7)) is None, "revoked by the authority"
    expired = broker.authority.issue("air/lamp-1", 8, begins=NOW - dt.timedelta(days=9))
    assert broker.connect(expired) is None
    assert broker.connect(Authority(tmp_path / "other").issue("air/lamp-1", 9)) is None, "of another authority"
    assert broker.connect(broker.authority.issue("air/lamp-1", 10), broker.port) is None, "passwords' own port"

    broker.known.clear()
    assert broker.access.write()
    broker.mosquitto.reload()
    again = broker.connect(broker.authority.issue("air/lamp-1", 12))
    assert again is None or not may_publish(again, "pilots/air/lamp-1/readings"), "revoked in the platform"
    for client in (lamp, unknown, stolen_name, again):
        if client is not None:
            client.disconnect()
            client.loop_stop()


@pytest.mark.slow
def test_a_platform_takes_what_a_device_with_a_certificate_sends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, authority, port = certificates.make(tmp_path / "tls"), Authority(tmp_path / "authority"), free_port()
    for name, value in (
        ("BROKER_CERT", server.certificate),
        ("BROKER_KEY", server.key),
        ("DEVICE_CA", authority.file),
        ("DEVICE_CRL", authority.revoke(tmp_path / "revoked.pem")),
        ("DEVICE_CA_PORT", port),
    ):
        monkeypatch.setenv(f"TECHPORT_{name}", str(value))
    pilot = tmp_path / "pilot.yaml"
    pilot.write_text(PILOT)
    lamp = authority.issue("test-street/lamp-1", 5)
    with Platform(tmp_path, "up", "--pilot", str(pilot), "--broker", "mosquitto") as platform:
        platform.run("device", "add", "test-street", "lamp-1")
        device = Client(CallbackAPIVersion.VERSION2)
        device.tls_set(ca_certs=str(server.ca), certfile=str(lamp.certificate), keyfile=str(lamp.key))
        device.connect("localhost", port)
        device.loop_start()
        payload = b'{"time": 1760000000, "pm10": 17.5}'
        device.publish("pilots/test-street/lamp-1/readings", payload, qos=1).wait_for_publish(30)
        path = "/api/v1/readings?pilot=test-street&quantity=pm10&start=2025-10-09T00:00:00Z&end=2025-10-10T00:00:00Z"
        eventually(lambda: len(platform.get(path)["items"]) == 1, "what it sent is stored")
        device.disconnect()
        device.loop_stop()


@pytest.mark.slow
@pytest.mark.parametrize(("broker", "wrong"), [("mosquitto", "needs broker_cert"), ("embedded", "needs mosquitto")])
def test_what_certificates_need_is_said(broker: str, wrong: str, tmp_path: Path) -> None:
    authority = certificates.make(tmp_path / "authority").ca
    command = [sys.executable, "-m", "techport", "up", "--data", str(tmp_path / "data"), "--mqtt"]
    environment = {**os.environ, "TECHPORT_DEVICE_CA": str(authority), "TECHPORT_BROKER": broker}
    command += [f"127.0.0.1:{free_port()}", "--http", f"127.0.0.1:{free_port()}"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode != 0
    assert wrong in ended.stdout + ended.stderr
