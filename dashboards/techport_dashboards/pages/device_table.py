"""The table of a pilot's devices in the order that is asked for: worst first, or by any of its columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from fastapi import Request

from techport_dashboards.problems import Problem
from techport_dashboards.services import device_status
from techport_dashboards.services.device_status import DeviceNow, StreamNow
from techport_pilots.i18n import Language

WORST = "worst"
_AFTER_Z = str.maketrans({"æ": "{a", "ø": "{b", "å": "{c"})  # the last three letters, in their order


class Heading(NamedTuple):
    """A column that can be sorted by. `href` sorts by it, or turns it round where it is sorted by already."""

    key: str
    href: str
    sorted: str  # ascending, descending, or none: as aria-sort says it


Key = Callable[[DeviceNow], "float | str | tuple[int, int, int, str, str] | None"]


def ordered(devices: Sequence[DeviceNow], sort: str, language: Language) -> list[DeviceNow]:
    """Devices by `sort`, a column's key with a minus in front to turn it round. Those without a value come last.

    Raises Problem for a key that is no column.
    """
    name = sort.removeprefix("-")
    keys = _keys(devices, language)
    if name not in keys:
        raise Problem(
            "bad-parameter", "{name} is not a column.", name=repr(sort[:80]), parameter="sort", example=", ".join(keys)
        )
    key = keys[name]
    steady = sorted(devices, key=device_status.severity)
    with_value = [device for device in steady if key(device) is not None]
    unknown = [device for device in steady if key(device) is None]
    return [*sorted(with_value, key=key, reverse=sort.startswith("-")), *unknown]  # type: ignore[arg-type]


def headings(request: Request, devices: Sequence[DeviceNow], sort: str, language: Language) -> dict[str, Heading]:
    """The sortable columns by their key, as links that keep the rest of the address."""
    others = [(name, value) for name, value in request.query_params.multi_items() if name != "sort"]

    def heading(key: str) -> Heading:
        turned = f"-{key}" if sort == key and key != WORST else key
        address = f"{request.url.path}?{urlencode([*others, ('sort', turned)])}#devices-title"
        return Heading(key, address, {key: "ascending", f"-{key}": "descending"}.get(sort, "none"))

    return {key: heading(key) for key in _keys(devices, language)}


def _keys(devices: Sequence[DeviceNow], language: Language) -> dict[str, Key]:
    """What each column sorts by, the worst first: what was heard longest ago, the lowest battery."""
    quantities = {s.view.stream.quantity: None for device in devices for s in device.streams}
    return {
        WORST: device_status.severity,
        "name": lambda device: language.text(device.device.title, device.device.device).casefold().translate(_AFTER_Z),
        "seen": lambda device: device.seen or 0,
        "overdue": lambda device: device.overdue,
        "battery": lambda device: _value(device.battery),
        "signal": lambda device: _value(device.signal),
        **{quantity: _by_quantity(quantity) for quantity in quantities},
    }


def _by_quantity(quantity: str) -> Key:
    return lambda device: next((_value(s) for s in device.streams if s.view.stream.quantity == quantity), None)


def _value(stream: StreamNow | None) -> float | None:
    return stream.last.value if stream is not None and stream.last is not None else None
