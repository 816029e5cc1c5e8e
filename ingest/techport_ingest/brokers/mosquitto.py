"""A mosquitto of our own: generated configuration, supervised child process.

Two of mosquitto's defaults lose messages, and are changed: it holds at most 1,000 for a client that is away and drops
the rest, and without persistence a restart forgets all. Its `message_size_limit` acknowledges what it drops, so the
limit is set as `max_packet_size`, which disconnects the sender instead: he notices.

mosquitto writes its queue to disk every `SAVE_EVERY` seconds and when it stops in good order. What it has acknowledged
since then, and not yet handed to us, is lost when it is killed by SIGKILL or a power failure: mosquitto has nothing
better. The embedded broker (embedded.py) has no such gap.

mosquitto knows no limits for one client, and a persistent session costs memory under each client id that a device makes
up. Where clients need a credential, devices therefore have a listener on which the client id is the user name, so that
there is one session for each credential, and QoS 2 is refused, whose messages mosquitto would hold in any number until
they are released. The platform itself, whose workers need client ids of their own, comes in through a socket in the
broker's folder.

When this process is killed, the kernel ends mosquitto in good order (children.py). The next start of the same data
folder ends one that is there all the same, before it looks whether the port is free.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import msgspec
import structlog

from techport_pilots.children import end_child, processes_with, start_child

log = structlog.get_logger(__name__)

SAVE_EVERY = 5
"""Seconds. Each save writes the whole queue, and 100,000 waiting messages are 20 MB: hence not every second."""


FORGET_AFTER = "30d"
"""So long the session of a client that stays away is kept, with what waits for it: of a worker that is never started
again, or of a device under a client id that it uses no more.
"""

PATIENCE_S = 30
"""How long a mosquitto may take to write its queue before it is killed. 100,000 messages take less than a second."""

MAX_PACKET_BYTES = 1024 * 1024
"""Of one packet: four times what POST /push takes. It limits retained messages too, of which each topic has one."""

_LONGEST_SOCKET_PATH = 100
"""Bytes. Linux takes 107."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Addresses that only this machine reaches: there, clients need no credential."""


class BrokerError(Exception):
    """mosquitto could not be started; the message says why and what to do."""


def configuration_file(folder: Path) -> Path:
    """Where the configuration of the broker in `folder` is written; what its process is recognised by."""
    return folder.resolve() / "mosquitto.conf"


def left_behind(folder: Path) -> list[int]:
    """Process ids of every mosquitto that runs with the configuration in `folder`."""
    return processes_with("-c", configuration_file(folder))


def end_left_behind(folder: Path, patience_s: float = PATIENCE_S) -> None:
    """End what an earlier run, now dead, left behind. It holds the port and, in memory, acknowledged messages.

    It gets `patience_s` seconds to write them to disk. One that was stopped (SIGSTOP) is continued first; one that
    does not end is killed: messages that it had not written are lost then, which the log says.
    """
    for pid in left_behind(folder):
        log.info("ending the mosquitto that an earlier run left behind", pid=pid)
        _signal(pid, signal.SIGCONT)
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while remaining := left_behind(folder):
        if time.monotonic() > deadline:
            for pid in remaining:
                log.error("a mosquitto does not end and is killed: what it had not saved is lost", pid=pid)
                _signal(pid, signal.SIGKILL)
            deadline = time.monotonic() + patience_s
        time.sleep(0.05)


class DeviceCertificates(msgspec.Struct, frozen=True, kw_only=True):
    """A listener on which devices show a certificate of the operator's authority in place of a password. Its common
    name is the user name of the device's credential, which gives the rights.
    """

    port: int
    authority: Path
    revoked: Path | None = None  # list of revoked certificates (PEM)


class MosquittoSettings(msgspec.Struct, frozen=True, kw_only=True):
    folder: Path  # configuration, queue and log live here
    executable: Path
    host: str = "127.0.0.1"
    port: int = 1883
    max_packet_bytes: int = MAX_PACKET_BYTES
    certificate: Path | None = None  # with its key: clients connect with TLS
    key: Path | None = None
    extra: tuple[str, ...] = ()  # more lines for the configuration file
    max_connections: int = 10_000  # of devices, where clients need a credential
    certificates: DeviceCertificates | None = None

    @property
    def anonymous(self) -> bool:
        """Whether clients need no credential."""
        return self.host in LOOPBACK

    @property
    def socket(self) -> Path:
        """Where the platform itself connects, where clients need a credential."""
        path = self.folder.resolve() / "platform.sock"
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
            return path
        name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"techport-{os.geteuid()}-{name}" / "platform.sock"


def find_mosquitto() -> Path | None:
    """The mosquitto on the PATH or where Debian puts it for root only."""
    path = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")
    return Path(path) if path else None


