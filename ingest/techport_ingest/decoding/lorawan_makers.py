"""What the decoders of LoRaWAN makers send: quantity and unit of their keys, where the name alone does not say it.

The maker is told by the network server (`version_ids.brand_id` of The Things Stack, the device profile of ChirpStack),
or by a set of keys that no other maker's decoder gives. Units are those of the makers' own documentation:

    milesight   github.com/Milesight-IoT/SensorDecoders, README of each model: battery %, power W, current of plugs mA,
                consumption Wh, power factor %, pressure hPa, distance mm, depth cm
    dragino     wiki.dragino.com, user manuals: BatV and Bat V, TempC °C, Hum %, distance of LDDS mm, ILL lx
    elsys       elsys.se, payload specification: vdd mV, light lx, pressure hPa, distance mm
    sensecap    wiki.seeedstudio.com: battery %
    tektelic    tektelic.com, technical reference manuals: battery_voltage V
    netvox      netvox.com.tw, application commands: volt V

Decentlab states its units in every value. Sensirion's and Plantower's particles are in µg/m³ (bare_numbers.AGREED).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from techport_ingest.checking.key_cache import remembered

Entry = tuple[str, str | None]
"""(quantity or key, unit)"""

Table = Mapping[str, Entry]

_MILESIGHT: dict[str, Entry] = {
    "battery": ("battery_level", "%"),
    "pressure": ("air_pressure", "hPa"),
    "barometric_pressure": ("air_pressure", "hPa"),
    "active_power": ("active_power", "W"),
    "power": ("active_power", "W"),
    "voltage": ("voltage", "V"),
    "power_consumption": ("energy_meter", "Wh"),
    "power_factor": ("power_factor", "%"),
    "factor": ("power_factor", "%"),
    "distance": ("distance", "mm"),
    "depth": ("depth", "cm"),
    "ec": ("soil_conductivity", "uS/cm"),
    "light_level": ("light_level", None),
    "daylight": ("daylight", None),
    "magnet_status": ("door_open", None),
    "door": ("door_open", None),
    "leakage_status": ("water_leak", None),
    "water_leak": ("water_leak", None),
    "occupancy": ("room_occupied", None),
    "tamper_status": ("tamper", None),
    "target_temperature": ("target_temperature", "°C"),  # what a thermostat is set to
    "pir": ("motion", None),
    "pir_status": ("motion", None),
    "socket_status": ("switched_on", None),
}
_MILESIGHT_PLUG: dict[str, Entry] = {**_MILESIGHT, "current": ("current", "mA")}
_DRAGINO: dict[str, Entry] = {
    "Bat": ("battery_voltage", "V"),
    "BatV": ("battery_voltage", "V"),
    "Bat_V": ("battery_voltage", "V"),
    "TempC_SHT": ("air_temperature", "°C"),
    "TempC1": ("air_temperature.1", "°C"),
    "TempC2": ("air_temperature.2", "°C"),
    "TempC3": ("air_temperature.3", "°C"),
    "TempC_DS": ("air_temperature.ds18b20", "°C"),
    "TempC_DS18B20": ("air_temperature.ds18b20", "°C"),
    "Hum_SHT": ("relative_humidity", "%"),
    "ILL_lx": ("illuminance", "lx"),
    "ILL_lux": ("illuminance", "lx"),
    "water_SOIL": ("soil_moisture", "%"),
    "temp_SOIL": ("soil_temperature", "°C"),
    "conduct_SOIL": ("soil_conductivity", "uS/cm"),
    "Distance": ("distance", "mm"),
    "distance": ("distance", "mm"),
    "DOOR_OPEN_STATUS": ("door_open", None),
    "Door_status": ("door_open", None),
    "WATER_LEAK_STATUS": ("water_leak", None),
}
_ELSYS: dict[str, Entry] = {
    "vdd": ("battery_voltage", "mV"),
    "light": ("illuminance", "lx"),
    "pressure": ("air_pressure", "hPa"),
    "soundAvg": ("laeq", "dB(A)"),
    "soundPeak": ("lamax", "dB(A)"),
    "distance": ("distance", "mm"),
    "externalTemperature": ("air_temperature.external", "°C"),
    "waterleak": ("waterleak", None),
    "motion": ("motion_count", None),
    "occupancy": ("occupancy_state", None),  # 0 nobody, 1 somebody comes or goes, 2 somebody
}

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        "milesight": _MILESIGHT,
        "dragino": _DRAGINO,
        "elsys": _ELSYS,
        "sensecap": {"battery": ("battery_level", "%"), "Battery": ("battery_level", "%")},
        "seeed": {"battery": ("battery_level", "%"), "Battery": ("battery_level", "%")},
        "tektelic": {"battery_voltage": ("battery_voltage", "V")},
        "netvox": {"volt": ("battery_voltage", "V"), "Volt": ("battery_voltage", "V")},
    }
)
"""By a word of the maker's name. Keys are as the decoders write them."""

_SIGNS: tuple[tuple[frozenset[str], Table], ...] = (
    (frozenset(("active_power", "power_factor", "power_consumption")), _MILESIGHT_PLUG),
    (frozenset(("power", "factor", "power_sum")), {**_MILESIGHT_PLUG, "power_sum": ("energy_meter", "Wh")}),
    (frozenset(("magnet_status", "tamper_status")), _MILESIGHT),
    (frozenset(("light_level", "tvoc", "co2")), _MILESIGHT),
    (frozenset(("leakage_status",)), _MILESIGHT),
    (frozenset(("vdd",)), _ELSYS),
    (frozenset(("soundAvg", "soundPeak")), _ELSYS),
    (frozenset(("BatV",)), _DRAGINO),
    (frozenset(("Bat_V",)), _DRAGINO),
    *((frozenset((key,)), _DRAGINO) for key in ("TempC_SHT", "TempC1", "TempC_DS", "TempC_DS18B20")),
)
"""Keys that together are given by one maker's decoders alone."""

_NOTHING: Table = MappingProxyType({})


def table_of(keys: Collection[str], maker: str = "") -> Table:
    """The table of the maker whose message has these keys; an empty one where nobody is known.

    Parameters
    ----------
    keys : collection of str
        Of the object that the decoder made.
    maker : str
        What the network server says of maker or device profile; "" where it says nothing.
    """
    return _table_of(tuple(keys), maker)


@remembered(4096)
def _table_of(keys: tuple[str, ...], maker: str) -> Table:
    named = _by_name(maker)
    for sign, table in _SIGNS:
        if sign.issubset(keys) and (not named or table.items() >= named.items() or table is named):
            return table
    return named


@remembered(1024)
def _by_name(maker: str) -> Table:
    words = maker.lower()
    return next((table for name, table in TABLES.items() if name in words), _NOTHING)
