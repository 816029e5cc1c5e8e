"""Reading a pilot's definition file (YAML) and writing it back.

What is wrong with a file is said all at once: file, line, field, problem and remedy of each thing (DefinitionError).
"""

from __future__ import annotations

import datetime as dt
from functools import cache
from pathlib import Path as FilePath
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import yaml

from techport_pilots.definition import checks, codec_files
from techport_pilots.definition.misfit import Misfit, misfit
from techport_pilots.definition.structure import fit
from techport_pilots.definition.text import MAX_BYTES, Source, SourceError, plain_value, read_yaml
from techport_pilots.errors import DefinitionError, Finding
from techport_pilots.formats import format_of_topic
from techport_pilots.model import PilotDefinition, SourceDefinition

__all__ = [
    "DefinitionError",
    "Finding",
    "check_document",
    "document_of",
    "parse_definition",
    "read_definition",
    "source_yaml",
    "to_yaml",
]


def read_definition(path: FilePath | str) -> PilotDefinition:
    """The pilot that the file defines. Raises DefinitionError, OSError when it cannot be opened."""
    path = FilePath(path)
    if path.stat().st_size > MAX_BYTES:
        raise DefinitionError([misfit((), "yaml.too-long", most=MAX_BYTES).finding(path.name, 1)])
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes().count(b"\n", 0, error.start) + 1
        raise DefinitionError([misfit((), "not-utf8").finding(path.name, line)]) from error
    if path.suffix.lower() == ".toml":
        raise DefinitionError([misfit((), "toml").finding(path.name, 1)])
    return parse_definition(text, file=path.name, folder=path.parent)


def parse_definition(text: str, *, file: str = "definition", folder: FilePath | None = None) -> PilotDefinition:
    """The pilot that `text` defines; `file` is how findings call it. Raises DefinitionError.

    Times without an offset are taken as local times of the pilot's zone. In a folder, codecs may be files beside the
    definition (`codec: level.js`): what they hold becomes part of it.
    """
    try:
        source = read_yaml(text)
    except SourceError as error:
        raise DefinitionError([error.misfit.finding(file, error.line)]) from error
    unread = [] if folder is None else codec_files.insert(source.value, folder)
    return _checked(source, file, unread)


def _checked(source: Source, file: str, unread: list[Misfit]) -> PilotDefinition:
    values, misfits = fit(_with_formats(source.value), PilotDefinition)
    misfits = unread + misfits
    try:
        as_written = msgspec.convert(values, PilotDefinition)
    except msgspec.ValidationError as error:
        # Too much is missing to ask what the rest means.
        unfit = misfits or [misfit((), "other", error=str(error))]
        raise _error(unfit, source, file) from error
    # An unknown zone is found by the checks; until then any zone lets the times be compared.
    pilot: PilotDefinition = _in_zone(as_written, checks.zone(as_written.timezone) or ZoneInfo("UTC"))
    misfits += checks.check(pilot)
    if misfits:
        raise _error(misfits, source, file)
    return pilot


def _with_formats(document: object) -> object:
    """The document with the format of each source that names none, where its topic tells it."""
    sources = document.get("sources") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(sources, list):
        return document
    return {**document, "sources": [_with_format(source) for source in sources]}


def _with_format(source: object) -> object:
    if not isinstance(source, dict) or "format" in source or not isinstance(topic := source.get("topic"), str):
        return source
    form = format_of_topic(topic)
    return source if form is None else {**source, "format": form}


def to_yaml(pilot: PilotDefinition) -> str:
    """The definition as a YAML file that parse_definition reads back to the same; what is default is left out."""
    return values_yaml(document_of(pilot))


def document_of(pilot: PilotDefinition) -> dict[str, Any]:
    """The plain values of the definition's file: what to_yaml writes, before it is written."""
    document: dict[str, Any] = _without_defaults(pilot)
    return document


def check_document(document: dict[str, Any], *, file: str = "definition") -> PilotDefinition:
    """The pilot that plain values define, such as those of a form, checked as their file would be. Times are texts.

    Raises DefinitionError, whose findings name the fields of `document`, and no lines.
    """
    return _checked(Source(document, {}), file, [])


def source_yaml(source: SourceDefinition) -> str:
    """One entry of `sources:`, as a list of one."""
    return values_yaml([_without_defaults(source)])


def values_yaml(values: Any) -> str:
    """Plain values as YAML that read_yaml reads back to the same."""
    return yaml.dump(values, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=110)


def _error(misfits: list[Misfit], source: Source, file: str) -> DefinitionError:
    return DefinitionError([wrong.finding(file, source.line(wrong.near or wrong.path)) for wrong in misfits])


def _in_zone(value: Any, zone: ZoneInfo) -> Any:
    """The value; every time in it, however deep, that has no offset is taken as a local time of the zone."""
    if isinstance(value, dt.datetime):
        return _with_offset(value, zone) if value.tzinfo is None else value
    if isinstance(value, list):
        return [_in_zone(item, zone) for item in value]
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(
            value, **{name: _in_zone(getattr(value, name), zone) for name in value.__struct_fields__}
        )
    return value


def _with_offset(time: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """The local time with its offset as a number: what is kept and exported does not depend on zone tables."""
    offset = time.replace(tzinfo=zone).utcoffset()
    return time.replace(tzinfo=dt.timezone(offset or dt.timedelta()))


def _without_defaults(value: Any) -> Any:
    """Structs as mappings without the fields that have their defaults; times as text."""
    if isinstance(value, msgspec.Struct):
        fields = [(key, getattr(value, name), default) for key, name, default in _fields_of(type(value))]
        return {key: _without_defaults(inner) for key, inner, default in fields if inner != default}
    if isinstance(value, dict):
        return {key: _without_defaults(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_defaults(item) for item in value]
    return value.isoformat() if isinstance(value, dt.date) else value


@cache
def _fields_of(kind: type[msgspec.Struct]) -> list[tuple[str, str, object]]:
    """Key, attribute and default of each field."""
    return [(field.encode_name, field.name, _default(field)) for field in msgspec.structs.fields(kind)]


def _default(field: msgspec.structs.FieldInfo) -> object:
    return field.default_factory() if callable(field.default_factory) else field.default


class _Dumper(yaml.SafeDumper):
    """Indents lists under their key, and never writes an alias for what stands in two places."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        return True


def _quoted_where_needed(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """A text, in quotation marks where read_yaml would take it for something else: PyYAML writes by the rules of YAML
    1.1, to which 7076e50000012345 is not a number.
    """
    style = None if isinstance(plain_value(text), str) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _quoted_where_needed)
