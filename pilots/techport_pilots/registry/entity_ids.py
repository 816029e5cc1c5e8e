"""Numbers of the entities that OGC SensorThings shows: given once, small, and kept for good.

An entity is known by its kind and its names (`EntityKey`). Its number is below 2^31, which every client can hold:
JavaScript, R and Power Query read larger ones as floating point, QGIS as 32 bits. A number is never given twice, also
after its entity is erased: the row stays, without the names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import msgspec

from techport_pilots.model import PilotDefinition
from techport_pilots.registry.database import Database, Transaction, clean_text
from techport_pilots.registry.versioning import lock
from techport_storage.model import Micros

MOST_IMPORTED = 1 << 30
"""Numbers from a package are below this, so that no package can use up the numbers of a platform."""
TIME_DIGITS = 16
"""Of the time in an Observation's id."""
_ERASED = "(erased)"
_ALL = "SELECT kind, pilot, device, name, id FROM entity_ids"
_LAST = "SELECT coalesce(max(id), 0) FROM entity_ids"
_ADD = "INSERT INTO entity_ids (id, kind, pilot, device, name) VALUES (:id, :kind, :pilot, :device, :name)"
_OF_PILOT = "SELECT id, kind, device, name FROM entity_ids WHERE pilot = :pilot AND kind <> :erased ORDER BY id"
_BLANK = "UPDATE entity_ids SET kind = :erased, device = '', name = :name WHERE id = :id"


class EntityKey(NamedTuple):
    """What makes an entity the same one: its kind, and the names that belong to the kind; the others are empty."""

    kind: str  # an entity set: Things, Datastreams, ...
    pilot: str = ""
    device: str = ""
    name: str = ""  # of a quantity, or of a kind of device


class NumberedEntity(msgspec.Struct, frozen=True):
    """An entity with its number, as a package carries it."""

    id: int
    kind: str
    device: str = ""
    name: str = ""


def observation_id(datastream: int, time: Micros) -> str:
    """The id of an Observation: its Datastream's number and behind it the time in microseconds, of which a stream has
    one reading each.

    A text, because many clients round such a number; of digits alone, because some put ids into paths without quotes.
    """
    if 0 <= time < 10**TIME_DIGITS:
        return f"{datastream}{time:0{TIME_DIGITS}d}"
    return f"{datastream}-{time}"  # before 1970 or after 2286


def entity_ids(database: Database, keys: Collection[EntityKey]) -> dict[EntityKey, int]:
    """The number of each entity; those that have none yet are given the next ones.

    Parameters
    ----------
    database : Database
        The registry's.
    keys : collection of EntityKey
        The entities that are to be shown, by all names that they have.

    Returns
    -------
    dict of EntityKey to int
        A number from 1 to 2^31 - 1 for each key.

    Raises
    ------
    RegistryUnavailable
    """
    stored = {key: EntityKey(*map(clean_text, key)) for key in keys}
    with database.reading() as transaction:
        numbers = _numbers(transaction)
    missing = {key for key in stored.values() if key not in numbers}
    if missing:
        with database.writing() as transaction:
            lock(transaction)
            numbers = _numbers(transaction)  # another process may have been faster
            _add(transaction, sorted(missing - numbers.keys()), numbers)
    return {key: numbers[cleaned] for key, cleaned in stored.items()}


def numbered_entities(database: Database, pilot: str) -> list[NumberedEntity]:
    """The entities of a pilot that have a number, by number. Raises RegistryUnavailable."""
    with database.reading() as transaction:
        rows = transaction.execute(f"{_ALL} WHERE pilot = :pilot AND kind <> :erased ORDER BY id", _of(pilot)).all()
    return [NumberedEntity(id=row.id, kind=row.kind, device=row.device, name=row.name) for row in rows]


def keep_numbers(database: Database, pilot: str, entities: Iterable[NumberedEntity]) -> int:
    """Give entities of a pilot the numbers that they had elsewhere, where both are still free.

    Returns
    -------
    int
        How many were given theirs. The others get new numbers when they are first shown.

    Raises
    ------
    RegistryUnavailable
    """
    with database.writing() as transaction:
        lock(transaction)
        numbers = _numbers(transaction)
        taken = set(numbers.values())
        count = 0
        for entity in entities:
            key = EntityKey(*map(clean_text, (entity.kind, pilot, entity.device, entity.name)))
            if key not in numbers and entity.id not in taken and 0 < entity.id < MOST_IMPORTED:
                transaction.execute(_ADD, {**key._asdict(), "id": entity.id})
                numbers[key] = entity.id
                taken.add(entity.id)
                count += 1
    return count


def erase_names(transaction: Transaction, pilot: PilotDefinition, device: str | None = None) -> None:
    """Take names that the definition does not have off their numbers, which stay taken: of a device, or of all."""
    described = {EntityKey("ObservedProperties", name=quantity.name) for quantity in pilot.quantities}
    for described_device in pilot.devices:
        described.add(EntityKey("Things", device=described_device.id))
        described |= {
            EntityKey("Datastreams", device=described_device.id, name=stream.quantity)
            for stream in described_device.streams
        }
        described |= {
            EntityKey("ObservedProperties", name=stream.quantity.partition(".")[0])
            for stream in described_device.streams
        }
    for row in transaction.execute(_OF_PILOT, _of(pilot.id)).all():
        kind = row.kind if row.name else "Things"  # places of a device have its name and no other
        if device in (None, row.device) and EntityKey(kind, device=row.device, name=row.name) not in described:
            transaction.execute(_BLANK, {"id": row.id, "erased": _ERASED, "name": str(row.id)})


def _numbers(transaction: Transaction) -> dict[EntityKey, int]:
    return {EntityKey(row.kind, row.pilot, row.device, row.name): row.id for row in transaction.execute(_ALL)}


def _add(transaction: Transaction, keys: Iterable[EntityKey], numbers: dict[EntityKey, int]) -> None:
    last = int(transaction.execute(_LAST).scalar_one())
    numbers |= {key: last + place for place, key in enumerate(keys, start=1)}
    rows: list[Mapping[str, object]] = [{**key._asdict(), "id": numbers[key]} for key in keys]
    if rows:
        transaction.execute(_ADD, rows)


def _of(pilot: str) -> dict[str, object]:
    return {"pilot": pilot, "erased": _ERASED}
