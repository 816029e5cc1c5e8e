"""The dates that tests run under, and the clock that a browser shares with the server.

`TECHPORT_TEST_DATE` (an instant in ISO 8601, or `rotating`) moves the clock of a whole run: of this process, of what it
starts and of the pages in the browser. Tests whose outcome could depend on the calendar are marked `dates`:
`python -m tests.dates` runs them under each of the dates.
"""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

DATES = {
    "summer time ended": "2026-10-25T01:10:00Z",  # 02:10 for the second time
    "a November morning": "2026-11-30T06:00:00Z",
    "31 December": "2026-12-31T23:30:00Z",  # in Norway a new year has begun
    "summer time began": "2027-03-28T01:10:00Z",  # 03:10, ten minutes after 01:59
    "a July noon": "2027-07-15T10:00:00Z",
    "29 February": "2028-02-29T12:00:00Z",
}

AT_ONCE = 2  # runs beside each other


def rotating(today: dt.date) -> str:
    """Another of the dates each day."""
    return list(DATES.values())[today.toordinal() % len(DATES)]


def set_clock(environment: dict[str, str] | os._Environ[str] = os.environ) -> None:
    """Shift the clock to `TECHPORT_TEST_DATE`. It must come before the product is imported, which reads the shift once.

    The shift is worked out once for a run: workers and other sub-processes find it in their environment.
    """
    date = environment.get("TECHPORT_TEST_DATE")
    if not date or "TECHPORT_CLOCK_SHIFT" in environment:
        return
    assert "techport_storage.clock" not in sys.modules, "the clock was imported before it was set"
    present = dt.datetime.now(dt.UTC)
    instant = dt.datetime.fromisoformat(rotating(present.date()) if date == "rotating" else date)
    environment["TECHPORT_CLOCK_SHIFT"] = f"{(instant - present).total_seconds():.0f}"


def browser_clock() -> str:
    """A script for pages: their `Date` is shifted as the server's clock is, and goes on at its pace."""
    shift = float(os.environ.get("TECHPORT_CLOCK_SHIFT") or 0) * 1000
    return f"""
    (() => {{
      const Real = Date;
      globalThis.Date = class Date extends Real {{
        constructor(...given) {{ given.length ? super(...given) : super(Real.now() + {shift}); }}
        static now() {{ return Real.now() + {shift}; }}
      }};
    }})();
    """


def marked_files() -> list[str]:
    """The test files with a test that is marked `dates`: the others need not be imported."""
    files = sorted(Path(__file__).parent.rglob("test_*.py"))
    return [str(file) for file in files if "pytest.mark.dates" in file.read_text("utf-8")]


def main() -> int:
    """Run the marked tests under each date; what a run said is shown where it failed."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "dates", *sys.argv[1:], *marked_files()]

    def run(date: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "TECHPORT_TEST_DATE": date}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    failed = False
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name, done in zip(DATES, pool.map(run, DATES.values()), strict=True):
            summary = done.stdout.strip().rpartition("\n")[2]
            print(f"{name}, {DATES[name]}: {summary}", flush=True)  # noqa: T201
            if done.returncode:
                failed = True
                print(done.stdout + done.stderr, flush=True)  # noqa: T201
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
