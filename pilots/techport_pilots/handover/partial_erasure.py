"""Erasing part of a pilot at any time, as when somebody asks for it: a device, a period, or what a text occurs in.

    count ─► (confirm) ─► receipt `part-begun` ─► broker ─► store ─► ledger ─► files ─► tables ─► receipt `done`
                                                                                              ─► free pages

A package or a frozen answer cannot be erased in part: those of the pilot go as a whole, and can be made again. Of the
photos only those of the part go. The definition stays as it is. If interrupted, the next call for the pilot finishes it
first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec

from techport_pilots.access import audit_log
from techport_pilots.accounting.audit import count_rows
from techport_pilots.accounting.commit_log import forget_devices
from techport_pilots.accounting.ledger import Ledger, add_up_devices
from techport_pilots.accounting.tally import DeviceDay
from techport_pilots.devices.photos import is_photo
from techport_pilots.handover.broker_messages import ForgetRetained, no_broker, of_devices, topic_filters
from techport_pilots.handover.references import Reference, reference_of
from techport_pilots.handover.retention import EMPTIED, UNNAMED, Files, no_files
from techport_pilots.model import PilotDefinition
from techport_pilots.registry import entity_ids
from techport_pilots.registry.database import Transaction, conditions, name
from techport_pilots.registry.erasures import Day, Erasure, keys_and_texts
from techport_pilots.registry.registry import Registry
from techport_pilots.registry.versioning import lock
from techport_storage.clock import now
from techport_storage.model import Micros, Query, Selection
from techport_storage.store import ReadingStore

_TIMES = {"quarantine": "received", "watched_messages": "received", "device_events": "time", "corrections": "time"}
_TIMES |= {"ignored_messages": "received", "ignored_values": "last", "device_properties": "at"}
_TIMES |= {"device_visits": "at", "device_photos": "at"}
"""Tables with a time of each row."""
_OF_DEVICES = ("seen_streams", "origins", "learned_intervals", "watches", "stream_units", "device_budgets")
"""Tables that know a device, and no time: erased with the whole device."""
_OF_ALERTS = ("alerts", "alert_silences", "outbox")
"""Tables that name devices in texts."""
_AT_ONCE = 500  # rows of which messages are looked at together
_BEGIN = "INSERT INTO erasures (pilot, state, content, at) VALUES (:pilot, 'part-begun', :content, :at)"
_BEGUN = "SELECT id, content FROM erasures WHERE pilot = :pilot AND state = 'part-begun' ORDER BY id"
_FINISH = "UPDATE erasures SET state = 'done', content = :content WHERE id = :id"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What to erase: of a device by its name as messages bear it, described or not; of a period [start, end); of both.

    With a `reference`, of that only what the text occurs in: messages, events, and devices and streams by their names.
    """

    pilot: str
    device: str | None = None
    start: Micros | None = None
    end: Micros | None = None
    reference: str | None = None

    @property
    def whole_device(self) -> bool:
        return self.start is None and self.end is None


class _Begun(msgspec.Struct, frozen=True):
    part: Part
    receipt: Erasure


def count_part(registry: Registry, store: ReadingStore, ledger: Ledger, part: Part, files: Files = no_files) -> Erasure:
    """What `erase_part` would erase now, as a receipt that is not done.

    Raises ValueError for a part that names nothing, or a reference that is too short, StoreUnavailable,
    RegistryUnavailable.
    """
    if part.device is None and part.whole_device and part.reference is None:
        raise ValueError("name a device, a start, an end or a reference: a whole pilot is erased by its retention")
    reference = reference_of(part.reference)
    select = _selection(store, part, reference)
    counts = {} if select is None else count_rows(store, select, part.start, part.end)
    erased = {day: tally.erased for day, tally in ledger.tallies(pilot=part.pilot, device=part.device).items()}
    days = [Day(day.device, day.day, rows, erased.get(day, 0)) for day, rows in sorted(counts.items())]
    with registry.database.reading() as transaction:
        entries = 0
        for table in _tables(part):
            where, parameters = _where(part, table)
            if reference is None:
                entries += transaction.execute(f"SELECT count(*) FROM {table}{where}", parameters).scalar_one()  # noqa: S608
            else:
                entries += sum(1 for _ in _rows_with(transaction, part, table, reference))
        entries += len(_alerts(transaction, part, reference)) + len(_silences(transaction, part, reference))
        rows = transaction.execute("SELECT path FROM pilot_packages WHERE pilot = :pilot", {"pilot": part.pilot})
        packages = [path for (path,) in rows]
        photos = _photos(transaction, part, reference)
    return Erasure(
        pilot=part.pilot,
        partial=True,
        due=now(),
        begun=now(),
        rows=sum(counts.values()),
        entries=entries,
        packages=[path for path in packages if Path(path).is_file()],
        missing=[path for path in packages if not Path(path).is_file()],
        files=[str(path) for path in files(part.pilot) if not is_photo(path) or path.name in photos],
        days=days,
        device_days=len(days),
    )


