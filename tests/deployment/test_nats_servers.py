"""The NATS servers as docker-compose.cluster.yml has them, run for real: nats_servers.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

from tests.conftest import ROOT, unavailable
from tests.servers.go_programs import find_program


@pytest.mark.cluster
def test_servers_workers_and_devices_find_one_another_with_tls() -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        unavailable("needs root and unshare, to give the servers the paths and names of their containers")
    find_program("nats-server")
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
    with tempfile.TemporaryDirectory(prefix="techport-nats-", ignore_cleanup_errors=True) as folder:
        command += [sys.executable, "-m", "tests.deployment.nats_servers", folder]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-4000:]
    answer = json.loads(result.stdout.splitlines()[-1])
    assert answer == {"arrived": 3, "copies": 3, "mode": "0o600"}
