"""Keys of makers read as words: "soil_moisture_at_depth_2", "externalTemperature2" and "TempC_SHT" say what they are.

A key is understood when all of its words are: one phrase that names a quantity, and words that tell one value of that
quantity from another (which sensor, which level, the highest of a period). Those become the channel. One word more
that is not known, such as "threshold" or "alarm", and the key stays what it is.
"""

from __future__ import annotations

import re
from types import MappingProxyType

from techport_ingest.checking.key_cache import LONGEST_READ, remembered

_PHRASES = MappingProxyType(
    {
        # air and weather
        "temperature": "air_temperature",
        "temp": "air_temperature",
        "air temperature": "air_temperature",
        "ambient temperature": "air_temperature",
        "dew point": "dew_point",
        # names that Campbell's loggers come with
        "air tc": "air_temperature",
        "air t c": "air_temperature",
        "p temp": "device_temperature",
        "panel temp": "device_temperature",
        "batt v": "battery_voltage",
        "ws": "wind_speed",
        "ws ms": "wind_speed",
        "wind dir": "wind_from_direction",
        "slr w": "solar_irradiance",
        "bp": "air_pressure",
        "bp mbar": "air_pressure",
        "rain mm": "precipitation",
        "rh": "relative_humidity",
        "humidity": "relative_humidity",
        "hum": "relative_humidity",
        "air humidity": "relative_humidity",
        "relative humidity": "relative_humidity",
        "pressure": "air_pressure",
        "air pressure": "air_pressure",
        "barometric pressure": "air_pressure",
        "atmospheric pressure": "air_pressure",
        "co 2": "co2",
        "co 2 concentration": "co2",
        "total voc": "tvoc",
        "tvoc": "tvoc",
        "wind speed": "wind_speed",
        "wind direction": "wind_from_direction",
        "wind direction sensor": "wind_from_direction",
        "wind gust": "wind_gust",
        "maximum wind speed": "wind_gust",
        "north wind speed": "wind_component.north",
        "east wind speed": "wind_component.east",
        "precipitation": "precipitation",
        "rain": "precipitation",
        "rainfall": "precipitation",
        "cumulative precipitation": "precipitation_total",
        "rainfall total": "precipitation_total",
        "rain gauge": "precipitation_total",
        "precipitation intensity": "precipitation_rate",
        "rain intensity": "precipitation_rate",
        "rainfall intensity": "precipitation_rate",
        "solar radiation": "solar_irradiance",
        "total solar radiation": "solar_irradiance",
        "incoming radiation": "solar_irradiance",
        "reflected radiation": "solar_irradiance.reflected",
        "photosynthetically active radiation": "photosynthetic_radiation",
        "par": "photosynthetic_radiation",
        "albedo": "albedo",
        "uv index": "uv_index",
        "lightning strike count": "lightning_count",
        "lightning average distance": "lightning_distance",
        "lightning distance": "lightning_distance",
        "vapor pressure": "vapor_pressure",
        "vapor pressure deficit": "vapor_pressure_deficit",
        "vpd": "vapor_pressure_deficit",
        "surface temperature": "surface_temperature",
        **dict.fromkeys(("target temperature", "temperature target", "temperature setpoint"), "target_temperature"),
        "leaf temperature": "leaf_temperature",
        "leaf wetness": "leaf_wetness",
        "leaf wetness index": "leaf_wetness",
        "ambient light": "light_level",
        "ambient light visible infrared": "light_level",
        "ambient light infrared": "light_level.infrared",
        "illuminance": "illuminance",
        "light intensity": "illuminance",
        "light": "illuminance",
        "lux": "illuminance",
        "light level": "light_level",
        "sound level": "laeq",
        "sound avg": "laeq",
        "sound peak": "lamax",
        "laeq": "laeq",
        "la max": "lamax",
        "la eq": "laeq",
        **{f"pm {size} mass concentration": name for size, name in (("1 0", "pm1"), ("2 5", "pm25"), ("4", "pm4"))},
        "pm 1": "pm1",
        "pm 1 0": "pm1",
        "pm 2 5": "pm25",
        "pm 4": "pm4",
        "pm 10": "pm10",
        "pm 10 mass concentration": "pm10",
        **{
            f"pm {size} number concentration": f"particle_number.pm{size.replace(' ', '_')}"
            for size in ("0 5", "1 0", "2 5", "4", "10")
        },
        # ground and plants
        "soil temperature": "soil_temperature",
        "soil moisture": "soil_moisture",
        "soil humidity": "soil_moisture",
        "moisture": "soil_moisture",
        "volumetric water content": "soil_moisture",
        "vwc": "soil_moisture",
        "soil conductivity": "soil_conductivity",
        "soil ec": "soil_conductivity",
        "electrical conductivity": "soil_conductivity",
        "dielectric permittivity": "soil_permittivity",
        "water potential": "soil_water_potential",
        "salinity": "salinity",
        "stem size": "displacement.stem",
        "fruit size": "displacement.fruit",
        "dendrometer position": "displacement",
        "dendrometer a position": "displacement.a",
        "dendrometer b position": "displacement.b",
        # water
        "water temperature": "water_temperature",
        "water level": "water_level",
        "water depth": "water_level",
        "ph": "ph",
        "turbidity in fnu": "turbidity",
        "oxygen saturation": "oxygen_saturation",
        "oxygen concentration": "dissolved_oxygen",
        "dissolved oxygen": "dissolved_oxygen",
        "redox": "redox",
        "orp": "redox",
        "suspended solid": "suspended_solids",
        "suspended solids": "suspended_solids",
        "water conductivity": "water_conductivity",
        "pipe pressure": "pipe_pressure",
        "water pressure": "pipe_pressure",
        "water leak": "water_leak",
        "leak": "water_leak",
        "leakage status": "water_leak",
        "water leak status": "water_leak",
        "waterleak": "water_leak",
        # energy
        "power": "active_power",
        "active power": "active_power",
        "total system active power": "active_power",
        "total imported active power": "active_power",
        "electricity power delivered": "active_power",
        "reactive power": "reactive_power",
        "total system reactive power": "reactive_power",
        "apparent power": "apparent_power",
        "power factor": "power_factor",
        "frequency": "frequency",
        "voltage": "voltage",
        "current": "current",
        "amps": "current",
        "average amps": "current",
        "phase angle": "phase_angle",
        "energy": "energy_meter",
        "energy meter": "energy_meter",
        "total energy": "energy_meter",
        "active energy": "energy_meter",
        "active energy import": "energy_meter",
        "active energy export": "energy_meter.export",
        "total imported active energy": "energy_meter",
        "electricity delivered to client": "energy_meter",
        "reactive energy import": "reactive_energy_meter",
        "reactive energy": "reactive_energy_meter",
        "power consumption": "energy_meter",
        "power sum": "energy_meter",
        "amp hour accumulation": "charge_meter",
        # people, doors and places
        "people count": "people_count",
        "people in": "people_in",
        "people out": "people_out",
        "occupancy": "room_occupied",
        "occupied": "room_occupied",
        "presence": "room_occupied",
        "door": "door_open",
        "magnet status": "door_open",
        "door open": "door_open",
        "door open status": "door_open",
        "door status": "door_open",
        "pir": "motion",
        "pir status": "motion",
        "motion": "motion",
        "activity counter": "event_counter.activity",
        "distance": "distance",
        "depth": "depth",
        "weight": "weight",
        "fill level": "fill_level",
        "latitude": "latitude",
        "longitude": "longitude",
        "altitude": "altitude",
        "speed": "speed",
        # instruments
        "angle": "tilt",
        "tilt": "tilt",
        "tilt angle": "tilt",
        "orientation angle": "tilt",
        "tilt angle orientation": "tilt",
        "compass heading": "course",
        "acceleration": "acceleration",
        "strain": "strain",
        "elongation": "displacement",
        "thermistor resistance": "resistance",
        "resistance": "resistance",
        "voltage ratio": "voltage_ratio",
        "potentiometer position": "voltage_ratio",
        "analog": "analog_in",
        "analog input": "analog_in",
        "adc": "analog_in",
        "digital": "digital_in",
        "digital input": "digital_in",
        "input": "digital_in",
        "gpio": "digital_in",
        "pulse": "pulse_count",
        "pulse count": "pulse_count",
        "pulses": "pulse_count",
        "cumulative pulse count": "pulse_counter",
        "pulse counter": "pulse_counter",
        "counter reading": "pulse_counter",
        "counter": "event_counter",
        "count": "event_counter",
        "sensor status": "sensor_status",
        "co 2 sensor status": "sensor_status",
        "status": "sensor_status",
        "diagnostic": "sensor_status",
        "freezing flag": "sensor_status.freezing",
        # the device itself
        "battery": "battery_level",
        "bat": "battery_level",
        "battery level": "battery_level",
        "battery level in percentage": "battery_level",
        "battery percent": "battery_level",
        "battery percentage": "battery_level",
        "battery voltage": "battery_voltage",
        "bat v": "battery_voltage",
        "capacitor voltage": "supply_voltage",
        "vdd": "battery_voltage",
        "supply voltage": "supply_voltage",
        "rssi": "rssi",
        "snr": "snr",
        "uptime": "uptime",
        **dict.fromkeys(
            (
                *("internal temperature", "temperature electronics", "board temperature", "temperature board"),
                *("internal circuit temperature", "barometer temperature", "head temperature", "temperature head"),
                *("chip temperature", "co 2 sensor temperature", "sensor temperature internal", "mcu temperature"),
            ),
            "device_temperature",
        ),
    }
)

