"""What every test may ask for. Real servers are started by tests/servers; this file finds things and says why not."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from sqlalchemy.engine import URL, Engine

from tests.dates import set_clock

set_clock()  # before any test module imports the product
# Processes that the tests start find compiled modules, also where the environment forbids to keep any: without them a
# start of `techport` takes two seconds of processor time instead of one, and the tests start some two hundred.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
ROOT = Path(__file__).resolve().parent.parent


def unavailable(reason: str) -> NoReturn:
    """Skip with the reason on a user's machine, fail where CI=true: there, everything must be present."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"required in CI: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The developers' data folder beside the repository. Users do not have it, nor does CI elsewhere: then skip."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the developers' data folder ../shared is not here")
    return folder


@pytest.fixture(scope="session", autouse=True)
def copied_registries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """New registries in SQLite are copies of one that the migrations have made here: to migrate each would be
    a fifth of the processor time of all tests. Processes that tests start, and PostgreSQL, migrate by themselves.
    """
    from techport_pilots.registry import database

    template = tmp_path_factory.mktemp("registry") / "registry.sqlite"
    database.Database.open(f"sqlite:///{template}").close()
    open_file = database._sqlite

    def copy_and_open(url: URL) -> Engine:
        path = Path(str(url.database))
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copyfile(template, path.with_name(uuid.uuid4().hex))
            with contextlib.suppress(FileExistsError):  # another thread or process has made it meanwhile
                path.hardlink_to(copy)
            copy.unlink()
        return open_file(url)

    database._sqlite = copy_and_open
    yield
    database._sqlite = open_file


SERVERS = {"influxd", "own_influxd", "postgres", "mosquitto", "chromium"}
SERVER_PARAMETERS = {"influxdb", "influxdb-several-writers", "postgresql", "servers", "mosquitto", "embedded"}
WITH_PROCESSES = {"browser", "command_line", "deployment", "end_to_end"}
"""Folders of tests that start techport, servers or a browser."""
SLOW = {"browser", "end_to_end", "notebooks"}
"""Folders of tests that `make test-slow` runs, with those that are marked one by one."""


@pytest.hookimpl(tryfirst=True)  # before pytest looks at `-m`
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `slow` what lies in a folder of such tests, and as `fast` what needs no server and no other process."""
    for item in items:
        if SLOW & set(item.path.relative_to(ROOT / "tests").parts):
            item.add_marker(pytest.mark.slow)
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        takes_long = (
            any(item.get_closest_marker(name) for name in ("slow", "heavy", "faults", "cluster"))
            or WITH_PROCESSES & set(item.path.relative_to(ROOT / "tests").parts)
            or SERVERS & set(getattr(item, "fixturenames", ()))
            or any(isinstance(value, str) and value in SERVER_PARAMETERS for value in parameters)
        )
        if not takes_long:
            item.add_marker(pytest.mark.fast)
