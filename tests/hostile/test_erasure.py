"""After an erasure nothing of the pilot's devices is left, in any table and in any byte of the files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from techport_pilots.accounting.audit import audit
from techport_pilots.accounting.commit_log import CommitLog, CommitSpan
from techport_pilots.accounting.ledger import UNKNOWN, DeviceDay, Ledger, ignored_by_rule
from techport_pilots.accounting.message_tap import MessageTap, Outcome, TappedMessage
from techport_pilots.accounting.quarantine import KEPT_WITHOUT_PILOT, Quarantine
from techport_pilots.accounting.rejection import Rejection
from techport_pilots.accounting.tally import BatchAnnotations, BookedEvent, QuarantineEntry, Tally, day_of
from techport_pilots.alerts.conditions import Condition
from techport_pilots.alerts.log import AlertLog
from techport_pilots.errors import BadPackage
from techport_pilots.handover import receipts, retention
from techport_pilots.handover.partial_erasure import Part, _concerns, count_part, erase_part, find_reference
from techport_pilots.handover.references import Reference
from techport_pilots.registry import erasures, lifecycle
from techport_pilots.registry.registry import Registry
from techport_pilots.registry.tables import metadata
from techport_storage.clock import now
from techport_storage.microseconds import DAY, HOUR, SECOND
from techport_storage.model import Batch, Reading
from techport_storage.store import ReadingStore, open_store
from tests.pilots import trial
from tests.pilots.conftest import influxd, platform, postgres
from tests.pilots.test_alert_log import Plain
from tests.pilots.trial import Parts

__all__ = ["influxd", "platform", "postgres"]

CANARY = "kanari"
MACS = [f"{CANARY}-a4c138{number:06x}" for number in range(400)]
YEARS = 3 * 366 * DAY


def test_every_table_is_erased_or_says_why_not() -> None:
    rules = [retention.ERASED, retention.REWRITTEN, retention.KEPT]
    named = [table for tables in rules for table in tables]
    assert sorted(named) == sorted(metadata.tables), "a new table needs a rule in retention.py"
    for table in retention.ERASED:
        assert "pilot" in metadata.tables[table].columns
    for table, reason in retention.KEPT.items():
        assert reason
        may_hold = {"device", "topic", "payload"} & set(metadata.tables[table].columns.keys())
        assert not may_hold or table == "intents"


def fill(registry: Registry, store: ReadingStore, ledger: Ledger, pilot: str, names: Sequence[str] = MACS) -> None:
    """Devices that no definition names, with everything that the platform keeps of one."""
    at = now()
    for part in range(4):
        macs = names[part::4]
        tallies, entries, seen = {}, [], []
        for mac in macs:
            entry = QuarantineEntry(
                pilot=pilot,
                device=mac,
                topic=f"pilots/{pilot}/{mac}",
                payload=mac.encode(),
                received=at,
                rejection=Rejection("not-json"),
            )
            entries.append(entry)
            tallies[DeviceDay(pilot, mac, day_of(at))] = Tally(received=3, stored=1, quarantined=1, ignored=1)
            seen.append(BookedEvent(pilot, mac, at, "button", f"pressed by {mac}"))
        ledger.open_batch("test", tallies)
        store.write(Batch.of([Reading(pilot, mac, "pm10", at, 1.0, 0) for mac in macs]))
        annotations = BatchAnnotations(events=seen, ignored={(day, "status"): 1 for day in tallies})
        ledger.close_batch("test", tallies, entries, annotations)
        tap = MessageTap(registry.database)
        tap.watch(pilot, macs[0])
        tap.record(
            TappedMessage(
                pilot=pilot,
                device=mac,
                topic=mac,
                payload=mac.encode(),
                received=at,
                worker="w",
                committed=at,
                outcome=Outcome(),
            )
            for mac in macs
        )
        CommitLog(registry.database).note([CommitSpan("w", at, at, at, [(pilot, macs[0]), (pilot, macs[1])])])
    with registry.database.writing() as transaction:
        rows = [{"pilot": pilot, "device": mac, "quantity": f"pm10.{mac}", "at": at} for mac in names]
        transaction.execute("INSERT INTO seen_streams VALUES (:pilot, :device, :quantity, :at)", rows)
    alerts = AlertLog(registry.database)
    alerts.add_recipient(pilot, "team@example.org", "en", "test")
    alerts.add_silence(pilot, "limit", f"{names[1]} pm10 above 5", (at, None), f"{names[1]} is being mended", "test")
    offline = [
        Condition(pilot=pilot, rule="device-offline", subject=mac, params={"device": mac, "age": DAY}) for mac in names
    ]
    alerts.update(offline, {pilot}, Plain())


def end(registry: Registry, pilot: str) -> None:
    for step in ("running", "ended"):
        lifecycle.transition(registry.database, registry.pilot(pilot), step, "test")


@pytest.mark.parametrize("while_running", [True, False])
def test_no_byte_of_the_data_folder_names_an_erased_device(tmp_path: Path, while_running: bool) -> None:
    registry = Registry.open(f"sqlite:///{tmp_path / 'registry.sqlite'}")
    store = open_store(f"duckdb:///{tmp_path / 'readings.duckdb'}")
    ledger = Ledger(registry.database)
    registry.import_pilot(msgspec.structs.replace(trial.definition(), id="elgeseter"), trial.YAML, "test")
    fill(registry, store, ledger, "elgeseter")
    before = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert before.count(CANARY.encode()) > len(MACS), "the test would notice"
    end(registry, "elgeseter")
    (receipt,) = retention.run(registry, store, ledger, now() + YEARS)
    assert receipt.device_days == receipt.rows == len(MACS)
    assert CANARY not in msgspec.json.encode(receipt).decode()
    assert audit(ledger, store).ok
    assert sum(tally.stored for tally in ledger.tallies().values()) == len(MACS), "the sums stay"
    if not while_running:
        store.close()
        registry.close()
    left = {path.name for path in tmp_path.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()}
    assert left == set()
    if while_running:
        store.close()
        registry.close()


@pytest.mark.parametrize("kind", ["laptop", "servers"])
def test_no_row_names_an_erased_device(kind: str, platform: Callable[[str], Parts]) -> None:
    registry, store, ledger = platform(kind)
    for pilot in ("elgeseter", "other"):
        registry.import_pilot(msgspec.structs.replace(trial.definition(), id=pilot), trial.YAML, "test")
    fill(registry, store, ledger, "elgeseter")
    end(registry, "elgeseter")
    assert len(retention.run(registry, store, ledger, now() + YEARS)) == 1
    with registry.database.reading() as transaction:
        for table in metadata.tables:
            rows = transaction.execute(f"SELECT * FROM {table}").all()
            assert CANARY not in repr(rows), table
        assert not transaction.execute("SELECT id FROM commit_spans WHERE marks IS NOT NULL").all()
    assert audit(ledger, store).ok


def test_a_receipt_of_an_earlier_version_loses_its_device_names(tmp_path: Path) -> None:
    registry = Registry.open(f"sqlite:///{tmp_path / 'registry.sqlite'}")
    old = erasures.Erasure(pilot="a", due=1, begun=1, done=2, rows=3, days=[erasures.Day(MACS[0], 1, 3, 0)])
    with registry.database.writing() as transaction:
        content = msgspec.json.encode(old).decode()
        transaction.execute(
            "INSERT INTO erasures (pilot, state, content, at) VALUES ('a', 'done', :content, 1)", {"content": content}
        )
    store = open_store("duckdb://")
    retention.run(registry, store, Ledger(registry.database), now())
    (receipt,) = erasures.receipts(registry.database)
    assert (receipt.rows, receipt.device_days, receipt.days) == (3, 1, [])
    assert not [path for path in tmp_path.iterdir() if CANARY.encode() in path.read_bytes()]
    store.close()
    registry.close()


def test_quarantine_of_a_pilot_that_there_is_not_expires(tmp_path: Path) -> None:
    registry = Registry.open(f"sqlite:///{tmp_path / 'registry.sqlite'}")
    registry.import_pilot(msgspec.structs.replace(trial.definition(), id="elgeseter"), trial.YAML, "test")
    ledger, at = Ledger(registry.database), now()
    old, fresh = at - KEPT_WITHOUT_PILOT - SECOND, at
    entries = [
        QuarantineEntry(
            pilot=pilot, device="x", topic="t", payload=b"x", received=received, rejection=Rejection("not-json")
        )
        for pilot in ("elgeseter", "elgesetter")
        for received in (old, fresh)
    ]
    ledger.close_batch("w", {entry.device_day: Tally(received=1, quarantined=1) for entry in entries}, entries)
    assert Quarantine(registry.database).expire_without_pilot(at - KEPT_WITHOUT_PILOT) == 1
    left = Quarantine(registry.database).entries().items
    assert sorted((entry.pilot, entry.received) for entry in left) == [
        ("elgeseter", old),
        ("elgeseter", fresh),
        ("elgesetter", fresh),
    ]
    registry.close()


def test_sums_of_pilots_that_there_are_not_lose_their_names(tmp_path: Path) -> None:
    registry = Registry.open(f"sqlite:///{tmp_path / 'registry.sqlite'}")
    registry.import_pilot(msgspec.structs.replace(trial.definition(), id="elgeseter"), trial.YAML, "test")
    ledger, today = Ledger(registry.database), day_of(now())
    refused = Tally(messages=1, received=2, quarantined=1, ignored=1)
    stored = Tally(messages=1, received=1, stored=1)
    tallies = {
        DeviceDay(pilot, device, day): tally
        for pilot, device, day, tally in [
            ("elgesetter", MACS[0], today - 100, refused),
            ("elgesetter", MACS[1], today - 100, refused),
            ("nowhere", MACS[2], today - 100, refused),
            ("nowhere", "fresh", today, refused),
            ("elgeseter", "described", today - 100, refused),
            ("lender", "of-a-package", today - 100, stored),
        ]
    }
    ignored = {(day, "status"): 1 for day, tally in tallies.items() if tally.ignored}
    ledger.close_batch("w", tallies, [], BatchAnnotations(ignored=ignored))
    assert ledger.add_up_without_pilot(today - 90) == 3
    assert ledger.add_up_without_pilot(today - 90) == 0
    left = ledger.tallies()
    assert {key.device for key in left} == {UNKNOWN, "fresh", "described", "of-a-package"}
    total = left[DeviceDay(UNKNOWN, UNKNOWN, today - 100)]
    assert (total.messages, total.received, total.quarantined, total.ignored) == (3, 6, 3, 3)
    assert list(ignored_by_rule(registry.database, UNKNOWN, UNKNOWN).values()) == [3]
    registry.close()


def test_a_device_is_erased_while_its_pilot_goes_on(tmp_path: Path) -> None:
    registry = Registry.open(f"sqlite:///{tmp_path / 'registry.sqlite'}")
    store = open_store(f"duckdb:///{tmp_path / 'readings.duckdb'}")
    ledger = Ledger(registry.database)
    registry.import_pilot(msgspec.structs.replace(trial.definition(), id="elgeseter"), trial.YAML, "test")
    fill(registry, store, ledger, "elgeseter")
    with pytest.raises(ValueError, match="name a device"):
        count_part(registry, store, ledger, Part(pilot="elgeseter"))
    part = Part(pilot="elgeseter", device=MACS[0])
    counted = count_part(registry, store, ledger, part)
    (receipt,) = erase_part(registry, store, ledger, part)
    assert (counted.rows, receipt.rows, receipt.device_days) == (1, 1, 1)
    assert counted.entries == receipt.entries == 6  # quarantine, tap, event, stream, watch, alert
    assert audit(ledger, store).ok
    left = [path.name for path in tmp_path.iterdir() if MACS[0].encode() in path.read_bytes()]
    assert left == []
    assert MACS[1].encode() in (tmp_path / "registry.sqlite").read_bytes(), "others stay"
    assert count_part(registry, store, ledger, part).empty
    store.close()
    registry.close()


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("AC:23:3F:A4", "pilots/x/ac233fa4c138/readings"),
        ("ac233fa4c138", b'{"mac": "AC:23:3F:A4:C1:38"}'),
        ("AC-23-3F-A4-C1-38", b"\x00\xac\x23\x3f\xa4\xc1\x38\x01"),
        ("K\u00e5re Nordmann", b'{"who": "K\\u00e5re Nordmann"}'),
        ("k\u00e5re nordmann", "K\u00c5RE NORDMANN".encode()),
        ("Ola N.", '{"who": "ola n."}'),
    ],
)
def test_a_reference_is_found_however_a_message_spells_it(text: str, held: str | bytes) -> None:
    assert Reference(text).is_in(held)
    assert not Reference(text).is_in(b"\xff\x00something else")


@pytest.mark.parametrize("kind", ["laptop", "servers"])
def test_what_a_reference_occurs_in_is_erased_and_the_rest_stays(kind: str, platform: Callable[[str], Parts]) -> None:
    registry, store, ledger = platform(kind)
    registry.import_pilot(msgspec.structs.replace(trial.definition(), id="elgeseter"), trial.YAML, "test")
    fill(registry, store, ledger, "elgeseter")
    with pytest.raises(ValueError, match="at least"):
        count_part(registry, store, ledger, Part(pilot="elgeseter", reference=" ab "))
    part = Part(pilot="elgeseter", reference=MACS[0].upper())
    counted = count_part(registry, store, ledger, part)
    asked: list[tuple[str, ...]] = []

    def forget_retained(filters: Sequence[str], belongs: Callable[[str, bytes], bool]) -> int:
        asked.append(tuple(filters))
        assert belongs(f"pilots/elgeseter/{MACS[0]}/status", b"")
        assert belongs("pilots/elgeseter/kirka/status", MACS[0].encode())
        assert not belongs("pilots/elgeseter/kirka/status", b"online")
        assert not belongs("pilots/other/kirka/status", b"online")
        return 1

    (receipt,) = erase_part(registry, store, ledger, part, forget_retained=forget_retained)
    assert asked == [("pilots/elgeseter/#",)]
    assert (counted.rows, receipt.rows, receipt.entries) == (1, 1, counted.entries)
    assert count_part(registry, store, ledger, part).empty
    assert audit(ledger, store).ok
    with registry.database.reading() as transaction:
        for table in metadata.tables:
            rows = repr(transaction.execute(f"SELECT * FROM {table}").all())
            assert MACS[0] not in rows, table
            if table in ("quarantine", "watched_messages", "device_events", "seen_streams", "ledger"):
                assert MACS[1] in rows, f"{table}: others stay"


@pytest.mark.parametrize("kind", ["laptop", "servers"])
def test_a_period_is_erased_and_an_interrupted_one_finished(
    kind: str, platform: Callable[[str], Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, store, ledger = platform(kind)
    registry.import_pilot(msgspec.structs.replace(trial.definition(), id="elgeseter"), trial.YAML, "test")
    first = now() // DAY * DAY - 3 * DAY
    readings = [Reading("elgeseter", "kirka", "pm10", first + hour * HOUR, 1.0, 0) for hour in range(72)]
    tallies: dict[DeviceDay, Tally] = {}
    for one in readings:
        tallies.setdefault(DeviceDay("elgeseter", "kirka", day_of(one.time)), Tally()).add(Tally(received=1, stored=1))
    ledger.open_batch("test", tallies)
    store.write(Batch.of(readings))
    ledger.close_batch("test", tallies)
    start, end = first + 12 * HOUR, first + 36 * HOUR
    with monkeypatch.context() as killed:
        killed.setattr(ledger, "book_erased", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            erase_part(registry, store, ledger, Part(pilot="elgeseter", start=start, end=end))
    assert not audit(ledger, store).ok
    first_receipt, receipt = erase_part(
        registry, store, ledger, Part(pilot="elgeseter", device="kirka", start=end, end=end + HOUR)
    )
    assert (first_receipt.rows, receipt.rows) == (24, 1)
    assert audit(ledger, store).ok
    assert sum(tally.erased for tally in ledger.tallies().values()) == 25
    assert len(erasures.receipts(registry.database)) == 2


@pytest.mark.parametrize(
    ("about", "names"),
    [
        ("device=kran 1", True),
        ("what=rotate device=kran 1", True),
        ("device=port,kran 1,kai quantity=pm10", True),
        ("device=kran 1 username=air/kran%201~2", True),
        ("what=revoke username=air/kran%201~2", True),
        ("device=kran 12", False),
        ("device=kran", False),
        ("device=port kran 1", False),
        ("share=kran 1", False),
        ("username=air/kran%2012", False),
    ],
)
def test_an_entry_of_the_audit_log_names_a_device_or_one_that_is_called_alike(about: str, names: bool) -> None:
    assert _concerns(Part(pilot="air", device="kran 1"), None, about) is names


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ({"device": "kirka"}, {"target-met target"}),
        ({"start": DAY}, set()),
        ({"end": DAY}, {"device-offline kirka", "limit kirka pm10 above 5", "target-met target"}),
        ({"reference": "kirka"}, {"target-met target"}),
        ({"reference": "target"}, {"device-offline kirka", "limit kirka pm10 above 5"}),
    ],
)
def test_alerts_go_with_what_they_are_about(tmp_path: Path, limits: dict[str, Any], left: set[str]) -> None:
    registry = Registry.open(f"sqlite:///{tmp_path / 'registry.sqlite'}")
    store, alerts = open_store("duckdb://"), AlertLog(registry.database)
    registry.import_pilot(msgspec.structs.replace(trial.definition(), id="elgeseter"), trial.YAML, "test")
    measured = {
        "case": "above",
        "device": "kirka",
        "quantity": {"en": "PM10"},
        "value": 9.0,
        "limit": 5,
        "unit": "µg/m³",
    }
    conditions = [
        Condition(pilot="elgeseter", rule="device-offline", subject="kirka", params={"device": "kirka", "age": DAY}),
        Condition(pilot="elgeseter", rule="limit", subject="kirka pm10 above 5", params=measured),
        Condition(pilot="elgeseter", rule="target-met", subject="target", params={"kpi": {"en": "Dust"}}),
    ]
    alerts.update(conditions, {"elgeseter"}, Plain())
    alerts.add_silence("elgeseter", "device-offline", "kirka", (0, None), "", "test")
    erase_part(registry, store, Ledger(registry.database), Part(pilot="elgeseter", **limits))
    assert {f"{alert.rule} {alert.subject}" for alert in alerts.open("elgeseter")} == left
    assert (alerts.silences("elgeseter") == []) is (limits in ({"device": "kirka"}, {"reference": "kirka"}))
    store.close()
    registry.close()


def test_whoever_asks_gets_what_would_be_erased_and_a_receipt_that_proves_it(tmp_path: Path) -> None:
    registry = Registry.open(f"sqlite:///{tmp_path / 'registry.sqlite'}")
    store, ledger = open_store("duckdb://"), Ledger(registry.database)
    registry.import_pilot(msgspec.structs.replace(trial.definition(), id="elgeseter"), trial.YAML, "test")
    fill(registry, store, ledger, "elgeseter", MACS[:8])
    part = Part(pilot="elgeseter", reference=MACS[0])
    counted = count_part(registry, store, ledger, part)
    rows = list(find_reference(registry, store, "elgeseter", MACS[0]))
    assert sum(row["found_in"] == "readings" for row in rows) == counted.rows > 0
    assert sum(row["found_in"] != "readings" for row in rows) == counted.entries > 0
    assert all(MACS[0] in msgspec.json.encode(row).decode().lower() for row in rows)
    assert not any(MACS[1] in msgspec.json.encode(row).decode() for row in rows)
    with pytest.raises(ValueError, match="at least"):
        list(find_reference(registry, store, "elgeseter", "ab"))
    (receipt,) = erase_part(registry, store, ledger, part)
    assert list(find_reference(registry, store, "elgeseter", MACS[0])) == []
    file = retention.write_receipt(tmp_path / "receipts", receipt, registry.database)
    document = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    assert receipts.origin(registry.database, document) == "this-platform"
    assert receipts.origin(registry.database, {**document, "signature": ""}) == "unsigned"
    with pytest.raises(BadPackage):
        receipts.origin(registry.database, {**document, "rows": 0})
    store.close()
    registry.close()
