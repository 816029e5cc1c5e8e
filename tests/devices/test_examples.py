"""The examples for devices, against an ingest endpoint that comes and goes, while the device loses its power."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from techport_ingest.brokers.auth import Authenticator
from techport_ingest.sources.embedded import EmbeddedBroker, EmbeddedSettings
from techport_pilots.access.credentials import Credentials, Issued
from techport_pilots.children import start_child
from techport_pilots.devices.snippets import BrokerAddress, snippets
from tests.conftest import unavailable
from tests.ingest.conftest import ingest
from tests.ingest.running import Ingest, eventually
from tests.servers.mosquitto import free_port

__all__ = ["ingest"]

EXAMPLES = Path(__file__).parents[2] / "examples" / "devices"
SHIM = Path(__file__).parent / "shim"
PATIENCE = 120.0

Start = Callable[[Path, Issued, int], "tuple[list[str], dict[str, str]]"]
"""The command of a device in a folder that outlives it, and what is added to its environment."""


def python(folder: Path, issued: Issued, port: int) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, str(EXAMPLES / "python" / "readings.py")], {
        "MQTT_PORT": str(port),
        "MQTT_USERNAME": issued.username,
        "MQTT_PASSWORD": issued.password,
        "MQTT_TOPIC": issued.topic,
        "BUFFER": str(folder / "readings.sqlite"),
        "SECONDS": "0.1",
    }


def micropython(folder: Path, issued: Issued, port: int) -> tuple[list[str], dict[str, str]]:
    values = {"HOST": "127.0.0.1", "PORT": port, "USER": issued.username, "PASSWORD": issued.password, "CLIENT": "box"}
    values |= {"TOPIC": issued.topic, "SECONDS": 0.1, "FOLDER": str(folder)}
    (folder / "settings.py").write_text("".join(f"{name} = {value!r}\n" for name, value in values.items()))
    main = EXAMPLES / "micropython" / "main.py"
    return [sys.executable, "-u", str(main)], {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def arduino(folder: Path, issued: Issued, port: int) -> tuple[list[str], dict[str, str]]:
    program = folder / "readings"
    if not program.exists():
        compiler = shutil.which("g++")
        if compiler is None:
            unavailable("g++ is not installed: apt-get install g++")
        values = {"WIFI_NAME": "", "WIFI_PASSWORD": "", "HOST": "127.0.0.1", "CLIENT": "box", "TOPIC": issued.topic}
        values |= {"USERNAME": issued.username, "PASSWORD": issued.password}
        lines = [f"#define {name} {json.dumps(value)}\n" for name, value in values.items()]
        lines += [f"#define PORT {port}\n", "#define SECONDS 0.1\n"]
        (folder / "settings.h").write_text("".join(lines))
        shutil.copy(EXAMPLES / "arduino" / "readings" / "readings.ino", folder)
        words = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{SHIM}", f"-I{folder}", "-x", "c++"]
        subprocess.run([compiler, *words, str(folder / "readings.ino"), "-o", str(program)], check=True, timeout=300)
    return [str(program)], {"FLASH": str(folder)}


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True])
def test_the_code_to_paste_for_arduino_compiles(tls: bool, tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    if compiler is None:
        unavailable("g++ is not installed: apt-get install g++")
    issued = Issued("air/lamp-1", "secret", "pilots/air/lamp-1/readings")
    [code] = [
        snippet.text
        for snippet in snippets(issued, BrokerAddress("broker.example", 8883 if tls else 1883, tls))
        if snippet.title.startswith("Arduino")
    ]
    source = tmp_path / "pasted.cpp"
    source.write_text(f"#include <Arduino.h>\n#include <WiFi.h>\n{code}\n")
    words = ["-std=c++17", "-Wall", "-Wextra", "-Wno-unused-variable", "-Werror", "-fsyntax-only", f"-I{SHIM}"]
    subprocess.run([compiler, *words, str(source)], check=True, timeout=300)


class Device:
    """A running example, and the readings that it says it has measured."""

    def __init__(self, start: Start, folder: Path, issued: Issued, port: int) -> None:
        self._command, self._environment = start(folder, issued, port)
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | self._environment
        with self._log.open("ab") as log:
            self._process = start_child(self._command, stdout=log, stderr=subprocess.STDOUT, env=environment)

    def lose_power(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def measured(self) -> list[int]:
        """The times of its readings, in milliseconds. A line that the loss of power cut off does not count."""
        times = []
        for line in self._log.read_text().splitlines():
            assert line.startswith("{"), f"it failed: {self._log.read_text()[-2_000:]}"
            if line.endswith("}"):
                times.append(json.loads(line)["time"])
        return times

    def measures(self, more: int) -> None:
        """Wait until it has measured so many more."""
        before = len(self.measured)
        eventually(lambda: len(self.measured) >= before + more, "it measures", PATIENCE)


@pytest.fixture
def issued(ingest: Ingest) -> Issued:
    return Credentials(ingest.registry.database).issue("air", "lamp-1", "test")


@pytest.fixture(params=[python, micropython, arduino], ids=lambda start: start.__name__)
def device(request: pytest.FixtureRequest, tmp_path: Path, issued: Issued) -> Iterator[tuple[Device, int]]:
    folder, port = tmp_path / "device", free_port()
    folder.mkdir()
    running = Device(request.param, folder, issued, port)
    yield running, port
    running.lose_power()


def stored(ingest: Ingest) -> list[int]:
    return [round(row[2] * 1000) for row in ingest.rows()]


@pytest.mark.slow
def test_every_reading_arrives_once(device: tuple[Device, int], ingest: Ingest) -> None:
    running, port = device
    gate = Authenticator(Credentials(ingest.registry.database), anonymous=False)
    running.start()
    running.measures(5)  # nobody listens yet
    running.lose_power()
    running.start()
    running.measures(5)
    for _ in range(2):  # the platform comes, and goes again
        ingest.start(EmbeddedBroker(EmbeddedSettings(port=port), gate))
        had = len(stored(ingest))
        eventually(lambda had=had: len(stored(ingest)) >= had + 12, "what waited is stored", PATIENCE)  # type: ignore[misc]
        ingest.stop()
        running.measures(5)
    ingest.start(EmbeddedBroker(EmbeddedSettings(port=port), gate))
    running.measures(3)
    running.lose_power()
    running.start()
    measured = running.measured
    eventually(lambda: set(measured) <= set(stored(ingest)), "all are stored", PATIENCE)
    times = stored(ingest)  # once: the device goes on measuring
    assert len(times) == len(set(times))
    assert {row[3] for row in ingest.rows()} == {21.5}
    assert not ingest.entries()
