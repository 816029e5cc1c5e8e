"""Home Assistant below one prefix, in two ways.

Statestream (https://www.home-assistant.io/integrations/mqtt_statestream/), one topic for each attribute of an entity:

    homeassistant/sensor/hall_temperature/state                 21.5
    homeassistant/sensor/hall_temperature/unit_of_measurement   "°C"
    homeassistant/sensor/hall_temperature/device_class          "temperature"

The entity is the device; its class, and where that is not published its name, says the quantity.

Discovery (https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery), retained descriptions of what other topics
hold:

    homeassistant/sensor/bme280/temperature/config
        {"state_topic": "homeassistant/sensor/bme280/state", "device_class": "temperature",
         "unit_of_measurement": "°C", "value_template": "{{ value_json.temperature }}", "device": {...}}

State topics below the same prefix are read by this source. The device is the one of the description (its first
identifier), else the level before the entity. Units and classes are remembered; a number that comes before them, or
without them, keeps no unit.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from techport_ingest.checking.absence import RULE as ABSENT
from techport_ingest.checking.absence import is_absent_text
from techport_ingest.decoding.common import availability, json_document, number, place, text_of, utf8
from techport_ingest.decoding.json_paths import MISSING, parse_path
from techport_ingest.decoding.key_words import quantity_in
from techport_ingest.message import DeviceEvent, Found, Ignored, Message, Observed, RejectedMessage
from techport_pilots.quantities import builtin

CLASSES = MappingProxyType(
    {
        "temperature": "air_temperature",
        "humidity": "relative_humidity",
        "atmospheric_pressure": "air_pressure",
        "pressure": "air_pressure",
        "carbon_dioxide": "co2",
        "carbon_monoxide": "co",
        "pm1": "pm1",
        "pm25": "pm25",
        "pm10": "pm10",
        "nitrogen_dioxide": "no2",
        "ozone": "o3",
        "volatile_organic_compounds_parts": "tvoc",
        "illuminance": "illuminance",
        "irradiance": "solar_irradiance",
        "sound_pressure": "laeq",
        "wind_speed": "wind_speed",
        "wind_direction": "wind_from_direction",
        "precipitation": "precipitation_total",
        "precipitation_intensity": "precipitation_rate",
        "moisture": "soil_moisture",
        "power": "active_power",
        "reactive_power": "reactive_power",
        "apparent_power": "apparent_power",
        "energy": "energy_meter",
        "voltage": "voltage",
        "current": "current",
        "frequency": "frequency",
        "power_factor": "power_factor",
        "gas": "gas_meter",
        "water": "water_meter",
        "distance": "distance",
        "weight": "weight",
        "speed": "speed",
        "battery": "battery_level",
        "signal_strength": "rssi",
        "ph": "ph",
    }
)
"""Device classes of sensors, which lay down what is measured (the unit is given beside them)."""

STATES = MappingProxyType(
    {
        **dict.fromkeys(("door", "garage_door", "garage", "gate", "opening"), "door_open"),
        "lock": "unlocked",
        "window": "window_open",
        **dict.fromkeys(("motion", "moving", "vibration"), "motion"),
        **dict.fromkeys(("occupancy", "presence"), "room_occupied"),
        "moisture": "water_leak",
        **dict.fromkeys(("smoke", "gas", "carbon_monoxide", "problem", "safety"), "alarm"),
        "tamper": "tamper",
        **dict.fromkeys(("power", "plug", "running", "light"), "switched_on"),
    }
)
"""Device classes of binary sensors: on is 1."""

_BINARY = frozenset(
    ("binary_sensor", "switch", "light", "input_boolean", "lock", "fan", "cover", "valve", "siren", "humidifier")
)
_DOMAINS = frozenset((*_BINARY, "sensor", "number", "input_number", "climate", "weather", "counter", "water_heater"))
_WORDS = MappingProxyType(
    {
        **dict.fromkeys(("on", "open", "opening", "closing", "true", "unlocked", "unlock", "unlocking", "home"), 1.0),
        **dict.fromkeys(("off", "closed", "close", "false", "locked", "lock", "not_home"), 0.0),
    }
)
_MEASURED = MappingProxyType(
    {
        # attributes of entities that measure: quantity, and the attribute that says the unit, or the unit
        ("weather", "temperature"): ("air_temperature", "temperature_unit"),
        ("weather", "dew_point"): ("dew_point", "temperature_unit"),
        ("weather", "humidity"): ("relative_humidity", "%"),
        ("weather", "pressure"): ("air_pressure", "pressure_unit"),
        ("weather", "wind_speed"): ("wind_speed", "wind_speed_unit"),
        ("weather", "wind_bearing"): ("wind_from_direction", "deg"),
        ("weather", "cloud_coverage"): ("cloud_cover", "%"),
        ("weather", "visibility"): ("visibility", "visibility_unit"),
        ("weather", "uv_index"): ("uv_index", "1"),
        ("climate", "current_temperature"): ("air_temperature", "temperature_unit"),
        ("climate", "current_humidity"): ("relative_humidity", "%"),
        ("humidifier", "current_humidity"): ("relative_humidity", "%"),
        ("water_heater", "current_temperature"): ("water_temperature", "temperature_unit"),
    }
)
_ABOUT = frozenset(
    (
        *("unit_of_measurement", "device_class", "temperature_unit", "pressure_unit", "wind_speed_unit"),
        "visibility_unit",
    )
)
_SHORT = MappingProxyType(
    {
        # the abbreviations of https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
        "state_topic": "stat_t",
        "value_template": "val_tpl",
        "state_value_template": "stat_val_tpl",
        "unit_of_measurement": "unit_of_meas",
        "device_class": "dev_cla",
        "device": "dev",
        "components": "cmps",
        "platform": "p",
        "payload_on": "pl_on",
        "payload_off": "pl_off",
        "state_on": "stat_on",
        "state_off": "stat_off",
        "availability": "avty",
        "availability_topic": "avty_t",
        "payload_available": "pl_avail",
        "payload_not_available": "pl_not_avail",
        "topic": "t",
        "current_temperature_topic": "curr_temp_t",
        "current_temperature_template": "curr_temp_tpl",
        "current_humidity_topic": "curr_hum_t",
        "current_humidity_template": "curr_hum_tpl",
        "position_topic": "pos_t",
        "position_template": "pos_tpl",
    }
)
_FURTHER = (
    # topics beside the state: quantity, its topic, its template, and its unit; None: as the installation is set
    ("air_temperature", "current_temperature_topic", "current_temperature_template", None),
    ("relative_humidity", "current_humidity_topic", "current_humidity_template", "%"),
    ("position", "position_topic", "position_template", "%"),
)
_TEMPLATE = re.compile(r"\{\{\s*value_json\.?(?P<path>[\w.\[\]'\"-]*)\s*(?:\|[^}]*)?\}\}")
_MOST = 20_000
_MOST_OF_TOPIC = 500  # descriptions of what one topic holds
_LONGEST = 200  # letters of an attribute
_STATESTREAM_LEVELS = 4


class Described(NamedTuple):
    """What a description says of the values of a topic."""

    domain: str
    device: str
    name: str
    path: str  # into the JSON of the topic; "": the payload itself
    unit: str | None
    device_class: str
    on: str
    off: str = "off"
    key: str = ""  # where the description says by itself what it is
    shared: bool = False  # with other entities of one device


class HomeAssistant:
    """Decoder that remembers units, classes and descriptions of _MOST entities and topics."""

    def __init__(self) -> None:
        self._about: dict[str, dict[str, str]] = {}  # entity -> attribute -> text
        self._described: dict[str, dict[str, Described]] = {}  # state topic -> entity of a description -> what it says
        self._available: dict[str, tuple[str, str, str]] = {}  # topic -> device, what it says when there and when not

    def __call__(self, message: Message, device: str) -> list[Found]:
        """Raises RejectedMessage."""
        levels = message.topic.split("/")
        if levels[-1] == "config" and len(levels) >= _STATESTREAM_LEVELS:
            return [self._describe(message, levels)]
        described = self._described.get(message.topic)
        if described:
            return [finding for entity in described.values() for finding in self._state(message, entity)]
        if message.topic in self._available:
            return [self._availability(message)]
        if len(levels) >= _STATESTREAM_LEVELS and levels[-3] in _DOMAINS:
            return [self._attribute(message, levels)]
        if levels[-1] in ("status", "availability", "LWT"):
            return [availability(message, levels[-2])]
        return [Ignored(device or levels[-2 if len(levels) > 1 else -1], "not-described")]

    def _describe(self, message: Message, levels: list[str]) -> Found:
        object_id, node = levels[-2], levels[-3]
        document = json_document(message.payload) if message.payload.strip() else {}
        owner = node if node not in (*_DOMAINS, "device") else object_id
        if type(document) is not dict:
            raise RejectedMessage("wrong-shape.homeassistant")
        device = _device(_said(document, "device")) or owner
        components = _said(document, "components")
        if type(components) is dict:
            entities = [
                (name, {**document, **component}) for name, component in components.items() if type(component) is dict
            ]
        else:
            entities = [(object_id, document)]
        self._forget(message.topic)
        for name, about in entities[:_MOST_OF_TOPIC]:
            domain = _text(about, "platform") or next((level for level in levels[-4:-1] if level in _DOMAINS), "sensor")
            self._entity(f"{message.topic} {name}", domain, device, name, about)
        return Ignored(owner, "description")

    def _forget(self, topic: str) -> None:
        """What an earlier description at this topic said."""
        for described in self._described.values():
            for entity in [entity for entity in described if entity.partition(" ")[0] == topic]:
                del described[entity]

    def _entity(self, entity: str, domain: str, device: str, name: str, about: dict[str, Any]) -> None:
        base = text_of(about, "~")
        self._note_availability(device, about, base)
        template = _text(about, "value_template") or _text(about, "state_value_template")
        path = _path(template)
        described = Described(
            domain=domain,
            device=device,
            name=path or name,
            path=path,
            unit=_text(about, "unit_of_measurement") or None,
            device_class=_text(about, "device_class"),
            on=(_text(about, "state_on") or _text(about, "payload_on") or "on").lower(),
            off=(_text(about, "state_off") or _text(about, "payload_off") or "off").lower(),
            shared=_said(about, "device") is not None,
        )
        if domain not in ("climate", "water_heater", "humidifier"):  # their state is a mode
            self._note(_full(_text(about, "state_topic"), base), entity, described)
        for key, topic, template_of, unit in _FURTHER:
            path = _path(_text(about, template_of))
            further = described._replace(domain="sensor", key=key, name=path or key, path=path, unit=unit)
            self._note(_full(_text(about, topic), base), f"{entity} {key}", further)

    def _note(self, topic: str, entity: str, described: Described) -> None:
        if not topic:
            return
        if len(self._described) >= _MOST:
            self._described.clear()
        of_topic = self._described.setdefault(topic, {})
        if len(of_topic) < _MOST_OF_TOPIC or entity in of_topic:
            of_topic[entity] = described

    def _note_availability(self, device: str, about: dict[str, Any], base: str) -> None:
        listed = _said(about, "availability")
        entries = [part for part in listed[:10] if type(part) is dict] if type(listed) is list else []
        topic = _text(about, "availability_topic")
        for where, words in [(topic, about)] if topic else [(_text(part, "topic"), part) for part in entries]:
            if where:
                if len(self._available) >= _MOST:
                    self._available.clear()
                online, away = _text(words, "payload_available"), _text(words, "payload_not_available")
                self._available[_full(where, base)] = (device, online, away)

    def _availability(self, message: Message) -> Found:
        device, online, away = self._available[message.topic]
        text = utf8(message.payload[:200]).strip()
        if text and text in (online, away):
            return DeviceEvent(device, None, "online" if text == online else "offline")
        return availability(message, device)

    def _state(self, message: Message, described: Described) -> list[Found]:
        value: Any = utf8(message.payload)
        if described.path:
            document = json_document(message.payload)
            value = parse_path(described.path).first(document, document)
            if value is MISSING:
                return [Ignored(described.device, ABSENT, described.name)]
        return [_value(described, value)]

    def _attribute(self, message: Message, levels: list[str]) -> Found:
        domain, entity, attribute = levels[-3:]
        text = _unquoted(message.payload)[:_LONGEST]
        if attribute in _ABOUT:
            if len(self._about) >= _MOST:
                self._about.clear()
            self._about.setdefault(f"{domain}/{entity}", {})[attribute] = text
            return Ignored(entity, "description", attribute, text)
        about = self._about.get(f"{domain}/{entity}", {})
        measured = _MEASURED.get((domain, attribute))
        if measured is not None:
            key, says = measured
            stated = about.get(says, "") if says in _ABOUT else says
            value = number(text)
            if stated and value is not None:  # whether degrees are Celsius, the installation's settings say
                return Observed(entity, None, key, value, stated, attribute)
        if attribute != "state":
            return Ignored(entity, "attribute", attribute, text)
        unit, kind = about.get("unit_of_measurement"), about.get("device_class", "")
        return _value(Described(domain, entity, entity, "", unit or None, kind, "on"), text)


def _value(described: Described, value: Any) -> Found:
    device, name = described.device, described.name
    binary = described.domain in _BINARY and not described.key
    key = described.key or _key(described, binary)
    part = name if described.shared else ""
    if type(value) is str:
        text = value.strip().lower()
        if is_absent_text(value):
            return Ignored(device, ABSENT, name, value)
        read = number(value)
        if binary:
            state = 1.0 if text == described.on else 0.0 if text == described.off else _WORDS.get(text)
            if state is None:
                return Ignored(device, "text", key, value, None, None, name)
            value = state
        else:
            value = value if read is None else read
    return place(device, None, key, value, described.unit, name, part)


def _key(described: Described, binary: bool) -> str:
    table = STATES if binary else CLASSES
    of_class = table.get(described.device_class)
    if of_class is not None:
        return of_class
    words = quantity_in(described.name)
    if words is None and "_" in described.name:
        words = quantity_in(described.name.rpartition("_")[2])  # of hall_temperature
    return described.name if words is None or words not in builtin() else words.partition(".")[0]


def _device(about: object) -> str:
    """The first identifier of a described device, else its name."""
    if type(about) is not dict:
        return ""
    identifiers = about.get("identifiers", about.get("ids"))
    first = identifiers[0] if type(identifiers) is list and identifiers else identifiers
    return first if type(first) is str else text_of(about, "name")


def _said(document: dict[str, Any], key: str) -> Any:
    """What a description says under a key or its abbreviation; None where it says nothing."""
    return document.get(key, document.get(_SHORT[key]))


def _text(document: dict[str, Any], key: str) -> str:
    """The same, where it is a text; "" otherwise."""
    value = _said(document, key)
    return value[:_LONGEST] if type(value) is str else ""


def _path(template: str) -> str:
    """The path into the JSON of a topic that a template takes; "" for the whole."""
    match = _TEMPLATE.search(template)
    return (
        ""
        if match is None
        else match["path"].replace("['", ".").replace("']", "").replace('["', ".").replace('"]', "").strip(".")
    )


def _full(topic: str, base: str) -> str:
    """A topic, with what a description writes as ~."""
    return topic.replace("~", base) if topic.startswith("~") or topic.endswith("~") else topic


def _unquoted(payload: bytes) -> str:
    """The text of an attribute, which statestream writes as JSON; states are plain."""
    try:
        value = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return utf8(payload)
    return value if type(value) is str else utf8(payload)
