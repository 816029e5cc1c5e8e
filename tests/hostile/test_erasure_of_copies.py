"""What is made of readings while they are erased, or was left half made by a process that was killed, goes too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from techport.platform import files_of_pilots
from techport.settings import Settings, load_settings
from techport_dashboards.services import reports
from techport_dashboards.services.snapshots import Snapshot, SnapshotStore, Unfinished
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.handover import retention
from techport_pilots.handover.partial_erasure import Part, erase_part
from techport_pilots.registry import lifecycle
from techport_pilots.registry.registry import Registry
from techport_storage.clock import now
from techport_storage.store import ReadingStore, open_store
from tests.hostile.test_erasure import CANARY, MACS, YEARS, end, fill
from tests.pilots import trial

Parts = tuple[Registry, ReadingStore, Ledger, Settings]
DESCRIPTION = Snapshot(
    id="",
    created="2026-11-30T12:00:00Z",
    pilots=["elgeseter"],
    question={},
    start=None,
    end=None,
    every=None,
    zone="UTC",
    rows=1,
    bytes=1,
    sha256="",
    licences=[],
    attribution=[],
    titles=[],
)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    settings = load_settings({"data": tmp_path})
    registry, store = Registry.open(f"sqlite:///{tmp_path / 'registry.sqlite'}"), open_store("duckdb://")
    registry.import_pilot(msgspec.structs.replace(trial.definition(), id="elgeseter"), trial.YAML, "test")
    ledger = Ledger(registry.database)
    fill(registry, store, ledger, "elgeseter", MACS[:8])
    yield registry, store, ledger, settings
    store.close()
    registry.close()


def _holding(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()}


def _erase_whole(parts: Parts, meanwhile: Callable[[], object] = lambda: None) -> None:
    registry, store, ledger, settings = parts
    end(registry, "elgeseter")
    listed = files_of_pilots(settings)

    def files(pilot: str) -> Sequence[Path]:
        paths = listed(pilot)
        meanwhile()
        return paths

    assert len(retention.run(registry, store, ledger, now() + YEARS, files=files)) == 1


def _erase_device(parts: Parts, meanwhile: Callable[[], object] = lambda: None) -> None:
    registry, store, ledger, settings = parts

    def while_erasing(*_: object) -> int:
        meanwhile()
        return 0

    part = Part(pilot="elgeseter", device=MACS[0])
    erase_part(registry, store, ledger, part, files_of_pilots(settings), while_erasing)


@pytest.mark.parametrize("erase", [_erase_whole, _erase_device])
def test_what_a_killed_process_left_half_made_goes(parts: Parts, erase: Callable[[Parts], None]) -> None:
    settings = parts[3]
    photos = settings.photos_folder / "elgeseter"
    for folder, name in ((settings.snapshots_folder, "tmp1.part"), (settings.snapshots_folder, f"{'0' * 24}.parquet")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(CANARY)
    photos.mkdir(parents=True)
    (photos / "tmp2.part").write_text(CANARY)
    erase(parts)
    assert _holding(settings.snapshots_folder) | _holding(photos) == set()


@pytest.mark.parametrize("erase", [_erase_whole, _erase_device])
def test_a_snapshot_that_was_finished_meanwhile_goes(
    parts: Parts, erase: Callable[[Parts, Callable[[], object]], None]
) -> None:
    snapshots = SnapshotStore(parts[3].snapshots_folder)
    made: list[str] = []

    def freeze() -> None:
        if not made:
            snapshot_id, _, _ = snapshots.write([CANARY.encode()])
            snapshots.describe(msgspec.structs.replace(DESCRIPTION, id=snapshot_id))
            made.append(snapshot_id)

    erase(parts, freeze)
    assert made
    assert snapshots.all() == []
    assert _holding(parts[3].snapshots_folder) == set()


@pytest.mark.parametrize("erase", [_erase_whole, _erase_device])
def test_a_snapshot_that_is_being_written_is_given_up(parts: Parts, erase: Callable[[Parts], None]) -> None:
    snapshots = SnapshotStore(parts[3].snapshots_folder)

    def pieces() -> Iterator[bytes]:
        yield CANARY.encode()
        erase(parts)
        yield b"the rest"

    with pytest.raises(Unfinished):
        snapshots.write(pieces())
    snapshot_id, _, _ = snapshots.write([CANARY.encode()])
    snapshots.path(snapshot_id).unlink()
    with pytest.raises(Unfinished):
        snapshots.describe(msgspec.structs.replace(DESCRIPTION, id=snapshot_id))
    assert list(parts[3].snapshots_folder.iterdir()) == []


def test_the_report_of_a_closed_pilot_is_worked_out_again(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, store, *_ = parts
    end(registry, "elgeseter")
    lifecycle.transition(registry.database, registry.pilot("elgeseter"), "closed", "test")
    worked_out = reports.current_report
    times: list[int] = []

    def counted(*args: object) -> object:
        times.append(1)
        return worked_out(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(reports, "current_report", counted)
    kept = reports.Reports(registry, store, None)
    definition = registry.pilot("elgeseter")
    for _ in range(2):
        kept.page(definition, "en")
    assert len(times) == 1, "that of a closed pilot is good for ever"
    _erase_device(parts)
    kept.page(definition, "en")
    assert len(times) == 2
