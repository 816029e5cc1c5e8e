"""A pilot as its team writes it down: the types behind the definition file (YAML).

Field names are the file's keys. Times are ISO 8601 with an offset (or local times of the pilot's zone), durations are
ISO 8601 ("PT10M", "P2Y"). definition.py reads and checks a file and names line, field and remedy of what is wrong.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

import msgspec


class Text(msgspec.Struct, frozen=True):
    """A text in the languages of the pages; where one is missing, the other stands in."""

    nb: str = ""
    en: str = ""

    def get(self, language: str) -> str:
        return (self.nb or self.en) if language in ("nb", "nn", "no") else (self.en or self.nb)


class Organisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    role: Literal["owner", "partner", "supplier", "funder", "data-processor"] = "partner"
    url: str | None = None


class Contact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    email: str | None = None


class Position(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """WGS 84 degrees; height above ground in metres."""

    lat: float
    lon: float
    height: float | None = None


class StreamDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One quantity that a device measures."""

    quantity: str  # vocabulary name, or one of the pilot's own; ".channel" may follow
    interval: str | None = None  # expected time between readings, ISO 8601 duration
    range: tuple[float, float] | None = (
        None  # valid range, in the quantity's unit, where narrower than the vocabulary's
    )
    title: Text | None = None
    retention: str | None = None  # ISO 8601 duration after which its readings are erased, in every state of the pilot


GROUPED_WITHOUT_TAGS = ("pilot", "device", "quantity", "kind", "group", "time", "date", "local", "unit", "state")
"""Names that no tag has, because answers have columns of these names."""


class EarlierInterval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often the streams of a device were to come, until that was changed."""

    until: dt.datetime
    interval: str  # ISO 8601 duration


class DeviceDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    title: Text | None = None
    kind: str | None = None  # maker's model or what it is: "air-quality station"
    position: Position | None = None
    group: str | None = None  # for KPIs and control groups
    tags: dict[str, str] = {}  # what else readings are grouped by: {street: Elgeseter gate}
    interval: str | None = None  # default for its streams
    previous: list[EarlierInterval] = []  # of all its streams, before: completeness goes by what was promised
    streams: list[StreamDefinition] = []
    aliases: list[str] = []  # what else it is called in messages: DevEUI, MAC address, friendly name
    note: Text | None = None  # what whoever looks after it should know: how it is mounted, where the key is
    retired: dt.datetime | None = None  # from when on nothing is expected of it; what it sent stays


class QuantityDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A quantity of the pilot's own, beside the vocabulary."""

    name: str
    title: Text
    unit: str  # UCUM
    range: tuple[float, float] | None = None
    kind: Literal["level", "count", "direction", "state"] = "level"
    states: list[Text] = []  # of a state: what people read for 0, 1, 2 and so on
    words: dict[str, float] = {}  # of a state: what devices call its numbers, beside the titles of `states`


class Phase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stretch of the pilot. All `baseline` phases are compared with all `intervention` phases; `control` is a stretch
    after the intervention was taken away again, and counts as baseline. Control *groups* are a KPI's matter."""

    name: str
    kind: Literal["baseline", "intervention", "control", "other"]
    start: dt.datetime
    end: dt.datetime
    title: Text | None = None


class FieldMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a maker's field is in the vocabulary. `fields: {temp: air_temperature}` is short for one with a quantity."""

    quantity: str  # vocabulary name, or one of the pilot's own; ".channel" may follow
    unit: str | None = None  # of the values in the message, in any common spelling; None: as the message says
    factor: float = 1.0  # values are multiplied by it first: 0.1 for tenths
    text: bool = False  # read numbers that are sent as text: "21.5", "21,5", "2.7V", "0x1F"
    words: dict[str, float] = {}  # what words in the message mean: {open: 1, closed: 0}; case does not matter


class DeviceRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a message says which device it is of: by one of `level`, `pointer`, `join` and `id`."""

    level: int | None = None  # of the topic, counted from 1; -1 is the last
    to: int | None = None  # with `level`: the levels from there to this one, with hyphens between them
    pointer: str | None = None  # JSON pointer (RFC 6901) into the payload; in format json a path from the record, too
    join: list[str] = []  # format json: paths whose values make the name, with hyphens between them
    segment: int | None = None  # of what was found, the part between slashes: -1 is the last
    id: str | None = None  # every message is of this device


class NameRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a value says what it is called. `name: id` is short for one with a path."""

    path: str | None = None  # in the record
    level: int | None = None  # of the topic, counted from 1; -1 is the last
    to: int | None = None  # with `level`: the levels from there to this one, with dots between them
    text: str | None = None  # always this


class TimeRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where and how a message says when it was measured. `time: timestamp` is short for one with a key."""

    key: str  # key, column, or in format json a path; the time of day where `date` names the day's
    date: str | None = None
    unit: Literal["s", "ms", "us", "ns"] | None = None  # of a number; None: by its size
    format: str | None = None  # of text, as in Python's strptime: "%d.%m.%Y %H:%M"; None: ISO 8601
    zone: str | None = None  # of local times; None: the source's `timezone`, or the pilot's


class JsonShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How JSON of any shape is read: the options of the format json."""

    records: str | None = None  # path to the list of records; None: the message is one
    within: str | None = None  # path to the object whose values are readings; None: the whole record
    name: NameRule | None = None  # of the one value that a record has; None: the keys are names
    value: str | None = None  # path to that value; None: the record itself
    unit: str | None = None  # path to that value's unit
    time: TimeRule | None = None  # None: under a usual key, such as time, timestamp or ts
    separator: str = "."  # between the keys of nested objects
    constants: dict[str, float] = {}  # readings that every record stands for: {street_cleaning: 1}
    when: dict[str, list[str]] = {}  # read only messages that have one of these texts at this path


class PositionMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Under which keys a message says where its device is, and whether that moves the device in the registry."""

    lat: str = "latitude"
    lon: str = "longitude"
    moves: float | None = None  # metres: three reports in a row farther away than that start a new deployment


class CsvColumns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names of columns where a CSV's heading calls them otherwise."""

    time: str | None = None
    device: str | None = None
    channel: str | None = None
    values: list[str] | None = None
    encoding: str = "utf-8"
    separator: str | None = None
    decimal: Literal[",", "."] | None = None


class PseudonymRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where messages hold identifiers of people or their things: MAC addresses, number plates, cards."""

    fields: list[str] = []  # keys of a JSON payload at any depth, or paths: `mac`, `rx.addr`; `probes.*`: its keys
    levels: list[int] = []  # of the topic, counted from 1; -1 is the last
    rotate: str = "P1D"  # how long an identifier has the same pseudonym


class SourceDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where messages of other makers' formats come from, and how they become the pilot's readings.

    Topic and format are enough for most: the format knows which device it is and what its keys mean.
    """

    topic: str  # MQTT topic filter
    format: str  # a name of techport_pilots.formats.formats()
    device: DeviceRule | None = None  # None: as the format says
    fields: dict[str, FieldMapping] = {}  # by the key that `techport decode` shows
    ignore: list[str] = []  # keys that are no readings
    time: TimeRule | None = None  # None: as the format says, or a field with a usual name
    timezone: str | None = None  # of times without an offset; None: the pilot's
    position: PositionMapping | None = None  # None: what the format calls latitude and longitude, as readings
    codec: str | None = None  # of LoRaWAN formats: one that reads an uplink's bytes, or JavaScript with decodeUplink
    codecs: dict[str, str] = {}  # others, by the name of a device or of its profile
    signal: bool = False  # of LoRaWAN formats: rssi, snr and gateway_count as readings too
    precision: Literal["ns", "us", "ms", "s"] = "ns"  # line-protocol
    columns: CsvColumns | None = None  # csv
    records: str | None = None  # this and the following: json, see JsonShape
    within: str | None = None
    name: NameRule | None = None
    value: str | None = None
    unit: str | None = None
    separator: str = "."
    constants: dict[str, float] = {}
    when: dict[str, list[str]] = {}
    pseudonyms: PseudonymRule | None = None  # of identifiers, which are replaced before anything is kept
    options: dict[str, Any] = {}  # of formats whose options have no key of their own here


