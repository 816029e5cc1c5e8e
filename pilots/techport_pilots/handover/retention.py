"""Forgetting on time: what a pilot's retention says is due is erased from the store, the quarantine and the packages.

    receipt `begun`, with what there is ─► store ─► ledger ─► files ─► tables ─► receipt `done` ─► free pages

Files are the pilot's packages and what else the caller knows of that holds its readings, such as frozen answers.

If interrupted, the next run continues from the receipt, so that the ledger counts every erased row once. The
definition, the steps of the pilot's life and the receipt are kept: it stays known that data existed and was erased.
"""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path

import msgspec
import structlog

from techport_pilots.access import audit_log
from techport_pilots.access.audit_log import PLATFORM, Entry
from techport_pilots.accounting import announced_writes
from techport_pilots.accounting.audit import count_rows
from techport_pilots.accounting.commit_log import forget_devices
from techport_pilots.accounting.ledger import Ledger, add_up_devices
from techport_pilots.accounting.tally import DeviceDay
from techport_pilots.errors import RegistryUnavailable
from techport_pilots.handover.broker_messages import ForgetRetained, no_broker, of_devices, topic_filters
from techport_pilots.handover.erasing import EMPTIED, UNNAMED, Files, alone, no_files
from techport_pilots.handover.package import PART, Progress, no_progress
from techport_pilots.handover.partial_erasure import Part, erase_streams
from techport_pilots.handover.receipts import signed
from techport_pilots.model import PilotDefinition
from techport_pilots.registry import entity_ids, events
from techport_pilots.registry.database import Database, Transaction
from techport_pilots.registry.erasures import Day, Due, Erasure, forget_streams, plan, streams_due
from techport_pilots.registry.jobs import KEPT as JOBS_KEPT
from techport_pilots.registry.jobs import forget_jobs
from techport_pilots.registry.pseudonym_keys import forget_keys
from techport_pilots.registry.registry import Registry
from techport_pilots.registry.versioning import lock
from techport_storage.clock import now
from techport_storage.errors import StoreUnavailable
from techport_storage.model import Micros, Selection
from techport_storage.store import ReadingStore

log = structlog.get_logger(__name__)

_PACKAGES = "SELECT path FROM pilot_packages WHERE pilot = :pilot ORDER BY at"
_BEGUN = "SELECT id, content FROM erasures WHERE pilot = :pilot AND state = 'begun'"
_BEGIN = "INSERT INTO erasures (pilot, state, content, at) VALUES (:pilot, 'begun', :content, :at) RETURNING id"
_FINISH = "UPDATE erasures SET state = 'done', content = :content WHERE id = :id"
_MESSAGES = ("quarantine", "watched_messages", "ignored_messages")  # as they came from devices, payload and all
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
PERIOD = 3600.0
"""Seconds between two rounds of a process that stays."""
FIRST_ROUND = 60.0  # seconds after its start
_STRIP = "UPDATE erasures SET content = :content WHERE id = :id"

ERASED = (
    "quarantine",
    "watched_messages",
    "watches",
    "seen_streams",
    "origins",
    "corrections",
    "learned_intervals",
    "stream_units",
    "device_budgets",
    "device_properties",
    "ignored_values",
    "ignored_messages",
    "device_events",
    "device_visits",
    "device_photos",
    "credentials",
    "pilot_packages",
    "pseudonym_keys",
    "alerts",
    "alert_silences",
    "outbox",  # what is told of its devices, also what still waits
    "shares",
)
"""Tables whose rows of the pilot go."""

REWRITTEN = {
    "ledger": "sums of devices that the definition does not name are added up under one name",
    "ignored_parts": "as the ledger",
    "pilot_events": "where devices said they were goes; what people wrote down stays",
    "commit_spans": "marks of the pilot's devices become 'any device'",
    "erasures": "device names leave the receipt when it is done",
    "audit_log": "what its entries were about goes; their hashes are over salted digests, which stay",
    "entity_ids": "names that the definition does not have go; their numbers stay taken",
}
"""Tables of which parts stay, and which."""

KEPT = {
    "registry_version": "one number",
    "pilot_versions": "the definition, as its authors wrote it: it stays known what the pilot was",
    "pilot_states": "steps of the pilot's life, by people",
    "pilot_evaluations": "results over all devices, as the report publishes them",
    "announced_writes": "hashes and times of readings that are being written; emptied by every erasure",
    "intents": "device-days of a batch that is being written; gone when the batch, or the worker's next start, ends it",
    "workers": "names of processes",
    "worker_sessions": "names of processes",
    "session_losses": "names of processes, and times",
    "replays": "who asked for it, and counts",
    "assumed_open": "the pilot's id",
    "flag_requests": "the pilot's id, times and counts",
    "leases": "names of processes",
    "jobs": "the pilot's id, and what a job came to: names of files, counts, receipts; gone after a day",
    "request_limits": "hashes; gone within a minute",
    "signing_keys": "keys of the platform",
    "registrations": "what was planned, as the definition says it",
    "recommendations": "what the pilot's team recommends, in its own words",
    "closing_figures": "levels of days over all devices and how complete the data was, as the report publishes them",
    "users": "people of the platform, until their account is deleted",
    "user_identities": "as users",
    "organisations": "names of organisations",
    "organisation_members": "as users",
    "roles": "who may see what is left of the pilot; gone with the account",
    "invitations": "who was invited; gone ninety days after they expired",
    "password_resets": "hashes; gone when used or expired",
    "sign_in_failures": "hashes; gone within a quarter of an hour",
    "sessions": "browsers of people; gone when they end",
    "provider_sign_ins": "random numbers; gone within an hour",
    "api_tokens": "names that people gave their tokens; gone ninety days after they expired",
    "favourites": "which pilots people marked; gone with the account",
    "alert_recipients": "addresses of people and services that are told of alerts",
    "audit_head": "numbers and hashes",
    "alert_weeks": "the pilot's id, and weeks",
    "alert_looks": "one time",
    "retained_requests": "what is still to be erased at the broker; gone when it is",
}
"""Tables in which there is nothing of what a pilot's devices sent, and what they hold."""


