"""What `[[sources]]` and the other names of devices must mean: filters that take no other pilot's messages, quantities
that exist, one device for each name.
"""

from __future__ import annotations

from collections.abc import Iterator

from techport_pilots.model import PilotDefinition, SourceDefinition
from techport_pilots.quantities import vocabulary_of
from techport_pilots.snapshot import plain
from techport_pilots.structure import Misfit, Path

_CODECS = ("tts-v3", "chirpstack-v4")


def check_sources(pilot: PilotDefinition) -> Iterator[Misfit]:
    """What is wrong with the pilot's sources."""
    words = vocabulary_of(pilot)
    for index, source in enumerate(pilot.sources):
        path: Path = ("sources", index)
        yield from _topic(pilot.id, source.topic, (*path, "topic"))
        yield from _device(source, path)
        yield from _settings(source, path)
        yield from _position(source, path)
        for key, field in source.fields.items():
            here: Path = (*path, "fields", key)
            if field.quantity not in words:
                near = words.near(field.quantity)
                remedy = f"Did you mean {' or '.join(near)}?" if near else "Describe it under quantities: first"
                yield Misfit((*here, "quantity"), f"nobody knows the quantity {field.quantity!r}", remedy, near=here)
            if field.factor == 0:
                yield Misfit((*here, "factor"), "0 makes every value 0", "Write 0.1 for values in tenths", near=here)
            if key in source.ignore:
                yield Misfit(here, f"{key!r} is under ignore: too", "Keep one of the two")


def check_aliases(pilot: PilotDefinition) -> Iterator[Misfit]:
    """Names that two devices would answer to."""
    owner = {plain(device.id): device.id for device in pilot.devices}
    for index, device in enumerate(pilot.devices):
        for number, alias in enumerate(device.aliases):
            path: Path = ("devices", index, "aliases", number)
            if not alias.strip():
                yield Misfit(path, "is empty", "Write a name under which the device's messages come, or leave it out")
            elif (other := owner.setdefault(plain(alias), device.id)) != device.id:
                yield Misfit(path, f"{alias!r} is the device {other} already", "Give each name to one device")


def _topic(pilot: str, topic: str, path: Path) -> Iterator[Misfit]:
    levels = topic.split("/")
    remedy = "Such as v3/+/devices/+/up: + is one level, # the rest and stands last"
    if not topic or len(topic) > 200 or "\0" in topic:
        yield Misfit(path, "is no topic filter", remedy)
    elif any(("+" in level and level != "+") or ("#" in level and level != "#") for level in levels):
        yield Misfit(path, f"{topic!r} has a wildcard inside a level", remedy)
    elif "#" in levels[:-1]:
        yield Misfit(path, f"{topic!r} goes on behind #", remedy)
    elif levels[0] == "#" or levels == ["+", "#"]:
        yield Misfit(path, f"{topic!r} takes every pilot's messages", "Name at least one level, such as tele/#")
    elif levels[0].startswith("$"):
        yield Misfit(path, f"{topic!r} belongs to the broker itself", remedy)
    elif levels[0] == "pilots" and (len(levels) < 3 or levels[1] != pilot):
        problem = f"{topic!r} takes messages of other pilots"
        yield Misfit(path, problem, f"Below pilots/ a source can only be about pilots/{pilot}/+/...")


def _device(source: SourceDefinition, path: Path) -> Iterator[Misfit]:
    rule = source.device
    if rule is None:
        return
    here: Path = (*path, "device")
    given = [name for name in ("level", "pointer", "id") if getattr(rule, name) is not None]
    if len(given) != 1:
        yield Misfit(here, f"says {' and '.join(given) or 'nothing'}", "Give one of level:, pointer: and id:")
    if rule.level is not None and rule.level < 1:
        yield Misfit((*here, "level"), f"{rule.level} is no level", "The first level of the topic is 1")
    if rule.pointer is not None and not rule.pointer.startswith("/"):
        yield Misfit((*here, "pointer"), f"{rule.pointer!r} is no JSON pointer", f"Write /{rule.pointer}")


def _position(source: SourceDefinition, path: Path) -> Iterator[Misfit]:
    rule = source.position
    if rule is None:
        return
    here: Path = (*path, "position")
    for key in {rule.lat, rule.lon} & {*source.ignore, *source.fields}:
        yield Misfit(here, f"{key!r} is under ignore: or fields: too", "Keep one of the two")
    if rule.lat == rule.lon:
        yield Misfit(here, f"{rule.lat!r} is both latitude and longitude", "Name two keys, as `techport decode` shows")
    if rule.moves is not None and not 1 <= rule.moves <= 1_000_000:
        yield Misfit(
            (*here, "moves"), f"{rule.moves:g} metres", "Write what is more than the receiver's error, such as 100"
        )


def _settings(source: SourceDefinition, path: Path) -> Iterator[Misfit]:
    if source.codec is not None:
        if source.format not in _CODECS:
            remedy = f"Leave it out: only {' and '.join(_CODECS)} carry bytes of a radio"
            yield Misfit((*path, "codec"), f"{source.format} has no codec", remedy)
        elif source.codec != "cayenne-lpp" and "decodeUplink" not in source.codec:
            remedy = "Write cayenne-lpp, or the text of the maker's JavaScript with its function decodeUplink"
            yield Misfit((*path, "codec"), f"{source.codec[:40]!r} is no codec", remedy)
    if source.columns is not None and source.format != "csv":
        yield Misfit((*path, "columns"), f"{source.format} has no columns", "Leave it out")
    if source.precision != "ns" and source.format != "line-protocol":
        yield Misfit((*path, "precision"), f"{source.format} has no precision", "Leave it out")
