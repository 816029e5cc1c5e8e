"""The picture of imports and the lists of modules show the code as it is, and no component has an import circle."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT


def script(name: str) -> ModuleType:
    """A script of the docs folder, as a module."""
    path = ROOT / "docs" / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


IMPORTS = script("pictures/imports.py")
MODULES = script("modules.py")


def test_the_picture_of_imports_is_up_to_date() -> None:
    assert IMPORTS.draw() == IMPORTS.PICTURE.read_text("utf-8"), "imports have changed: run `make docs`"


def test_there_is_no_import_circle_between_folders() -> None:
    assert IMPORTS.circles() == []


def test_a_circle_is_found() -> None:
    imports = IMPORTS.Imports({("pilots/a", "pilots/b"): 1, ("pilots/b", "pilots/c"): 1, ("pilots/c", "pilots/a"): 1})
    rows = IMPORTS.rows_of(IMPORTS.in_order(imports))
    assert [pair for pair in IMPORTS.marks_of(rows, imports) if pair[1] > pair[0]]


@pytest.mark.parametrize("readme", MODULES.READMES)
def test_each_readme_names_every_module_in_one_line(readme: str) -> None:
    path = ROOT / readme
    expected = MODULES.with_modules(path, ROOT / MODULES.READMES[readme])
    assert path.read_text("utf-8") == expected, f"{readme}: the list of modules is out of date: run `make docs`"


def test_every_package_has_a_readme_with_its_modules() -> None:
    packages = {path.parent for path in ROOT.glob("*/techport_*/__init__.py")} | {ROOT / "techport"}
    assert packages == {ROOT / package for package in MODULES.READMES.values()}


def test_a_module_without_a_line_or_a_docstring_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULES, "ROOT", tmp_path)
    package = tmp_path / "package"
    package.mkdir()
    readme = tmp_path / "README.md"
    readme.write_text(f"# package\n\n{MODULES.BEGIN}\n{MODULES.END}\n", "utf-8")
    (package / "model.py").write_text('"""What there is."""\n', "utf-8")
    assert "| `model.py` | What there is. |" in MODULES.with_modules(readme, package)
    (package / "mute.py").write_text("ANSWER = 42\n", "utf-8")
    with pytest.raises(SystemExit, match=r"write a docstring for \| `mute\.py`"):
        MODULES.with_modules(readme, package)


def test_modules_that_the_architecture_page_names_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"`(?:\w+: )?(\w+(?:/\w+)*\.py|\w+/\w+/)`", page))
    packages = [ROOT / package for package in MODULES.READMES.values()]
    missing = [name for name in named if not any((folder / name).exists() for folder in [ROOT, *packages])]
    assert len(named) > 15
    assert sorted(missing) == []
