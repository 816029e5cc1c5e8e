"""Streams with a retention of their own: what is older goes, day by day, and everything else stays."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from techport_pilots.accounting.audit import audit
from techport_pilots.accounting.corrections import note
from techport_pilots.accounting.quarantine import Quarantine, QuarantineFilter
from techport_pilots.accounting.rejection import Rejection
from techport_pilots.accounting.tally import Correction, DeviceDay, QuarantineEntry, Tally, day_of
from techport_pilots.definition.load import parse_definition
from techport_pilots.errors import DefinitionError
from techport_pilots.handover import retention
from techport_pilots.handover.broker_messages import Belongs
from techport_pilots.handover.partial_erasure import Part, erase_part
from techport_pilots.handover.receipts import origin
from techport_pilots.model import DeviceDefinition, PilotDefinition, StreamDefinition
from techport_pilots.registry import erasures
from techport_pilots.registry.tables import metadata
from techport_pilots.time import Duration, micros_of
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import Batch, Query, Reading, Selection
from tests.pilots import trial
from tests.pilots.trial import Parts

FIRST = trial.START // DAY * DAY
"""The first day of the readings, at midnight."""
DAYS = 10
CAMERA = "camera"


def definition() -> PilotDefinition:
    counts, air = StreamDefinition("pm10", retention="P5D"), StreamDefinition("pm25")
    streams = DeviceDefinition(CAMERA, streams=[counts, air])
    return msgspec.structs.replace(trial.definition(), id="elgeseter", devices=[streams], kpis=[], events=[])


@pytest.fixture
def parts(platform: Callable[[str], Parts], request: pytest.FixtureRequest) -> Parts:
    """Ten days of two streams of one device, a reading every six hours, of which every fourth is flagged; a message in
    quarantine every day."""
    registry, store, ledger = platform(getattr(request, "param", "laptop"))
    registry.import_pilot(definition(), trial.YAML, "test")
    readings = [
        Reading("elgeseter", CAMERA, quantity, FIRST + number * 6 * HOUR, 1.0, 0, 2 if number % 4 == 0 else 0)
        for quantity in ("pm10", "pm25")
        for number in range(DAYS * 4)
    ]
    tallies: dict[DeviceDay, Tally] = {}
    for one in readings:
        tallies.setdefault(DeviceDay("elgeseter", CAMERA, day_of(one.time)), Tally()).add(Tally(received=1, stored=1))
    aside = [
        QuarantineEntry(
            pilot="elgeseter",
            device=CAMERA,
            topic="t",
            payload=b"x",
            received=FIRST + day * DAY,
            rejection=Rejection("not-json"),
        )
        for day in range(DAYS)
    ]
    for entry in aside:
        tallies.setdefault(entry.device_day, Tally()).add(Tally(received=1, quarantined=1))
    ledger.open_batch("test", tallies)
    store.write(Batch.of(readings))
    ledger.close_batch("test", tallies, aside)
    return registry, store, ledger


def left(parts: Parts, quantity: str) -> list[int]:
    """Days since the first of the readings that are left."""
    select = Selection(quantities=(quantity,))
    with parts[1].read(Query(select=select)) as reader:
        times = pa.Table.from_batches(reader, reader.schema)["time"].cast(pa.int64()).to_pylist()
    return [(time - FIRST) // DAY for time in times]


def waiting(parts: Parts) -> int:
    return len(Quarantine(parts[0].database).entries(QuarantineFilter(pilot="elgeseter")).items)


@pytest.mark.parametrize("parts", ["laptop", "servers"], indirect=True)
def test_what_is_older_goes_day_by_day_and_the_receipt_grows(parts: Parts) -> None:
    registry, store, ledger = parts
    assert retention.run(registry, store, ledger, FIRST + 6 * DAY - 1) == []
    (first,) = retention.run(registry, store, ledger, FIRST + 6 * DAY)
    assert first.streams == [erasures.StreamErasure(CAMERA, "pm10", FIRST + DAY, 4)]
    before = erasures.erasures_done(registry.database, "elgeseter")
    noon = FIRST + 8 * DAY + 12 * HOUR
    (receipt,) = retention.run(registry, store, ledger, noon)
    assert left(parts, "pm10") == [day for day in range(3, DAYS) for _ in range(4)]
    assert left(parts, "pm25") == [day for day in range(DAYS) for _ in range(4)]
    assert waiting(parts) == DAYS - 3
    assert receipt.streams == [erasures.StreamErasure(CAMERA, "pm10", FIRST + 3 * DAY, 12)]
    assert (receipt.rows, receipt.entries, receipt.partial) == (12, 3, True)
    assert erasures.receipts(registry.database) == [receipt], "one receipt, which has grown"
    assert erasures.erasures_done(registry.database, "elgeseter") > before, "what was made of readings is made anew"
    assert audit(ledger, store).ok
    assert sum(tally.erased for tally in ledger.tallies().values()) == 12

    assert retention.run(registry, store, ledger, noon + 11 * HOUR) == [], "the same day"
    (last,) = retention.run(registry, store, ledger, FIRST + 100 * DAY)
    assert (last.rows, last.begun) == (DAYS * 4, first.begun)
    assert left(parts, "pm10") == []
    assert len(left(parts, "pm25")) == DAYS * 4
    assert audit(ledger, store).ok
    assert retention.run(registry, store, ledger, FIRST + 200 * DAY) == [], "nothing is left"


def test_corrections_go_with_their_stream(parts: Parts) -> None:
    registry, store, ledger = parts
    with registry.database.writing() as transaction:
        note(transaction, [Correction("elgeseter", CAMERA, q, FIRST, 1.0, 2.0, FIRST) for q in ("pm10", "pm25")])
    retention.run(registry, store, ledger, FIRST + 8 * DAY)
    with registry.database.reading() as transaction:
        assert transaction.execute("SELECT quantity FROM corrections").scalars().all() == ["pm25"]


def test_what_was_interrupted_is_finished_and_counted_once(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, store, ledger = parts
    with monkeypatch.context() as killed:
        killed.setattr(ledger, "book_erased", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            retention.run(registry, store, ledger, FIRST + 8 * DAY)
    assert not audit(ledger, store).ok
    (receipt,) = retention.run(registry, store, ledger, FIRST + 8 * DAY)
    assert receipt.rows == 12
    assert audit(ledger, store).ok


def test_packages_and_frozen_answers_go_where_they_hold_what_was_erased(parts: Parts, tmp_path: Path) -> None:
    registry, store, ledger = parts
    package = tmp_path / "elgeseter.zip"
    package.touch()
    made = {"pilot": "elgeseter", "path": str(package), "at": FIRST}
    with registry.database.writing() as transaction:
        columns = {column.name: "" for column in metadata.tables["pilot_packages"].columns} | {"rows": 0}
        row = {name: made.get(name, value) for name, value in columns.items()}
        names = ", ".join(f'"{name}"' for name in row)
        values = ", ".join(f":{name}" for name in row)
        transaction.execute(f"INSERT INTO pilot_packages ({names}) VALUES ({values})", row)

    def frozen(name: str, **columns: list[object]) -> Path:
        file = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table(columns), file)
        file.with_suffix(".json").touch()
        return file

    old, new = (pa.scalar(FIRST + day * DAY, pa.timestamp("us", "UTC")).as_py() for day in (0, 4))
    held = [
        frozen("old", device=[CAMERA], quantity=["pm10"], time=[old]),
        frozen("groups", group=["street"], mean=[1.0]),
    ]
    stay = [
        frozen("new", device=[CAMERA], quantity=["pm10"], time=[new]),
        frozen("other", device=[CAMERA], quantity=["pm25"], time=[old]),
    ]

    def files(_pilot: str) -> list[Path]:
        return [path for file in (*held, *stay) for path in (file, file.with_suffix(".json"))]

    (receipt,) = retention.run(registry, store, ledger, FIRST + 8 * DAY, files=files)
    assert not package.exists()
    assert receipt.packages == [str(package)]
    assert [file for file in files("") if file.exists()] == [
        path for file in stay for path in (file, file.with_suffix(".json"))
    ]


def test_a_process_that_stays_does_it_and_signs_one_file(parts: Parts, tmp_path: Path) -> None:
    registry, store, ledger = parts
    rounds = retention.RetentionPass(registry, store, ledger, tmp_path / "receipts")
    (receipt,) = rounds.round()
    assert left(parts, "pm10") == []
    assert rounds.round() == []
    (file,) = (tmp_path / "receipts").iterdir()
    document = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    assert document["streams"][0]["rows"] == receipt.rows == DAYS * 4
    assert origin(registry.database, document) == "this-platform"


def test_a_device_that_is_erased_leaves_the_receipt(parts: Parts) -> None:
    registry, store, ledger = parts
    retention.run(registry, store, ledger, FIRST + 8 * DAY)
    erase_part(registry, store, ledger, Part(pilot="elgeseter", device=CAMERA))
    grown, _ = erasures.receipts(registry.database)
    assert (grown.rows, grown.streams) == (12, [])
    assert audit(ledger, store).ok


def test_retained_messages_go_once_nothing_of_the_device_is_left(parts: Parts) -> None:
    registry, store, ledger = parts
    only = msgspec.structs.replace(
        definition(), devices=[DeviceDefinition(CAMERA, streams=[StreamDefinition("pm10", retention="P5D")])]
    )
    asked: list[bool] = []

    def forget_retained(_filters: Sequence[str], belongs: Belongs) -> int:
        asked.append(belongs(f"pilots/elgeseter/{CAMERA}/readings", b""))
        return 0

    retention.run(registry, store, ledger, FIRST + 100 * DAY, forget_retained=forget_retained)
    assert asked == [], "the other stream's stay"
    registry.import_pilot(only, trial.YAML, "test")
    store.write(Batch.of([Reading("elgeseter", CAMERA, "pm10", FIRST, 1.0, 0)]))
    store.erase(Selection(quantities=("pm25",)))
    retention.run(registry, store, ledger, FIRST + 101 * DAY, forget_retained=forget_retained)
    assert asked == [True]


@pytest.mark.parametrize(("retention_of_stream", "refused"), [("P59D", True), ("P60D", False), ("P2M", False)])
def test_a_kpi_needs_what_it_compares(retention_of_stream: str, refused: bool) -> None:
    text = trial.YAML.replace("[{quantity: pm10}, {", f"[{{quantity: pm10, retention: {retention_of_stream}}}, {{")
    if not refused:
        parse_definition(text)
        return
    with pytest.raises(DefinitionError) as caught:
        parse_definition(text)
    (finding,) = caught.value.findings
    assert finding.field == "devices[0].streams[0].retention"
    assert "needs readings that are erased after P59D" in str(finding)


def test_a_month_before_the_end_of_march_is_the_end_of_february() -> None:
    def at(text: str) -> int:
        return micros_of(dt.datetime.fromisoformat(text), "UTC")

    assert erasures.erased_until(Duration(1, 0), at("2026-03-31T15:00:00Z")) == at("2026-02-28T00:00:00Z")
    assert erasures.erased_until(Duration(12, DAY), at("2026-01-01T00:00:00Z")) == at("2024-12-31T00:00:00Z")
