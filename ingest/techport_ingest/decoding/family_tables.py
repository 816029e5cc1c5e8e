"""Tables of families: formats that need no code, one YAML file each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from techport_pilots.definition.structure import fit
from techport_pilots.formats import BrokenFormat
from techport_pilots.i18n import Message
from techport_pilots.model import DeviceRule

Table = TypeVar("Table", bound=msgspec.Struct)

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def tables(folder: Path, kind: type[Table]) -> Iterator[tuple[str, Table]]:
    """Name of the format and table of each file in a folder. Raises BrokenFormat for one that is wrong."""
    for file in sorted(folder.glob("*.yaml")):
        values, misfits = fit(yaml.load(file.read_text("utf-8"), Loader=_LOADER), kind)
        if misfits:
            raise BrokenFormat(f"{file.name}: {misfits[0].path} {misfits[0].problem}. {misfits[0].remedy}")
        yield file.stem, msgspec.convert(values, kind)


def device_phrase(rule: DeviceRule | None) -> Message:
    """Where a rule finds the device, as a phrase."""
    if rule is None:
        return Message("format.json.device")
    if rule.pointer is not None or rule.join:
        return Message("format.json.device-path", {"path": rule.pointer or ", ".join(rule.join)})
    if rule.level is not None and rule.level < 0:
        return Message("format.json.device-last", {"level": str(-rule.level)})
    return Message("format.json.device-level", {"level": str(rule.level)})
