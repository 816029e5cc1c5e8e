"""What a definition must mean beyond its types: names that exist, times in order, places on earth, lawful purposes."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import msgspec

from techport_pilots.definition import codec_files
from techport_pilots.definition.kpi_checks import check_kpis
from techport_pilots.definition.kpi_retention import check_kpi_retention, fixed_retention
from techport_pilots.definition.lending import EVERY_PILOT
from techport_pilots.definition.misfit import Misfit, Path, did_you_mean, did_you_mean_any, known_device, misfit
from techport_pilots.definition.privacy import is_open_licence
from techport_pilots.device_names import spellings
from techport_pilots.formats import formats, option_values, options_of
from techport_pilots.i18n import Message
from techport_pilots.model import (
    GROUPED_WITHOUT_TAGS,
    DeviceDefinition,
    PilotDefinition,
    Position,
    QuantityDefinition,
    SourceDefinition,
    Text,
)
from techport_pilots.quantities import Vocabulary, builtin, vocabulary_of
from techport_pilots.time import Duration, InvalidDuration, interval_micros, parse_duration
from techport_pilots.units import is_unit, suggest_unit
from techport_storage.microseconds import DAY

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
        yield from _source_zones(source, path)
        yield from _pseudonyms(source, path)
        for key, field in source.fields.items():
            place: Path = (*path, "fields", key)
            if field.quantity not in words:
                near = words.near(field.quantity)
                remedy = did_you_mean_any(near) if near else Message("definition.describe-quantity")
                yield misfit(
                    (*place, "quantity"), "unknown-quantity", remedy=remedy, near=place, quantity=field.quantity
                )
            if field.factor == 0:
                yield misfit((*place, "factor"), "factor-zero", near=place)
            if key in source.ignore:
                yield misfit(place, "also-ignored", key=key)


def _pseudonyms(source: SourceDefinition, path: Path) -> Iterator[Misfit]:
    """Whether identifiers can be found where a source says that they are."""
    rule = source.pseudonyms
    if rule is None:
        return
    path = (*path, "pseudonyms")
    if not rule.fields and not rule.levels:
        yield misfit(path, "pseudonyms-of-nothing")
    form = formats().get(source.format)
    if rule.fields and form is not None and form.payload == "other":
        yield misfit((*path, "fields"), "pseudonyms-format", near=path, format=form.name)
    for index, field in enumerate(rule.fields):
        parts = field.split(".")
        if not all(part.strip() for part in parts) or "*" in parts[:-1] or parts == ["*"]:
            yield misfit((*path, "fields", index), "pseudonyms-field", given=field[:60])
    topic = source.topic.split("/")
    for index, level in enumerate(rule.levels):
        place: Path = (*path, "levels", index)
        if not _is_open_level(topic, level):
            yield misfit(place, "pseudonyms-level", level=level, topic=source.topic)
    yield from _duration(rule.rotate, (*path, "rotate"), "P1D", interval_micros)


def _is_open_level(topic: list[str], level: int) -> bool:
    """Whether messages of a topic filter may have anything at this level; a filter that ends in # has any number."""
    endless = topic[-1] == "#"
    if level < 0:
        return level == -1 if endless else -len(topic) <= level and topic[level] == "+"
    if level == 0:
        return False
    return endless if level > len(topic) else topic[level - 1] in ("+", "#")


def _source_zones(source: SourceDefinition, path: Path) -> Iterator[Misfit]:
    """Whether the time zones that a source names are ones."""
    named = [((*path, "timezone"), source.timezone)]
    if source.time is not None:
        named.append(((*path, "time", "zone"), source.time.zone))
    for place, name in named:
        if name is not None and zone(name) is None:
            yield _no_zone(name, place)


def check_aliases(pilot: PilotDefinition) -> Iterator[Misfit]:
    """Names that two devices would answer to."""
    owner = {name: device.id for device in pilot.devices for name in spellings(device.id)}
    for index, device in enumerate(pilot.devices):
        for number, alias in enumerate(device.aliases):
            path: Path = ("devices", index, "aliases", number)
            if not alias.strip():
                yield misfit(path, "empty-alias")
                continue
            others = [owner.setdefault(name, device.id) for name in spellings(alias)]
            if taken := [other for other in others if other != device.id]:
                yield misfit(path, "alias-taken", alias=alias, device=taken[0])


