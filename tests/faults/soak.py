"""Many rounds of faults, from seeds: `make soak`.

    python -m tests.faults.soak [--rounds 1000] [--first 0] [--results benchmarks/soak.jsonl]

Each round's outcome is appended to the results with its seed and the commit. Started again, it goes on with the seeds
that this commit has not had. At the end, or with --table at once, the table in docs/guarantees.md is written from all
results. The exit code is 1 when a guarantee did not hold; the seed is then printed, and repeats the faults.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from tests.faults import rounds
from tests.servers import postgres
from tests.servers.influxd import start_influxd

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "guarantees.md"
RESULTS = ROOT / "benchmarks" / "soak.jsonl"
BEGIN, END = "<!-- made by python -m tests.faults.soak -->", "<!-- end -->"


class Result(msgspec.Struct, frozen=True):
    """A line of the results."""

    commit: str
    round: rounds.Round


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="only write the table")
    chosen = parser.parse_args()
    results = read(chosen.results)
    if not chosen.table:
        commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()
        had = {result.round.seed for result in results if result.commit == commit}
        with servers() as running:
            for seed in range(chosen.first, chosen.first + chosen.rounds):
                if seed not in had:
                    results.append(Result(commit, run(seed, running)))
                    with chosen.results.open("ab") as file:
                        file.write(msgspec.json.encode(results[-1]) + b"\n")
    PAGE.write_text(with_table(PAGE.read_text(), results))
    return 0 if all(result.round.holds for result in results) else 1


@contextlib.contextmanager
def servers() -> Iterator[rounds.Servers]:
    """PostgreSQL and InfluxDB for all rounds."""
    programs = postgres.find()
    if programs is None:
        raise SystemExit("PostgreSQL is not installed: apt-get install postgresql")
    with tempfile.TemporaryDirectory() as folder, postgres.running(programs) as registry:
        store = start_influxd(Path(folder))
        try:
            yield rounds.Servers(store, registry)
        finally:
            store.stop()


def run(seed: int, running: rounds.Servers) -> rounds.Round:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        outcome = rounds.run(seed, Path(folder), running)
    verdict = "holds" if outcome.holds else "DOES NOT HOLD"
    sys.stdout.write(f"seed {seed}: {verdict}, {outcome}\n")
    sys.stdout.flush()
    return outcome


def read(file: Path) -> list[Result]:
    """The results so far; a last line that was cut off by a kill is left out."""
    if not file.exists():
        return []
    return [msgspec.json.decode(line, type=Result) for line in file.read_bytes().split(b"\n")[:-1]]


def with_table(page: str, results: Sequence[Result]) -> str:
    """The page with the table of these results between its marks."""
    lines = [
        BEGIN,
        "",
        "| form | a round with | rounds | acknowledged | lost | twice | ledger differs | recovery p50 / p99, s |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for form, faults in rounds.FAULTS.items():
        for fault in faults:
            lines += _line(form, fault, [result.round for result in results])
    commits = sorted({result.commit for result in results})
    lines += ["", f"{len(results)} rounds of commits {', '.join(commits)}; a round has up to three faults.", "", END]
    text = "\n".join(lines)
    return re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: text, page, flags=re.DOTALL)


def _line(form: rounds.Form, fault: rounds.Fault, outcomes: Sequence[rounds.Round]) -> list[str]:
    """The line of a fault: of rounds with none of those that may cost something, unless it is about one of them."""
    chosen = [
        outcome
        for outcome in outcomes
        if outcome.form == form and fault in outcome.faults and (fault in rounds.LOSING or not outcome.may_lose)
    ]
    if not chosen:
        return []
    p50, p99 = np.quantile([outcome.recovery for outcome in chosen], [0.5, 0.99])
    sums = (
        f"{sum(outcome.acknowledged for outcome in chosen):,}",
        sum(outcome.lost for outcome in chosen),
        sum(outcome.duplicated for outcome in chosen),
        sum(not outcome.agrees for outcome in chosen),
    )
    cells = (form, fault, len(chosen), *sums, f"{p50:.1f} / {p99:.1f}")
    return ["| " + " | ".join(map(str, cells)) + " |"]


if __name__ == "__main__":
    sys.exit(main())
