"""Definition files as plain values, with the line that each of them stands on.

YAML is read by its node tree and only as data: YAML 1.2's few plain scalars (so that `no:` stays the language code),
no tags, no merge keys, and limits on size, depth and on what aliases may multiply into.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import msgspec
import yaml

from techport_pilots.definition.misfit import Misfit, Path, misfit

MAX_BYTES = 500_000  # a pilot of a thousand devices takes a third
MAX_DEPTH = 20
MAX_VALUES = 50_000
MAX_ALIASES = 1_000
_EXPLAINED = 50_000  # bytes of a broken file that PyYAML's slower parser explains: it reads 30 kB a second

_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    word: value for value in (True, False) for word in (str(value).lower(), str(value), str(value).upper())
}
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str", "timestamp"))


class SourceError(ValueError):
    """A text that is not YAML, or more than is read: what is wrong, and its line (from 1)."""

    def __init__(self, line: int, misfit: Misfit) -> None:
        super().__init__(f"line {line}: {misfit.problem}. {misfit.remedy}")
        self.line = line
        self.misfit = misfit


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
        # libyaml's parser is twenty times as fast. Deep nesting would end in a crash there, so it is measured first.
        loader = _LOADER if _is_bounded(text) else yaml.SafeLoader
        root = yaml.compose(text, Loader=loader)
    except SourceError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = str(error.problem or error.context)
        raise SourceError(line, misfit((), "yaml.syntax", error=problem)) from error
    except yaml.YAMLError as error:
        raise SourceError(1, misfit((), "yaml.encoding", error=str(error))) from error
    except RecursionError as error:
        raise SourceError(1, misfit((), "yaml.too-deep", most=MAX_DEPTH)) from error
    except (ValueError, OverflowError) as error:  # PyYAML lets Python's own through, such as for "\UFFFFFFFF"
        raise SourceError(1, misfit((), "yaml.escape", error=str(error))) from error
    if root is None:
        raise SourceError(1, misfit((), "yaml.empty"))
    reader = _YamlReader()
    return Source(reader.value(root, ()), {(): 1, **reader.lines})


def _guard_size(text: str) -> None:
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise SourceError(1, misfit((), "yaml.too-long", most=MAX_BYTES))


def _is_bounded(text: str) -> bool:
    """Whether the text is YAML within the limits. False for one that a parser must explain; raises SourceError.

    Events come one by one, whatever the nesting: nothing is built yet.
    """
    depth = values = aliases = 0
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            values += isinstance(event, yaml.NodeEvent)
            aliases += isinstance(event, yaml.AliasEvent)
            if depth > MAX_DEPTH + 1 or values > 2 * MAX_VALUES or aliases > MAX_ALIASES:
                line = event.start_mark.line + 1 if event.start_mark is not None else 1
                raise SourceError(line, misfit((), "yaml.too-large", levels=MAX_DEPTH, values=MAX_VALUES))
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        if isinstance(error, SourceError) or len(text) > _EXPLAINED:
            raise
        return False
    return True


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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
            raise SourceError(line, misfit(path, "yaml.too-large", levels=MAX_DEPTH, values=MAX_VALUES))
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _PLAIN_TAGS:
            text = str(node.value)
            if node.style or _is_id(path, text):  # quoted, a block, or an id: text
                return text
            return plain_value(text)
        raise SourceError(line, misfit(path, "yaml.tag", tag=node.tag))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[Hashable, object]:
        mapping: dict[Hashable, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise SourceError(line, misfit(path, "yaml.key"))
            key = str(key_node.value)
            if key in mapping:
                first = self.lines[(*path, key)]
                raise SourceError(line, misfit((*path, key), "yaml.duplicate-key", key=key, first=first))
            self.lines[(*path, key)] = line
            mapping[key] = self.value(value_node, (*path, key))
        return mapping


def plain_value(text: str) -> Any:
    """What a plain scalar, one without quotation marks, says: a number, a constant, or its text.

    Parameters
    ----------
    text : str
        The scalar as it is written.

    Returns
    -------
    int, float, bool, None or str
        Text is returned as it is.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text) and len(text) < 20:
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _is_id(path: Path, text: str) -> bool:
    """Whether the text at this path is an id or an alias, which stays text however it looks: a DevEUI of digits with an
    e among them is no number, 0012345678 keeps its zeros, and a device may be called null.

    Elsewhere than in the device's own entry (`device:` of an event), null says that there is none.
    """
    if not path or text in ("", "~"):
        return False
    if isinstance(path[-1], int):
        return len(path) > 1 and path[-2] in ("aliases", "devices")
    return path[-1] == "id" or (path[-1] == "device" and text.lower() != "null")
