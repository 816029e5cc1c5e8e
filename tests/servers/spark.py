"""Spark, standalone on this machine: a master and workers that a test may kill. Needs java; see build_spark.sh."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.servers.cache import find_cached
from tests.servers.mosquitto import free_port

VERSION = "spark-4.2.0-delta-4.4.0"
_DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.databricks.delta.snapshotPartitions": "2",  # of its log; 50 tasks would be most of the test
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}


def find_spark() -> Path:
    """The folder with Spark and Delta Lake. Skips where there is none; where CI=true it is fetched, else the test
    fails."""
    return find_cached(VERSION, "build_spark.sh", usable=shutil.which("java") is not None)


@dataclass
class Spark:
    """A master and its workers."""

    folder: Path
    home: Path = field(default_factory=find_spark)
    port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _page: int = field(default_factory=free_port)

    @property
    def _environment(self) -> dict[str, str]:
        python = self.home / "python"
        return {
            **os.environ,
            "SPARK_HOME": str(python / "pyspark"),
            "PYTHONPATH": str(python),
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(self.folder / "local"),
            "SPARK_WORKER_DIR": str(self.folder / "work"),
            "SPARK_NO_DAEMONIZE": "1",
            "SPARK_DAEMON_MEMORY": "256m",
            "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={self.folder}",
        }

    def start(self, workers: int) -> None:
        """Start, and wait until the workers have joined."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._run("master", "Master", "--host", "127.0.0.1", "--port", str(self.port), "--webui-port", str(self._page))
        self._wait(0)
        for number in range(workers):
            options = ["--host", "127.0.0.1", "--cores", "1", "--memory", "1g", "--webui-port", str(free_port())]
            self._run(f"worker-{number}", "worker.Worker", *options, f"spark://127.0.0.1:{self.port}")
        self._wait(workers)

    def _run(self, name: str, what: str, *arguments: str) -> None:
        spark_class = self.home / "python" / "pyspark" / "bin" / "spark-class"
        command = [str(spark_class), f"org.apache.spark.deploy.{what if '.' in what else 'master.' + what}", *arguments]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def _wait(self, workers: int) -> None:
        until = time.monotonic() + 300
        while True:
            try:
                state = httpx.get(f"http://127.0.0.1:{self._page}/json/", timeout=5).json()
                if state["aliveworkers"] >= workers:
                    return
            except (httpx.TransportError, ValueError):
                pass
            if time.monotonic() > until or any(process.poll() is not None for process in self.processes.values()):
                logs = [path.read_text()[-1500:] for path in self.folder.glob("*.log")]
                raise RuntimeError(f"Spark does not start: {logs}")
            time.sleep(0.2)

    def submit(self, script: Path, *arguments: str) -> subprocess.Popen[str]:
        """Run a PySpark program; what it prints can be read line by line."""
        jars = ",".join(str(jar) for jar in sorted((self.home / "jars").glob("*.jar")))
        settings = {
            **_DELTA,
            "spark.jars": jars,
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.memory": "768m",
            "spark.executor.memory": "512m",
            "spark.executor.cores": "1",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": "4",
            "spark.ui.enabled": "false",
        }
        flags = [flag for key, value in settings.items() for flag in ("--conf", f"{key}={value}")]
        command = [
            str(self.home / "python" / "pyspark" / "bin" / "spark-submit"),
            *("--master", f"spark://127.0.0.1:{self.port}"),
            *flags,
            str(script),
            *arguments,
        ]
        log = (self.folder / "driver.log").open("wb")
        return subprocess.Popen(command, env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True)

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def stop(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
