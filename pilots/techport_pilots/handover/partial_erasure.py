"""Erasing part of a pilot at any time, as when somebody asks for it: a device, a period, or what a text occurs in; and
what of streams is older than their own retention.

    count ─► (confirm) ─► receipt `part-begun` ─► broker ─► store ─► ledger ─► files ─► tables ─► receipt `done`
                                                                                              ─► free pages

A package or a frozen answer cannot be erased in part: those of the pilot go as a whole, and can be made again. Of the
photos only those of the part go. The definition stays as it is. If interrupted, the next call for the pilot finishes it
first.

Of streams with a retention of their own go their readings, corrections and alerts, and the messages of their devices,
which cannot be erased in part; what else is known of the device stays, and frozen answers without these readings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from techport_pilots.access import audit_log
from techport_pilots.access.audit_log import PLATFORM, Entry
from techport_pilots.accounting import announced_writes
from techport_pilots.accounting.audit import count_rows
from techport_pilots.accounting.commit_log import forget_devices
from techport_pilots.accounting.ledger import Ledger, add_up_devices
from techport_pilots.accounting.tally import DeviceDay, day_of
from techport_pilots.devices.photos import is_photo
from techport_pilots.handover.broker_messages import ForgetRetained, no_broker, of_devices, topic_filters
from techport_pilots.handover.erasing import EMPTIED, UNNAMED, Files, alone, no_files
from techport_pilots.handover.references import Reference, reference_of
from techport_pilots.model import PilotDefinition
from techport_pilots.registry import entity_ids
from techport_pilots.registry.database import Transaction, conditions, name
from techport_pilots.registry.erasures import Day, Erasure, StreamErasure, forget_streams, grown, keys_and_texts
from techport_pilots.registry.registry import Registry
from techport_pilots.registry.versioning import lock
from techport_pilots.time import micros_of
from techport_storage.clock import now
from techport_storage.model import BucketWidth, Micros, Query, Selection, Stream
from techport_storage.store import ReadingStore

_TIMES = {"quarantine": "received", "watched_messages": "received", "device_events": "time", "corrections": "time"}
_TIMES |= {"ignored_messages": "received", "ignored_values": "last", "device_properties": "at"}
_TIMES |= {"device_visits": "at", "device_photos": "at"}
"""Tables with a time of each row."""
_OF_DEVICES = ("seen_streams", "origins", "learned_intervals", "watches", "stream_units", "device_budgets")
"""Tables that know a device, and no time: erased with the whole device."""
_OF_ALERTS = ("alerts", "alert_silences", "outbox")
"""Tables that name devices in texts."""
_MESSAGES = ("quarantine", "watched_messages", "ignored_messages", "ignored_values")
"""Tables with what a device's messages held, of whichever stream."""
_AT_ONCE = 500  # rows of which messages are looked at together
REWRITTEN = (
    *_TIMES,
    *_OF_DEVICES,
    *_OF_ALERTS,
    *("ledger", "ignored_parts", "commit_spans", "pilot_packages", "erasures", "entity_ids", "audit_log"),
    *EMPTIED,
)
"""Tables to be written anew afterwards, so that what was erased leaves their files."""
_BEGIN = "INSERT INTO erasures (pilot, state, content, at) VALUES (:pilot, 'part-begun', :content, :at)"
_BEGUN = "SELECT id, content FROM erasures WHERE pilot = :pilot AND state = 'part-begun' ORDER BY id"
_STREAMS = "SELECT id, content FROM erasures WHERE pilot = :pilot AND state = 'done' AND id <> :id ORDER BY id"
_FINISH = "UPDATE erasures SET state = 'done', content = :content WHERE id = :id"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What to erase: of a device by its name as messages bear it, described or not; of a period [start, end); of both.

    With a `reference`, of that only what the text occurs in: messages, events, and devices and streams by their names.
    With `streams`, which are described, what is before the `until` of each.
    """

    pilot: str
    device: str | None = None
    start: Micros | None = None
    end: Micros | None = None
    reference: str | None = None
    streams: tuple[StreamErasure, ...] = ()

    @property
    def whole_device(self) -> bool:
        return self.start is None and self.end is None and not self.streams

    @property
    def by_until(self) -> dict[Micros, list[Stream]]:
        """The streams, by when they are erased until."""
        streams: dict[Micros, list[Stream]] = {}
        for stream in self.streams:
            streams.setdefault(stream.until, []).append(Stream(self.pilot, stream.device, stream.quantity))
        return streams


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
    streams = [*part.streams]
    if streams:
        counts, streams = _count_streams(store, part)
    else:
        select = _selection(store, part, reference)
        counts = {} if select is None else count_rows(store, select, part.start, part.end)
    erased = {day: tally.erased for day, tally in ledger.tallies(pilot=part.pilot, device=part.device).items()}
    days = [Day(day.device, day.day, rows, erased.get(day, 0)) for day, rows in sorted(counts.items())]
    with registry.database.reading() as transaction:
        entries = 0
        for table in _tables(part):
            if reference is None:
                for where, parameters in _rows_of(part, table):
                    entries += transaction.execute(f"SELECT count(*) FROM {table}{where}", parameters).scalar_one()  # noqa: S608
            else:
                entries += sum(1 for _ in _rows_with(transaction, part, table, reference))
        entries += len(_alerts(transaction, part, reference)) + len(_silences(transaction, part, reference))
        rows = transaction.execute("SELECT path FROM pilot_packages WHERE pilot = :pilot", {"pilot": part.pilot})
        packages = [path for (path,) in rows]
        photos = _photos(transaction, part, reference)
    if part.streams and not counts:  # what is made of readings holds none of them
        packages = []
    return Erasure(
        pilot=part.pilot,
        partial=True,
        due=now(),
        begun=now(),
        rows=sum(counts.values()),
        entries=entries,
        packages=[path for path in packages if Path(path).is_file()],
        missing=[path for path in packages if not Path(path).is_file()],
        files=[str(path) for path in _files(part, files, bool(counts)) if not is_photo(path) or path.name in photos],
        days=days,
        device_days=len(days),
        streams=streams,
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
    with alone(registry.database):
        receipts = _erase(registry, store, ledger, part, files, forget_retained)
        registry.database.rewrite(REWRITTEN)
    return receipts


def erase_streams(
    registry: Registry, store: ReadingStore, ledger: Ledger, part: Part, files: Files, forget_retained: ForgetRetained
) -> list[Erasure]:
    """Erase what is older than the retention of the part's streams, for good, for a caller that erases alone and writes
    the tables anew. Returns the pilot's receipt, which has grown; nothing where there was nothing.

    Of a device whose streams are all erased the messages that the broker retains go, too: the last one may be as old.

    Raises StoreUnavailable, RegistryUnavailable, OSError for a file that cannot be removed.
    """
    finished = _finish_begun(registry, store, ledger, registry.pilot(part.pilot), files)
    if count_part(registry, store, ledger, part, files).empty:
        return finished
    return _erase(registry, store, ledger, part, files, forget_retained)


def _erase(
    registry: Registry, store: ReadingStore, ledger: Ledger, part: Part, files: Files, forget_retained: ForgetRetained
) -> list[Erasure]:
    definition = registry.pilot(part.pilot)
    receipts = _finish_begun(registry, store, ledger, definition, files)  # first: the next counts what these left
    receipt = count_part(registry, store, ledger, part, files)
    with registry.database.writing() as transaction:
        lock(transaction)
        content = msgspec.json.encode(_Begun(part, receipt)).decode()
        transaction.execute(_BEGIN, {"pilot": part.pilot, "content": content, "at": receipt.begun})
    devices = None if part.device is None else {part.device}
    if part.streams:
        devices = _silent_devices(store, part)
    if devices is None or devices:
        forget_retained(topic_filters(definition), of_devices(definition, devices, reference_of(part.reference)))
    receipts += _finish_begun(registry, store, ledger, definition, files)
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
    if part.streams:
        for until, streams in part.by_until.items():
            store.erase(Selection(streams=tuple(streams)), None, until)
    elif (select := _selection(store, part, reference)) is not None:
        store.erase(select, part.start, part.end)
    erased = {day: tally.erased for day, tally in ledger.tallies(pilot=part.pilot, device=part.device).items()}
    unbooked = {}
    for day in receipt.days:
        key = DeviceDay(part.pilot, day.device, day.day)
        unbooked[key] = day.rows - (erased.get(key, 0) - day.erased_before)
    ledger.book_erased({key: rows for key, rows in unbooked.items() if rows > 0})
    # Once more: what was read before the erasure may have become a file since. Photos are not made of readings.
    later = [path for path in _files(part, files, receipt.rows > 0) if not is_photo(path)]
    for file in (*map(Path, receipt.packages), *map(Path, receipt.files), *later):
        file.unlink(missing_ok=True)
    done = msgspec.structs.replace(receipt, done=now(), days=[])
    with registry.database.writing() as transaction:
        lock(transaction)
        _erase_rows(transaction, part, definition, reference, packages=receipt.rows > 0 or not part.streams)
        if part.streams:
            done = _grown(transaction, number, done)
            entry = Entry(kind="erased", who=PLATFORM, at=now(), what="retention", pilot=part.pilot)
            audit_log.append(transaction, [entry])
        transaction.execute(_FINISH, {"id": number, "content": msgspec.json.encode(done).decode()})
        audit_log.forget_about(transaction, part.pilot, lambda about: _concerns(part, reference, about))
    return done


def _grown(transaction: Transaction, number: int, receipt: Erasure) -> Erasure:
    """The receipt with what the pilot's earlier one of streams says, whose place it takes."""
    for row in transaction.execute(_STREAMS, {"pilot": receipt.pilot, "id": number}).all():
        earlier = msgspec.json.decode(row.content, type=Erasure)
        if earlier.streams:
            receipt = grown(earlier, receipt)
            transaction.execute("DELETE FROM erasures WHERE id = :id", {"id": row.id})
    return receipt


