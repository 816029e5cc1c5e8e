"""The form that a pilot is written in: its fields are named as the definition's file names them, `kpis[0].target`.

    definition ─► document (plain values) ─► texts of the form ─► what somebody sends ─► document ─► the one check

What the form does not show stays as it is in the document that it was made from, and so does a field whose text nobody
changed: a time keeps its offset, a number its digits. Findings of the check name the fields they belong to.
"""

from __future__ import annotations

import copy
import datetime as dt
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from techport_dashboards.services.positions import DEGREES, UTM, from_metres, pair_of
from techport_dashboards.web.forms import Form
from techport_pilots.definition.checks import slug, zone
from techport_pilots.definition.limits import built_ins
from techport_pilots.definition.load import document_of, values_yaml
from techport_pilots.definition.text import SourceError, read_yaml
from techport_pilots.errors import Finding
from techport_pilots.i18n import Message
from techport_pilots.model import Kpi, PilotDefinition, SourceDefinition
from techport_pilots.quantities import Vocabulary, builtin, vocabulary_of

Section = Literal[
    "phases",
    "kpis",
    "devices",
    "quantities",
    "sources",
    "events",
    "exclusions",
    "alerts",
    "lends",
    "organisations",
]
Document = dict[str, Any]
Kind = Literal[
    "text",
    "choice",
    "number",
    "percent",
    "time",
    "date",
    "list",
    "lines",
    "times",
    "streams",
    "flag",
    "hours",
    "days",
    "range",
    "corners",
    "mapping",
]


class Entry(NamedTuple):
    """A field of the form: the keys that lead to its value, and how that is written as a text."""

    path: tuple[str, ...]
    kind: Kind = "text"

    @property
    def name(self) -> str:
        return ".".join(self.path)


def _entries(*names: str | tuple[str, Kind]) -> tuple[Entry, ...]:
    pairs: Iterable[tuple[str, Kind]] = ((name, "text") if isinstance(name, str) else name for name in names)
    return tuple(Entry(tuple(name.split(".")), kind) for name, kind in pairs)


PILOT = _entries(
    *(
        f"{text}.{code}"
        for text in ("title", "question", "hypothesis", "description", "purpose")
        for code in ("nb", "en")
    ),
    *("contact.name", "contact.email", "timezone", "licence", "attribution", "retention", "quarantine"),
    *("legal_basis", "controller", "dpia", ("dpia_date", "date"), ("data_class", "choice"), ("personal_data", "flag")),
    ("looks", "times"),
    *("sign.text.nb", "sign.text.en", "sign.link", ("area", "corners"), ("personal_data_classes", "lines")),
    *(("people_counts.quantities", "list"), ("people_counts.width", "choice"), ("people_counts.least", "number")),
)
ROWS: Mapping[Section, tuple[Entry, ...]] = {
    "phases": _entries("name", ("kind", "choice"), ("start", "time"), ("end", "time"), "title.nb", "title.en"),
    "kpis": _entries(
        *("id", "title.nb", "title.en", "quantity", ("statistic", "choice"), ("percentile", "number")),
        *(("threshold", "number"), ("at_least", "flag"), ("direction", "choice"), ("target", "number")),
        *(("target_is", "choice"), "role", ("groups", "list"), ("devices", "list"), ("control", "list")),
        *(("plus", "list"), "interval", ("slot", "choice"), ("hours", "hours"), ("weekdays", "days")),
        *(("day", "choice"), ("decimals", "number"), ("by_position", "flag"), ("minimum_completeness", "percent")),
    ),
    "devices": _entries(
        *("id", "title.nb", "title.en", "kind", "group", "interval", ("streams", "streams")),
        *(("position.lat", "number"), ("position.lon", "number"), ("position.height", "number")),
    ),
    "quantities": _entries("name", "title.nb", "title.en", "unit", ("kind", "choice"), ("range", "range")),
    "sources": _entries(
        *("topic", ("format", "choice"), ("fields", "mapping"), ("ignore", "list"), "timezone"),
        *("device.id", ("device.level", "number"), ("device.to", "number"), "device.pointer"),
        *(("device.join", "list"), ("device.segment", "number")),
    ),
    "events": _entries(("time", "time"), ("end", "time"), ("kind", "choice"), "text.nb", "text.en", "device"),
    "exclusions": _entries(("start", "time"), ("end", "time"), "reason.nb", "reason.en", "device", "quantity"),
    "alerts": _entries("quantity", ("above", "number"), ("below", "number"), ("lasting", "choice"), "device"),
    "lends": _entries("to", "device", "quantity"),
    "organisations": _entries("name", ("role", "choice"), "url"),
}
FURTHER: Mapping[Section, tuple[str, ...]] = {
    "kpis": ("compare", "adjust", "after"),
    "quantities": ("states", "words"),
    "sources": tuple(
        name for name in SourceDefinition.__struct_fields__ if name not in {entry.path[0] for entry in ROWS["sources"]}
    ),
}
"""Keys of a row that are written as YAML in one field, `further`."""
RETENTION = "stream_retention."
"""The field of how long readings of a quantity are kept, by every device that measures it, begins so."""
DIFFERS = "differs"
"""Devices keep readings of the quantity for different times, which stays so."""