def _topic(pilot: str, topic: str, path: Path) -> Iterator[Misfit]:
    levels = topic.split("/")
    usual = Message("definition.topic.usual")
    if not topic or len(topic) > 200 or "\0" in topic:
        yield misfit(path, "topic.not-a-filter", remedy=usual)
    elif any(("+" in level and level != "+") or ("#" in level and level != "#") for level in levels):
        yield misfit(path, "topic.wildcard-in-level", remedy=usual, topic=topic)
    elif "#" in levels[:-1]:
        yield misfit(path, "topic.after-hash", remedy=usual, topic=topic)
    elif levels[0] == "#" or levels == ["+", "#"]:
        yield misfit(path, "topic.everything", topic=topic)
    elif levels[0].startswith("$"):
        yield misfit(path, "topic.of-the-broker", remedy=usual, topic=topic)
    elif levels[0] == "pilots" and (len(levels) < 3 or levels[1] != pilot):
        yield misfit(path, "topic.of-other-pilots", topic=topic, pilot=pilot)


def _device(source: SourceDefinition, path: Path) -> Iterator[Misfit]:
    rule = source.device
    if rule is None:
        return
    path = (*path, "device")
    given = [name for name in ("level", "pointer", "join", "id") if getattr(rule, name) not in (None, [])]
    if len(given) != 1:
        yield misfit(path, "device-rule.several" if given else "device-rule.empty", keys=given)
    if rule.level == 0:
        yield misfit((*path, "level"), "device-rule.level", given=str(rule.level))
    form = formats().get(source.format)
    any_path = form is not None and form.reads_device_rule
    if rule.pointer is not None and not rule.pointer.startswith("/") and not any_path:
        yield misfit((*path, "pointer"), "device-rule.pointer", given=rule.pointer)


def _source_position(source: SourceDefinition, path: Path) -> Iterator[Misfit]:
    rule = source.position
    if rule is None:
        return
    path = (*path, "position")
    for key in {rule.lat, rule.lon} & {*source.ignore, *source.fields}:
        yield misfit(path, "position-key-used", key=key)
    if rule.lat == rule.lon:
        yield misfit(path, "position-keys-equal", key=rule.lat)
    if rule.moves is not None and not 1 <= rule.moves <= 1_000_000:
        yield misfit((*path, "moves"), "position-moves", metres=f"{rule.moves:g}")


def _format(source: SourceDefinition, path: Path) -> Iterator[Misfit]:
    """Whether there is the format, and whether it has the options that the source gives it."""
    form = formats().get(source.format)
    if form is None:
        remedy = did_you_mean(source.format, formats(), "see-formats")
        yield misfit((*path, "format"), "unknown-format", remedy=remedy, format=source.format)
        return
    for name in option_values(source):
        place = (*path, "options", name) if name in source.options else (*path, name)
        names = form.options.__struct_fields__
        if name not in names:
            remedy = did_you_mean(name, names) if names else Message("definition.leave-out")
            yield misfit(place, "unknown-option", remedy=remedy, format=source.format, option=name)
            return
    try:
        options_of(source)
    except msgspec.ValidationError as error:
        place = (*path, "options") if source.options else path
        yield misfit(place, "bad-options", format=source.format, error=str(error))
        return
    named: list[tuple[Path, str]] = [((*path, "codecs", name), text) for name, text in source.codecs.items()]
    if source.codec is not None:
        named.append(((*path, "codec"), source.codec))
    for place, text in named:
        if codec_files.is_file_name(text):
            yield misfit(place, "codec-file", file=text.strip()[:100])
        elif not _is_codec(text):
            yield misfit(place, "bad-codec", given=text[:40], codecs=_codecs())


def _is_codec(text: str) -> bool:
    return text in _codecs() or _CODEC.search(text) is not None


_CODEC = re.compile(r"\b(?:decodeUplink|Decoder|Decode)\b")


def _codecs() -> list[str]:
    return [name for name, form in formats().items() if form.codec is not None]