def find_reference(registry: Registry, store: ReadingStore, pilot: str, text: str) -> Iterator[dict[str, object]]:
    """Everything that `erase_part` with this reference would erase, for whoever asks what is kept of them: readings,
    and rows of tables with their texts, each with `found_in`.

    Raises ValueError for a text that is too short, StoreUnavailable, RegistryUnavailable.
    """
    part = Part(pilot=pilot, reference=text)
    reference = reference_of(text)
    if reference is None:
        raise ValueError("name a reference")
    if (select := _selection(store, part, reference)) is not None:
        with store.read(Query(select=select)) as reader:
            for batch in reader:
                for reading in batch.select(["device", "quantity", "time", "value"]).to_pylist():
                    yield {"found_in": "readings", **reading, "time": reading["time"].isoformat()}
    for table in _tables(part):
        with registry.database.reading() as transaction:
            rows = list(_texts_with(transaction, part, table, reference))
        for row in rows:
            yield {"found_in": table, **{column: _readable(value) for column, value in row.items()}}
    with registry.database.reading() as transaction:
        texts = {"alerts": "subject, params, note", "alert_silences": "subject, reason"}
        numbers = {"alerts": _alerts(transaction, part, reference)}
        numbers["alert_silences"] = _silences(transaction, part, reference)
        alerts = [
            {"found_in": table, **transaction.execute(query, {"id": number}).one()._mapping}
            for table, ids in numbers.items()
            for query in [f"SELECT id, {texts[table]} FROM {table} WHERE id = :id"]  # noqa: S608
            for number in ids
        ]
    yield from alerts


def _readable(value: object) -> object:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def erase_part(
    registry: Registry,
    store: ReadingStore,
    ledger: Ledger,
    part: Part,
    files: Files = no_files,
    forget_retained: ForgetRetained = no_broker,
) -> list[Erasure]:
    """Erase it for good. Returns the receipts: of this part, after those of parts that were interrupted.

    `forget_retained` reaches the broker, whose retained messages go first: an ingest worker hears that they are gone,
    and what it writes down of that is erased with the rest.

    Raises ValueError, StoreUnavailable, RegistryUnavailable, OSError for a file that cannot be removed.
    """
    definition = registry.pilot(part.pilot)
    receipts = _finish_begun(registry, store, ledger, definition, files)  # first: the next counts what these left
    receipt = count_part(registry, store, ledger, part, files)
    with registry.database.writing() as transaction:
        lock(transaction)
        content = msgspec.json.encode(_Begun(part, receipt)).decode()
        transaction.execute(_BEGIN, {"pilot": part.pilot, "content": content, "at": receipt.begun})
    devices = None if part.device is None else {part.device}
    forget_retained(topic_filters(definition), of_devices(definition, devices, reference_of(part.reference)))
    receipts += _finish_begun(registry, store, ledger, definition, files)
    registry.database.rewrite(
        (
            *_TIMES,
            *_OF_DEVICES,
            *_OF_ALERTS,
            "ledger",
            "ignored_parts",
            "commit_spans",
            "pilot_packages",
            "erasures",
            "entity_ids",
            "audit_log",
            *EMPTIED,
        )
    )
    return receipts


def _finish_begun(
    registry: Registry, store: ReadingStore, ledger: Ledger, definition: PilotDefinition, files: Files
) -> list[Erasure]:
    with registry.database.reading() as transaction:
        rows = transaction.execute(_BEGUN, {"pilot": definition.id}).all()
    begun = [(int(number), msgspec.json.decode(content, type=_Begun)) for number, content in rows]
    return [_finish(registry, store, ledger, number, scope, definition, files) for number, scope in begun]