def _count_streams(store: ReadingStore, part: Part) -> tuple[dict[DeviceDay, int], list[StreamErasure]]:
    """Rows before each stream's `until`: by device and day, and by stream."""
    counts: dict[DeviceDay, int] = {}
    of_streams: dict[Stream, int] = {}
    for until, streams in part.by_until.items():
        select = Selection(streams=tuple(streams))
        query = Query(select=select, end=until, every=BucketWidth(1, "d"), aggregates=("count",))
        with store.read(query) as reader:
            for batch in reader:
                for row in batch.select(["pilot", "device", "quantity", "time", "count"]).to_pylist():
                    day = DeviceDay(row["pilot"], row["device"], day_of(micros_of(row["time"], "UTC")))
                    stream = Stream(row["pilot"], row["device"], row["quantity"])
                    counts[day] = counts.get(day, 0) + row["count"]
                    of_streams[stream] = of_streams.get(stream, 0) + row["count"]
    counted = [
        msgspec.structs.replace(stream, rows=of_streams.get(Stream(part.pilot, stream.device, stream.quantity), 0))
        for stream in part.streams
    ]
    return counts, counted


def _silent_devices(store: ReadingStore, part: Part) -> set[str]:
    """Devices of the part of which no stream has a reading that stays."""
    devices = {stream.device for stream in part.streams}
    until = {(stream.device, stream.quantity): stream.until for stream in part.streams}
    latest = store.latest(Selection(pilots=(part.pilot,), devices=tuple(sorted(devices))))
    for row in latest.select(["device", "quantity", "time"]).to_pylist():
        erased = until.get((row["device"], row["quantity"]))
        if erased is None or micros_of(row["time"], "UTC") >= erased:
            devices.discard(row["device"])
    return devices


