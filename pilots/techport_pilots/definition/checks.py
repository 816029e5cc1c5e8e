"""What a definition must mean beyond its types: names that exist, times in order, places on earth, lawful purposes."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import msgspec

from techport_pilots.definition.kpi_checks import check_kpis
from techport_pilots.definition.structure import Misfit, Path, did_you_mean
from techport_pilots.formats import formats, option_values, options_of
from techport_pilots.model import (
    DeviceDefinition,
    PilotDefinition,
    Position,
    QuantityDefinition,
    SourceDefinition,
    Text,
    comparable_name,
)
from techport_pilots.quantities import Vocabulary, builtin, vocabulary_of
from techport_pilots.time import interval_micros, parse_duration
from techport_pilots.units import is_unit, suggest_unit

# -- Sources and the other names of devices


def check_sources(pilot: PilotDefinition) -> Iterator[Misfit]:
    """What is wrong with the pilot's sources."""
    words = vocabulary_of(pilot)
    for index, source in enumerate(pilot.sources):
        path: Path = ("sources", index)
        yield from _topic(pilot.id, source.topic, (*path, "topic"))
        yield from _device(source, path)
        yield from _format(source, path)
        yield from _source_position(source, path)
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
    owner = {comparable_name(device.id): device.id for device in pilot.devices}
    for index, device in enumerate(pilot.devices):
        for number, alias in enumerate(device.aliases):
            path: Path = ("devices", index, "aliases", number)
            if not alias.strip():
                yield Misfit(path, "is empty", "Write a name under which the device's messages come, or leave it out")
            elif (other := owner.setdefault(comparable_name(alias), device.id)) != device.id:
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


def _source_position(source: SourceDefinition, path: Path) -> Iterator[Misfit]:
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


def _format(source: SourceDefinition, path: Path) -> Iterator[Misfit]:
    """Whether there is the format, and whether it has the options that the source gives it."""
    form = formats().get(source.format)
    if form is None:
        yield Misfit((*path, "format"), f"{source.format!r} does not fit here", did_you_mean(source.format, formats()))
        return
    for name in option_values(source):
        place = (*path, "options", name) if name in source.options else (*path, name)
        names = form.options.__struct_fields__
        if name not in names:
            remedy = did_you_mean(name, names) if names else "Leave it out"
            yield Misfit(place, f"{source.format} has no {name}", remedy)
            return
    try:
        options_of(source)
    except msgspec.ValidationError as error:
        yield Misfit((*path, "options") if source.options else path, str(error), f"Compare it with {source.format}")
        return
    if source.codec is not None and not _is_codec(source.codec):
        remedy = f"Write {' or '.join(_codecs())}, or the text of the maker's JavaScript with its function decodeUplink"
        yield Misfit((*path, "codec"), f"{source.codec[:40]!r} is no codec", remedy)


def _is_codec(text: str) -> bool:
    return text in _codecs() or any(name in text for name in ("decodeUplink", "Decoder", "Decode("))


def _codecs() -> list[str]:
    return [name for name, form in formats().items() if form.codec is not None]


_PILOT_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_QUANTITY = re.compile(r"[a-z][a-z0-9_]{0,62}")
_STREAM = re.compile(r"[a-z][a-z0-9_]{0,62}(\.[A-Za-z0-9_-]{1,62})*")

Checks = Iterator[Misfit]


