"""One clock: the product reads the time of day in one place, and a shift reaches sub-processes and pages."""

from __future__ import annotations

import ast
import datetime as dt
import os
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tests.dates import DATES, set_clock

PACKAGES = ("techport", "ingest", "storage", "pilots", "dashboards", "simulators")
CLOCK = ROOT / "storage/techport_storage/clock.py"
MODULES = [
    path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py")) if "node_modules" not in path.parts
]


def wall_clock_reads(source: str) -> list[int]:
    """Lines that read the time of day past the clock module, however the modules were imported."""
    tree = ast.parse(source)
    names = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    } | {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    forbidden = {f"time.{name}" for name in ("time", "time_ns", "ctime")}
    forbidden |= {f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")} | {"datetime.date.today"}
    forbidden |= {f"pandas.Timestamp.{name}" for name in ("now", "utcnow", "today")} | {"sqlalchemy.func.now"}

    def dotted(node: ast.expr) -> str:
        if isinstance(node, ast.Attribute):
            return f"{dotted(node.value)}.{node.attr}"
        return names.get(node.id, "") if isinstance(node, ast.Name) else ""

    lines = [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute | ast.Name) and dotted(node) in forbidden)
        or (
            isinstance(node, ast.Call)
            and dotted(node.func) in ("time.gmtime", "time.localtime", "time.strftime")
            and len(node.args) < (2 if dotted(node.func) == "time.strftime" else 1)
        )
    ]
    return sorted(lines)


def test_no_other_module_reads_the_wall_clock() -> None:
    assert len(MODULES) > 250
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in MODULES
        if path != CLOCK
        for line in wall_clock_reads(path.read_text("utf-8"))
    }
    assert not found, "use techport_storage.clock"
    assert wall_clock_reads(CLOCK.read_text("utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        "import time\nx = time.time()",
        "import time as t\nx = t.time_ns() // 1000",
        "from time import time\nx = time()",
        "import datetime as dt\nx = dt.datetime.now(dt.UTC)",
        "from datetime import datetime\nf = datetime.now",
        "from datetime import date as day\nx = day.today()",
        "import pandas as pd\nx = pd.Timestamp.now()",
        "import time\nx = time.strftime('%Y')",
        "from sqlalchemy import func\nx = func.now()",
    ],
)
def test_every_way_to_read_it_is_found(source: str) -> None:
    assert wall_clock_reads(source) == [2]


@pytest.mark.parametrize(
    "source",
    ["import time\nx = time.monotonic()", "from techport_storage import clock\nx = clock.now()", "time = 3\ny = time"],
)
def test_other_clocks_are_allowed(source: str) -> None:
    assert wall_clock_reads(source) == []


@pytest.mark.parametrize("shift", ["0", "-86400", "31622400.5", ""])
@pytest.mark.heavy
def test_the_shift_moves_the_clock_of_a_process(shift: str) -> None:
    command = "from techport_storage import clock; print(clock.now(), clock.now_datetime().timestamp())"
    environment = {**os.environ, "TECHPORT_CLOCK_SHIFT": shift}
    answer = subprocess.run(
        [sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=True
    )
    micros, seconds = map(float, answer.stdout.split())
    assert abs(micros / 1e6 - (time.time() + float(shift or 0))) < 10
    assert abs(micros / 1e6 - seconds) < 1


@pytest.mark.parametrize("date", DATES.values())
def test_a_date_becomes_a_shift(date: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "techport_storage.clock", raising=False)
    environment = {"TECHPORT_TEST_DATE": date}
    set_clock(environment)
    shifted = time.time() + float(environment["TECHPORT_CLOCK_SHIFT"])
    assert abs(shifted - dt.datetime.fromisoformat(date).timestamp()) < 10


def test_a_shift_that_is_given_stays() -> None:
    environment = {"TECHPORT_TEST_DATE": "rotating", "TECHPORT_CLOCK_SHIFT": "5"}
    set_clock(environment)
    assert environment["TECHPORT_CLOCK_SHIFT"] == "5"
