"""The notebooks of the documentation run, and show what is printed in them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.notebooks.platform import FORMAT, NOTEBOOKS, executed, platform, shown

pytestmark = pytest.mark.heavy
NAMES = ["a-first-look", "street-cleaning", "wind-and-pollution"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with platform(tmp_path_factory.mktemp("notebooks")) as address:
        yield address


def test_these_are_all() -> None:
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_shows_what_is_printed_in_it(address: str, name: str) -> None:
    path = NOTEBOOKS / f"{name}.ipynb"
    printed = shown(FORMAT.read(path, as_version=4))
    assert any(printed), "run: python -m tests.notebooks.execute"
    assert shown(executed(path, address)) == printed, "run: python -m tests.notebooks.execute"


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_names_no_address_of_its_own(name: str) -> None:
    text = (NOTEBOOKS / f"{name}.ipynb").read_text("utf-8")
    assert "127.0.0.1:8080" in text, "the default of who follows it at home"
    assert text.count("127.0.0.1:") == text.count("127.0.0.1:8080")
    assert str(Path.home()) not in text


R_PAGE = NOTEBOOKS.parent / "r.md"
PROGRAMS = re.findall(r"```r\n(.*?)```", R_PAGE.read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS, ids=NAMES)
def test_the_same_in_r(address: str, program: str) -> None:
    if shutil.which("Rscript") is None:
        unavailable("Rscript is not installed: apt-get install r-base-core")
    text = program.replace("http://127.0.0.1:8080", address)
    done = subprocess.run(["Rscript", "-e", text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
