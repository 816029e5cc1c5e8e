"""Programs that the tests build from Go modules, once per machine, into the cache outside the work tree."""

from __future__ import annotations

from typing import Literal

from tests.servers.cache import find_cached

VERSIONS = {"docker-compose": "2.40.3", "nats-server": "2.15.3", "helm": "3.22.0", "check-manifests": "0.37.2"}
"""As build_go.sh has them."""

Program = Literal["docker-compose", "nats-server", "helm", "check-manifests"]


def find_program(name: Program) -> str:
    """Path of a program in the cache. Skips where it is not; where CI=true it is built, else the test fails."""
    cached = find_cached(f"{name}-{VERSIONS[name]}", "build_go.sh", name, doing="builds it once with Go")
    return str(cached)
