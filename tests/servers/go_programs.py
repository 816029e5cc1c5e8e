"""Programs that the tests build from Go modules, once per machine, into the cache outside the work tree."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Literal

from tests.conftest import unavailable

BUILD = Path(__file__).with_name("build_go.sh")
VERSIONS = {"docker-compose": "2.40.3", "nats-server": "2.15.3", "helm": "3.22.0", "check-manifests": "0.37.2"}
"""As build_go.sh has them."""

Program = Literal["docker-compose", "nats-server", "helm", "check-manifests"]


def find_program(name: Program) -> str:
    """Path of a program in the cache. Skips where it is not; where CI=true it is built, else the test fails."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "techport"
    cached = Path(os.environ.get("TECHPORT_CACHE") or home) / f"{name}-{VERSIONS[name]}"
    if cached.is_file():
        return str(cached)
    if os.environ.get("CI") == "true":
        built = subprocess.run([str(BUILD), name], stdout=subprocess.PIPE, text=True, check=False)
        if built.returncode == 0:
            return built.stdout.strip()
    return unavailable(
        f"{cached.name} is not in {cached.parent}; {BUILD.relative_to(BUILD.parents[2])} {name} builds it once with Go"
    )