def _files(part: Part, files: Files, readings: bool) -> list[Path]:
    """Files beside packages that may hold something of the part; of streams none where no `readings` go."""
    if not part.streams:
        return [*files(part.pilot)]
    if not readings:
        return []
    paths = [path for path in files(part.pilot) if not is_photo(path)]
    free = {path.stem for path in paths if path.suffix == ".parquet" and not _holds(path, part)}
    return [path for path in paths if path.stem not in free]


def _holds(path: Path, part: Part) -> bool:
    """Whether a frozen answer has rows that may be made of the part's readings: of their streams, that begin before
    they are erased until; any, where its columns do not say of which stream and time a row is."""
    until = {(stream.device, stream.quantity): stream.until for stream in part.streams}
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            if not {"device", "quantity", "time"}.issubset(schema.names) or not pa.types.is_timestamp(
                schema.field("time").type
            ):
                return True
            for batch in file.iter_batches(columns=["device", "quantity", "time"]):
                rows = pa.Table.from_batches([batch]).group_by(["device", "quantity"]).aggregate([("time", "min")])
                first = pc.cast(pc.cast(rows["time_min"], pa.timestamp("us", "UTC"), safe=False), pa.int64())
                names = zip(rows["device"].to_pylist(), rows["quantity"].to_pylist(), first.to_pylist(), strict=True)
                if any(time < until.get((device, quantity), time) for device, quantity, time in names):
                    return True
    except FileNotFoundError:
        return False
    except pa.ArrowInvalid:
        return True
    return False


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


