"""Closing: the checklist, the package and what is in it, and that it opens elsewhere to the very same numbers."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from techport_pilots.access.credentials import Credentials
from techport_pilots.accounting.audit import audit
from techport_pilots.definition.load import parse_definition
from techport_pilots.devices.photos import PhotoStore
from techport_pilots.devices.visits import VisitLog
from techport_pilots.errors import BadPackage, WrongState
from techport_pilots.handover import retention
from techport_pilots.handover.checklist import checklist
from techport_pilots.handover.closeout import Closure, Package, close_pilot
from techport_pilots.handover.open import open_package
from techport_pilots.handover.portfolio import portfolio
from techport_pilots.model import Loan
from techport_pilots.registry import erasures, lifecycle
from techport_pilots.reports.build import current_report, final_evaluations
from techport_pilots.reports.html import page
from techport_storage.clock import now
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import Batch, Query, Reading
from techport_storage.store import ReadingStore
from tests.pilots import trial
from tests.pilots.trial import Parts

pytestmark = pytest.mark.heavy

LAPTOP_AND_SERVERS = pytest.mark.parametrize(
    ("parts", "elsewhere"), [("laptop", "laptop"), ("servers", "laptop"), ("laptop", "servers")], indirect=True
)


@pytest.fixture
def parts(request: pytest.FixtureRequest, platform: Callable[[str], Parts]) -> Parts:
    """A pilot with its readings."""
    registry, store, ledger = platform(getattr(request, "param", "laptop"))
    registry.import_pilot(trial.definition(), trial.YAML, "test")
    store.write(trial.readings(shuffled=True))
    return registry, store, ledger


@pytest.fixture
def elsewhere(request: pytest.FixtureRequest, platform: Callable[[str], Parts]) -> Parts:
    """An empty platform."""
    return platform(getattr(request, "param", "laptop"))


def close(parts: Parts, folder: Path) -> Package:
    registry, store, ledger = parts
    pilot = registry.pilot("elgeseter")
    for step in ("running", "ended"):
        lifecycle.transition(registry.database, pilot, step, "kari")  # type: ignore[arg-type]
    return close_pilot(registry, store, ledger, pilot, folder, Closure("kari", "the report is due", wait=0))


def test_visits_and_photos_are_handed_over(parts: Parts, elsewhere: Parts, tmp_path: Path) -> None:
    registry, store, ledger = parts
    pilot = registry.pilot("elgeseter")
    device = pilot.devices[0].id
    picture = io.BytesIO()
    Image.new("RGB", (40, 30), "grey").save(picture, "JPEG")
    photos = tmp_path / "photos"
    photo = PhotoStore(photos).add(registry.database, pilot.id, device, picture.getvalue(), "kari")
    VisitLog(registry.database).add(pilot, device, "battery", "kari", comment="=new one", photo=photo.name)
    pilot = registry.pilot("elgeseter")
    for step in ("running", "ended"):
        lifecycle.transition(registry.database, pilot, step, "kari")  # type: ignore[arg-type]
    closure = Closure("kari", wait=0, photos=photos)
    package = close_pilot(registry, store, ledger, registry.pilot(pilot.id), tmp_path, closure)
    with zipfile.ZipFile(package.path) as archive:
        [visit] = csv.DictReader(io.TextIOWrapper(archive.open("visits.csv"), "utf-8"))
        with zipfile.ZipFile(io.BytesIO(archive.read("photos.zip"))) as inner:
            assert inner.namelist() == [photo.name]
            assert inner.read(photo.name).startswith(b"\xff\xd8")
    assert (visit["device"], visit["done"], visit["photo"], visit["who"]) == (device, "battery", photo.name, "kari")
    assert visit["comment"] == "'=new one", "no formula in a spreadsheet"
    open_package(Path(package.path), *elsewhere, "ola")
    assert elsewhere[0].state(pilot.id) == "closed"


def test_a_running_pilot_is_not_closed(parts: Parts, tmp_path: Path) -> None:
    registry, store, ledger = parts
    pilot = registry.pilot("elgeseter")
    lifecycle.transition(registry.database, pilot, "running", "test")
    with pytest.raises(WrongState, match="pilot end elgeseter"):
        close_pilot(registry, store, ledger, pilot, tmp_path, Closure("test", wait=0))
    assert registry.state("elgeseter") == "running"
    assert list(tmp_path.glob("*.zip*")) == []


def test_closing_takes_the_credentials_of_this_pilot_back(parts: Parts, tmp_path: Path) -> None:
    credentials = Credentials(parts[0].database)
    parts[0].import_pilot(msgspec.structs.replace(trial.definition(), id="other"), "", "test")
    credentials.issue("elgeseter", "kirka", "kari")
    credentials.issue("other", "kirka", "kari")
    close(parts, tmp_path)
    assert [one.pilot for one in credentials.all()] == ["other"]


@pytest.mark.dates
def test_the_checklist_says_what_to_look_at(parts: Parts) -> None:
    registry, store, _ = parts
    items = checklist(registry, store, registry.pilot("elgeseter"), trial.START + 90 * DAY)
    said = {str(item.message): item for item in items}
    assert [text for text, item in said.items() if item.blocks] == [
        "The pilot has not ended. End it first (techport pilot end elgeseter)."
    ]
    assert any("readings in the period" in text for text in said)
    assert any("will be erased on 3" in text and "May 2028" in text for text in said)


@pytest.mark.slow
@LAPTOP_AND_SERVERS
def test_the_package_opens_elsewhere_and_every_kpi_is_exactly_equal(
    parts: Parts, elsewhere: Parts, tmp_path: Path
) -> None:
    package = close(parts, tmp_path)
    opened = open_package(Path(package.path), *elsewhere, "ola")
    assert opened.differing == []
    assert opened.rows == package.rows
    here, there = (final_evaluations(registry.database, trial.definition()) for registry, _, _ in (parts, elsewhere))
    assert here == there == opened.evaluations
    assert rows(parts[1]).equals(rows(elsewhere[1]))
    assert elsewhere[0].pilot("elgeseter") == parts[0].pilot("elgeseter")
    assert elsewhere[0].state("elgeseter") == "closed"
    assert [c.why for c in lifecycle.changes(elsewhere[0].database, "elgeseter")] == ["", "", "the report is due"]
    assert audit(elsewhere[2], elsewhere[1]).ok
    again = open_package(Path(package.path), *elsewhere, "ola")
    assert again.differing == []
    assert audit(elsewhere[2], elsewhere[1]).ok


def test_every_file_is_as_its_sum_says(parts: Parts, tmp_path: Path) -> None:
    package = close(parts, tmp_path)
    assert hashlib.sha256(Path(package.path).read_bytes()).hexdigest() == package.sha256
    with zipfile.ZipFile(package.path) as archive:
        assert archive.testzip() is None
        sums = dict(reversed(line.split("  ")) for line in archive.read("SHA256SUMS").decode().splitlines())
        names = set(archive.namelist())
        assert set(sums) == names - {"SHA256SUMS"}
        for name, total in sums.items():
            assert hashlib.sha256(archive.read(name)).hexdigest() == total
        readme = archive.read("README.md").decode()
        described = json.loads(archive.read("datapackage.json"))
        crate = json.loads(archive.read("ro-crate-metadata.json"))
    assert all(f"`{name}`" in readme for name in names - {"README.md", "LICENCE.txt"})
    assert {resource["path"] for resource in described["resources"]} <= names
    parts_of = next(node for node in crate["@graph"] if node["@id"] == "./")["hasPart"]
    assert {part["@id"] for part in parts_of} == names - {"SHA256SUMS", "ro-crate-metadata.json"}


def test_csv_and_parquet_hold_the_same_to_the_bit(parts: Parts, tmp_path: Path) -> None:
    package = close(parts, tmp_path)
    with zipfile.ZipFile(package.path) as archive:
        lines = list(csv.DictReader(io.TextIOWrapper(archive.open("readings.csv"), "utf-8")))
        table = pq.read_table(io.BytesIO(archive.read("readings.parquet")))
        described = json.loads(archive.read("datapackage.json"))
    assert table.num_rows == len(lines) == package.rows
    assert [float(line["value"]) for line in lines] == table["value"].to_pylist()
    times = table["time"].cast(pa.int64()).to_pylist()
    assert lines[0]["time"] == "2026-03-02T00:00:00.000000Z"
    assert times[0] == trial.START
    schema = next(one for one in described["resources"] if one["name"] == "readings")["schema"]
    assert [field["name"] for field in schema["fields"]] == list(lines[0]) == table.column_names


@pytest.mark.slow
@LAPTOP_AND_SERVERS
def test_the_same_data_makes_the_same_readings(parts: Parts, elsewhere: Parts, tmp_path: Path) -> None:
    first = close(parts, tmp_path / "a")
    open_package(Path(first.path), *elsewhere, "ola")
    registry, store, ledger = elsewhere
    second = close_pilot(registry, store, ledger, registry.pilot("elgeseter"), tmp_path / "b", Closure("ola", wait=0))
    with zipfile.ZipFile(first.path) as a, zipfile.ZipFile(second.path) as b:
        for name in (
            "readings.csv",
            "readings.parquet",
            "evaluation.json",
            "pilot.yaml",
            "devices.csv",
            "history.json",
        ):
            assert a.read(name) == b.read(name), name


def test_a_changed_package_is_refused(parts: Parts, elsewhere: Parts, tmp_path: Path) -> None:
    package = close(parts, tmp_path)
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(package.path) as archive:
        archive.extractall(folder)
    (folder / "pilot.yaml").write_text((folder / "pilot.yaml").read_text().replace("target: -2", "target: -1"))
    with pytest.raises(BadPackage, match=r"pilot\.yaml was changed"):
        open_package(folder, *elsewhere, "ola")
    (folder / "pilot.yaml").unlink()
    with pytest.raises(BadPackage, match=r"pilot\.yaml is missing"):
        open_package(folder, *elsewhere, "ola")
    cut = tmp_path / "cut.zip"
    cut.write_bytes(Path(package.path).read_bytes()[:100_000])
    with pytest.raises(BadPackage, match="only a part"):
        open_package(cut, *elsewhere, "ola")
    assert elsewhere[0].pilots() == []
    assert rows(elsewhere[1]).num_rows == 0


def test_a_package_does_not_replace_another_pilot(parts: Parts, elsewhere: Parts, tmp_path: Path) -> None:
    package = close(parts, tmp_path)
    elsewhere[0].import_pilot(msgspec.structs.replace(trial.definition(), licence="CC0-1.0"), "", "test")
    with pytest.raises(WrongState, match="another pilot"):
        open_package(Path(package.path), *elsewhere, "ola")


def test_a_kpi_adjusted_for_another_pilot_takes_its_stream_along(
    parts: Parts, elsewhere: Parts, tmp_path: Path
) -> None:
    registry, store, _ = parts
    weather = trial.YAML.replace("id: elgeseter", "id: weather", 1)
    lends = [Loan("elgeseter", "kirka")]
    other = msgspec.structs.replace(trial.definition(), id="weather", kpis=[], phases=[], lends=lends)
    registry.import_pilot(other, weather, "test")
    readings = [
        Reading("weather", "kirka", "air_temperature", trial.START + i * HOUR, float(i % 17), 0)
        for i in range(trial.DAYS * 24)
    ]
    store.write(Batch.of(readings))
    adjusted = trial.YAML.replace(
        "groups: [street]}", "groups: [street], adjust: [{quantity: air_temperature, device: kirka, pilot: weather}]}"
    )
    registry.import_pilot(parse_definition(adjusted), adjusted, "test")
    package = close(parts, tmp_path)
    opened = open_package(Path(package.path), *elsewhere, "ola")
    assert opened.evaluations[0].adjusted_for[:1] == ["air_temperature"]
    assert opened.differing == []
    assert opened.rows == package.rows == rows(store).num_rows


def rows(store: ReadingStore) -> pa.Table:
    return store.read(Query()).read_all().unify_dictionaries().combine_chunks()


def _with_another_evaluation(path: str, to: Path) -> Path:
    """The package, in which somebody rewrote evaluation.json and every sum after it."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    said = json.loads(files["evaluation.json"])
    said[0] |= {"verdict": "target not met", "effect": 1.5}
    files["evaluation.json"] = json.dumps(said).encode()
    crate = json.loads(files["ro-crate-metadata.json"])
    for node in crate["@graph"]:
        if node.get("@id") == "evaluation.json":
            node["contentSize"] = str(len(files["evaluation.json"]))
    files["ro-crate-metadata.json"] = json.dumps(crate).encode()
    del files["SHA256SUMS"]
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    with zipfile.ZipFile(to, "w") as archive:
        for name, data in (*files.items(), ("SHA256SUMS", sums.encode())):
            archive.writestr(name, data)
    return to


