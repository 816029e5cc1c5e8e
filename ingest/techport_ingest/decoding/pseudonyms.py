"""Pseudonyms for identifiers that a definition names: before anything of a message is read, written or logged.

    message ─► sources that read its topic ─► identifiers replaced in topic and payload ─► decode, check, keep

The payload stays the sender's but for the identifiers: numbers keep their digits. What is kept of it (quarantine,
watched messages, ignored parts) and reprocessed later is the replaced text. A payload in which identifiers cannot be
found, because it is neither JSON nor, of a source of CSV, a table with the column, is rejected without being kept.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import json
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from techport_ingest.message import Message
from techport_pilots.accounting.rejection import Rejection
from techport_pilots.devices.csv_files import separator_of, table_of
from techport_pilots.formats import formats
from techport_pilots.model import CsvColumns, PseudonymRule, SourceDefinition
from techport_pilots.registry.view import IngestView
from techport_pilots.time import interval_micros
from techport_pilots.topics import source_reads
from techport_storage.model import Micros

PREFIX = "anon-"
_DIGITS = 16  # of 4 bits
_PSEUDONYM = re.compile(rf"{PREFIX}[0-9a-f]{{{_DIGITS}}}")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[-+0-9][-+.0-9eE]*|true|false|null|[{}\[\],:]')
_SEPARATORS = re.compile(r"[\s:.\-]+")
_REMEMBERED_TOPICS = 20_000

Key = Callable[[str, Micros, Micros], bytes]
"""The key of a pilot, a length of period (µs) and a time (µs); may raise RegistryUnavailable."""


class Rule(msgspec.Struct, frozen=True):
    """What one source names, ready to be applied."""

    pilot: str
    topic: str
    paths: tuple[tuple[str, ...], ...]
    levels: tuple[int, ...]
    period: Micros
    table: CsvColumns | None = None
    """How CSV is read, where messages are CSV; None: they are JSON."""

    def replaced_in(self, payload: bytes, replace: Callable[[str], str]) -> bytes | None:
        """The payload with pseudonyms; None for one in which identifiers cannot be found."""
        if self.table is not None:
            return in_csv(payload, {".".join(path) for path in self.paths}, self.table, replace)
        return in_json(payload, self.is_identifier, self.keys_are_identifiers, replace)

    def is_identifier(self, path: Sequence[str]) -> bool:
        """Whether a value at this path is one, or is inside of one."""
        for named_path in self.paths:
            if named_path[-1] == "*":
                continue
            if named_path[0] in path if len(named_path) == 1 else tuple(path[: len(named_path)]) == named_path:
                return True
        return False

    def keys_are_identifiers(self, path: Sequence[str]) -> bool:
        """Whether the keys of the object at this path are identifiers: `probes.*`."""
        for named_path in self.paths:
            if named_path[-1] != "*":
                continue
            of = named_path[:-1]
            if (len(of) == 1 and path and path[-1] == of[0]) or tuple(path) == of:
                return True
        return False


class Pseudonymiser:
    """Replaces identifiers in messages, by the sources of the pilots of a view. Not thread-safe."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self._view: IngestView | None = None
        self._rules: list[Rule] = []
        self._of_topic: dict[str, list[Rule]] = {}
        self._keys: dict[tuple[str, Micros, int], bytes] = {}

    def apply(self, messages: Sequence[Message], view: IngestView) -> Sequence[Message]:
        """The messages as they may be read and kept; they themselves where nothing is named. Raises
        RegistryUnavailable."""
        if view is not self._view:
            self._use(view)
        if not self._rules:
            return messages
        return [self._applied(message) for message in messages]

    def _use(self, view: IngestView) -> None:
        self._view, self._of_topic = view, {}
        self._rules = [
            rule_of(pilot.id, source)
            for pilot in view.pilots.values()
            for source in pilot.sources
            if source.pseudonyms is not None
        ]

    def _applied(self, message: Message) -> Message:
        for rule in self._rules_of(message.topic):
            key = self._key_of(rule, message.received)

            def replace(identifier: str, key: bytes = key) -> str:
                return pseudonym(identifier, key)

            topic = _in_topic(message.topic, rule.levels, replace)
            if not rule.paths or message.rejected is not None:
                message = msgspec.structs.replace(message, topic=topic)
                continue
            payload = rule.replaced_in(message.payload, replace)
            rejected = None if payload is not None else Rejection("not-pseudonymised")
            message = msgspec.structs.replace(message, topic=topic, payload=payload or b"", rejected=rejected)
        return message

    def _rules_of(self, topic: str) -> list[Rule]:
        rules = self._of_topic.get(topic)
        if rules is None:
            if len(self._of_topic) >= _REMEMBERED_TOPICS:
                self._of_topic.clear()
            rules = self._of_topic[topic] = [rule for rule in self._rules if source_reads(rule.topic, topic)]
        return rules

    def _key_of(self, rule: Rule, time: Micros) -> bytes:
        period = (rule.pilot, rule.period, time // rule.period)
        key = self._keys.get(period)
        if key is None:
            self._keys = {old: key for old, key in self._keys.items() if (old[2] + 2) * old[1] > time}
            key = self._keys[period] = self._key(rule.pilot, rule.period, time)
        return key


def pseudonym(identifier: str, key: bytes) -> str:
    """The pseudonym of an identifier: the same for all spellings of a MAC address, a plate or a card number.

    Parameters
    ----------
    identifier : str
        As the message has it. A pseudonym stays what it is, so that text can be reprocessed.
    key : bytes
        Of the period (registry.pseudonym_keys).

    Returns
    -------
    str
        "anon-" and 64 bits of an HMAC-SHA256, in hexadecimal digits.
    """
    if _PSEUDONYM.fullmatch(identifier):
        return identifier
    plain = _SEPARATORS.sub("", unicodedata.normalize("NFKC", identifier).casefold())
    return PREFIX + hmac.new(key, plain.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:_DIGITS]


def in_json(
    payload: bytes,
    is_identifier: Callable[[Sequence[str]], bool],
    keys_are_identifiers: Callable[[Sequence[str]], bool],
    replace: Callable[[str], str],
) -> bytes | None:
    """The payload with its identifiers replaced and everything else as it was; None for one that is not JSON.

    Paths are the keys of the objects around a value, in small letters; lists have none.
    """
    try:
        text = payload.decode("utf-8-sig")
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    pieces: list[str] = []
    copied = 0
    path: list[str | None] = []  # a key for each object that is open, None for a list, or before the first key
    opened: list[str] = []
    expects_key = False
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in ("{", "["):
            opened.append(token)
            path.append(None)
            expects_key = token == "{"
        elif token in ("}", "]"):
            opened.pop()
            path.pop()
            expects_key = False
        elif token == ",":
            expects_key = bool(opened) and opened[-1] == "{"
        elif token == ":":
            expects_key = False
        else:
            if expects_key:
                path[-1] = None
                key = str(json.loads(token))
                above = [part for part in path if part is not None]
                hidden = keys_are_identifiers(above) or is_identifier(above)
                path[-1] = key.casefold()
            else:
                hidden = token not in ("true", "false", "null", '""') and is_identifier(
                    [part for part in path if part is not None]
                )
            if hidden:
                identifier = str(json.loads(token)) if token.startswith('"') else token
                pieces += [text[copied : match.start()], json.dumps(replace(identifier))]
                copied = match.end()
    if not pieces:
        return payload
    return "".join([*pieces, text[copied:]]).encode()


def in_csv(payload: bytes, names: Collection[str], table: CsvColumns, replace: Callable[[str], str]) -> bytes | None:
    """The table with the cells of these columns replaced, and everything before its first line of values as it was.

    Parameters
    ----------
    payload : bytes
        As the format csv reads it.
    names : collection of str
        Columns as the heading has them, in small letters.
    table : CsvColumns
        Encoding and separator.
    replace : callable
        The pseudonym of a text. Empty cells stay empty.

    Returns
    -------
    bytes or None
        None where no column has such a name, and where a line has more or fewer cells than the heading, so that an
        identifier could stand elsewhere.
    """
    utf16 = payload.startswith((b"\xff\xfe", b"\xfe\xff"))
    encoding = "utf-16" if utf16 else table.encoding
    try:
        text = payload.decode(encoding)
        plain = table_of(text).text
        separator = table.separator or separator_of(plain.partition("\n")[0])
        lines = io.StringIO(plain, newline="")
        rows = csv.reader(lines, delimiter=separator, strict=True)
        heading = [name.strip().casefold() for name in next(rows, [])]
        columns = [place for place, name in enumerate(heading) if name in names]
        values = plain[lines.tell() :]
        body = io.StringIO()
        writer = csv.writer(body, delimiter=separator, lineterminator="\r\n" if "\r\n" in values else "\n")
        for row in rows:
            if any(cell.strip() for cell in row[len(heading) :]) or (any(row) and len(row) < len(heading)):
                return None
            for place in columns if any(row) else ():
                row[place] = replace(row[place]) if row[place].strip() else row[place]
            writer.writerow(row)
    except (UnicodeDecodeError, LookupError, csv.Error):
        return None
    if not columns or not text.endswith(values):
        return None
    return (text[: len(text) - len(values)] + body.getvalue()).encode(encoding)


def _in_topic(topic: str, numbers: Iterable[int], replace: Callable[[str], str]) -> str:
    levels = topic.split("/")
    for number in numbers:
        index = number - 1 if number > 0 else number
        if -len(levels) <= index < len(levels) and levels[index]:
            levels[index] = replace(levels[index])
    return "/".join(levels)


def rule_of(pilot: str, source: SourceDefinition) -> Rule:
    """What a source of a pilot says, ready to be applied."""
    named = source.pseudonyms or PseudonymRule()
    paths = tuple(tuple(field.casefold().split(".")) for field in named.fields)
    form = formats().get(source.format)
    table = (source.columns or CsvColumns()) if form is not None and form.payload == "csv" else None
    return Rule(pilot, source.topic, paths, tuple(named.levels), interval_micros(named.rotate), table)