def _erase_rows(
    transaction: Transaction,
    part: Part,
    definition: PilotDefinition,
    reference: Reference | None,
    *,
    packages: bool,
) -> None:
    for table in _tables(part):
        if reference is None:
            for where, parameters in _rows_of(part, table):
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
    if packages:
        transaction.execute("DELETE FROM pilot_packages WHERE pilot = :pilot", {"pilot": part.pilot})
    until = max((stream.until for stream in part.streams), default=None)
    where, parameters = conditions({"pilot = :pilot": part.pilot, "created < :until": until})
    transaction.execute(f"DELETE FROM outbox{where}", parameters)  # noqa: S608
    announced_writes.forget(transaction)
    if part.whole_device:
        described = {device.id for device in definition.devices}
        erased = _erased_devices(transaction, part, reference)
        forget_streams(transaction, part.pilot, lambda device: device in erased)
        for device in erased:
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
    if part.streams:
        until = {(stream.device, stream.quantity): stream.until for stream in part.streams}
        # The subject of a limit begins with device and quantity.
        return [row.id for row in rows if row.ended < until.get(tuple(row.subject.split(" ")[:2]), row.ended)]
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
    if part.streams:
        return set()
    if reference is not None:
        return {str(row["name"]) for row in _rows_with(transaction, part, "device_photos", reference)}
    where, parameters = _where(part, "device_photos")
    return {name for (name,) in transaction.execute(f"SELECT name FROM device_photos{where}", parameters)}  # noqa: S608


def _tables(part: Part) -> Sequence[str]:
    if part.streams:
        return (*_MESSAGES, "corrections")
    return (*_TIMES, *_OF_DEVICES) if part.whole_device else tuple(_TIMES)


def _rows_of(part: Part, table: str) -> list[tuple[str, dict[str, object]]]:
    """Conditions, each with its parameters, of which every row of the part fulfils one."""
    if not part.streams:
        return [_where(part, table)]
    limits: dict[tuple[str, str | None], Micros] = {}
    for stream in part.streams:
        of = stream.device, None if table in _MESSAGES else stream.quantity
        limits[of] = max(stream.until, limits.get(of, stream.until))
    return [
        conditions(
            {
                "pilot = :pilot": part.pilot,
                "device = :device": device,
                "quantity = :quantity": quantity,
                f"{_TIMES[table]} < :until": until,
            }
        )
        for (device, quantity), until in limits.items()
    ]


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
