"""Statements about things, written as Turtle and as JSON-LD.

By hand and not by a library: there are few of them, in one order, so that the same facts give the same bytes.

    Node ── says ──► (property, Iri | Literal | Node)      names are prefixed ("dct:title"), addresses are whole
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from techport_pilots.model import Text


class Iri(msgspec.Struct, frozen=True):
    """The address of a thing that is described elsewhere, here or in a vocabulary."""

    address: str


class Literal(msgspec.Struct, frozen=True):
    """A text in a language, or a value of a data type (a prefixed name), or just a text."""

    text: str
    language: str = ""
    type: str = ""


class Node(msgspec.Struct, frozen=True):
    """A thing and what is said of it. Without an address it stands where it is mentioned."""

    types: Sequence[str]
    says: Sequence[tuple[str, Iri | Literal | Node]]
    address: str | None = None


def texts(predicate: str, text: Text) -> list[tuple[str, Iri | Literal | Node]]:
    """The text in each language it has."""
    return [(predicate, Literal(value, code)) for code, value in (("nb", text.nb), ("en", text.en)) if value]


def turtle(nodes: Iterable[Node], prefixes: Mapping[str, str]) -> str:
    """https://www.w3.org/TR/turtle/"""
    heading = [f"@prefix {name}: <{address}> ." for name, address in prefixes.items()]
    return "\n".join([*heading, "", *(_statements(node) for node in nodes)]) + "\n"


def json_ld(nodes: Iterable[Node], prefixes: Mapping[str, str]) -> str:
    """The same statements as JSON-LD 1.1, one object for each node. https://www.w3.org/TR/json-ld11/"""
    graph = [_object(node) for node in nodes]
    return json.dumps({"@context": dict(prefixes), "@graph": graph}, ensure_ascii=False, indent=1) + "\n"


def addresses(nodes: Iterable[Node]) -> Iterator[str]:
    """Every address that is mentioned, those within nodes too."""
    for node in nodes:
        for _, value in node.says:
            if isinstance(value, Iri):
                yield value.address
            elif isinstance(value, Node):
                yield from addresses([value])


def _statements(node: Node) -> str:
    return f"{_iri(node.address or '')} {_said(node, '  ')} ."


def _said(node: Node, indent: str) -> str:
    facts = [f"a {', '.join(node.types)}", *(f"{name} {_term(value, indent)}" for name, value in node.says)]
    return f" ;\n{indent}".join(facts)


def _term(value: Iri | Literal | Node, indent: str) -> str:
    match value:
        case Iri(address):
            return _iri(address)
        case Literal(text, language, type):
            return _quoted(text) + (f"@{language}" if language else f"^^{type}" if type else "")
        case _:
            return f"[ {_said(value, indent + '  ')} ]"


def _quoted(text: str) -> str:
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(letter, letter) for letter in text) + '"'


def _iri(address: str) -> str:
    return f"<{_safe(address)}>"


def _safe(address: str) -> str:
    """The address with what no IRI may hold percent-encoded."""
    return re.sub(r'[\x00-\x20<>"{}|^`\\]', lambda match: quote(match[0]), address)


def _object(node: Node) -> dict[str, Any]:
    properties: dict[str, Any] = {"@id": _safe(node.address)} if node.address is not None else {}
    properties["@type"] = list(node.types)
    for name, value in node.says:
        properties.setdefault(name, []).append(_value(value))
    return properties


def _value(value: Iri | Literal | Node) -> dict[str, Any]:
    match value:
        case Iri(address):
            return {"@id": _safe(address)}
        case Literal(text, language, type):
            return {"@value": text} | ({"@language": language} if language else {"@type": type} if type else {})
        case _:
            return _object(value)
