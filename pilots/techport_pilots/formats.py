"""The formats of messages that the platform reads: what each is called, where its messages come in, who reads them.

A format is one folder of the package PLUGINS, or a table in such a folder (`FAMILIES`). The `__init__.py` of a folder
holds `FORMAT = Format(...)`, its `locale/<language>.po` the texts that belong to it, under codes that start with
`format.<name>.`. Everything that lists formats (the check of a definition, forms, snippets, documentation, the command
line, the API's description) asks `formats()`; nothing else has to be told of a new one.

The package belongs to a layer that this one may not import, so it is loaded by its name, as plug-ins are.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from techport_pilots.plugins import PLUGINS, folder_names, table_files
from techport_pilots.topics import covers

if TYPE_CHECKING:  # a command's help lists the names: the rest is not loaded for it
    from techport_pilots.i18n import Message
    from techport_pilots.model import SourceDefinition
    from techport_storage.model import Micros

DEFAULT = "native"
"""The format of devices that nothing else is said of."""


class NoOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of a format that has none."""


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """Who sent a message, as far as its topic and payload say it; "" where they do not."""

    device: str = ""  # as decoders name it
    origin: str = ""  # what the name is unique in, where it is not unique by itself: an application, a group
    title: str = ""  # the name that people gave it
    kind: str = ""  # its model or profile


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """One format of messages.

    Parameters
    ----------
    name : str
        As it stands in definitions (`format: tasmota`), in addresses and in folders of cases.
    label : str
        Name of the standard, product or maker; the same in every language.
    decoder : callable
        `decoder(settings)` makes what reads the messages of one source: `decode(message, device) -> findings`, see
        `techport_ingest.decoding.decoder`. Called once for each source and worker.
    own_topic : str
        End of the topic, below `pilots/<pilot>/<device>/`, for devices that can be told where to send. "" where a
        server or a gateway sends for many devices; `topic` is needed then.
    topic : str
        Usual topic filter of messages that come from elsewhere. "" where there is no usual one.
    device_from : {"topic", "message"}
        "topic": the first wildcard of a source's topic names the device where the message does not. "message": the
        decoder finds the device in the message or its whole topic, and the wildcard may be something else.
    example : str
        A message with one value of `<QUANTITY>`, to copy. "" where messages are files or bytes.
    snippets : mapping of str to str
        Title and text of what is entered into a device or a server, with the blanks of `devices.snippets`; empty: the
        usual code that publishes `example`.
    options : type of msgspec.Struct
        What a source may say about its messages, as keys beside `format:` or below `options:`.
    keys_are_ours : bool
        Senders choose the keys themselves: on topics below `pilots/`, a name of the vocabulary has its unit.
    self_described : bool
        Devices describe themselves once, in retained messages, which have to be read before the others.
    codec : callable, optional
        `codec(payload, port) -> values by name`, for formats that also occur as the bytes of a LoRaWAN uplink.
    sender : callable, optional
        `sender(topic, payload) -> Sender`: who sent a message, also one that the decoder rejects. Never raises.
    origin : callable, optional
        `origin(topic)` of what the names of devices are unique in: the group of a Sparkplug node, the application of a
        LoRaWAN device. None: only the payload says it. Left out by formats whose names are unique by themselves.
    recovery : callable, optional
        `recovery(reason, topic, time) -> (topic, payload)` of the command that makes a device send what was missing
        when a message of `topic` was rejected with `reason`; None where nothing helps.
    told_by_payload : bool
        Messages of other formats are refused or ignored: it can be tried on any topic.
    device_phrase : Message, optional
        Where the device's id comes from, for formats that have no catalogue of their own.
    payload : {"json", "csv", "other"}
        What messages are: in JSON and CSV, identifiers that a source names (`pseudonyms:`) are found and replaced.
    reads_device_rule : bool
        The decoder applies the source's `device` rule itself, record by record.
    """

    name: str
    label: str
    decoder: Callable[..., Any]
    own_topic: str = ""
    topic: str = ""
    device_from: Literal["topic", "message"] = "topic"
    example: str = ""
    snippets: Mapping[str, str] = {}
    options: type[msgspec.Struct] = NoOptions
    keys_are_ours: bool = False
    self_described: bool = False
    codec: Callable[[bytes, int], Mapping[str, Any]] | None = None
    sender: Callable[[str, bytes], Sender] | None = None
    origin: Callable[[str], str | None] | None = None
    recovery: Callable[[str, str, Micros], tuple[str, bytes] | None] | None = None
    told_by_payload: bool = False
    device_phrase: Message | None = None
    payload: Literal["json", "csv", "other"] = "json"
    reads_device_rule: bool = False

    @property
    def device_text(self) -> Message:
        """Where the device's id comes from, as a phrase."""
        from techport_pilots.i18n import Message

        return self.device_phrase or Message(f"format.{self.name}.device")

    @property
    def usual_topic(self) -> str:
        """The topic filter of messages from elsewhere; where none is usual, that of devices told to send here."""
        return self.topic or f"pilots/<pilot>/+/{self.own_topic}"