def _finish(
    registry: Registry,
    store: ReadingStore,
    ledger: Ledger,
    number: int,
    begun: _Begun,
    definition: PilotDefinition,
    files: Files,
) -> Erasure:
    part, receipt = begun.part, begun.receipt
    reference = reference_of(part.reference)
    if (select := _selection(store, part, reference)) is not None:
        store.erase(select, part.start, part.end)
    erased = {day: tally.erased for day, tally in ledger.tallies(pilot=part.pilot, device=part.device).items()}
    unbooked = {}
    for day in receipt.days:
        key = DeviceDay(part.pilot, day.device, day.day)
        unbooked[key] = day.rows - (erased.get(key, 0) - day.erased_before)
    ledger.book_erased({key: rows for key, rows in unbooked.items() if rows > 0})
    # Once more: what was read before the erasure may have become a file since. Photos are not made of readings.
    later = [path for path in files(part.pilot) if not is_photo(path)]
    for file in (*map(Path, receipt.packages), *map(Path, receipt.files), *later):
        file.unlink(missing_ok=True)
    done = msgspec.structs.replace(receipt, done=now(), days=[])
    with registry.database.writing() as transaction:
        lock(transaction)
        _erase_rows(transaction, part, definition, reference)
        transaction.execute(_FINISH, {"id": number, "content": msgspec.json.encode(done).decode()})
        audit_log.forget_about(transaction, part.pilot, lambda about: _concerns(part, reference, about))
    return done


def _concerns(part: Part, reference: Reference | None, about: str) -> bool:
    """Whether an entry of the audit log names what was erased."""
    if reference is not None:
        return reference.is_in(about)
    return part.device is not None and _names_device(about, name(part.device))


def _names_device(about: str, device: str) -> bool:
    """Whether it says `device=kran`, alone or among others, or is about a credential of the device."""
    among = rf"device=(?:.*,)?{re.escape(device)}"
    username = rf"username=\S*/{re.escape(quote(device, safe=''))}(?:~\d+)?"
    return re.search(rf"(?:^| )(?:{among}|{username})(?:[ ,]|$)", about) is not None


def _erase_rows(transaction: Transaction, part: Part, definition: PilotDefinition, reference: Reference | None) -> None:
    for table in _tables(part):
        where, parameters = _where(part, table)
        if reference is None:
            transaction.execute(f"DELETE FROM {table}{where}", parameters)  # noqa: S608
            continue
        keys, _ = keys_and_texts(table)
        is_row = " AND ".join(f"{key} = :{key}" for key in keys)
        rows = [{**key, "pilot": part.pilot} for key in _rows_with(transaction, part, table, reference)]
        if rows:
            transaction.execute(f"DELETE FROM {table} WHERE pilot = :pilot AND {is_row}", rows)  # noqa: S608
    for table, numbers in (
        ("alerts", _alerts(transaction, part, reference)),
        ("alert_silences", _silences(transaction, part, reference)),
    ):
        if numbers:
            transaction.execute(f"DELETE FROM {table} WHERE id = :id", [{"id": number} for number in numbers])  # noqa: S608
    # A message cannot be erased in part, and one about an alert that is gone would only puzzle.
    for table in ("pilot_packages", "outbox"):
        transaction.execute(f"DELETE FROM {table} WHERE pilot = :pilot", {"pilot": part.pilot})  # noqa: S608
    if part.whole_device:
        described = {described_device.id for described_device in definition.devices}
        for device in _erased_devices(transaction, part, reference):
            forget_devices(transaction, {(part.pilot, device)})
            entity_ids.erase_names(transaction, definition, device)
            if device not in described and device != UNNAMED:
                add_up_devices(transaction, part.pilot, [device], UNNAMED)


def _erased_devices(transaction: Transaction, part: Part, reference: Reference | None) -> list[str]:
    """Devices of which nothing is left, by their names as they are kept."""
    if reference is None:
        return [] if part.device is None else [name(part.device)]
    where, parameters = conditions({"pilot = :pilot": part.pilot, "device = :device": part.device})
    rows = transaction.execute(f"SELECT DISTINCT device FROM ledger{where}", parameters).all()  # noqa: S608
    return [device for (device,) in rows if reference.is_in(device)]