MOST_SHOWN = 60
"""Rows of a section that the form of a pilot shows, the last ones; those before them stay as they are."""
_ROW = re.compile(rf"({'|'.join(ROWS)})\[([0-9]{{1,4}})\]\.([a-z_.]+)")
_NUMBER = re.compile(r"-?[0-9]+([.,][0-9]+)?")
_ISO_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAY = re.compile(r"(?P<day>[0-9]{1,2})\.\s?(?P<month>[0-9]{1,2})\.\s?(?P<year>[0-9]{4})")
_RANGE = re.compile(r"(-?[0-9.,]+)\s*(?:–|-|…|\.\.|to|til|;)\s*(-?[0-9.,]+)")
_HOURS = re.compile(r"([0-9]{1,2})(?:[:.]([0-5][0-9]))?\s*[-–]\s*([0-9]{1,2})(?:[:.]([0-5][0-9]))?")


@dataclass
class PilotForm:
    """The texts of a form by their names. `rows` are how many each section has, `shown_from` the first that it shows:
    devices that are there already have pages of their own."""

    texts: dict[str, str] = field(default_factory=dict)
    rows: dict[Section, int] = field(default_factory=lambda: dict.fromkeys(ROWS, 0))
    shown_from: dict[Section, int] = field(default_factory=lambda: dict.fromkeys(ROWS, 0))
    measured: Sequence[str] = ()  # streams, of which each has a field of how long its readings are kept

    def get(self, name: str) -> str:
        return self.texts.get(name, "")

    def indices(self, section: Section) -> range:
        """The rows of a section that the form shows, numbered as in the document."""
        return range(self.shown_from[section], self.shown_from[section] + self.rows[section])

    def differs_from(self, other: PilotForm) -> set[str]:
        """The parts in which this form says something else, as part_of() names them."""
        return {
            part_of(name)
            for name in self.texts.keys() | other.texts.keys()
            if not name.endswith((".was", ".recorded"))
            and name != "id"
            and self.get(name) != other.get(name)
            # A choice that nobody made shows the first of its options.
            and not (other.get(name) == "" and _kind_of(name) == "choice")
        } | {part_of(section) for section in ROWS if self.rows[section] != other.rows[section]}

    def add_row(self, section: Section, values: Mapping[str, Any] | None = None) -> str:
        """Add a row, empty or with the values of a document. Returns its name, such as `kpis[2]`."""
        row = f"{section}[{self.indices(section).stop}]"
        self.rows[section] += 1
        if values:
            self.texts.update(_texts_of_row(section, row, values, ZoneInfo("UTC")))
        return row

    def remove_row(self, row: str) -> None:
        """Remove a row by its name; those behind it move up. Nothing happens where there is none."""
        match = re.fullmatch(r"([a-z]+)\[([0-9]{1,4})\]", row)
        if match is None or match[1] not in ROWS:
            return
        section: Section = match[1]  # type: ignore[assignment]
        indices = [index for index in self.indices(section) if index != int(match[2])]
        self._renumber(section, indices)

    def without_blank_rows(self) -> None:
        """Leave out rows that were added and in which nothing was written."""
        for section in ROWS:
            self._renumber(section, [index for index in self.indices(section) if not self._is_blank(section, index)])

    def _is_blank(self, section: Section, index: int) -> bool:
        row = f"{section}[{index}]"
        written = [entry for entry in ROWS[section] if entry.kind != "choice"]
        return not any(
            self.get(f"{row}.{name}") for name in ("was", "recorded", "further", *(entry.name for entry in written))
        )

    def _renumber(self, section: Section, indices: Sequence[int]) -> None:
        first = self.shown_from[section]
        moved = {index: first + place for place, index in enumerate(indices)}
        texts: dict[str, str] = {}
        for name, text in self.texts.items():
            match = _ROW.fullmatch(name)
            if match is None or match[1] != section:
                texts[name] = text
            elif int(match[2]) in moved:
                texts[f"{section}[{moved[int(match[2])]}].{match[3]}"] = text
        self.texts, self.rows[section] = texts, len(indices)