def names() -> list[str]:
    """The names of all formats, in alphabetical order, found without loading them."""
    return sorted([*(folder.replace("_", "-") for folder in folder_names()), *(file.stem for file in table_files())])


class BrokenFormat(Exception):
    """A folder of PLUGINS that is not a format. A fault of whoever wrote it, not of the platform's users."""


@cache
def formats() -> Mapping[str, Format]:
    """Every format there is, by name: the default first, then those that devices can be told to send, then the others.

    Raises BrokenFormat.
    """
    by_label = sorted(_load(), key=lambda form: (form.name != DEFAULT, not form.own_topic, form.label.lower()))
    return {form.name: form for form in by_label}


_SPECIFIC = 2
"""Levels that a format's usual topic must name for messages below it to be taken for that format's."""


def format_of_topic(topic: str) -> str | None:
    """The format of a source that names none: the one whose messages usually have such topics, else JSON of any shape.

    Parameters
    ----------
    topic : str
        The source's topic filter.

    Returns
    -------
    str or None
        A name of `formats()`; None where several formats have such topics, and only a person can say which.
    """
    levels = topic.split("/")
    if levels[0] == "pilots":
        own = {form.own_topic: form.name for form in formats().values() if form.own_topic}
        return {"readings": DEFAULT, **own}.get(levels[-1], "json")
    usual = [form.name for form in formats().values() if form.topic and _is_usual(form.topic, topic)]
    return ("json" if not usual else usual[0]) if len(usual) < 2 else None


def _is_usual(form_topic: str, topic: str) -> bool:
    named = sum(level not in ("+", "#") for level in form_topic.split("/"))
    return form_topic == topic or (named >= _SPECIFIC and covers(form_topic, topic))


def markdown_table() -> str:
    """The formats as docs/devices.md lists them."""
    rows = [
        f"| `{form.name}` | {form.label} | `{form.usual_topic}` | {form.device_text} | {_options(form)} |"
        for form in formats().values()
    ]
    return "\n".join(
        ["| format | what it is | usual topic | the device is | options |", "|---|---|---|---|---|", *rows]
    )


def _options(form: Format) -> str:
    return ", ".join(f"`{name}`" for name in form.options.__struct_fields__)


def discover() -> Mapping[str, Format]:
    """As `formats`, after looking again for folders: for plug-ins that came since."""
    formats.cache_clear()
    return formats()


def _load() -> list[Format]:
    loaded: list[Format] = []
    for folder in folder_names():
        form = getattr(importlib.import_module(f"{PLUGINS}.{folder}"), "FORMAT", None)
        if not isinstance(form, Format):
            raise BrokenFormat(f"{PLUGINS}.{folder} has no FORMAT = Format(...)")
        if form.name.replace("-", "_") != folder:
            raise BrokenFormat(f"{PLUGINS}.{folder} holds the format {form.name!r}: name and folder differ")
        if not (form.topic or form.own_topic):
            raise BrokenFormat(f"{PLUGINS}.{folder} says neither topic nor own_topic")
        loaded.append(form)
        loaded += getattr(importlib.import_module(f"{PLUGINS}.{folder}"), "FAMILIES", ())
    return loaded


_NAMED_OPTIONS = (
    *("codec", "codecs", "signal", "precision", "columns"),
    *("records", "within", "name", "value", "unit", "separator", "constants", "when"),
)
"""Options that stand beside `format:` in a source; those of other formats stand below `options:`."""


def option_values(source: SourceDefinition) -> dict[str, Any]:
    """What a source says beyond the defaults, by the name of the option."""
    defaults = type(source)(topic=source.topic, format=source.format)
    named = {name: getattr(source, name) for name in _NAMED_OPTIONS}
    return {name: value for name, value in named.items() if value != getattr(defaults, name)} | source.options


def options_of(source: SourceDefinition) -> msgspec.Struct:
    """The options of a source, of the type that its format has for them.

    Raises KeyError for a format that does not exist, msgspec.ValidationError for options that it does not have.
    """
    kind = formats()[source.format].options
    values = {name: _plain(value) for name, value in option_values(source).items()}
    return msgspec.convert(values, kind)


def _plain(value: object) -> object:
    return msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value
