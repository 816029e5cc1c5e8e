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
from techport_ingest.message import Found, Ignored, Message, RejectedMessage
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
        **dict.fromkeys(("door", "garage_door", "opening", "lock"), "door_open"),
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

_BINARY = frozenset(("binary_sensor", "switch", "light", "input_boolean", "lock", "fan"))
_DOMAINS = frozenset((*_BINARY, "sensor", "number", "input_number", "climate", "weather", "counter"))
_WORDS = MappingProxyType({"on": 1.0, "off": 0.0, "open": 1.0, "closed": 0.0, "true": 1.0, "false": 0.0})
_ABOUT = frozenset(("unit_of_measurement", "device_class"))
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


class HomeAssistant:
    """Decoder that remembers units, classes and descriptions of _MOST entities and topics."""

    def __init__(self) -> None:
        self._about: dict[str, dict[str, str]] = {}  # entity -> attribute -> text
        self._described: dict[str, dict[str, Described]] = {}  # state topic -> topic of the description -> what it says

    def __call__(self, message: Message, device: str) -> list[Found]:
        """Raises RejectedMessage."""
        levels = message.topic.split("/")
        if levels[-1] == "config" and len(levels) >= _STATESTREAM_LEVELS:
            return [self._describe(message, levels)]
        described = self._described.get(message.topic)
        if described:
            return [finding for one in described.values() for finding in self._state(message, one)]
        if len(levels) >= _STATESTREAM_LEVELS and levels[-3] in _DOMAINS:
            return [self._attribute(message, levels)]
        if levels[-1] in ("status", "availability", "LWT"):
            return [availability(message, levels[-2])]
        return [Ignored(device or levels[-2 if len(levels) > 1 else -1], "not-described")]

    def _describe(self, message: Message, levels: list[str]) -> Found:
        object_id, node = levels[-2], levels[-3]
        document = json_document(message.payload) if message.payload.strip() else {}
        owner = node if node not in _DOMAINS else object_id
        if type(document) is not dict:
            raise RejectedMessage("wrong-shape.homeassistant")
        base = text_of(document, "~")
        topic = (text_of(document, "state_topic") or text_of(document, "stat_t")).replace("~", base)
        if not topic:
            for described in self._described.values():
                described.pop(message.topic, None)
            return Ignored(owner, "description")
        domain = next((level for level in levels[-4:-1] if level in _DOMAINS), "sensor")
        template = _TEMPLATE.search(text_of(document, "value_template") or text_of(document, "val_tpl"))
        about = document.get("device", document.get("dev"))
        if len(self._described) >= _MOST:
            self._described.clear()
        path = "" if template is None else template["path"].replace("['", ".").replace("']", "").strip(".")
        of_topic = self._described.setdefault(topic, {})
        if len(of_topic) >= _MOST_OF_TOPIC and message.topic not in of_topic:
            return Ignored(owner, "description")
        of_topic[message.topic] = Described(
            domain=domain,
            device=_device(about) or owner,
            name=path or object_id,
            path=path,
            unit=(text_of(document, "unit_of_measurement") or text_of(document, "unit_of_meas")) or None,
            device_class=text_of(document, "device_class") or text_of(document, "dev_cla"),
            on=(text_of(document, "payload_on") or text_of(document, "pl_on") or "on").lower(),
        )
        return Ignored(owner, "description")

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
            return Ignored(entity, "description", attribute)
        if attribute != "state":
            return Ignored(entity, "attribute", attribute)
        about = self._about.get(f"{domain}/{entity}", {})
        unit, kind = about.get("unit_of_measurement"), about.get("device_class", "")
        return _value(Described(domain, entity, entity, "", unit or None, kind, "on"), text)


def _value(described: Described, value: Any) -> Found:
    device, name = described.device, described.name
    binary = described.domain in _BINARY
    key = _key(described, binary)
    if type(value) is str:
        text = value.strip().lower()
        if is_absent_text(value):
            return Ignored(device, ABSENT, name, value)
        read = number(value)
        if binary:
            value = 1.0 if text == described.on else _WORDS.get(text, 0.0 if described.on != "on" else value)
        else:
            value = value if read is None else read
    return place(device, None, key, value, described.unit, name)


def _key(described: Described, binary: bool) -> str:
    table = STATES if binary else CLASSES
    known = table.get(described.device_class)
    if known is not None:
        return known
    words = quantity_in(described.name)
    if words is None and "_" in described.name:
        words = quantity_in(described.name.rpartition("_")[2])  # of hall_temperature
    return described.name if words is None or words not in builtin() else words.partition(".")[0]


def _device(about: object) -> str:
    """The first identifier of a described device, else its name."""
    if type(about) is not dict:
        return ""
    known = about.get("identifiers", about.get("ids"))
    first = known[0] if type(known) is list and known else known
    return first if type(first) is str else text_of(about, "name")


def _unquoted(payload: bytes) -> str:
    """The text of an attribute, which statestream writes as JSON; states are plain."""
    try:
        value = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return utf8(payload)
    return value if type(value) is str else utf8(payload)
