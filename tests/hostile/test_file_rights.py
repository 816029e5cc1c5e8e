"""Other users of the machine read nothing of what techport keeps; folders of earlier versions are closed to them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from techport.commands.doctor import examine
from techport.data_dir import close_to_others, open_to_others
from techport.settings import load_settings
from tests.end_to_end.platforms import PILOT, Platform


@pytest.fixture
def _generous() -> Iterator[None]:
    """The umask of most machines."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def _wider(folder: Path) -> list[str]:
    paths = [folder, *folder.rglob("*")]
    return [f"{path}: {path.stat().st_mode & 0o777:o}" for path in paths if path.stat().st_mode & 0o077]


def _earlier_version(data: Path) -> list[Path]:
    """A data folder as versions before made it, under a generous umask."""
    files = [
        data / name
        for name in ("registry.sqlite", "registry.sqlite-wal", "readings.duckdb", "packages/a.zip", "receipts/a.json",
                     "snapshots/a.parquet", "token", "running.json")
    ]  # fmt: skip
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return files


@pytest.mark.usefixtures("_generous")
def test_what_an_earlier_version_left_open_is_closed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    files = _earlier_version(data)
    elsewhere = tmp_path / "elsewhere.sqlite"
    elsewhere.touch()
    bystander = data / "notes.txt"
    bystander.touch()
    outside = tmp_path / "outside"
    outside.touch()
    (data / "packages" / "link").symlink_to(outside)
    assert set(open_to_others(data, [elsewhere])) >= {data, elsewhere, *files}
    close_to_others(data, [elsewhere])
    assert open_to_others(data, [elsewhere]) == []
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in [*files, elsewhere]} == {0o600}
    assert stat.S_IMODE(bystander.stat().st_mode) == stat.S_IMODE(outside.stat().st_mode) == 0o644, "not techport's"


@pytest.mark.usefixtures("_generous")
def test_the_doctor_names_what_is_open(tmp_path: Path) -> None:
    settings = load_settings({"data": tmp_path / "data"})
    _earlier_version(settings.data)
    rights = next(check for check in examine(settings) if check.name == "rights")
    assert rights.state == "warning"
    assert "token" in rights.found or "more" in rights.found
    assert "chmod" in rights.remedy
    close_to_others(settings.data)
    assert next(check for check in examine(settings) if check.name == "rights").state == "ok"


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.usefixtures("_generous")
def test_a_running_platform_writes_nothing_that_others_may_read(tmp_path: Path) -> None:
    definition = tmp_path / "pilot.yaml"
    definition.write_text(PILOT)
    with Platform(tmp_path, "up", "--pilot", str(definition)) as platform:
        assert _wider(platform.data) == []
        platform.run("retention", "run", "--yes")
    assert _wider(platform.data) == []


@pytest.mark.heavy
@pytest.mark.usefixtures("_generous")
def test_a_command_writes_nothing_that_others_may_read(tmp_path: Path) -> None:
    data = tmp_path / "data"
    subprocess.run(
        [sys.executable, "-m", "techport", "retention", "list", "--data", str(data)], check=True, timeout=300
    )
    assert (data / "registry.sqlite").is_file()
    assert _wider(data) == []
