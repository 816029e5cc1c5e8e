"""Passwords of devices: what the pages and the API do alike when many get one, and the file that holds them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from techport_dashboards.problems import Problem
from techport_dashboards.viewer import Viewer
from techport_pilots.access.credentials import Credentials, Issued
from techport_pilots.devices.onboarding import provision_devices
from techport_pilots.model import DeviceDefinition, PilotDefinition, Text
from techport_pilots.registry.registry import Registry
from techport_storage.csv_cells import harmless
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import Micros

MOST_AT_ONCE = 1_000
OVERLAPS: dict[str, Micros] = {"PT1H": HOUR, "P1D": DAY, "P7D": 7 * DAY, "P30D": 30 * DAY}
"""How long the old password goes on beside a new one."""


class Box(NamedTuple):
    """A device that is to get a password, known or new."""

    id: str
    title: str = ""


class NewPassword(NamedTuple):
    """A device with its new password, which nobody can be shown again."""

    device: DeviceDefinition
    issued: Issued


def issue_for_many(
    registry: Registry,
    pilot: PilotDefinition,
    boxes: Iterable[Box],
    viewer: Viewer,
    *,
    like: str = "",
    replace: bool = False,
) -> list[NewPassword]:
    """Give each device a password; new ones are described like the device `like`. All of them or none.

    Raises Problem where a device has a password that nobody said shall be replaced; DefinitionError, WrongState.
    """
    devices = _described(pilot, boxes, like)
    if not replace:
        _refuse_replacing(registry, pilot, devices)
    issued = provision_devices(registry, pilot.id, devices, viewer.who, may_see=viewer.may_see)
    return [NewPassword(device, credential) for device, credential in zip(devices, issued, strict=True)]


def password_file(
    passwords: Sequence[NewPassword],
    columns: Sequence[str],
    *,
    title: Callable[[DeviceDefinition], str],
    page: Callable[[str], str],
    broker: str,
    delimiter: str = ",",
) -> str:
    """The passwords as CSV, with a mark that tells spreadsheets its encoding. Cells run in no spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(columns)
    for device, issued in passwords:
        cells = (device.id, title(device), issued.username, issued.password, issued.topic, broker, page(device.id))
        writer.writerow([harmless(cell) for cell in cells])
    return "\ufeff" + text.getvalue()


def _described(pilot: PilotDefinition, boxes: Iterable[Box], like: str) -> list[DeviceDefinition]:
    """The devices, each once. Raises Problem where there are none, or too many."""
    devices_by_id = {device.id: device for device in pilot.devices}
    model = devices_by_id.get(like)
    devices: dict[str, DeviceDefinition] = {}
    for box in boxes:
        new = DeviceDefinition(
            id=box.id[:200],
            title=Text(nb=box.title, en=box.title) if box.title else None,
            kind=None if model is None else model.kind,
            interval=None if model is None else model.interval,
            streams=[] if model is None else model.streams,
        )
        devices[box.id] = devices_by_id.get(box.id, new)
    if not devices:
        raise Problem("bad-parameter", "Write the id of a device on each line.", parameter="devices", example="box-001")
    if len(devices) > MOST_AT_ONCE:
        raise Problem("bad-parameter", "At most {n} devices at once.", n=MOST_AT_ONCE, parameter="devices")
    return list(devices.values())


def _refuse_replacing(registry: Registry, pilot: PilotDefinition, devices: Sequence[DeviceDefinition]) -> None:
    having = {credential.device for credential in Credentials(registry.database).all(pilot.id)}
    replaced = [device.id for device in devices if device.id in having]
    if replaced:
        names = ", ".join(replaced[:20]) + (" …" if len(replaced) > 20 else "")
        raise Problem(
            "wrong-state", "These devices already have a password: {names}.", names=names, parameter="replace"
        )
