"""Runs techport as its users do, as a process with flags, and talks to it over MQTT and HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.servers.mosquitto import free_port

TECHPORT = (sys.executable, "-m", "techport")

PILOT = """
id: test-street
title: {nb: Prøvegate, en: Test street}
question: {nb: "Er det støv her?", en: "Is there dust here?"}
devices:
  - id: lamp-1
    position: {lat: 63.43, lon: 10.39}
    streams:
      - {quantity: pm10, interval: PT1M}
      - {quantity: air_temperature, interval: PT1M}
"""


class Platform:
    """One `techport` process in a data folder of its own. Use as a context manager; it always ends."""

    def __init__(self, folder: Path, *arguments: str, command: Sequence[str] = TECHPORT) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.http = f"127.0.0.1:{free_port()}"
        self.mqtt_port = free_port()
        self._command = [*command, *arguments, "--data", str(self.data)]
        self._command += ["--http", self.http, "--mqtt", f"127.0.0.1:{self.mqtt_port}"]
        self.log = folder / "techport.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Platform:
        try:
            self.start()
        except AssertionError:  # `with` ends only what it has entered
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def start(self, patience: float = 300.0) -> None:
        """Start, and return when /readyz says yes."""
        with self.log.open("ab") as log:
            environment = {**os.environ, "TECHPORT_LOG_FORMAT": "json"}
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self.folder, env=environment)
        until = time.monotonic() + patience
        while time.monotonic() < until:
            assert self.process.poll() is None, f"it ended by itself:\n{self.log.read_text()[-3000:]}"
            try:
                with urllib.request.urlopen(f"http://{self.http}/readyz", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"not ready after {patience} s:\n{self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        """SIGKILL: no chance to put anything in order."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def get(self, path: str) -> Any:
        return json.loads(self.read(path))

    def read(self, path: str) -> bytes:
        """The answer to somebody who has the token of the data folder."""
        headers = {"Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(f"http://{self.http}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=40) as answer:
            body: bytes = answer.read()
        return body

    @property
    def token(self) -> str:
        return (self.data / "token").read_text()

    def run(self, *arguments: str, expect: int = 0) -> str:
        """Another techport command on the same data folder; its output. The exit code must be `expect`."""
        result = subprocess.run(
            [*TECHPORT, *arguments, "--data", str(self.data)], capture_output=True, text=True, timeout=300, check=False
        )
        assert result.returncode == expect, f"{arguments} gave {result.returncode}:\n{result.stdout}{result.stderr}"
        return result.stdout


class Web(Platform):
    """`techport serve` takes no broker's address."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        super().__init__(folder, *arguments)
        place = self._command.index("--mqtt")
        del self._command[place : place + 2]


class Device:
    """Publishes at QoS 1 and knows what was acknowledged."""

    def __init__(self, port: int) -> None:
        self.acknowledged: set[int] = set()
        self._sent: dict[int, int] = {}
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="test-device", clean_session=False)
        self._client.max_queued_messages_set(0)
        self._client.reconnect_delay_set(0.1, 0.5)
        self._client.on_publish = self._on_publish
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def publish(self, topic: str, payload: object, number: int = 0) -> mqtt.MQTTMessageInfo:
        info = self._client.publish(topic, json.dumps(payload), qos=1)
        self._sent[info.mid] = number
        return info

    def _on_publish(self, _: object, __: object, mid: int, *___: object) -> None:
        if mid in self._sent:
            self.acknowledged.add(self._sent[mid])

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def wait_until(condition: Any, patience: float = 300.0) -> Any:
    """The first true value of `condition`; fails with its last value after `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        try:
            value = condition()
        except (OSError, urllib.error.URLError) as error:
            value, problem = None, error
        else:
            problem = None
        if value:
            return value
        assert time.monotonic() < until, f"still {value!r} {problem or ''} after {patience} s"
        time.sleep(0.1)