def configuration(settings: MosquittoSettings) -> str:
    """The text of mosquitto.conf."""
    lines = [
        f"allow_anonymous {'true' if settings.anonymous else 'false'}",
        # Started by root, it would otherwise become another user, who does not own the folder.
        f"user {pwd.getpwuid(os.geteuid()).pw_name}",
        "persistence true",
        f"persistence_location {settings.folder}/",
        f"autosave_interval {SAVE_EVERY}",
        "max_inflight_messages 0",
        "max_queued_messages 0",
        "max_queued_bytes 0",
        f"persistent_client_expiration {FORGET_AFTER}",
        f"max_packet_size {settings.max_packet_bytes}",
        f"log_dest file {settings.folder / 'mosquitto.log'}",
        "log_type error",
        "log_type warning",
        "connection_messages false",
        *settings.extra,
        f"listener {settings.port} {settings.host}",
        *([f"certfile {settings.certificate}", f"keyfile {settings.key}"] if settings.certificate else []),
    ]
    if not settings.anonymous:
        lines += [
            "use_username_as_clientid true",
            "max_qos 1",
            f"max_connections {settings.max_connections}",
            f"listener 0 {settings.socket}",
        ]
    if settings.certificates is not None:
        lines += _with_certificates(settings, settings.certificates)
    return "\n".join(lines) + "\n"


def _with_certificates(settings: MosquittoSettings, devices: DeviceCertificates) -> list[str]:
    return [
        f"listener {devices.port} {settings.host}",
        f"certfile {settings.certificate}",
        f"keyfile {settings.key}",
        f"cafile {devices.authority}",
        *([f"crlfile {devices.revoked}"] if devices.revoked is not None else []),
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "max_qos 1",
        f"max_connections {settings.max_connections}",
    ]


class Mosquitto:
    """Runs mosquitto until `stop`, and starts it again when it dies."""

    def __init__(self, settings: MosquittoSettings) -> None:
        self.settings = settings
        self.restarts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self) -> None:
        """Return once it accepts connections. Raises BrokerError."""
        self._stopping.clear()
        self.settings.folder.mkdir(parents=True, exist_ok=True)
        end_left_behind(self.settings.folder)
        if not self.settings.anonymous:
            _own_folder(self.settings.socket.parent)
        self._config_file.write_text(configuration(self.settings))
        self._launch()
        self._watcher = threading.Thread(target=self._watch, name="mosquitto-watcher", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """End it in good order, so that its queue is on disk."""
        self._stopping.set()
        if self._process is not None:
            end_child(self._process, PATIENCE_S)
        if self._watcher is not None:
            self._watcher.join()
            assert self._process is not None
            end_child(self._process, PATIENCE_S)  # the watcher may have been in the middle of starting another

    def reload(self) -> None:
        """Have it read its password and access files again. Connections stay, but for those no longer allowed."""
        if (pid := self.pid) is not None:
            os.kill(pid, signal.SIGHUP)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def _ports(self) -> list[int]:
        certificates = self.settings.certificates
        return [self.settings.port, *([certificates.port] if certificates is not None else [])]

    @property
    def _config_file(self) -> Path:
        return configuration_file(self.settings.folder)

    def _launch(self) -> None:
        for port in self._ports:
            if _accepts(self.settings.host, port):
                where = f"{self.settings.host}:{port}"
                raise BrokerError(
                    f"something else listens on {where} already. Stop it, or choose another port with --mqtt"
                )
        command = [str(self.settings.executable), "-c", str(self._config_file)]
        # A session of its own: Ctrl-C in the terminal reaches us first, and we stop it when everything it held is
        # acknowledged.
        self._process = start_child(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self._process.poll() is None:
            # It opens one listener after the other.
            missing = [port for port in self._ports if not _accepts(self.settings.host, port)]
            if not missing and self._process.poll() is None:
                return
            time.sleep(0.02)
        end_child(self._process)
        where = ", ".join(f"{self.settings.host}:{port}" for port in self._ports)
        raise BrokerError(f"mosquitto does not listen on {where}. {self._last_words()}")

    def _last_words(self) -> str:
        file = self.settings.folder / "mosquitto.log"
        lines = file.read_text(errors="replace").splitlines()[-3:] if file.exists() else []
        return (
            "It said: " + " / ".join(lines) if lines else "Is the port taken by another broker? Choose one with --mqtt."
        )

    def _watch(self) -> None:
        wait = 0.1
        while not self._stopping.is_set():
            process = self._process
            assert process is not None
            started = time.monotonic()
            status = process.wait()
            if self._stopping.is_set():
                return
            wait = 0.1 if time.monotonic() - started > 10 else min(wait * 2, 10.0)
            log.warning("mosquitto ended and is started again", status=status, in_seconds=wait)
            if self._stopping.wait(wait):
                return
            try:
                self._launch()
                self.restarts += 1
            except BrokerError as error:
                log.error("mosquitto cannot be started", problem=str(error))


def _own_folder(folder: Path) -> None:
    """Make the folder, or see that it is ours alone. Raises BrokerError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise BrokerError(
            f"{folder} is not a folder of this user. Remove it, or choose a data folder with a shorter path"
        )
    folder.chmod(0o700)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
        os.kill(pid, number)


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
