"""Which stream a value belongs to when a device has several parts that measure the same thing.

    {"BME280": {"Temperature": 21.7}, "DS18B20": {"Temperature": 5.2}}    air_temperature, air_temperature.ds18b20

The stream without a channel belongs to the part that sent it first, for good: the registry remembers it (`origins`), so
a message in which that part is missing does not put another sensor's values into its stream. Where the definition
describes a stream with the part for its channel, the part's values go there. Values of no named part go to the stream
without a channel.

The names of devices are told apart in the same way where two groups, applications or bridges may give the same one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from techport_pilots.registry.view import DeviceView, Origin, PilotView

_LONGEST = 40  # letters of a channel that is made of a part's name
_UNFIT = re.compile(r"[^\w-]+")


class Claims:
    """Origins that a batch came upon and that the registry has not confirmed yet."""

    def __init__(self) -> None:
        self.origins: dict[tuple[str, str, str], str] = {}  # (pilot, device, key): part

    def __bool__(self) -> bool:
        return bool(self.origins)

    def __iter__(self) -> Iterator[Origin]:
        return (Origin(*place, part) for place, part in self.origins.items())

    def device_name(self, pilot: PilotView, name: str, origin: str) -> str:
        """What to call the device of this name from this origin (a group, an application): the first origin that sent
        as a device of the pilot has its name, the same name from another one is "<origin>/<name>".
        """
        both = f"{origin}/{name}"
        if pilot.device(both) is not None:
            return both
        device = pilot.device(name)
        if device is None or pilot.closed:
            return name
        first = device.origins.get("") or self.origins.setdefault((pilot.id, device.id, ""), origin)
        return name if first == origin else both

    def stream_key(self, device: DeviceView, key: str, part: str) -> str:
        """The key of the stream that values of this key and part belong to."""
        channel = channel_of(part)
        if not channel:
            return key
        with_channel = f"{key}-{channel}" if "." in key else f"{key}.{channel}"
        described = device.streams.get(with_channel)
        if described is not None and described.described:
            return with_channel
        origin = device.origins.get(key) or self.origins.get((device.pilot, device.id, key), channel)
        return key if origin == channel else with_channel

    def add(self, device: DeviceView, key: str, part: str) -> None:
        """Claim the stream of this key for a part whose values it takes, unless it belongs to one already."""
        channel = channel_of(part)
        if channel and key not in device.origins:
            self.origins.setdefault((device.pilot, device.id, key), channel)


def channel_of(part: str) -> str:
    """The name of a part as a channel: lower case, letters, digits, _ and -."""
    return _UNFIT.sub("-", part.lower()).strip("-")[:_LONGEST].rstrip("-")
