"""What a broker still holds of a pilot's devices when they are erased: retained messages, by topic and content."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from techport_pilots.device_names import comparable_name
from techport_pilots.handover.references import Reference
from techport_pilots.model import PilotDefinition

Belongs = Callable[[str, bytes], bool]
"""Whether a retained message, by its topic and payload, is one to erase."""

ForgetRetained = Callable[[Sequence[str], Belongs], int]
"""Erases retained messages of topic filters at the broker; returns how many. Never raises: a broker may be away."""


def no_broker(_filters: Sequence[str], _belongs: Belongs) -> int:
    """Where there is no broker to ask."""
    return 0


def topic_filters(definition: PilotDefinition) -> list[str]:
    """Where messages of the pilot's devices may be."""
    return [f"pilots/{definition.id}/#", *(source.topic for source in definition.sources)]


def of_devices(definition: PilotDefinition, devices: Collection[str] | None, reference: Reference | None) -> Belongs:
    """Messages of these devices (None: of all the pilot's), which hold the reference where there is one.

    Topics that are not the pilot's own may be shared with others: there a level of the topic has to name a device.
    """
    own = f"pilots/{definition.id}/"
    described = [name for device in definition.devices for name in (device.id, *device.aliases)]
    names = {comparable_name(name) for name in (described if devices is None else _with_aliases(definition, devices))}

    def belongs(topic: str, payload: bytes) -> bool:
        if reference is not None and not (reference.is_in(topic) or reference.is_in(payload)):
            return False
        if topic.startswith(own):
            device = topic.split("/")[2]
            return devices is None or comparable_name(device) in names
        return any(comparable_name(level) in names for level in topic.split("/"))

    return belongs


def _with_aliases(definition: PilotDefinition, devices: Collection[str]) -> list[str]:
    aliases = [alias for device in definition.devices if device.id in devices for alias in device.aliases]
    return [*devices, *aliases]
