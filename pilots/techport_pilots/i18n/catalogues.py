"""Reading gettext catalogues (`<folder>/<language>.po`) as they stand, so that a translation is edited and seen without
a step of compiling.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations

from techport_pilots.plugins import search_path


@cache
def translations(folder: Path, language: str) -> Translations:
    """The catalogue `<folder>/<language>.po`; an empty one where there is no such file. Fuzzy entries are left out."""
    path = folder / f"{language}.po"
    if not path.is_file():
        return Translations()
    with path.open("rb") as file:
        entries = read_po(file, locale=language)
    compiled = BytesIO()
    write_mo(compiled, entries)
    compiled.seek(0)
    return Translations(compiled)


@cache
def codes(language: str) -> Translations:
    """The sentences of all codes in one language: those of this package and of every format."""
    merged = Translations()
    merged.plural = translations(_HERE, language).plural
    for folder in code_folders():
        merged._catalog.update(translations(folder, language)._catalog)
    return merged


_HERE = Path(__file__).parents[1] / "locale"


def code_folders() -> Iterator[Path]:
    """The folders that hold catalogues of codes."""
    yield _HERE
    for folder in search_path():
        yield from sorted(Path(folder).glob("*/locale"))