@pytest.mark.slow
def test_an_evaluation_that_was_rewritten_is_shown_with_what_comes_out_here(
    parts: Parts, elsewhere: Parts, tmp_path: Path
) -> None:
    package = close(parts, tmp_path)
    changed = _with_another_evaluation(package.path, tmp_path / "changed.zip")
    registry, store, ledger = elsewhere
    opened = open_package(changed, registry, store, ledger, "kari")
    assert opened.differing == ["dust"]
    pilot = registry.pilot("elgeseter")
    dust, dusty = final_evaluations(registry.database, pilot) or []
    assert dust.verdict == "target not met"
    assert dust.recalculated is not None
    assert dust.recalculated.verdict == "target met"
    assert dust.recalculated.effect == pytest.approx(-4, abs=1)
    assert dusty.recalculated is None
    (standing,) = portfolio(registry, now())
    assert (standing.reached, standing.differing) == (0, 1)
    text = page(current_report(registry, store, pilot, now()), "en")
    assert "differs from the package" in text
    assert "“target not met” (difference +1.5" in text
    assert "“target met” (difference −" in text
    open_package(Path(package.path), registry, store, ledger, "kari")
    (again, _) = final_evaluations(registry.database, pilot) or []
    assert again == dust, "what was opened first stays, with its difference"