Statistic = Literal["mean", "median", "percentile", "min", "max", "sum", "count", "hours_above", "share_above"]
Slot = Literal["auto", "mean", "energy", "vector", "sum", "min", "max", "max_8h", "lden"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
EventKind = Literal["installed", "moved", "calibrated", "maintenance", "outage", "intervention", "other"]


class Measure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One number from many readings: readings make slots of `interval`, slots make the statistic.

    `slot: auto` follows the quantity's kind: levels are averaged, decibels averaged as energy, directions as unit
    vectors, counts added up. `lden` and `max_8h` (highest running mean of eight hours) make one value a local day and
    need `interval: P1D`. `sum`, `count` and `hours_above` are per local day: phases of different length compare.
    """

    quantity: str  # vocabulary name, or one of the pilot's own; ".channel" may follow
    plus: list[str] = []  # more quantities to add to it, slot by slot: all modes of travel
    devices: list[str] = []  # with `groups` empty too: every device that measures the quantity
    groups: list[str] = []
    statistic: Statistic = "mean"
    percentile: float | None = None  # 0..100, with statistic: percentile
    threshold: float | None = None  # in the quantity's unit, with hours_above and share_above
    at_least: bool = False  # a value equal to the threshold counts as above
    decimals: int | None = (
        None  # values are rounded to these, half up, before they are compared with threshold or target
    )
    by_position: bool = False  # a percentile is one of the values, as limits have it, instead of one between two
    day: Literal["local", "utc+1"] = "local"  # "utc+1" all year: days of Norwegian and European assessments of air
    interval: str = "PT1H"  # sampling interval: up to PT1H, or P1D for local days
    slot: Slot = "auto"
    hours: tuple[float, float] | None = None  # [from, to) of local time; [22, 7] runs across midnight
    weekdays: list[Weekday] = []  # empty: all


class Comparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A second measure: the KPI is the first divided by it, minus it, or the first's share of both (modal share)."""

    kind: Literal["ratio", "difference", "share"]
    measure: Measure


class Covariate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stream whose daily mean (daily sum for counts) the evaluation adjusts for: rain, wind, traffic."""

    quantity: str
    device: str
    pilot: str | None = None  # another pilot's station; None: this pilot's


class Exposure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is done on scattered days instead of in a phase. The days that follow it are compared with the others.

    Either `event`, a kind of the pilot's time line (every day that such an event touches), or a stream: `quantity` of
    `device`, on every day on which it is above zero.
    """

    event: EventKind | None = None
    quantity: str | None = None
    device: str | None = None  # of the stream; with `event` only this device's events count
    pilot: str | None = None  # another pilot's stream; None: this pilot's
    lag: int = 1  # days from what was done to the day that is looked at: 1 is the next day
    level_before: bool = False  # adjust for the KPI's own level on the last day before it was done


class Kpi(Measure, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What decides: a measure, the direction that is better, the target, and how baseline and intervention compare.

    `target_is` says what the target speaks of: the KPI's value in the intervention phases, its change from the baseline
    in the unit, or that change in per cent. A change is signed: -10 is ten less. `control` names device groups that the
    intervention did not touch: their change is taken off (difference in differences). With `after` it is not phases
    that are compared, but days after something was done with days after none of it, within the pilot's phases.
    """

    id: str
    title: Text
    compare: Comparison | None = None
    direction: Literal["lower", "higher"] = "lower"
    target: float | None = None
    target_is: Literal["value", "change", "percent"] = "value"
    role: Literal["primary", "secondary", "exploratory"] | None = None  # None: the first is primary, others exploratory
    minimum_completeness: float = 0.75  # 0..1, in each phase
    control: list[str] = []
    adjust: list[Covariate] = []
    after: Exposure | None = None


class Exclusion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A window that evaluation leaves out, and why. The readings stay, with a flag (Quality.EXCLUDED)."""

    start: dt.datetime
    end: dt.datetime
    reason: Text
    device: str | None = None  # None: every device of the pilot
    quantity: str | None = None


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    time: dt.datetime
    kind: EventKind
    text: Text
    device: str | None = None
    end: dt.datetime | None = None
    position: Position | None = None  # with installed and moved: where the device is from then on


class Loan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Streams of this pilot that another pilot's KPIs may use: as covariates, or for the days of an event study."""

    to: str  # id of that pilot, or "*" for every pilot
    device: str
    quantity: str | None = None  # None: all that the device measures


class LimitAlert(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A limit whose crossing people are told of. Exactly one of `above` and `below`."""

    quantity: str  # of all its channels
    above: float | None = None  # in the quantity's unit
    below: float | None = None
    lasting: str | None = None  # ISO 8601 duration that readings must have been beyond it; None: one is enough
    device: str | None = None  # None: every device that measures it


class StreetSign(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands beside a sensor, for those who pass by."""

    text: Text
    link: str = ""  # where its QR code leads; empty: the public page, where the pilot has one


class PeopleCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Streams that count people: what of them leaves the platform (quality.people_counts)."""

    quantities: list[str]  # of every device and channel
    width: Literal["PT15M", "PT30M", "PT1H"] = "PT15M"  # of the sums
    least: int = 5  # people; a sum of fewer is left out


class PilotDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str  # a topic level: a-z, 0-9 and hyphen
    title: Text
    question: Text  # the hypothesis as one sentence with a question mark
    devices: list[DeviceDefinition]
    description: Text = Text()
    hypothesis: Text = Text()
    organisations: list[Organisation] = []
    contact: Contact | None = None
    purpose: Text = Text()
    personal_data: bool = False
    legal_basis: str | None = None  # GDPR article 6 ground, where personal_data
    controller: str = ""  # who decides on purpose and means (GDPR article 4), where personal_data; empty: the owner
    dpia: str | None = None  # reference to the assessment, where personal_data
    dpia_date: dt.date | None = None  # when it was made
    data_class: Literal["open", "internal", "personal"] = "internal"
    timezone: str = "Europe/Oslo"
    area: list[tuple[float, float]] = []  # outline, [lon, lat] pairs as in GeoJSON
    phases: list[Phase] = []
    looks: list[dt.datetime] = []  # days on which the pilot may decide before its last phase ends
    kpis: list[Kpi] = []
    quantities: list[QuantityDefinition] = []
    sources: list[SourceDefinition] = []
    lends: list[Loan] = []
    events: list[Event] = []
    exclusions: list[Exclusion] = []
    alerts: list[LimitAlert] = []  # beside those that every pilot has
    people_counts: PeopleCounts | None = None
    personal_data_classes: list[str] = []  # kinds of personal data: "number plates, replaced at once"
    sign: StreetSign | None = None
    licence: str = ""  # SPDX identifier, or a name; empty: nobody may use the data without asking
    attribution: str = ""
    retention: str | None = None  # ISO 8601 duration after the end
    quarantine: str | None = None  # how long what was quarantined is kept; None: until somebody deals with it
