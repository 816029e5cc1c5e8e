"""A real influxd for tests, on a free port of the loopback with its data in a temporary folder. Import the fixtures.

InfluxDB OSS 2.7 (MIT licence, InfluxData): the one on the PATH, or built once by build_influxd.sh into a cache outside
the work tree. On a machine without either, tests that need it are skipped with the reason; never where CI=true.
"""

from __future__ import annotations

import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.servers.cache import find_cached
from tests.servers.mosquitto import free_port

ORG = "city"
VERSION = "2.7.12"


def find_influxd() -> str:
    """Path of influxd. Skips where there is none; where CI=true it is built, and failing that the test fails."""
    if found := shutil.which("influxd"):
        return found
    return str(find_cached(f"influxd-{VERSION}", "build_influxd.sh", doing="builds it once (five minutes)"))


@dataclass
class Influxd:
    """A server that can be stopped, killed and started again over the same data."""

    folder: Path
    executable: str
    port: int = field(default_factory=free_port)
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    arguments: tuple[str, ...] = ()
    _process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token_file(self) -> Path:
        return self.folder / "token"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [
            self.executable,
            f"--http-bind-address=127.0.0.1:{self.port}",
            f"--bolt-path={self.folder / 'influxd.bolt'}",
            f"--sqlite-path={self.folder / 'influxd.sqlite'}",
            f"--engine-path={self.folder / 'engine'}",
            "--reporting-disabled",
            "--ui-disabled",
            "--storage-write-timeout=2m",  # 10 s is too little for a hundred new shards on a busy machine
            *self.arguments,
        ]
        with (self.folder / "influxd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + 300
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"influxd does not start: {(self.folder / 'influxd.log').read_text()[-2000:]}")
            time.sleep(0.05)

    def set_up(self) -> None:
        """The first user, organisation and operator token, which is also left in token_file."""
        body = {"username": "admin", "password": uuid.uuid4().hex, "org": ORG, "bucket": "first", "token": self.token}
        httpx.post(f"{self.address}/api/v2/setup", json=body, timeout=30).raise_for_status()
        self.token_file.write_text(self.token + "\n")

    def new_bucket(self, retention_s: int = 0) -> str:
        """The name of a new, empty bucket."""
        name = f"readings-{uuid.uuid4().hex[:8]}"
        headers = {"Authorization": f"Token {self.token}"}
        found = httpx.get(f"{self.address}/api/v2/orgs", params={"org": ORG}, headers=headers, timeout=30)
        body = {
            "name": name,
            "orgID": found.raise_for_status().json()["orgs"][0]["id"],
            "retentionRules": [{"type": "expire", "everySeconds": retention_s}],
        }
        httpx.post(f"{self.address}/api/v2/buckets", json=body, headers=headers, timeout=30).raise_for_status()
        return name

    def url(self, bucket: str, **options: str) -> str:
        """What open_store() takes."""
        query = "&".join(f"{key}={value}" for key, value in {"token_file": str(self.token_file), **options}.items())
        return f"influxdb://127.0.0.1:{self.port}/{ORG}/{bucket}?{query}"

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.address}/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


def start_influxd(folder: Path, *arguments: str) -> Influxd:
    """A running server that is set up. The caller stops it."""
    server = Influxd(folder, find_influxd(), arguments=arguments)
    try:
        server.start()
        server.set_up()
    except BaseException:
        server.stop()
        raise
    return server


@pytest.fixture(scope="session")
def influxd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influxd]:
    """One server for the whole run; every test takes a bucket of its own."""
    server = start_influxd(tmp_path_factory.mktemp("influxd"))
    yield server
    server.stop()


@pytest.fixture
def own_influxd(tmp_path: Path) -> Iterator[Influxd]:
    """A server that the test may kill."""
    server = start_influxd(tmp_path / "influxd")
    yield server
    server.stop()