# -- From a definition


def form_of(pilot: PilotDefinition, *, new: bool = False, own: PilotDefinition | None = None) -> PilotForm:
    """The form that shows a definition. Devices that are not new are left to their own pages.

    `own` is the definition without the rows behind it that are shown in any case; those of `pilot` begin with its rows.
    """
    document, local = document_of(pilot), _zone_of(pilot.timezone)
    form = PilotForm({"id": pilot.id})
    for entry in PILOT:
        form.texts[entry.name] = _text(entry.kind, _dig(document, entry.path), local)
    form.texts["timezone"] = pilot.timezone
    form.texts["data_class"] = pilot.data_class
    form.measured = _measured(pilot)
    form.texts.update(_retention_texts(pilot))
    for section in ROWS:
        rows = document.get(section, [])
        form.shown_from[section] = 0 if new else _shown_from(section, len(getattr(own or pilot, section)))
        form.rows[section] = len(rows) - form.shown_from[section]
        for index in form.indices(section):
            row = f"{section}[{index}]"
            form.texts.update(_texts_of_row(section, row, rows[index], local))
            if not new:
                form.texts[f"{row}.was"] = str(index)
    return form


def _measured(pilot: PilotDefinition) -> list[str]:
    return list(dict.fromkeys(stream.quantity for device in pilot.devices for stream in device.streams))


def _retention_texts(pilot: PilotDefinition) -> dict[str, str]:
    """How long readings of each stream are kept, where all devices agree."""
    by_quantity: dict[str, set[str]] = {}
    for device in pilot.devices:
        for stream in device.streams:
            by_quantity.setdefault(stream.quantity, set()).add(stream.retention or "")
    return {
        RETENTION + quantity: next(iter(lengths)) if len(lengths) == 1 else DIFFERS
        for quantity, lengths in by_quantity.items()
    }


def _shown_from(section: Section, rows: int) -> int:
    """The first row that the form of a pilot shows; devices that are there have pages of their own."""
    return rows if section == "devices" else max(0, rows - MOST_SHOWN)


def _texts_of_row(section: Section, row: str, values: Mapping[str, Any], local: dt.tzinfo) -> dict[str, str]:
    texts = {f"{row}.{entry.name}": _text(entry.kind, _dig(values, entry.path), local) for entry in ROWS[section]}
    if section in FURTHER:
        texts[f"{row}.further"] = _further_text(section, values)
    return texts


def limit_row(name: str) -> Document | None:
    """The KPI of a limit value or guideline, as the values of a row."""
    limit = built_ins().get(name)
    return None if limit is None else _kpi_document(limit.kpi)


def _kpi_document(kpi: Kpi) -> Document:
    shell = PilotDefinition(id="p", title=kpi.title, question=kpi.title, devices=[], kpis=[kpi])
    values: Document = document_of(shell)["kpis"][0]
    return values


def _further_text(section: Section, values: Mapping[str, Any]) -> str:
    further = {key: values[key] for key in FURTHER[section] if key in values}
    return values_yaml(further).strip() if further else ""


def _text(kind: Kind, value: Any, local: dt.tzinfo) -> str:
    """A value of a document as the form shows it; what does not fit as it is."""
    if value is None:
        return ""
    match kind:
        case "number":
            return _number_text(value)
        case "percent":
            return _number_text(round(100 * value, 6))
        case "time":
            return _time_text(value, local)
        case "times":
            return ", ".join(_time_text(time, local).removesuffix("T00:00") for time in value)
        case "list" | "days":
            return ", ".join(value)
        case "lines":
            return "\n".join(value)
        case "corners":
            return "\n".join(f"{lat:.10g}, {lon:.10g}" for lon, lat in value)
        case "range":
            return " – ".join(_number_text(limit) for limit in value)
        case "mapping":
            return values_yaml({key: _short(inner) for key, inner in value.items()}).rstrip("\n")
        case "streams":
            return ", ".join(item["quantity"] for item in value)
        case "flag":
            return "yes" if value else ""
        case "hours":
            return "–".join(_clock_text(hour) for hour in value)
        case _:
            return str(value)


