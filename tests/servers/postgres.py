"""A real PostgreSQL from the system's packages, on a free port with a data folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

_INSTALLED = "/usr/lib/postgresql"  # where Debian and Ubuntu keep the servers, one folder a version
_SETTINGS = ("fsync=off", "listen_addresses=127.0.0.1", "max_connections=50", "logging_collector=off")


class Postgres:
    """A running server."""

    def __init__(self, port: int, folder: Path, programs: Path) -> None:
        self.port = port
        self._folder = folder
        self._programs = programs

    @property
    def folder(self) -> Path:
        return self._folder

    def database(self) -> str:
        """The URL of an empty schema, which is as good as an empty database and made in a tenth of the time."""
        name = f"t{uuid.uuid4().hex}"
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute(f'CREATE SCHEMA "{name}"')
        return f"{self._dsn}?options=-csearch_path%3D{name}"

    def waiting(self) -> int:
        """How many connections wait for a lock."""
        with psycopg.connect(self._dsn) as connection:
            row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
        assert row is not None
        return int(row[0])

    def stop(self) -> None:
        """As a power cut would: at once, without a word to anybody."""
        _run(self._programs / "pg_ctl", "-D", str(self._folder), "-m", "immediate", "-w", "stop")

    def start(self) -> None:
        """Start on the same port, with the same data. Raises RuntimeError with what pg_ctl said."""
        settings = [f"-c {setting}" for setting in (*_SETTINGS, f"unix_socket_directories={self._folder}")]
        options = " ".join([f"-p {self.port}", *settings])
        log = str(self._folder / "log")
        _run(self._programs / "pg_ctl", "-D", str(self._folder), "-l", log, "-o", options, "-w", "-t", "60", "start")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """All its processes stand still (SIGSTOP): connections are taken by the kernel, and nothing is answered."""
        pids = self._pids()
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in reversed(pids):
                os.kill(pid, signal.SIGCONT)

    def _pids(self) -> list[int]:
        """The server and the processes it started, the server first so that it starts no more."""
        main = int((self._folder / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        return [main, *map(int, children)]

    @property
    def _dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"


def find() -> Path | None:
    """The folder with the newest installed server's programs, or None."""
    on_path = shutil.which("postgres")
    if on_path:
        return Path(on_path).resolve().parent
    found = [path for path in Path(_INSTALLED).glob("*/bin") if (path / "initdb").exists()]
    return max(found, key=lambda path: float(path.parent.name), default=None)


@contextmanager
def running(programs: Path) -> Iterator[Postgres]:
    """A server that is there as long as the block."""
    with tempfile.TemporaryDirectory(prefix="techport-postgres-", ignore_cleanup_errors=True) as folder:
        if os.geteuid() == 0:  # the server refuses to run as root
            shutil.chown(folder, "postgres")
        data = Path(folder) / "data"
        _run(programs / "initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        server = Postgres(_free_port(), data, programs)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _run(program: Path, *arguments: str) -> None:
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    # The server inherits these: a pipe would stay open as long as it lives, and we would wait for its end.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run([*user, str(program), *arguments], stdout=output, stderr=output, cwd="/", check=False)
        output.seek(0)
        said = output.read().decode(errors="replace")
    if done.returncode:
        raise RuntimeError(f"{program.name} failed: {said}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
