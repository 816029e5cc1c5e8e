"""Bringing devices in: what the API and the pages do alike when a device gets its credential or is claimed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace as replaced

from techport_dashboards.problems import Problem
from techport_dashboards.settings import BrokerPlace
from techport_dashboards.viewer import Viewer
from techport_pilots.access.credentials import Credentials
from techport_pilots.device_names import as_id
from techport_pilots.devices.explanation import Explain, Understood
from techport_pilots.devices.onboarding import (
    Claimed,
    NewDevice,
    ProvisionedDevice,
    UnknownDevice,
    claim,
    unknown_devices,
    with_device,
)
from techport_pilots.devices.onboarding import provision_device as provision
from techport_pilots.model import PilotDefinition
from techport_pilots.registry.registry import Registry


def provision_device(
    registry: Registry, pilot: str, device: NewDevice, viewer: Viewer, *, replace: bool
) -> ProvisionedDevice:
    """Add the device, or give one that the definition has a credential.

    Raises Problem where it has a credential and `replace` does not say that a new one shall take its place.
    """
    view = registry.snapshot().pilot(pilot)
    described = None if view is None else view.device(device.id)
    if described is not None and not replace:
        with_credential = {credential.device for credential in Credentials(registry.database).all(pilot)}
        if described.id in with_credential:
            raise Problem(
                "wrong-state",
                "{name} already has a password, which was shown once. "
                "A new one replaces it and must be entered on the device.",
                name=described.id,
                parameter="replace",
                example="true",
            )
    return provision(registry, pilot, device, viewer.who, may_see=viewer.may_see)


def claim_unknown_device(
    registry: Registry, pilot: str, name: str, viewer: Viewer, device: str | None = None
) -> Claimed:
    """Make the device that calls itself `name` known, as `device`. Raises Problem where it has never sent anything."""
    if all(unknown.device != name for unknown in unknown_devices(registry.database, pilot)):
        raise Problem(
            "not-found", "No unknown device {what} has sent any messages.", what=repr(name[:80]), parameter="name"
        )
    return claim(registry, pilot, name, viewer.who, device, may_see=viewer.may_see)


_LISTED = 20
"""Unknown devices whose last values are decoded for a list; the others show their message alone."""


def last_values(
    explain: Explain | None, pilot: PilotDefinition, unknown: Sequence[UnknownDevice]
) -> dict[str, list[Understood]]:
    """What the last message of each unknown device would become if it were known."""
    if explain is None:
        return {}
    values: dict[str, list[Understood]] = {}
    for unknown_device in unknown[:_LISTED]:
        explanation = explain(
            unknown_device.payload,
            unknown_device.topic,
            unknown_device.last,
            None,
            with_device(pilot, unknown_device.device),
        )
        device = as_id(unknown_device.device)
        values[unknown_device.device] = [reading for reading in explanation.readings if reading.device == device][
            :_VALUES
        ]
    return values


_VALUES = 12
"""Values of a device in such a list."""


def broker_for_devices(broker: BrokerPlace | None, asked_for: str | None) -> BrokerPlace | None:
    """The broker as a device reaches it: where it listens on all addresses, under the name that was asked for."""
    if broker is None or broker.host not in ("0.0.0.0", "::", ""):
        return broker
    return replaced(broker, host=asked_for or broker.host)