_PILOT_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_QUANTITY = re.compile(r"[a-z][a-z0-9_]{0,62}")
_KPI_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_NAME = re.compile(r"\w[\w .,:+()-]{0,79}")  # of phases and groups, in any language
_TAG = re.compile(r"[a-z][a-z0-9_]{0,39}")
LONGEST_SIGN_LINK = 300
"""Bytes of an address that a phone reads from a sign; beyond about 1,600 there is no QR code."""

_MOST_TAGS = 20
_MOST_FINDINGS = 200
_STREAM = re.compile(r"[a-z][a-z0-9_]{0,62}(\.[A-Za-z0-9_-]{1,62})*")

Checks = Iterator[Misfit]


def zone(name: str) -> ZoneInfo | None:
    """The time zone of that name, or None when there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _no_zone(name: str, path: Path) -> Misfit:
    near = difflib.get_close_matches(name, available_timezones(), n=1, cutoff=0.8)
    remedy = did_you_mean_any(near) if near else None
    return misfit(path, "unknown-time-zone", remedy=remedy, given=name)


def check(pilot: PilotDefinition) -> list[Misfit]:
    """What is wrong with a definition whose types are right; of very much the first."""
    return list(itertools.islice((wrong for function in _CHECKS for wrong in function(pilot)), _MOST_FINDINGS))


def _identity(pilot: PilotDefinition) -> Checks:
    if not _PILOT_ID.fullmatch(pilot.id):
        yield misfit(("id",), "bad-pilot-id", given=pilot.id, example=slug(pilot.id))
    yield from _not_blank(pilot.title, ("title",))
    yield from _not_blank(pilot.question, ("question",))
    if zone(pilot.timezone) is None:
        yield _no_zone(pilot.timezone, ("timezone",))
    if pilot.quarantine is not None:
        yield from _duration(pilot.quarantine, ("quarantine",), "P90D", interval_micros)
    for index, organisation in enumerate(pilot.organisations):
        yield from _not_blank(Text(organisation.name), ("organisations", index, "name"))
        if organisation.url is not None and not _is_web_address(organisation.url):
            yield misfit(("organisations", index, "url"), "bad-url", given=organisation.url[:60])
    if pilot.sign is not None:
        yield from _not_blank(pilot.sign.text, ("sign", "text"))
        if pilot.sign.link and not _is_web_address(pilot.sign.link):
            yield misfit(("sign", "link"), "bad-url", given=pilot.sign.link[:60])
        elif len(pilot.sign.link.encode()) > LONGEST_SIGN_LINK:
            yield misfit(("sign", "link"), "long-link", most=LONGEST_SIGN_LINK)
    if pilot.retention is not None:
        yield from _duration(pilot.retention, ("retention",), "P2Y", _calendar_duration)


def _personal_data(pilot: PilotDefinition) -> Checks:
    if pilot.data_class == "personal" and not pilot.personal_data:
        yield misfit(("data_class",), "personal-class-only")
    if not pilot.personal_data:
        return
    needed = {"purpose": pilot.purpose.get("nb"), "legal_basis": pilot.legal_basis or "", "dpia": pilot.dpia or ""}
    for field, text in needed.items():
        if not text.strip():
            remedy = Message(f"definition.add.{field}")
            yield misfit((field,), "missing-for-personal-data", remedy=remedy, near=("personal_data",))
    if pilot.data_class == "open":
        yield misfit(("data_class",), "personal-but-open", near=("personal_data",))
    elif is_open_licence(pilot.licence):
        yield misfit(("licence",), "personal-open-licence", licence=pilot.licence)


def _people_counts(pilot: PilotDefinition) -> Checks:
    rule = pilot.people_counts
    if rule is None:
        return
    words = vocabulary_of(pilot)
    if not rule.quantities:
        yield misfit(("people_counts", "quantities"), "people-counts-of-nothing", near=("people_counts",))
    for index, quantity in enumerate(rule.quantities):
        yield from _quantity(quantity, ("people_counts", "quantities", index), words)
    if not 2 <= rule.least <= 1000:
        yield misfit(("people_counts", "least"), "people-counts-least", near=("people_counts",), least=rule.least)


def _open_data(pilot: PilotDefinition) -> Checks:
    if pilot.data_class == "open" and not pilot.licence.strip():
        yield misfit(("licence",), "open-without-licence", near=("data_class",))


def _own_quantities(pilot: PilotDefinition) -> Checks:
    yield from _unique([q.name for q in pilot.quantities], "quantities", "name")
    for index, quantity in enumerate(pilot.quantities):
        path: Path = ("quantities", index)
        if not _QUANTITY.fullmatch(quantity.name):
            example = slug(quantity.name, "_")
            yield misfit((*path, "name"), "bad-quantity-name", given=quantity.name, example=example)
        if quantity.name in builtin():
            builtin_quantity = builtin().lookup(quantity.name)
            unit = builtin_quantity.unit if builtin_quantity else ""
            yield misfit((*path, "name"), "quantity-in-vocabulary", quantity=quantity.name, unit=unit)
        yield from _not_blank(quantity.title, (*path, "title"))
        yield from _unit(quantity, path)
        yield from _ordered(quantity.range, (*path, "range"))
        if quantity.kind != "state":
            for key in [key for key in ("states", "words") if getattr(quantity, key)]:
                yield misfit((*path, key), "only-of-a-state", key=key, kind=quantity.kind)


def _unit(quantity: QuantityDefinition, path: Path) -> Checks:
    if not is_unit(quantity.unit):
        instead = suggest_unit(quantity.unit)
        remedy = Message("definition.write.instead", {"text": instead}) if instead else None
        yield misfit((*path, "unit"), "bad-unit", remedy=remedy, given=quantity.unit)


def _devices(pilot: PilotDefinition) -> Checks:
    words = vocabulary_of(pilot)
    yield from _unique([device.id for device in pilot.devices], "devices", "id")
    for index, device in enumerate(pilot.devices):
        path: Path = ("devices", index)
        if not _DEVICE_ID.fullmatch(device.id):
            yield misfit((*path, "id"), "bad-device-id", given=device.id, example=slug(device.id))
        if device.group is not None and not _NAME.fullmatch(device.group):
            yield misfit((*path, "group"), "bad-name", given=device.group[:60])
        yield from _tags(device.tags, (*path, "tags"))
        if device.position is not None:
            yield from _position(device.position, (*path, "position"))
        if device.interval is not None:
            yield from _duration(device.interval, (*path, "interval"), "PT10M", interval_micros)
        for number, earlier in enumerate(device.previous):
            place: Path = (*path, "previous", number)
            yield from _duration(earlier.interval, (*place, "interval"), "PT10M", interval_micros)
            if number and earlier.until <= device.previous[number - 1].until:
                yield misfit((*place, "until"), "not-ascending")
        yield from _streams(device, path, words)
        yield from _stream_retentions(pilot, device, path)


def _tags(tags: dict[str, str], path: Path) -> Checks:
    if len(tags) > _MOST_TAGS:
        yield misfit(path, "too-many-tags", n=len(tags), most=_MOST_TAGS)
    for key, value in tags.items():
        if not _TAG.fullmatch(key) or key in GROUPED_WITHOUT_TAGS:
            yield misfit((*path, key), "bad-tag", given=key[:60])
        elif not _NAME.fullmatch(value):
            yield misfit((*path, key), "bad-name", given=value[:60])


def _streams(device: DeviceDefinition, path: Path, words: Vocabulary) -> Checks:
    seen: set[str] = set()
    for index, stream in enumerate(device.streams):
        place: Path = (*path, "streams", index)
        if stream.quantity in seen:
            yield misfit((*place, "quantity"), "stream-twice", quantity=stream.quantity)
        seen.add(stream.quantity)
        yield from _quantity(stream.quantity, (*place, "quantity"), words)
        yield from _ordered(stream.range, (*place, "range"))
        if stream.interval is not None:
            yield from _duration(stream.interval, (*place, "interval"), "PT10M", interval_micros)


def _stream_retentions(pilot: PilotDefinition, device: DeviceDefinition, path: Path) -> Checks:
    """Whole days, and no longer than the pilot keeps anything."""
    longest = fixed_retention(pilot.retention)
    for index, stream in enumerate(device.streams):
        if stream.retention is None:
            continue
        place: Path = (*path, "streams", index, "retention")
        wrong = list(_duration(stream.retention, place, "P30D", _calendar_duration))
        yield from wrong
        length = fixed_retention(stream.retention)
        if wrong or length is None:
            continue
        if length < DAY:
            yield misfit(place, "stream-retention-short", given=stream.retention)
        elif longest is not None and length > longest:
            yield misfit(place, "stream-retention-long", given=stream.retention, most=pilot.retention)


def _calendar_duration(text: str) -> Duration:
    return parse_duration(text, calendar="allowed")


def _quantity(key: str, path: Path, words: Vocabulary) -> Checks:
    if key not in words:
        near = words.near(key)
        yield misfit(path, "unknown-quantity", remedy=did_you_mean_any(near) if near else None, quantity=key)
    elif not _STREAM.fullmatch(key):
        yield misfit(path, "bad-channel", given=key)


def _position(position: Position, path: Path) -> Checks:
    lat, lon = position.lat, position.lon
    if _in_norway(lat=lon, lon=lat) and not _in_norway(lat=lat, lon=lon):
        yield misfit((*path, "lat"), "position-swapped", lat=f"{lat:g}", lon=f"{lon:g}")
    elif abs(lat) > 90 or abs(lon) > 180:
        key = "lat" if abs(lat) > 90 else "lon"
        yield misfit((*path, key), "position-not-on-earth", lat=f"{lat:g}", lon=f"{lon:g}")
    elif lat == 0 and lon == 0:
        yield misfit((*path, "lat"), "position-zero")


def _area(pilot: PilotDefinition) -> Checks:
    if pilot.area and len(pilot.area) < 3:
        yield misfit(("area",), "area-too-few-points", n=len(pilot.area))
    for index, (lon, lat) in enumerate(pilot.area):
        for wrong in _position(Position(lat=lat, lon=lon), ("area", index)):
            yield wrong._replace(path=("area", index), remedy=Message("definition.area-pairs"))


def _phases(pilot: PilotDefinition) -> Checks:
    yield from _unique([phase.name for phase in pilot.phases], "phases", "name")
    for index, phase in enumerate(pilot.phases):
        if not _NAME.fullmatch(phase.name):
            yield misfit(("phases", index, "name"), "bad-name", given=phase.name[:60])
        if phase.end <= phase.start:
            yield misfit(("phases", index, "end"), "phase-order", phase=phase.name, end=phase.end.isoformat())
    # "other" may lie across (a season, a campaign); what is compared with each other may not.
    compared = [
        (phase, index) for index, phase in enumerate(pilot.phases) if phase.kind != "other" and phase.start < phase.end
    ]
    compared.sort(key=lambda item: item[0].start)
    for (before, _), (after, index) in itertools.pairwise(compared):
        if after.start < before.end:
            path: Path = ("phases", index, "start")
            end = before.end.isoformat()
            yield misfit(path, "phases-overlap", after=after.name, before=before.name, end=end)


def _looks(pilot: PilotDefinition) -> Checks:
    """A look decides on the intervention so far, so it lies within."""
    spans = [(phase.start, phase.end) for phase in pilot.phases if phase.kind == "intervention"]
    first, last = (min(start for start, _ in spans), max(end for _, end in spans)) if spans else (None, None)
    for index, look in enumerate(pilot.looks):
        if first is None or last is None or not first < look < last:
            ends = ["–" if end is None else end.isoformat() for end in (first, last)]
            yield misfit(("looks", index), "look-outside", given=look.isoformat(), first=ends[0], last=ends[1])


def _kpis(pilot: PilotDefinition) -> Checks:
    words, devices = vocabulary_of(pilot), [device.id for device in pilot.devices]
    yield from _unique([kpi.id for kpi in pilot.kpis], "kpis", "id")
    for index, kpi in enumerate(pilot.kpis):
        path: Path = ("kpis", index)
        if not _KPI_ID.fullmatch(kpi.id):
            yield misfit((*path, "id"), "bad-kpi-id", given=kpi.id[:60], example=slug(kpi.id[:200]))
        yield from _not_blank(kpi.title, (*path, "title"))
        yield from _quantity(kpi.quantity, (*path, "quantity"), words)
        if not 0 <= kpi.minimum_completeness <= 1:
            yield misfit((*path, "minimum_completeness"), "not-a-share", given=f"{kpi.minimum_completeness:g}")
        for number, device in enumerate(kpi.devices):
            yield from known_device(device, devices, (*path, "devices", number))


def _lends(pilot: PilotDefinition) -> Checks:
    words, devices = vocabulary_of(pilot), [device.id for device in pilot.devices]
    for index, loan in enumerate(pilot.lends):
        path: Path = ("lends", index)
        if loan.to != EVERY_PILOT and not _PILOT_ID.fullmatch(loan.to):
            yield misfit((*path, "to"), "bad-pilot-id", given=loan.to[:60], example=slug(loan.to[:200]))
        yield from known_device(loan.device, devices, (*path, "device"))
        if loan.quantity is not None:
            yield from _quantity(loan.quantity, (*path, "quantity"), words)


def _events(pilot: PilotDefinition) -> Checks:
    devices = [device.id for device in pilot.devices]
    for index, event in enumerate(pilot.events):
        if event.device is not None:
            yield from known_device(event.device, devices, ("events", index, "device"))
        if event.end is not None and event.end < event.time:
            yield misfit(("events", index, "end"), "event-order")


def _exclusions(pilot: PilotDefinition) -> Checks:
    words, devices = vocabulary_of(pilot), [device.id for device in pilot.devices]
    for index, exclusion in enumerate(pilot.exclusions):
        path: Path = ("exclusions", index)
        yield from _not_blank(exclusion.reason, (*path, "reason"))
        if exclusion.quantity is not None:
            yield from _quantity(exclusion.quantity, (*path, "quantity"), words)
        if exclusion.device is not None:
            yield from known_device(exclusion.device, devices, (*path, "device"))
        if exclusion.end <= exclusion.start:
            yield misfit((*path, "end"), "exclusion-order")


def _alerts(pilot: PilotDefinition) -> Checks:
    words, devices = vocabulary_of(pilot), [device.id for device in pilot.devices]
    for index, alert in enumerate(pilot.alerts):
        path: Path = ("alerts", index)
        yield from _quantity(alert.quantity, (*path, "quantity"), words)
        if alert.device is not None:
            yield from known_device(alert.device, devices, (*path, "device"))
        if (alert.above is None) == (alert.below is None):
            yield misfit(path, "alert-limit")
        if alert.lasting is not None:
            yield from _duration(alert.lasting, (*path, "lasting"), "PT1H", interval_micros)


def _unique(names: Sequence[str], section: str, field: str) -> Checks:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if first.setdefault(name, index) != index:
            yield misfit((section, index, field), "twice", name=name, first=f"{section}[{first[name]}]")


def _not_blank(text: Text, path: Path) -> Checks:
    if not text.nb.strip() and not text.en.strip():
        yield misfit(path, "empty-text")


def _ordered(limits: tuple[float, float] | None, path: Path) -> Checks:
    if limits is not None and limits[0] > limits[1]:
        yield misfit(path, "range-order", low=f"{limits[0]:g}", high=f"{limits[1]:g}")


def _duration(text: str, path: Path, example: str, parse: Callable[[str], object]) -> Checks:
    try:
        parse(text)
    except InvalidDuration as error:
        yield Misfit(path, error.message, Message("definition.write.such-as", {"example": example}))


def _is_web_address(url: str) -> bool:
    """Whether it is an address of the web, with a host and without a password: what a page may link to."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(host)
        and "@" not in parts.netloc
        and len(url) <= 2_000
        and url.isprintable()
        and not any(letter in url for letter in " <>\"'\\`")
    )


def _in_norway(lat: float, lon: float) -> bool:
    return 57 <= lat <= 81.5 and 4 <= lon <= 32


def slug(text: str, separator: str = "-") -> str:
    """An id that resembles the text."""
    plain = text.lower().translate(str.maketrans("æøå", "aoa"))
    return re.sub(r"[^a-z0-9]+", separator, plain).strip(separator)[:60] or f"my{separator}name"


_CHECKS: tuple[Callable[[PilotDefinition], Checks], ...] = (
    _identity,
    _personal_data,
    _open_data,
    _people_counts,
    _own_quantities,
    _devices,
    _area,
    _phases,
    _looks,
    _kpis,
    check_kpis,
    check_kpi_retention,
    _lends,
    _events,
    _exclusions,
    _alerts,
    check_sources,
    check_aliases,
)
