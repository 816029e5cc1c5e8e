"""On which line each key of a TOML text stands; the standard library's parser does not say.

Only for texts that tomllib has accepted: it looks for structure and does not check anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Path = tuple[str | int, ...]

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"[ \t]*(?:\"((?:[^\"\\]|\\.)*)\"|'([^']*)'|([A-Za-z0-9_-]+))[ \t]*")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE = re.compile(r"[^,\]}\n#]*")


def lines_of(text: str) -> dict[Path, int]:
    """The line (from 1) of every key, table and list element."""
    return _Locator(text).run()


class _Locator:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0  # how far the lines have been counted
        self._lines: dict[Path, int] = {}
        self._tables: dict[Path, int] = {}  # [[arrays]] of tables: the index of the last one

    def run(self) -> dict[Path, int]:
        table: Path = ()
        while self._skip_space():
            if self._text.startswith("[[", self._at):
                table = self._header(2)
            elif self._text.startswith("[", self._at):
                table = self._header(1)
            else:
                self._pair(table)
        return self._lines

    def _header(self, brackets: int) -> Path:
        self._at += brackets
        keys = self._keys()
        path: Path = ()
        for key in keys[:-1]:
            path = self._inside((*path, key))
        path = (*path, keys[-1])
        if brackets == 2:
            self._tables[path] = self._tables.get(path, -1) + 1
        path = self._inside(path)
        self._note(path)
        self._at += brackets
        return path

    def _inside(self, path: Path) -> Path:
        return (*path, self._tables[path]) if path in self._tables else path

    def _pair(self, table: Path) -> None:
        path = table
        for key in self._keys():
            path = (*path, key)
            self._note(path)
        self._at += 1  # the equals sign
        self._skip_space()
        self._value(path)

    def _value(self, path: Path) -> None:
        self._note(path)
        if string := _STRING.match(self._text, self._at):
            self._at = string.end()
        elif self._text.startswith("[", self._at):
            self._each("]", lambda index: self._value((*path, index)))
        elif self._text.startswith("{", self._at):
            self._each("}", lambda _: self._pair(path))
        else:
            self._at = _match_end(_BARE, self._text, self._at)

    def _each(self, closing: str, item: Callable[[int], None]) -> None:
        self._at += 1
        index = 0
        while self._skip_space() and not self._text.startswith(closing, self._at):
            if self._text.startswith(",", self._at):
                self._at += 1
                continue
            item(index)
            index += 1
        self._at += 1

    def _keys(self) -> list[str]:
        keys = []
        while match := _KEY.match(self._text, self._at):
            self._at = match.end()
            keys.append(next(part for part in match.groups() if part is not None))
            if not self._text.startswith(".", self._at):
                break
            self._at += 1
        return keys

    def _skip_space(self) -> bool:
        self._at = _match_end(_SPACE, self._text, self._at)
        return self._at < len(self._text)

    def _note(self, path: Path) -> None:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        self._lines.setdefault(path, self._line)


def _match_end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at
