"""Writes the list of modules into each component's README: every module in one line, as its docstring says it.

The list stands between the two markers below. Run this as `make docs` after a module was added, renamed or described
anew; tests/test_architecture.py fails while a README is out of date.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
READMES = {
    "ingest/README.md": "ingest/techport_ingest",
    "storage/README.md": "storage/techport_storage",
    "pilots/README.md": "pilots/techport_pilots",
    "dashboards/README.md": "dashboards/techport_dashboards",
    "simulators/README.md": "simulators/techport_simulators",
    "techport/README.md": "techport",
}
BEGIN = "<!-- modules: written by `make docs` from the modules' docstrings -->"
END = "<!-- end of modules -->"

# Folders whose modules are alike and found by their names: they have one line together.
PLUGIN_FOLDERS = {
    "ingest/techport_ingest/decoding/formats",
    "pilots/techport_pilots/registry/migrations",
    "storage/techport_storage/duckdb/migrations",
}


def summary(module: Path) -> str:
    """The first paragraph of a module's docstring, in one line."""
    docstring = ast.get_docstring(ast.parse(module.read_text("utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split()).replace("|", "\\|")


def table(package: Path) -> list[str]:
    """The rows of a package's modules: those beside the folders first, then folder by folder."""
    plugins = [folder for name in sorted(PLUGIN_FOLDERS) if (folder := ROOT / name).is_relative_to(package)]
    modules = sorted(package.rglob("*.py"), key=lambda module: (module.parent != package, module))
    rows = ["| module | what it is |", "|---|---|"]
    for module in modules:
        if module.name == "__init__.py" or any(module.is_relative_to(folder) for folder in plugins):
            continue
        rows.append(f"| `{module.relative_to(package)}` | {summary(module)} |")
    rows += [f"| `{folder.relative_to(package)}/` | {summary(folder / '__init__.py')} |" for folder in plugins]
    return rows


def with_modules(readme: Path, package: Path) -> str:
    """The README's text with its list of modules as it should be.

    Raises SystemExit where the markers are missing or a module has no docstring.
    """
    before, begin, rest = readme.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{readme.relative_to(ROOT)}: the markers {BEGIN} and {END} are missing; put them back")
    rows = table(package)
    undescribed = [row for row in rows if row.endswith("|  |")]
    if undescribed:
        raise SystemExit(f"{readme.relative_to(ROOT)}: write a docstring for {', '.join(undescribed)}")
    return "\n".join([before + BEGIN, "", *rows, "", END + after])


if __name__ == "__main__":
    for name, package in READMES.items():
        path = ROOT / name
        text = with_modules(path, ROOT / package)
        if text != path.read_text("utf-8"):
            path.write_text(text, "utf-8")
            sys.stdout.write(f"{name}: list of modules written\n")