def _short(values: Mapping[str, Any]) -> Any:
    """A field of a source whose only key is the quantity, as people write it."""
    return values["quantity"] if set(values) == {"quantity"} else values


def _number_text(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))


def _time_text(value: str, local: dt.tzinfo) -> str:
    """A time as `datetime-local` fields write it."""
    moment = dt.datetime.fromisoformat(value)
    if moment.tzinfo is not None:
        moment = moment.astimezone(local).replace(tzinfo=None)
    return moment.isoformat(timespec="auto" if moment.second or moment.microsecond else "minutes")


def _clock_text(hour: float) -> str:
    minutes = round(hour * 60)
    return str(minutes // 60) if minutes % 60 == 0 else f"{minutes // 60}:{minutes % 60:02}"


def _zone_of(name: str) -> dt.tzinfo:
    return zone(name) or ZoneInfo("UTC")


# -- From what was sent


def form_sent(sent: Form, base: PilotDefinition | None) -> PilotForm:
    """What somebody sent, with rows numbered from the first that the form of `base` shows."""
    form = PilotForm()
    if base is not None:
        form.shown_from |= {section: _shown_from(section, len(getattr(base, section))) for section in ROWS}
        form.measured = _measured(base)
        for name in (RETENTION + quantity for quantity in form.measured):
            form.texts[name] = sent.get(name)
    for name in sent.names():
        entry = _kind_of(name)
        if entry is None:
            continue
        texts = sent.all(name)
        form.texts[name] = ", ".join(texts) if entry == "days" else texts[0].replace("\r\n", "\n").strip()
    for section in ROWS:
        numbers = sorted(
            {int(match[2]) for name in form.texts if (match := _ROW.fullmatch(name)) and match[1] == section}
        )
        form._renumber(section, numbers)
    return form


def _kind_of(name: str) -> Kind | None:
    """What the field holds; None: the form has none of that name."""
    match = _ROW.fullmatch(name)
    return _ENTRY_KINDS.get((match[1], match[3]) if match else ("", name))


_ENTRY_KINDS: Mapping[tuple[str, str], Kind] = {
    **{("", entry.name): entry.kind for entry in PILOT},
    ("", "id"): "text",
    **{(section, entry.name): entry.kind for section, entries in ROWS.items() for entry in entries},
    **{(section, "was"): "text" for section in ROWS},
    **{(section, "further"): "text" for section in FURTHER},
    ("devices", "system"): "choice",
    ("events", "recorded"): "text",
    ("exclusions", "recorded"): "text",
}


def document_from(form: PilotForm, base: PilotDefinition | None) -> tuple[Document, list[Finding]]:
    """The definition that the form describes, as plain values, and what of it is not even YAML.

    `base` is the version that the form was made from; None for a new pilot.
    """
    before: Document = {} if base is None else document_of(base)
    local = _zone_of("UTC" if base is None else base.timezone)
    document = {key: value if key in ROWS else copy.deepcopy(value) for key, value in before.items()}
    findings: list[Finding] = []
    for entry in PILOT:
        findings += _put(document, before, entry, form.get(entry.name), entry.name, local)
    counts = document.get("people_counts")
    if counts is not None and set(counts) <= {"width"}:
        del document["people_counts"]  # a choice that is always there, with nothing to count
    for section, entries in ROWS.items():
        old_rows = before.get(section, [])
        rows = list(old_rows[: form.shown_from[section]])
        for index in form.indices(section):
            row = f"{section}[{index}]"
            old = _was(old_rows, form.get(f"{row}.was"))
            values = copy.deepcopy(old)
            for entry in entries:
                name = f"{row}.{entry.name}"
                findings += _put(values, old, entry, form.get(name), name, local)
            if section == "kpis":
                _leave_out_what_is_hidden(values)
            if section == "devices":
                findings += _in_degrees(values, form.get(f"{row}.system"), f"{row}.position.lat")
            if section in FURTHER:
                findings += _put_further(section, values, old, form.get(f"{row}.further"), f"{row}.further")
            rows.append(values)
        if rows or section == "devices":
            document[section] = rows
        else:
            document.pop(section, None)
    if base is not None:
        _put_retentions(document, form, base)
    words = builtin() if base is None else vocabulary_of(base)
    _name_what_has_no_name(document, form.get("id") if base is None else base.id, words)
    return document, findings


def _leave_out_what_is_hidden(kpi: Document) -> None:
    """Percentile and limit are shown for the statistics that have one."""
    if kpi.get("statistic") != "percentile":
        kpi.pop("percentile", None)
    if kpi.get("statistic") not in ("hours_above", "share_above"):
        kpi.pop("threshold", None)


def _was(rows: Sequence[Document], number: str) -> Document:
    return rows[int(number)] if number.isascii() and number.isdecimal() and int(number[:6]) < len(rows) else {}


def _put(
    values: Document, old: Mapping[str, Any], entry: Entry, text: str, name: str, local: dt.tzinfo
) -> Iterator[Finding]:
    """Put what the text says at the entry's place; an empty text takes it away, an unchanged one leaves it. `name` is
    that of the field."""
    previous = _dig(old, entry.path)
    value = previous
    if text != _text(entry.kind, previous, local):
        try:
            value = _value(entry.kind, text)
        except SourceError as error:
            yield Finding("definition", error.line, name, error.misfit.problem, error.misfit.remedy)
        except _NoCorner as error:
            remedy = Message("definition.area-line.remedy")
            yield Finding("definition", 0, name, Message("definition.area-line.problem", {"given": str(error)}), remedy)
    parents: list[tuple[Document, str]] = []
    place, key = values, entry.path[-1]
    for step in entry.path[:-1]:
        parents.append((place, step))
        place = place.setdefault(step, {})
    if value is not None:
        place[key] = value
        return
    place.pop(key, None)
    for parent, step in reversed(parents):
        if not parent[step]:
            del parent[step]


class _NoCorner(Exception):
    """A line of an area that is not two numbers."""


def _in_degrees(device: Document, system: str, name: str) -> Iterator[Finding]:
    """Make degrees of a position that is written as metres in a UTM zone, or as a pair in the field of latitude."""
    position = device.get("position")
    if position is None:
        return
    lat, lon = position.get("lat"), position.get("lon")
    if system in ("", DEGREES):
        if isinstance(lat, str) and lon is None and (pair := pair_of(lat)) is not None:
            position["lat"], position["lon"] = (_number(number) for number in pair)
    elif system in UTM:
        zone = UTM[system]
        try:
            place = from_metres(zone, float(lon), float(lat))
        except (TypeError, ValueError):
            params = {"zone": zone}
            del device["position"]
            yield Finding(
                "definition",
                0,
                name,
                Message("definition.not-utm.problem", params),
                Message("definition.not-utm.remedy", params),
            )
        else:
            position["lat"], position["lon"] = place.lat, place.lon


def _put_retentions(document: Document, form: PilotForm, base: PilotDefinition) -> None:
    """Let devices keep readings of a stream as long as the form says, where that was changed; new devices always."""
    shown = _retention_texts(base)
    lengths = {quantity: form.get(RETENTION + quantity) for quantity in form.measured}
    for place, device in enumerate(document["devices"]):
        streams = []
        for stream in device.get("streams", []):
            length = lengths.get(stream["quantity"], DIFFERS)
            if length != DIFFERS and (
                length != shown[RETENTION + stream["quantity"]] or place >= form.shown_from["devices"]
            ):
                stream = {**stream, "retention": length}
                if not length:
                    del stream["retention"]
            streams.append(stream)
        if streams:
            document["devices"][place] = {**device, "streams": streams}


def _put_further(section: Section, values: Document, old: Mapping[str, Any], text: str, name: str) -> Iterator[Finding]:
    """Read the YAML of what the form has no fields for."""
    if text == _further_text(section, old):
        return
    for key in FURTHER[section]:
        values.pop(key, None)
    if not text:
        return
    try:
        further = read_yaml(text).value
    except SourceError as error:
        yield Finding("definition", error.line, name, error.misfit.problem, error.misfit.remedy)
        return
    if isinstance(further, dict):
        values.update(further)
    else:
        values[FURTHER[section][0]] = further


def _value(kind: Kind, text: str) -> Any:
    """What a text says; where it is none of its kind the text itself, of which the check then says what is wrong."""
    if not text:
        return None
    match kind:
        case "number":
            return _number(text)
        case "percent":
            number = _number(text.removesuffix("%").strip())
            return round(number / 100, 8) if isinstance(number, int | float) else text
        case "list" | "days":
            return _words(text) or None
        case "lines":
            return [line.strip() for line in text.splitlines() if line.strip()] or None
        case "corners":
            return [_corner(line) for line in text.splitlines() if line.strip()] or None
        case "range":
            match_ = _RANGE.fullmatch(text.replace("−", "-").strip())
            return text if match_ is None else [_number(match_[1]), _number(match_[2])]
        case "mapping":
            return read_yaml(text).value
        case "times":
            return [_midnight(word) for word in _words(text)] or None
        case "streams":
            return [{"quantity": _quantity(word)} for word in _words(text)] or None
        case "flag":
            return True
        case "hours":
            return _hours(text)
        case _:
            return text


def _corner(line: str) -> list[Any]:
    """A corner of an area as definitions have it. Raises _NoCorner."""
    pair = pair_of(line)
    if pair is None:
        raise _NoCorner(line.strip()[:60])
    lat, lon = pair
    return [_number(lon), _number(lat)]


def _number(text: str) -> float | int | str:
    plain = text.replace("−", "-").replace("\u00a0", "").replace(" ", "")
    if not _NUMBER.fullmatch(plain) or len(plain) > 18:
        return text
    return float(plain.replace(",", ".")) if re.search("[.,]", plain) else int(plain)


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _midnight(word: str) -> str:
    """When a day begins; other words as they are."""
    match = _DAY.fullmatch(word)
    if match is not None:
        word = f"{match['year']}-{match['month']:0>2}-{match['day']:0>2}"
    return f"{word}T00:00" if _ISO_DAY.fullmatch(word) else word


def _hours(text: str) -> list[float] | str:
    match = _HOURS.fullmatch(text)
    if match is None:
        return text
    first, first_minutes, last, last_minutes = (int(part or 0) for part in match.groups())
    return [first + first_minutes / 60, last + last_minutes / 60]


def _quantity(word: str) -> str:
    """The name of the quantity that people call so; other words as they are."""
    return _by_title().get(word.casefold(), word)


def _by_title() -> dict[str, str]:
    return {
        title.casefold(): quantity.name
        for quantity in builtin()
        for title in (quantity.title.nb, quantity.title.en)
        if title
    }


def _dig(values: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = values
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _name_what_has_no_name(document: Document, pilot: str, words: Vocabulary) -> None:
    """Ids that nobody wrote: of the pilot, its phases, KPIs and devices. A KPI without a title has its quantity's."""
    document["id"] = pilot or slug(_any_text(document.get("title")))
    _name_each(document.get("quantities", []), "name", lambda row: slug(_any_text(row.get("title")), "_"))
    titles = {quantity["name"]: quantity["title"] for quantity in document.get("quantities", []) if "title" in quantity}
    for kpi in document.get("kpis", []):
        name = str(kpi.get("quantity", ""))
        quantity = words.lookup(name)
        if "title" in kpi:
            continue
        if quantity is not None:
            kpi["title"] = {code: text for code, text in msgspec.to_builtins(quantity.title).items() if text}
        elif name in titles:
            kpi["title"] = titles[name]
    _name_each(document.get("phases", []), "name", lambda phase: str(phase.get("kind", "phase")))
    for section in ("kpis", "devices"):
        _name_each(document.get(section, []), "id", lambda row: slug(_any_text(row.get("title"))))


def _name_each(rows: Sequence[Document], key: str, usual: Callable[[Document], str]) -> None:
    taken = {row[key] for row in rows if key in row}
    for row in rows:
        if key not in row:
            base = usual(row)
            candidates = (base if number == 1 else f"{base}-{number}" for number in itertools.count(1))
            row[key] = next(name for name in candidates if name not in taken)
            taken.add(row[key])


def _any_text(text: Any) -> str:
    return (text.get("en") or text.get("nb") or "") if isinstance(text, Mapping) else ""


# -- What is wrong, where


def with_stand_ins(document: Document, findings: Iterable[Finding]) -> Document:
    """The document with something in the places of which findings say that something is missing, so that the rest can
    be checked: what is missing keeps the check from asking what a definition means."""
    filled = copy.deepcopy(document)
    for finding in findings:
        *steps, key = re.findall(r"[a-z_]+|[0-9]+", finding.field) or [""]
        if finding.problem.code != MISSING:
            continue
        row: Any = filled
        for step in steps:
            row = row[int(step) if step.isdecimal() else step]
        row[key] = _stand_in(key, row)
    return filled


MISSING = "definition.missing.problem"


def _stand_in(key: str, row: Mapping[str, Any]) -> Any:
    """A value for the key that is right by itself. A time lies beside the other one of its row, else long ago."""
    if key in ("start", "time", "end"):
        other = row.get("end" if key != "end" else "start") or row.get("time")
        try:
            beside = dt.datetime.fromisoformat(str(other))
        except ValueError:
            beside = dt.datetime(1900, 1, 1)
        return (beside + dt.timedelta(seconds=1 if key == "end" else -1)).isoformat()
    return _STAND_INS.get(key, {"en": "–"})


_STAND_INS = {"quantity": "pm10", "topic": "a/b", "format": "json", "unit": "m", "name": "n", "quantities": ["pm10"]}


def placed(findings: Iterable[Finding], form: PilotForm, document: Document | None = None) -> dict[str, list[Finding]]:
    """Findings by the name of the form's field that they belong to: else of the row, of the section, or "" for what
    the form does not show. `document` is what was checked."""
    by_name: dict[str, list[Finding]] = {}
    names = {entry.name for entry in PILOT} | {"id", *ROWS} | {RETENTION + quantity for quantity in form.measured}
    for section, entries in ROWS.items():
        for index in form.indices(section):
            row = f"{section}[{index}]"
            names |= {row, f"{row}.further", *(f"{row}.{entry.name}" for entry in entries)}
    for finding in findings:
        place = _retention_field(finding.field, document) or finding.field
        by_name.setdefault(_nearest(place, names), []).append(finding)
    return by_name


def _retention_field(place: str, document: Document | None) -> str | None:
    """The field of how long readings of a stream are kept, for what is wrong with it at one device."""
    match = re.fullmatch(r"devices\[([0-9]+)\]\.streams\[([0-9]+)\]\.retention", place)
    if match is None or document is None:
        return None
    return RETENTION + str(document["devices"][int(match[1])]["streams"][int(match[2])]["quantity"])


def _nearest(place: str, names: set[str]) -> str:
    match = re.match(r"((\w+)\[[0-9]+\])\.(\w+)", place)
    if match and match[2] in FURTHER:
        section: Section = match[2]  # type: ignore[assignment]
        if match[3] not in {entry.path[0] for entry in ROWS[section]}:
            place = f"{match[1]}.further"
    while place:
        for name in (place, *(f"{place}.{inner}" for inner in ("nb", "lat", "level", "quantities", "text.nb"))):
            if name in names:
                return name
        place = re.sub(r"(\.[^.\[]*|\[[0-9]+\]|^[^.\[]*)$", "", place)
    return ""


def day_of_intervention(form: PilotForm) -> str:
    """A day in the middle of the first intervention of the form, as an example; any day where it has none."""
    for index in form.indices("phases"):
        row = f"phases[{index}]"
        try:
            start, end = (dt.date.fromisoformat(form.get(f"{row}.{key}")[:10]) for key in ("start", "end"))
        except ValueError:
            continue
        if form.get(f"{row}.kind") == "intervention" and start < end:
            return (start + (end - start) / 2).isoformat()
    return "2027-03-01"


_PARTS = {
    "question": ("title", "question", "hypothesis", "description", "id"),
    "phases": ("phases", "looks"),
    "kpis": ("kpis",),
    "devices": ("devices",),
    "sources": ("sources", "quantities"),
    "events": ("events", "exclusions"),
    "alerts": ("alerts",),
    "place": ("area", "sign"),
    "why": ("why", "base", "seen", "recorded"),
}
"""The parts of the form, by what begins the names of their fields; all others are in the part `data`."""


def part_of(name: str) -> str:
    """The part of the form in which the field, row or section of that name is, or the element of that id."""
    first = re.split(r"[^a-z_]", name, maxsplit=1)[0]
    return next((part for part, names in _PARTS.items() if first in names), "data" if first else "why")


def anchor(name: str) -> str:
    """The id of the element of a field."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "form"
