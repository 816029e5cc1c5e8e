"""Draws docs/pictures/imports.svg: which folder imports from which, as a matrix.

Rows and columns are the folders of the code, in an order in which each imports only from those before it. A mark in the
row of A and the column of B says that A imports from B, so a mark right of the diagonal is an import circle: it is red.
Modules that stand beside the folders of a component share a row where they follow one another in that order.

`make docs` runs this after imports have changed; tests/test_architecture.py fails while the picture is out of date.
"""

from __future__ import annotations

import sys
from collections import Counter
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
PICTURE = Path(__file__).with_name("imports.svg")

# Lowest layer first, as in the import-linter contracts of pyproject.toml, and the colour of each.
COMPONENTS = {
    "storage": "#0f766e",
    "pilots": "#1d4ed8",
    "simulators": "#a16207",
    "ingest": "#15803d",
    "dashboards": "#7c3aed",
    "techport": "#334155",
}
CIRCLE = "#dc2626"

CELL = 15
LABEL = 380
HEAD = 30

Imports = Counter[tuple[str, str]]
"""How many imports lead from a unit to another one."""


def package_of(component: str) -> str:
    """The Python package of a component."""
    return component if component == "techport" else f"techport_{component}"


def folder_of(component: str) -> Path:
    """Where the Python package of a component is."""
    return ROOT / component if component == "techport" else ROOT / component / package_of(component)


def component_of(unit: str) -> str:
    """The component of a unit."""
    return unit.partition("/")[0]


def is_module(unit: str) -> bool:
    """Whether a unit is a module beside the folders of its component."""
    return unit.endswith(".py")


def unit_of(module: str) -> str:
    """The folder that a module is in, `pilots/registry`, or the module where it is in none, `pilots/model.py`."""
    package, *names = module.split(".")
    component = package.removeprefix("techport_")
    name = names[0] if names else "__init__"
    return f"{component}/{name}" if (folder_of(component) / name).is_dir() else f"{component}/{name}.py"


def read_imports() -> Imports:
    """Imports between units, without those that only a type checker sees."""
    graph = grimp.build_graph(*map(package_of, COMPONENTS), exclude_type_checking_imports=True, cache_dir=None)
    pairs = (
        (unit_of(importer), unit_of(imported))
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    )
    return Counter(pair for pair in pairs if pair[0] != pair[1])


def in_order(imports: Imports) -> list[str]:
    """All units, each after those that it imports from as far as that is possible."""
    units = {unit for pair in imports for unit in pair}
    order: list[str] = []
    for component in COMPONENTS:
        waiting = {unit for unit in units if component_of(unit) == component}
        while waiting:
            needs = {unit: sum(imports[unit, other] for other in waiting) for unit in waiting}
            fewest = min(needs.values())  # 0, unless the units that are left import one another in a circle
            candidates = sorted(unit for unit in waiting if needs[unit] == fewest)
            alike = [unit for unit in candidates if order and is_module(unit) == is_module(order[-1])]
            order.append((alike or candidates)[0])
            waiting.remove(order[-1])
    return order


def rows_of(order: list[str]) -> list[list[str]]:
    """Units by row: a folder has its own, modules of one component that follow one another share one."""
    rows: list[list[str]] = []
    for unit in order:
        shares = rows and is_module(unit) and is_module(rows[-1][0]) and component_of(unit) == component_of(rows[-1][0])
        if shares:
            rows[-1].append(unit)
        else:
            rows.append([unit])
    return rows


def marks_of(rows: list[list[str]], imports: Imports) -> list[tuple[int, int]]:
    """Which row imports from which, by their numbers."""
    row_of = {unit: number for number, units in enumerate(rows) for unit in units}
    pairs = {(row_of[importer], row_of[imported]) for importer, imported in imports}
    return sorted((importer, imported) for importer, imported in pairs if importer != imported)


def label_of(units: list[str]) -> str:
    """How a row is named: `registry/`, or the modules that share it."""
    names = [unit.partition("/")[2].removesuffix(".py") for unit in units]
    if not is_module(units[0]):
        return f"{names[0]}/"
    text = ", ".join(names)
    return text if len(text) <= 50 else f"{text[:38].rpartition(',')[0]}, … ({len(names)} modules)"


def circles() -> list[str]:
    """The imports that close a circle, as `importer -> imported`."""
    imports = read_imports()
    rows = rows_of(in_order(imports))
    return [
        f"{component_of(rows[importer][0])}: {label_of(rows[importer])} -> {label_of(rows[imported])}"
        for importer, imported in marks_of(rows, imports)
        if imported > importer
    ]


def box(x: float, y: float, width: float, height: float, look: str, title: str = "") -> str:
    """A rectangle, with what a pointer over it shows."""
    inside = f"<title>{escape(title)}</title>" if title else ""
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" {look}>{inside}</rect>'


def text(x: float, y: float, content: str, look: str) -> str:
    """A line of text, which may hold markup."""
    return f'<text x="{x}" y="{y}" {look}>{content}</text>'


def draw() -> str:
    """The picture as SVG."""
    imports = read_imports()
    rows = rows_of(in_order(imports))
    labels = [label_of(units) for units in rows]
    components = [component_of(units[0]) for units in rows]
    names = [f"{component} {label}" for component, label in zip(components, labels, strict=True)]
    side = CELL * len(rows)
    width, height = LABEL + side + 10, HEAD + side + 10
    legend = (
        "Each row is a folder; its marks are the folders it imports from, by their number on the diagonal. "
        "A red mark, right of the diagonal, is an import circle."
    )
    root = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="system-ui, sans-serif"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {root} font-size="11" role="img" aria-label="Imports">',
        box(0, 0, width, height, 'fill="#ffffff"'),
        text(10, 18, legend, 'fill="#334155"'),
    ]
    for number, (component, label) in enumerate(zip(components, labels, strict=True)):
        colour, start, y = COMPONENTS[component], CELL * number, HEAD + CELL * number
        name = f'<tspan font-weight="bold">{component}</tspan> {escape(label)}'
        look = 'text-anchor="middle" font-size="9" fill="#ffffff"'
        parts += [
            text(LABEL - 8, y + 11, name, f'text-anchor="end" fill="{colour}"'),
            box(LABEL, y, start, CELL, 'fill="#f1f5f9" stroke="#ffffff"'),
            box(LABEL + start, y, CELL, CELL, f'fill="{colour}" stroke="#ffffff"'),
            text(LABEL + start + CELL / 2, y + 11, str(number + 1), look),
        ]
    for importer, imported in marks_of(rows, imports):
        colour = COMPONENTS[components[imported]] if imported < importer else CIRCLE
        title = f"{names[importer]} imports from {names[imported]}"
        look = f'fill="{colour}" fill-opacity="0.55" stroke="#ffffff"'
        parts.append(box(LABEL + CELL * imported, HEAD + CELL * importer, CELL, CELL, look, title))
    for component, colour in COMPONENTS.items():
        first, size = CELL * components.index(component), CELL * components.count(component)
        parts.append(box(LABEL + first, HEAD + first, size, size, f'fill="none" stroke="{colour}"'))
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw(), "utf-8")
    sys.stdout.write("".join(f"import circle: {circle}\n" for circle in circles()))