def zone(name: str) -> ZoneInfo | None:
    """The time zone of that name, or None when there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def check(pilot: PilotDefinition) -> list[Misfit]:
    """Everything that is wrong with a definition whose types are right."""
    return [misfit for one in _CHECKS for misfit in one(pilot)]


def _identity(pilot: PilotDefinition) -> Checks:
    if not _PILOT_ID.fullmatch(pilot.id):
        yield Misfit(
            ("id",), f"{pilot.id!r} cannot be a pilot's id", f"Use a-z, 0-9 and hyphen, such as {_slug(pilot.id)}"
        )
    yield from _not_blank(pilot.title, ("title",))
    yield from _not_blank(pilot.question, ("question",))
    if zone(pilot.timezone) is None:
        near = difflib.get_close_matches(pilot.timezone, available_timezones(), n=1, cutoff=0.8)
        remedy = f"Did you mean {near[0]}?" if near else "Use Europe/Oslo, UTC or another name of the IANA list"
        yield Misfit(("timezone",), f"there is no time zone {pilot.timezone!r}", remedy)
    if pilot.quarantine is not None:
        yield from _duration(pilot.quarantine, ("quarantine",), "P90D", interval_micros)
    for index, organisation in enumerate(pilot.organisations):
        yield from _not_blank(Text(organisation.name), ("organisations", index, "name"))
    if pilot.retention is not None:
        yield from _duration(
            pilot.retention, ("retention",), "P2Y", lambda text: parse_duration(text, calendar="allowed")
        )


def _personal_data(pilot: PilotDefinition) -> Checks:
    if pilot.data_class == "personal" and not pilot.personal_data:
        yield Misfit(("data_class",), "says personal, but personal_data is false", "Make them say the same")
    if not pilot.personal_data:
        return
    needed: dict[str, tuple[str, str]] = {
        "purpose": (pilot.purpose.get("nb"), "Say in one sentence what the data is needed for"),
        "legal_basis": (
            pilot.legal_basis or "",
            "Name the ground of GDPR article 6 (1), such as “6 (1) e, public task”",
        ),
        "dpia": (pilot.dpia or "", "Refer to the data protection impact assessment, such as its case number"),
    }
    for field, (text, remedy) in needed.items():
        if not text.strip():
            problem = "is missing, and a pilot with personal data does not start without it"
            yield Misfit((field,), problem, remedy, near=("personal_data",))
    if pilot.data_class == "open":
        problem = "cannot be open while personal_data is true"
        yield Misfit(("data_class",), problem, "Write data_class: personal", near=("personal_data",))


def _own_quantities(pilot: PilotDefinition) -> Checks:
    yield from _unique([q.name for q in pilot.quantities], "quantities", "name", "quantity")
    for index, quantity in enumerate(pilot.quantities):
        path: Path = ("quantities", index)
        if not _QUANTITY.fullmatch(quantity.name):
            remedy = f"Use a-z, 0-9 and _, such as {_slug(quantity.name, '_')}"
            yield Misfit((*path, "name"), f"{quantity.name!r} cannot be a quantity's name", remedy)
        if quantity.name in builtin():
            known = builtin().lookup(quantity.name)
            unit = known.unit if known else ""
            problem = f"{quantity.name!r} is in the vocabulary, in {unit}"
            yield Misfit((*path, "name"), problem, "Leave this entry out, or choose another name")
        yield from _not_blank(quantity.title, (*path, "title"))
        yield from _unit(quantity, path)
        yield from _ordered(quantity.range, (*path, "range"))


def _unit(quantity: QuantityDefinition, path: Path) -> Checks:
    if not is_unit(quantity.unit):
        instead = suggest_unit(quantity.unit)
        remedy = f"Write {instead}" if instead else "See https://ucum.org for the codes; “1” for none"
        yield Misfit((*path, "unit"), f"{quantity.unit!r} is not a UCUM unit", remedy)


def _devices(pilot: PilotDefinition) -> Checks:
    words = vocabulary_of(pilot)
    yield from _unique([device.id for device in pilot.devices], "devices", "id", "device")
    for index, device in enumerate(pilot.devices):
        path: Path = ("devices", index)
        if not _DEVICE_ID.fullmatch(device.id):
            remedy = f"It is a level of an MQTT topic: letters, digits and . _ : -, such as {_slug(device.id)}"
            yield Misfit((*path, "id"), f"{device.id!r} cannot be a device's id", remedy)
        if device.position is not None:
            yield from _position(device.position, (*path, "position"))
        if device.interval is not None:
            yield from _duration(device.interval, (*path, "interval"), "PT10M", interval_micros)
        yield from _streams(device, path, words)


def _streams(device: DeviceDefinition, path: Path, words: Vocabulary) -> Checks:
    seen: set[str] = set()
    for index, stream in enumerate(device.streams):
        here: Path = (*path, "streams", index)
        if stream.quantity in seen:
            remedy = "Keep one, or tell them apart by a channel, such as air_temperature.inlet"
            yield Misfit((*here, "quantity"), f"{stream.quantity!r} is in this device twice", remedy)
        seen.add(stream.quantity)
        yield from _quantity(stream.quantity, (*here, "quantity"), words)
        yield from _ordered(stream.range, (*here, "range"))
        if stream.interval is not None:
            yield from _duration(stream.interval, (*here, "interval"), "PT10M", interval_micros)


def _quantity(key: str, path: Path, words: Vocabulary) -> Checks:
    if key not in words:
        near = words.near(key)
        remedy = (
            f"Did you mean {' or '.join(near)}?"
            if near
            else "The names are at /api/v1/quantities; your own go under quantities:"
        )
        yield Misfit(path, f"nobody knows the quantity {key!r}", remedy)
    elif not _STREAM.fullmatch(key):
        yield Misfit(path, f"{key!r} has a channel that cannot be", "Use letters, digits, _ and - behind the point")


def _position(position: Position, path: Path) -> Checks:
    lat, lon = position.lat, position.lon
    if _in_norway(lat=lon, lon=lat) and not _in_norway(lat=lat, lon=lon):
        problem = f"{lat:g}, {lon:g} is far from Norway; the other way round it is in it"
        yield Misfit((*path, "lat"), problem, f"Write lat: {lon:g} and lon: {lat:g}")
    elif abs(lat) > 90 or abs(lon) > 180:
        remedy = "Degrees of WGS 84: lat from -90 to 90, lon from -180 to 180, such as lat: 63.43, lon: 10.40"
        yield Misfit((*path, "lat" if abs(lat) > 90 else "lon"), f"{lat:g}, {lon:g} is no place on earth", remedy)
    elif lat == 0 and lon == 0:
        yield Misfit((*path, "lat"), "0, 0 is in the Gulf of Guinea", "Leave position out until it is known")


def _area(pilot: PilotDefinition) -> Checks:
    if pilot.area and len(pilot.area) < 3:
        yield Misfit(("area",), f"{len(pilot.area)} points make no outline", "Give three or more [lon, lat] pairs")
    for index, (lon, lat) in enumerate(pilot.area):
        for misfit in _position(Position(lat=lat, lon=lon), ("area", index)):
            yield Misfit(("area", index), misfit.problem, "Pairs are [lon, lat], such as [10.40, 63.43]")


def _phases(pilot: PilotDefinition) -> Checks:
    yield from _unique([phase.name for phase in pilot.phases], "phases", "name", "phase")
    for index, phase in enumerate(pilot.phases):
        if phase.end <= phase.start:
            problem = f"{phase.name!r} ends at {phase.end.isoformat()}, not after its start"
            yield Misfit(("phases", index, "end"), problem, "Let end be after start; the end itself is no longer in it")
    # "other" may lie across (a season, a campaign); what is compared with each other may not.
    compared = [
        (phase, index) for index, phase in enumerate(pilot.phases) if phase.kind != "other" and phase.start < phase.end
    ]
    compared.sort(key=lambda item: item[0].start)
    for (before, _), (after, index) in itertools.pairwise(compared):
        if after.start < before.end:
            problem = f"{after.name!r} starts before {before.name!r} ends"
            remedy = f"Start it at {before.end.isoformat()} or later, or make one of them kind: other"
            yield Misfit(("phases", index, "start"), problem, remedy)


def _kpis(pilot: PilotDefinition) -> Checks:
    words, devices = vocabulary_of(pilot), [device.id for device in pilot.devices]
    yield from _unique([kpi.id for kpi in pilot.kpis], "kpis", "id", "KPI")
    for index, kpi in enumerate(pilot.kpis):
        path: Path = ("kpis", index)
        yield from _not_blank(kpi.title, (*path, "title"))
        yield from _quantity(kpi.quantity, (*path, "quantity"), words)
        if not 0 <= kpi.minimum_completeness <= 1:
            problem = f"{kpi.minimum_completeness:g} is no share"
            yield Misfit((*path, "minimum_completeness"), problem, "Write a number from 0 to 1: 0.75 for 75 %")
        for number, device in enumerate(kpi.devices):
            if device not in devices:
                problem = f"the pilot has no device {device!r}"
                yield Misfit(
                    (*path, "devices", number), problem, _short(did_you_mean(device, devices), "Use an id of devices:")
                )


def _events(pilot: PilotDefinition) -> Checks:
    devices = [device.id for device in pilot.devices]
    for index, event in enumerate(pilot.events):
        if event.device is not None and event.device not in devices:
            remedy = _short(did_you_mean(event.device, devices), "Use an id of devices:")
            yield Misfit(("events", index, "device"), f"the pilot has no device {event.device!r}", remedy)
        if event.end is not None and event.end < event.time:
            yield Misfit(("events", index, "end"), "the event ends before it begins", "Let end be at time or after it")


def _exclusions(pilot: PilotDefinition) -> Checks:
    words, devices = vocabulary_of(pilot), [device.id for device in pilot.devices]
    for index, exclusion in enumerate(pilot.exclusions):
        path: Path = ("exclusions", index)
        yield from _not_blank(exclusion.reason, (*path, "reason"))
        if exclusion.quantity is not None:
            yield from _quantity(exclusion.quantity, (*path, "quantity"), words)
        if exclusion.device is not None and exclusion.device not in devices:
            remedy = _short(did_you_mean(exclusion.device, devices), "Use an id of devices:")
            yield Misfit((*path, "device"), f"the pilot has no device {exclusion.device!r}", remedy)
        if exclusion.end <= exclusion.start:
            yield Misfit((*path, "end"), "the window ends before it begins", "Let end be after start")


def _unique(names: Sequence[str], section: str, field: str, what: str) -> Checks:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if first.setdefault(name, index) != index:
            problem = f"{what} {name!r} is here twice, first as {section}[{first[name]}]"
            yield Misfit((section, index, field), problem, "Give each its own")


def _not_blank(text: Text, path: Path) -> Checks:
    if not text.nb.strip() and not text.en.strip():
        yield Misfit(path, "is empty", "Write at least one of nb: and en:")


def _ordered(limits: tuple[float, float] | None, path: Path) -> Checks:
    if limits is not None and limits[0] > limits[1]:
        yield Misfit(path, f"{limits[0]:g} is above {limits[1]:g}", f"Write [{limits[1]:g}, {limits[0]:g}]")


def _duration(text: str, path: Path, example: str, parse: Callable[[str], object]) -> Checks:
    try:
        parse(text)
    except ValueError as error:
        yield Misfit(path, str(error), f"Write it such as {example}")


def _in_norway(lat: float, lon: float) -> bool:
    return 57 <= lat <= 81.5 and 4 <= lon <= 32


def _slug(text: str, separator: str = "-") -> str:
    plain = text.lower().translate(str.maketrans("æøå", "aoa"))
    return re.sub(r"[^a-z0-9]+", separator, plain).strip(separator)[:60] or f"my{separator}name"


def _short(remedy: str, otherwise: str) -> str:
    return remedy if 0 < len(remedy) <= 200 else otherwise


_CHECKS: tuple[Callable[[PilotDefinition], Checks], ...] = (
    _identity,
    _personal_data,
    _own_quantities,
    _devices,
    _area,
    _phases,
    _kpis,
    check_kpis,
    _events,
    _exclusions,
    check_sources,
    check_aliases,
)
