"""What was ignored of a device's messages, and making readings of it: for the API and the pages alike."""

from __future__ import annotations

from functools import partial

from techport_dashboards.problems import Problem
from techport_dashboards.viewer import Viewer
from techport_pilots.accounting import ignored
from techport_pilots.devices import remap
from techport_pilots.model import FieldMapping
from techport_pilots.registry.registry import Registry


def map_ignored(
    registry: Registry, pilot: str, device: str, key: str, mapping: FieldMapping, why: str, viewer: Viewer
) -> tuple[int, int]:
    """State in the definition what an ignored key means, and reprocess the messages that are kept of the device.

    Parameters
    ----------
    registry : Registry
    pilot, device, key : str
        Whose messages hold it, and what they call it.
    mapping : FieldMapping
        What it is in the vocabulary.
    why : str
        For the version of the definition; "" for a usual reason.
    viewer : Viewer
        Who asks.

    Returns
    -------
    tuple of int
        The version of the definition, and the number of the replay.

    Raises
    ------
    Problem
        No message of the device is kept, so its source is not known.
    DefinitionError, WrongState
    """
    message = ignored.newest_message(registry.database, pilot, device, key)
    if message is None:
        raise Problem("not-found", "No message of {device} with ignored parts is kept.", device=device)
    edit = partial(remap.map_field, entry=message, key=key, mapping=mapping)
    why = why or f"{key} was ignored"
    version = remap.update_definition(registry, pilot, edit, viewer.who, why, may_see=viewer.may_see)
    return version, ignored.request_replay(registry.database, pilot, device, viewer.who).id
