"""Definition files as plain values, with the line that each of them stands on.

YAML is read by its node tree and only as data: YAML 1.2's few plain scalars (so that `no:` stays the language code),
no tags, no merge keys, and limits on size, depth and on what aliases may multiply into.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import msgspec
import yaml

# -- On which line each key of a TOML text stands; the standard library's parser does not say.

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


MAX_BYTES = 2_000_000
MAX_DEPTH = 20
MAX_VALUES = 200_000

_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    word: value for value in (True, False) for word in (str(value).lower(), str(value), str(value).upper())
}
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "timestamp"))


class SourceError(ValueError):
    """A text that is no YAML or TOML, or more than we read: line (from 1), path, problem and remedy."""

    def __init__(self, line: int, problem: str, remedy: str, path: Path = ()) -> None:
        super().__init__(f"line {line}: {problem}. {remedy}")
        self.line = line
        self.path = path
        self.problem = problem
        self.remedy = remedy


class Source(msgspec.Struct, frozen=True):
    """The values of a definition file, and the line of each path in it."""

    value: object
    lines: dict[Path, int]

    def line(self, path: Path) -> int:
        """The line of the path, or of the nearest thing around it that has one."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_yaml(text: str) -> Source:
    """The one document in `text`. Raises SourceError."""
    _guard_size(text)
    try:
        # The parser in Python, not libyaml's: deep nesting ends in an exception here, and in a crash there.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise SourceError(line, f"this is not YAML: {error.problem or error.context}", _YAML_REMEDY) from error
    except yaml.YAMLError as error:
        raise SourceError(1, f"this is not YAML: {error}", "Save the file as plain text in UTF-8") from error
    except RecursionError as error:
        raise SourceError(1, "nested too deeply", f"A definition needs no more than {MAX_DEPTH} levels") from error
    except (ValueError, OverflowError) as error:  # PyYAML lets Python's own through, such as for "\UFFFFFFFF"
        raise SourceError(1, f"this is not YAML: {error}", "Look for an escape that is no character") from error
    if root is None:
        raise SourceError(1, "the file is empty", "Start with `id:`, `title:`, `question:` and `devices:`")
    reader = _YamlReader()
    return Source(reader.value(root, ()), {(): 1, **reader.lines})


def read_toml(text: str) -> Source:
    """The table in `text`. Raises SourceError."""
    _guard_size(text)
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"at line (\d+)", str(error))
        line = int(at[1]) if at else text.count("\n") + 1
        raise SourceError(line, f"this is not TOML: {error}", "Texts need quotes, and each key stands once") from error
    except (RecursionError, ValueError) as error:
        raise SourceError(1, f"this cannot be read as TOML: {error}", "Use fewer levels and shorter numbers") from error
    if _depth(value) > MAX_DEPTH:
        raise SourceError(1, "nested too deeply", f"A definition needs no more than {MAX_DEPTH} levels")
    return Source(value, {(): 1, **lines_of(text)})


_YAML_REMEDY = "Check the indentation, and put texts with : or # in quotes"


def _guard_size(text: str) -> None:
    if len(text) > MAX_BYTES:
        raise SourceError(1, f"the file is longer than {MAX_BYTES:,} characters", "Give each pilot a file of its own")


def _depth(value: object) -> int:
    inner: Iterator[object] = iter(())
    if isinstance(value, dict):
        inner = iter(value.values())
    elif isinstance(value, list):
        inner = iter(value)
    return 1 + max(map(_depth, inner), default=0)


class _YamlReader:
    """Turns nodes into values and notes their lines; counts, so that aliases cannot multiply without end."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self._values = 0

    def value(self, node: yaml.Node, path: Path) -> object:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self._values += 1
        if self._values > MAX_VALUES or len(path) > MAX_DEPTH:
            remedy = (
                f"A definition needs no more than {MAX_DEPTH} levels and {MAX_VALUES:,} values, aliases written out"
            )
            raise SourceError(line, "nested too deeply or too large", remedy, path)
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _PLAIN_TAGS:
            return _scalar(node)
        raise SourceError(line, f"the tag {node.tag!r} is not for definitions", "Write the value without a tag", path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[Hashable, object]:
        found: dict[Hashable, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise SourceError(line, "a key is a list or a mapping", "Keys are single words; quote { and [", path)
            key = str(key_node.value)
            if key in found:
                first = self.lines[(*path, key)]
                raise SourceError(line, f"{key!r} is here twice, first in line {first}", "Keep one", (*path, key))
            self.lines[(*path, key)] = line
            found[key] = self.value(value_node, (*path, key))
        return found


def _scalar(node: yaml.ScalarNode) -> Any:
    text = str(node.value)
    if node.style is not None:  # quoted, or a block: always text
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text) and len(text) < 20:
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
