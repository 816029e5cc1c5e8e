"""Definition files as plain values, with the line that each of them stands on.

YAML is read by its node tree and only as data: YAML 1.2's few plain scalars (so that `no:` stays the language code),
no tags, no merge keys, and limits on size, depth and on what aliases may multiply into.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Hashable, Iterator
from typing import Any

import msgspec
import yaml

from techport_pilots import toml_lines

Path = tuple[str | int, ...]

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
    return Source(value, {(): 1, **toml_lines.lines_of(text)})


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