def run(
    registry: Registry,
    store: ReadingStore,
    ledger: Ledger,
    at: Micros | None = None,
    *,
    files: Files = no_files,
    progress: Progress = no_progress,
    forget_retained: ForgetRetained = no_broker,
) -> list[Erasure]:
    """Erase what is due: pilots, and what is older than a stream's own retention. Returns a receipt for each pilot of
    which there was anything. Raises StoreUnavailable, RegistryUnavailable, OSError for a file that cannot be removed;
    the next run goes on. `forget_retained` reaches the broker.
    """
    at = now() if at is None else at
    receipts = []
    with alone(registry.database) as renew:
        _forget_names(registry.database)
        due = [entry for entry in plan(registry) if entry.at <= at]
        for number, entry in enumerate(due):
            progress(entry.pilot, number, len(due))
            renew()
            definition = registry.pilot(entry.pilot)
            forget_retained(topic_filters(definition), of_devices(definition, None, None))
            if (receipt := _erase(registry, store, ledger, entry, files)) is not None:
                receipts.append(receipt)
        for pilot, streams in streams_due(registry, at).items():
            renew()
            part = Part(pilot=pilot, streams=streams)
            receipts += erase_streams(registry, store, ledger, part, files, forget_retained)
        if receipts:
            registry.database.rewrite((*ERASED, *REWRITTEN, *EMPTIED))
    return receipts


class RetentionPass:
    """Erases what is due, once an hour, in a process that stays. `run` in a thread of its own until `stop`."""

    def __init__(
        self,
        registry: Registry,
        store: ReadingStore,
        ledger: Ledger,
        receipts: Path,
        files: Files = no_files,
        period: float = PERIOD,
        forget_retained: ForgetRetained = no_broker,
        log_lasts: Micros | None = None,
    ) -> None:
        """`receipts` is the folder in which each receipt is written as a file; `log_lasts` how long entries of the
        audit log are kept, None: for good."""
        self._parts = registry, store, ledger
        self._folder = receipts
        self._files = files
        self._forget_retained = forget_retained
        self._period = period
        self._log_lasts = log_lasts
        self._stopping = threading.Event()

    def run(self) -> None:
        """A round soon after the start and every period. "Not now" is tried again the next time."""
        wait = min(FIRST_ROUND, self._period)
        while not self._stopping.wait(wait):
            wait = self._period
            try:
                self.round()
            except (StoreUnavailable, RegistryUnavailable, OSError) as error:
                log.warning("erasing what is due was cut short; the next round goes on", problem=str(error))
            except Exception:  # the supervising loop
                log.exception("erasing what is due failed; the next round tries again")

    def stop(self) -> None:
        self._stopping.set()

    def round(self) -> list[Erasure]:
        """Erase what is due now, write the receipts and say so in the log."""
        registry, store, ledger = self._parts
        forget_keys(registry.database, now())
        forget_jobs(registry.database, now() - JOBS_KEPT)
        if self._log_lasts is not None and (removed := audit_log.trim(registry.database, now() - self._log_lasts)):
            log.info("removed old entries of the audit log", entries=removed)
        if not any(due.at <= now() for due in plan(registry)) and not streams_due(registry, now()):
            return []
        written = run(registry, store, ledger, files=self._files, forget_retained=self._forget_retained)
        for receipt in written:
            file = write_receipt(self._folder, receipt, registry.database)
            log.info("erased what was due", pilot=receipt.pilot, readings=receipt.rows, receipt=str(file))
        return written


def write_receipt(folder: Path, receipt: Erasure, database: Database) -> Path:
    """A signed file of the folder that only the platform's user can read. May raise RegistryUnavailable."""
    folder.mkdir(parents=True, exist_ok=True)
    begun = (_EPOCH + dt.timedelta(microseconds=receipt.begun)).date().isoformat()
    file = folder / f"{receipt.pilot}-{begun}-{receipt.begun}.json"
    file.touch(0o600)
    content = signed(database, msgspec.to_builtins(receipt))
    file.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    return file


