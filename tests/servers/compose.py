"""Docker Compose, for what it says about a file. Needs no container engine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.conftest import unavailable

BUILD = Path(__file__).with_name("build_compose.sh")
VERSION = "2.40.3"


def find_compose() -> str:
    """Path of Docker Compose in the cache. Skips where it is not; where CI=true it is built, else the test fails."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "techport"
    cached = Path(os.environ.get("TECHPORT_CACHE") or home) / f"docker-compose-{VERSION}"
    if cached.is_file():
        return str(cached)
    if os.environ.get("CI") == "true":
        built = subprocess.run([str(BUILD)], stdout=subprocess.PIPE, text=True, check=False)
        if built.returncode == 0:
            return built.stdout.strip()
    return unavailable(
        f"docker-compose {VERSION} is not in {cached.parent}; {BUILD.relative_to(BUILD.parents[2])} builds it once "
        "with Go (some minutes)"
    )
