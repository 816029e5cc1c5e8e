"""A pilot's whole life with commands only: start, events, end, report, close, open elsewhere, forget."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from techport.cli import app
from techport.data_dir import lock
from techport.errors import CannotRun
from techport_dashboards import WebSettings
from techport_storage.store import open_store
from tests.dashboards.web import City, serving
from tests.pilots import trial


def techport(*words: str) -> Result:
    result = CliRunner().invoke(app, [*words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.slow
def test_from_start_to_oblivion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    definition = tmp_path / "pilot.yaml"
    definition.write_text(trial.YAML, "utf-8")
    techport("pilot", "import", str(definition), "--data", "here")
    store = open_store(f"duckdb:///{tmp_path}/here/readings.duckdb")
    store.write(trial.readings())
    store.close()
    techport("pilot", "start", "elgeseter", "--data", "here", "--who", "kari")
    techport(
        "pilot",
        "event",
        "elgeseter",
        "calibrated",
        "Kalibrert",
        "--at",
        "2026-03-05",
        "--device",
        "kirka",
        "--data",
        "here",
    )
    techport("pilot", "exclude", "elgeseter", "2026-03-07", "2026-03-08", "Torgdag", "--data", "here")
    assert "elgeseter: 0 readings" not in techport("pilot", "reflag", "elgeseter", "--data", "here").stdout
    again = techport("pilot", "reflag", "elgeseter", "--from", "2026-03-06", "--to", "2026-03-09", "--data", "here")
    assert "elgeseter: 0 readings have other flags now" in again.stdout
    with pytest.raises(CannotRun, match="cannot be closed yet"):
        techport("pilot", "close", "elgeseter", "--yes", "--data", "here")
    techport("pilot", "end", "elgeseter", "--data", "here", "--why", "ferdig")
    shown = techport("pilot", "show", "elgeseter", "--data", "here").stdout
    assert "ended" in shown
    assert "Torgdag" in shown
    techport("pilot", "report", "elgeseter", "--lang", "nb", "--data", "here")
    report = (tmp_path / "elgeseter-nb.html").read_text("utf-8")
    assert "Kalibrert" in report
    assert "Torgdag" in report

    closed = techport("pilot", "close", "elgeseter", "--yes", "--data", "here").stdout
    (package,) = (tmp_path / "here" / "packages").glob("elgeseter-*.zip")
    assert str(package) in closed
    opened = techport("pilot", "open", str(package), "--data", "there")
    assert opened.exit_code == 0
    assert opened.stdout.count("in the package, the same here") == 2
    audited = techport("audit", "--all", "--data", "there").stdout
    assert "the sums agree" in audited
    assert re.search(r"^elgeseter/\S+ \d{4}-\d\d-\d\d: ok, \d+ messages: ", audited, re.M), "readable at any width"
    # A regression's last digits depend on the processor: OpenBLAS takes those of an old one when it is told to.
    command = [sys.executable, "-m", "techport", "pilot", "open", str(package), "--data", "on-an-old-machine"]
    old = subprocess.run(command, env={**os.environ, "OPENBLAS_CORETYPE": "Prescott"}, capture_output=True, text=True)
    assert (old.returncode, old.stdout.count("in the package, the same here")) == (0, 2), old.stdout + old.stderr
    assert "elgeseter (closed)" in techport("retention", "list", "--data", "here").stdout
    assert "nothing is due" in techport("retention", "run", "--yes", "--data", "here").stdout
    assert package.exists()


@pytest.mark.slow
def test_the_platform_that_runs_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Close, report, retention and open, while another holds the store."""
    monkeypatch.chdir(tmp_path)
    short = trial.YAML.replace("retention: P2Y", "retention: PT1S")
    with platform(tmp_path / "here") as here:
        here.import_text(short)
        here.store.write(trial.readings())
        for step in ("start", "end"):
            techport("pilot", step, "elgeseter", "--data", "here")
        closed = techport("pilot", "close", "elgeseter", "--yes", "--data", "here", "--output", "out")
        (package,) = (tmp_path / "here" / "packages").glob("elgeseter-*.zip")
        assert str(tmp_path / "out" / package.name) in closed.stdout
        assert "credentials of 0 devices" in closed.stdout
        assert here.registry.state("elgeseter") == "closed"
        with zipfile.ZipFile(package) as archive:
            archive.extractall(tmp_path / "unpacked")
        with pytest.raises(CannotRun, match="no pilot"):
            techport("pilot", "close", "nowhere", "--yes", "--data", "here")
        time.sleep(1.1)
        said = techport("retention", "run", "--yes", "--data", "here").stdout
        assert f"{len(trial.readings())} readings" in said
        assert not package.exists()
        (receipt,) = (tmp_path / "here" / "receipts").glob("elgeseter-*.json")
        assert receipt.name in said
        assert "nothing is due" not in said
    for name, file in (("zip", tmp_path / "out" / package.name), ("folder", tmp_path / "unpacked")):
        with platform(tmp_path / name) as there:
            opened = techport("pilot", "open", str(file), "--data", name)
            assert opened.exit_code == 0
            assert opened.stdout.count("in the package, the same here") == 2
            assert there.registry.state("elgeseter") == "closed"


def test_a_platform_without_pages_has_to_be_stopped_first(tmp_path: Path) -> None:
    with lock(tmp_path / "data", "ingest", None, "127.0.0.1:2"), pytest.raises(CannotRun, match="stop it"):
        techport("pilot", "close", "elgeseter", "--yes", "--data", str(tmp_path / "data"))


@contextmanager
def platform(folder: Path) -> Iterator[City]:
    """A web app that holds the folder, as `techport up` does."""
    folder.mkdir()
    city = City.at(folder)
    settings = WebSettings(packages=folder / "packages", snapshots=folder / "snapshots")
    with serving(city.app(settings)) as address, lock(folder, "up", address.removeprefix("http://"), None):
        yield city
    city.close()
