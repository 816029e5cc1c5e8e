"""What the books keep beside the sums: parts that were ignored, by rule, and what happened at devices."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, Engine, select, text

from techport_pilots.account import DeviceDay, Event, Remarks
from techport_pilots.database import clean_text, name, reading
from techport_pilots.tables import device_events, ignored_parts

_ADD_IGNORED = text(
    "INSERT INTO ignored_parts (pilot, device, day, rule, parts) VALUES (:pilot, :device, :day, :rule, :parts)"
    " ON CONFLICT (pilot, device, day, rule) DO UPDATE SET parts = ignored_parts.parts + excluded.parts"
)
_ADD_EVENT = text(
    "INSERT INTO device_events (pilot, device, time, kind, text) VALUES (:pilot, :device, :time, :kind, :text)"
    " ON CONFLICT DO NOTHING"
)
_LONGEST_TEXT = 500


def note_remarks(connection: Connection, remarks: Remarks) -> None:
    """Write the remarks of a batch, in the transaction that books it."""
    parts: dict[tuple[str, str, int, str], int] = {}
    for (device_day, rule), count in remarks.ignored.items():
        row = (name(device_day.pilot), name(device_day.device), device_day.day, name(rule))
        parts[row] = parts.get(row, 0) + count
    if parts:
        rows = [
            dict(zip(("pilot", "device", "day", "rule"), row, strict=True)) | {"parts": n} for row, n in parts.items()
        ]
        connection.execute(_ADD_IGNORED, sorted(rows, key=lambda row: [str(part) for part in row.values()]))
    if remarks.events:
        connection.execute(_ADD_EVENT, [_row(event) for event in sorted(remarks.events)])


def ignored_by_rule(engine: Engine, pilot: str, device: str | None = None) -> Mapping[tuple[DeviceDay, str], int]:
    """How many parts of messages were ignored, by device-day and rule. May raise RegistryUnavailable."""
    query = select(ignored_parts).where(ignored_parts.c.pilot == pilot)
    if device is not None:
        query = query.where(ignored_parts.c.device == device)
    with reading(engine) as connection:
        return {(DeviceDay(p, d, day), rule): parts for p, d, day, rule, parts in connection.execute(query)}


def events_of(engine: Engine, pilot: str, device: str | None = None, limit: int = 100) -> list[Event]:
    """What happened at the pilot's devices, newest first. May raise RegistryUnavailable."""
    query = select(device_events).where(device_events.c.pilot == pilot).order_by(device_events.c.time.desc())
    if device is not None:
        query = query.where(device_events.c.device == device)
    with reading(engine) as connection:
        return [Event(*row) for row in connection.execute(query.limit(limit))]


def _row(event: Event) -> dict[str, object]:
    return {
        "pilot": name(event.pilot),
        "device": name(event.device),
        "time": event.time,
        "kind": name(event.kind),
        "text": clean_text(event.text)[:_LONGEST_TEXT],
    }