def _rows_with(
    transaction: Transaction, part: Part, table: str, reference: Reference
) -> Iterator[Mapping[str, object]]:
    """Keys of the rows that the reference occurs in."""
    keys, _ = keys_and_texts(table)
    for row in _texts_with(transaction, part, table, reference):
        yield {key: row[key] for key in keys}


def _texts_with(
    transaction: Transaction, part: Part, table: str, reference: Reference
) -> Iterator[Mapping[str, object]]:
    """Keys and texts of the rows that the reference occurs in."""
    keys, columns = keys_and_texts(table)
    where, parameters = _where(part, table)
    query = f"SELECT {', '.join(dict.fromkeys((*keys, *columns)))} FROM {table}{where}"  # noqa: S608
    last = 0
    while True:
        if keys == ("id",):  # messages are long: some at a time
            page = {**parameters, "last": last, "limit": _AT_ONCE}
            rows = transaction.execute(f"{query} AND id > :last ORDER BY id LIMIT :limit", page).all()
        else:
            rows = transaction.execute(query, parameters).all()
        for row in rows:
            if any(reference.is_in(row._mapping[column]) for column in columns):
                yield dict(row._mapping)
        if keys != ("id",) or len(rows) < _AT_ONCE:
            return
        last = rows[-1].id


def _alerts(transaction: Transaction, part: Part, reference: Reference | None) -> list[int]:
    """Alerts about the device, of the period, that the reference occurs in."""
    rows = transaction.execute(
        "SELECT id, subject, params, note, began, coalesce(recovered, seen) AS ended FROM alerts WHERE pilot = :pilot",
        {"pilot": part.pilot},
    )
    device = None if part.device is None else name(part.device)
    return [
        row.id
        for row in rows
        if device in (None, row.subject, msgspec.json.decode(row.params).get("device"))
        and (part.start is None or row.ended >= part.start)
        and (part.end is None or row.began < part.end)
        and (reference is None or any(map(reference.is_in, (row.subject, row.params, row.note))))
    ]


def _silences(transaction: Transaction, part: Part, reference: Reference | None) -> list[int]:
    """Silences of the device, or that the reference occurs in. Of a period none: they hold nothing measured."""
    if not part.whole_device:
        return []
    rows = transaction.execute(
        "SELECT id, subject, reason FROM alert_silences WHERE pilot = :pilot", {"pilot": part.pilot}
    )
    device = None if part.device is None else name(part.device)
    return [
        row.id
        for row in rows
        if (device is None or row.subject == device or row.subject.startswith(f"{device} "))  # limits: device, quantity
        and (reference is None or any(map(reference.is_in, (row.subject, row.reason))))
    ]


def _photos(transaction: Transaction, part: Part, reference: Reference | None) -> set[str]:
    """Names of the photos whose rows go."""
    if reference is not None:
        return {str(row["name"]) for row in _rows_with(transaction, part, "device_photos", reference)}
    where, parameters = _where(part, "device_photos")
    return {name for (name,) in transaction.execute(f"SELECT name FROM device_photos{where}", parameters)}  # noqa: S608


def _tables(part: Part) -> Sequence[str]:
    return (*_TIMES, *_OF_DEVICES) if part.whole_device else tuple(_TIMES)


def _where(part: Part, table: str) -> tuple[str, dict[str, object]]:
    limits: dict[str, object] = {
        "pilot = :pilot": part.pilot,
        "device = :device": None if part.device is None else name(part.device),
    }
    if table in _TIMES:
        limits |= {f"{_TIMES[table]} >= :start": part.start, f"{_TIMES[table]} < :end": part.end}
    return conditions(limits)


def _selection(store: ReadingStore, part: Part, reference: Reference | None) -> Selection | None:
    """The streams to erase; None where there are none."""
    whole = Selection(pilots=(part.pilot,), devices=None if part.device is None else (part.device,))
    if reference is None:
        return whole
    streams = [
        stream for stream in store.streams(whole) if reference.is_in(stream.device) or reference.is_in(stream.quantity)
    ]
    return Selection(streams=tuple(streams)) if streams else None
