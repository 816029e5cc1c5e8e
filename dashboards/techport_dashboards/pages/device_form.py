"""The form that describes a new device: what can be chosen in it, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast, get_args

from techport_dashboards.problems import Problem
from techport_dashboards.web.forms import Form
from techport_pilots.devices.onboarding import NewDevice
from techport_pilots.model import MessageFormat, PilotDefinition
from techport_pilots.quantities import Quantity, vocabulary_of

INTERVALS = ("PT10S", "PT1M", "PT5M", "PT10M", "PT15M", "PT30M", "PT1H", "P1D")
FORMATS: Mapping[MessageFormat, str] = {
    "native": "JSON",
    "senml": "SenML JSON",
    "line-protocol": "InfluxDB line protocol",
    "csv": "CSV",
    "ultralight": "UltraLight 2.0",
    "cayenne-lpp": "Cayenne LPP",
    "senml-cbor": "SenML CBOR",
    "tasmota": "Tasmota",
    "shelly-gen2": "Shelly (Gen2)",
    "tts-v3": "The Things Stack (LoRaWAN)",
    "chirpstack-v4": "ChirpStack (LoRaWAN)",
    "zigbee2mqtt": "Zigbee2MQTT",
    "sparkplug-b": "Sparkplug B",
    "homie": "Homie",
    "ruuvi-gateway": "Ruuvi Gateway",
    "sensorthings": "OGC SensorThings",
    "sensor-community": "Sensor.Community",
}


def quantities(pilot: PilotDefinition) -> tuple[list[Quantity], dict[str, list[Quantity]]]:
    """What the pilot measures already, and all others by their domain."""
    words = vocabulary_of(pilot)
    used = dict.fromkeys(stream.quantity.partition(".")[0] for device in pilot.devices for stream in device.streams)
    own = [quantity for name in used if (quantity := words.lookup(name)) is not None]
    others: dict[str, list[Quantity]] = {}
    for quantity in words:
        if quantity.name not in used:
            others.setdefault(quantity.group, []).append(quantity)
    return own, others


def newcomer_of(form: Form) -> NewDevice:
    """The device that the form describes. Raises Problem for a format that nobody reads."""
    format = form.get("format") or "native"
    if format not in get_args(MessageFormat):
        raise Problem(
            "bad-parameter", "Nobody reads {name}.", name=repr(format[:40]), parameter="format", example="native"
        )
    return NewDevice(
        id=form.get("id"),
        title=form.get("title")[:200],
        kind=form.get("kind")[:200],
        format=cast(MessageFormat, format),
        quantities=tuple(dict.fromkeys(form.all("quantity"))),
        interval=form.get("interval"),
    )