_TELLING_APART = frozenset(
    (
        *("min", "max", "avg", "mean", "average", "minimum", "maximum", "median", "percentile", "current", "lpf"),
        *("internal", "external", "ext", "inner", "outer", "indoor", "outdoor", "inside", "outside", "upper", "lower"),
        *("left", "right", "top", "bottom", "front", "back", "upstream", "downstream", "in", "out", "supply", "return"),
        *("sensor", "probe", "channel", "ch", "port", "input", "level", "depth", "position", "zone", "at"),
        *("index", "no"),
        *("l", "n", "t", "a", "b", "c", "x", "y", "z", "orientation", "phase", "line", "import", "export", "total"),
        *(
            "sht",
            "ds",
            "pt",
            "bme",
            "bmp",
            "ntc",
            "radiation",
            "shield",
            "most",
            "frequent",
            "sum",
            "data",
            "tot",
            "std",
        ),
        *("value", "alt", "red", "white", "black", "celsius", "degc"),
    )
)
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_DROPPED = frozenset(("celsius", "degc", "value", "data", "at"))
_DIGITS = re.compile(r"(?<=\d)(?:th|st|nd|rd)(?![a-z])")


@remembered(8192)
def quantity_in(key: str) -> str | None:
    """The vocabulary's name that the words of a key say, with a channel where they say one.

    Parameters
    ----------
    key : str
        As a maker writes it, such as "TempC_SHT" or "Wind Direction Sensor".

    Returns
    -------
    str or None
        Such as "air_temperature.sht"; None where a word is not understood, and for what is too long for a name.
    """
    if len(key) > LONGEST_READ:
        return None
    words = [word.lower() for word in _WORD.findall(_DIGITS.sub("", key))]
    words = [part for word in words for part in _SPLIT.get(word, (word,))]
    for length in range(len(words), 0, -1):
        for start in range(len(words) - length + 1):
            name = _PHRASES.get(" ".join(words[start : start + length]))
            if name is None:
                continue
            rest = [*words[:start], *words[start + length :]]
            if all(word in _TELLING_APART or word.isdecimal() for word in rest):
                if rest and rest[-1] == "c" and words[-1] == "c" and "temperature" in name:
                    rest.pop()  # the unit, as in temp_c
                channel = "_".join(word for word in rest if word not in _DROPPED)
                return name if not channel else f"{name}{'-' if '.' in name else '.'}{channel}"
    if len(words) > 1 and words[-1] == "counter" and "time" not in words:
        return f"event_counter.{'_'.join(words[:-1])}"  # whatever it counts
    return None


_SPLIT = MappingProxyType({"tempc": ("temp",), "batv": ("bat", "v")})