def test_a_package_cannot_bring_its_own_recalculation(parts: Parts, elsewhere: Parts, tmp_path: Path) -> None:
    package = close(parts, tmp_path)
    registry, store, ledger = elsewhere
    opened = open_package(Path(package.path), registry, store, ledger, "kari")
    assert [one.recalculated for one in opened.evaluations] == [None, None]


def test_a_report_after_erasure_says_when_and_keeps_what_was_found(parts: Parts, tmp_path: Path) -> None:
    """No readings that were erased are not no readings that came."""
    registry, store, ledger = parts
    close(parts, tmp_path)
    pilot = registry.pilot("elgeseter")
    before = current_report(registry, store, pilot, now())
    (due,) = erasures.plan(registry)
    retention.run(registry, store, ledger, due.at)
    after = current_report(registry, store, pilot, now())
    assert after.whole == before.whole
    assert after.devices == before.devices
    assert [result.days for result in after.results] == [result.days for result in before.results]
    assert [result.evaluation for result in after.results] == [result.evaluation for result in before.results]
    text = page(after, "en")
    assert "Erased on" in text
    assert "0 % of the expected" not in text
    with pytest.raises(WrongState, match="erased"):
        close_pilot(registry, store, ledger, pilot, tmp_path, Closure("kari", wait=0))
