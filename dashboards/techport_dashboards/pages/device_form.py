"""The form that describes a new device: what can be chosen in it, and what it says."""

from __future__ import annotations

from techport_dashboards.charts.map import Outline, outline
from techport_dashboards.services.basemap import load_basemap
from techport_dashboards.services.message_formats import format_of
from techport_dashboards.settings import WebSettings
from techport_dashboards.web.forms import Form
from techport_pilots.devices.onboarding import NewDevice
from techport_pilots.formats import DEFAULT
from techport_pilots.model import PilotDefinition
from techport_pilots.quantities import Quantity, vocabulary_of

INTERVALS = ("PT10S", "PT1M", "PT5M", "PT10M", "PT15M", "PT30M", "PT1H", "P1D")


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


def place_map(settings: WebSettings, pilot: PilotDefinition) -> Outline:
    """The map on which a device is placed, with those that the pilot has."""
    placed = [device.position for device in pilot.devices if device.position is not None]
    return outline(placed, load_basemap(settings.basemap), settings.map_tiles, whole_city=True)


def new_device_of(form: Form) -> NewDevice:
    """The device that the form describes. Raises Problem for a format that nobody reads."""
    return NewDevice(
        id=form.get("id"),
        title=form.get("title")[:200],
        kind=form.get("kind")[:200],
        format=format_of(form.get("format") or DEFAULT),
        quantities=tuple(dict.fromkeys(form.all("quantity"))),
        interval=form.get("interval"),
    )