def _erase(registry: Registry, store: ReadingStore, ledger: Ledger, due: Due, files: Files) -> Erasure | None:
    database = registry.database
    number, receipt = _begin(database, store, ledger, due, files)
    if not number:
        return None
    store.erase(Selection(pilots=(due.pilot,)))
    erased = {day: tally.erased for day, tally in ledger.tallies(pilot=due.pilot).items()}
    unbooked = {}
    for day in receipt.days:
        key = DeviceDay(due.pilot, day.device, day.day)
        unbooked[key] = day.rows - (erased.get(key, 0) - day.erased_before)
    ledger.book_erased({key: rows for key, rows in unbooked.items() if rows > 0})
    # Once more: what was read before the erasure may have become a file since.
    for file in (*map(Path, receipt.packages), *map(Path, receipt.files), *files(due.pilot)):
        file.unlink(missing_ok=True)
    for package in (*receipt.packages, *receipt.missing):
        for half in Path(package).parent.glob(f"{due.pilot}-????-??-??.zip.*{PART}"):  # of a run that was killed
            half.unlink(missing_ok=True)
    done = msgspec.structs.replace(receipt, done=now(), device_days=len(receipt.days), days=[])
    definition = registry.pilot(due.pilot)
    with database.writing() as transaction:
        lock(transaction)
        _erase_rows(transaction, definition)
        transaction.execute(_FINISH, {"id": number, "content": msgspec.json.encode(done).decode()})
        audit_log.forget_pilot(transaction, due.pilot)
        erased_entry = Entry(kind="erased", who=PLATFORM, at=done.done or now(), what="retention", pilot=due.pilot)
        audit_log.append(transaction, [erased_entry])
    return done


def _begin(database: Database, store: ReadingStore, ledger: Ledger, due: Due, files: Files) -> tuple[int, Erasure]:
    """The receipt that a run before this one began, or a new one, durable before anything is erased."""
    with database.reading() as transaction:
        of_pilot = {"pilot": due.pilot}
        if (row := transaction.execute(_BEGUN, of_pilot).first()) is not None:
            return int(row.id), msgspec.json.decode(row.content, type=Erasure)
        packages = [path for (path,) in transaction.execute(_PACKAGES, of_pilot)]
        counts = {
            table: transaction.execute(f"SELECT count(*) FROM {table} WHERE pilot = :pilot", of_pilot).scalar_one()  # noqa: S608
            for table in ERASED
        }
        entries = sum(counts[messages] for messages in _MESSAGES)
    counted = count_rows(store, Selection(pilots=(due.pilot,)))
    erased = {day: tally.erased for day, tally in ledger.tallies(pilot=due.pilot).items()}
    days = [Day(day.device, day.day, rows, erased.get(day, 0)) for day, rows in sorted(counted.items())]
    receipt = Erasure(
        pilot=due.pilot,
        due=due.at,
        begun=now(),
        rows=sum(counted.values()),
        entries=entries,
        packages=[path for path in packages if Path(path).is_file()],
        missing=[path for path in packages if not Path(path).is_file()],
        files=[str(path) for path in files(due.pilot)],
        days=days,
    )
    if receipt.empty and not any(counts.values()):
        return 0, receipt
    with database.writing() as transaction:
        lock(transaction)
        content = msgspec.json.encode(receipt).decode()
        row = transaction.execute(_BEGIN, {**of_pilot, "content": content, "at": receipt.begun}).one()
    return int(row.id), receipt


def _erase_rows(transaction: Transaction, definition: PilotDefinition) -> None:
    """What ERASED and REWRITTEN say, but for the receipt."""
    pilot, described = definition.id, {device.id for device in definition.devices}
    of_pilot = {"pilot": pilot}
    devices = {
        device
        for table in ("ledger", "ignored_parts", "seen_streams", "quarantine", "device_events")
        for (device,) in transaction.execute(f"SELECT DISTINCT device FROM {table} WHERE pilot = :pilot", of_pilot)  # noqa: S608
    }
    for table in ERASED:
        transaction.execute(f"DELETE FROM {table} WHERE pilot = :pilot", of_pilot)  # noqa: S608
    forget_devices(transaction, {(pilot, device) for device in devices})
    add_up_devices(transaction, pilot, sorted(devices - described - {UNNAMED}), UNNAMED)
    forget_streams(transaction, pilot, lambda device: device not in described)
    events.erase_said_by_devices(transaction, pilot)
    entity_ids.erase_names(transaction, definition)
    announced_writes.forget(transaction)


def _forget_names(database: Database) -> None:
    """Take device names out of receipts that an earlier version wrote."""
    with database.reading() as transaction:
        rows = transaction.execute("SELECT id, content FROM erasures WHERE state = 'done'").all()
    stripped = []
    for number, content in rows:
        receipt = msgspec.json.decode(content, type=Erasure)
        if receipt.days:
            receipt = msgspec.structs.replace(receipt, device_days=len(receipt.days), days=[])
            stripped.append({"id": number, "content": msgspec.json.encode(receipt).decode()})
    if stripped:
        with database.writing() as transaction:
            transaction.execute(_STRIP, stripped)
        database.rewrite(("erasures",))
