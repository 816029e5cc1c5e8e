"""The documentation is true: the tests it names exist, and so do the files it links to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.scaling import COSTS, LOADS, need, table

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    {*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("benchmarks/*.md")}
)


def test_every_test_named_on_the_guarantees_page_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs/guarantees.md").read_text())
    assert len(named) > 15
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not (ROOT / file).is_file() or (test and f"def {test}(" not in (ROOT / file).read_text())
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing, f"{page.name} links to {missing}"


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = sorted(int(page.name[:4]) for page in ROOT.glob("docs/decisions/[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_index_of_decisions_lists_each_with_its_title() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text()
    pages = sorted(ROOT.glob("docs/decisions/[0-9]*.md"))
    titles = {page.name: page.read_text().splitlines()[0].partition(". ")[2] for page in pages}
    missing = [name for name, title in titles.items() if f"[{title}]({name})" not in index]
    assert not missing


def test_the_simulation_is_what_its_script_says() -> None:
    """The lines of docs/scaling.md that take no second to make again."""
    page = (ROOT / "docs/scaling.md").read_text()
    needs = [need(load, COSTS, seconds=600, seed=1) for load in LOADS if load.devices <= 50_000]
    assert len(needs) == 3
    assert table(needs) in page, "python -m benchmarks.scaling, between its two marks"
