"""Packages from somebody else: they add what is theirs, once, and change nothing that is here."""

from __future__ import annotations

import hashlib
import io
import json
import resource
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from techport_pilots.accounting.audit import audit
from techport_pilots.accounting.ledger import Ledger
from techport_pilots.definition.load import parse_definition
from techport_pilots.errors import BadPackage, WrongState
from techport_pilots.handover.closeout import Closure, close_pilot
from techport_pilots.handover.open import open_package
from techport_pilots.handover.readings_file import read_rows
from techport_pilots.registry import lifecycle, registration
from techport_pilots.registry.registry import Registry
from techport_pilots.reports.build import final_evaluations
from techport_storage.microseconds import HOUR
from techport_storage.model import RAW_SCHEMA, Batch, Query, Reading, Selection
from techport_storage.store import ReadingStore, open_store
from tests.pilots import trial
from tests.pilots.trial import Parts
from tests.registries import registry_in

START = trial.START
SMALL = """
id: guest
title: {nb: Gjest, en: Guest}
question: {nb: "Hva?", en: "What?"}
data_class: open
licence: CC-BY-4.0
phases:
  - {name: before, kind: baseline, start: 2026-03-02, end: 2026-03-04}
  - {name: after, kind: intervention, start: 2026-03-04, end: 2026-03-06}
kpis:
  - id: warm
    title: {nb: Varmt, en: Warm}
    quantity: air_temperature
    adjust: [{quantity: wind_speed, device: mast, pilot: weather}]
devices:
  - {id: box, interval: PT1H, streams: [{quantity: air_temperature}]}
"""
VICTIM = """
id: victim
title: {nb: Offer, en: Victim}
question: {nb: "Hva?", en: "What?"}
data_class: open
licence: CC-BY-4.0
devices:
  - {id: kitchen, streams: [{quantity: air_temperature}]}
"""
WEATHER = VICTIM.replace("victim", "weather").replace("kitchen", "mast").replace("air_temperature", "wind_speed")
WEATHER += "lends: [{to: guest, device: mast, quantity: wind_speed}]\n"
Row = tuple[str, str, str, int, float, int, int]


@contextmanager
def platform(folder: Path) -> Iterator[Parts]:
    folder.mkdir()
    with (
        closing(Registry.open(registry_in(folder))) as registry,
        closing(open_store(f"duckdb:///{folder}/readings.duckdb")) as store,
    ):
        yield registry, store, Ledger(registry.database)


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Parts]]:
    """A package as it is made, of the pilot `guest`, and the platform that made it."""
    folder = tmp_path_factory.mktemp("made")
    with platform(folder / "maker") as parts:
        registry, store, ledger = parts
        for source in (WEATHER, SMALL):
            registry.import_pilot(parse_definition(source), source, "test")
        rows = [("guest", "box", "air_temperature", START + i * HOUR, float(i % 7)) for i in range(96)]
        rows += [("weather", "mast", "wind_speed", START + i * HOUR, float(i % 5)) for i in range(96)]
        store.write(Batch.of(Reading(*row, received=row[3]) for row in rows))
        pilot = registry.pilot("guest")
        for step in ("running", "ended"):
            lifecycle.transition(registry.database, pilot, step, "kari")
        yield Path(close_pilot(registry, store, ledger, pilot, folder, Closure("kari", wait=0)).path), parts


@pytest.fixture
def package(maker: tuple[Path, Parts], tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    return Path(shutil.copy(maker[0], folder))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Parts]:
    """A platform with a pilot that has readings."""
    with platform(tmp_path / "here") as parts:
        parts[0].import_pilot(parse_definition(VICTIM), VICTIM, "test")
        parts[1].write(Batch.of([Reading("victim", "kitchen", "air_temperature", START, 17.2, START)]))
        yield parts


def rows_of(package: Path) -> list[Row]:
    with zipfile.ZipFile(package) as archive:
        table = pq.read_table(io.BytesIO(archive.read("readings.parquet")))
    columns = [
        table[name].cast(pa.int64()) if name in ("time", "received") else table[name] for name in table.column_names
    ]
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


def parquet_of(rows: Sequence[Row], **options: Any) -> bytes:
    columns = list(zip(*rows, strict=True)) or [()] * len(RAW_SCHEMA)
    types = [pa.int64() if pa.types.is_timestamp(field.type) else field.type for field in RAW_SCHEMA]
    arrays = [pa.array(c, t).cast(f.type) for c, t, f in zip(columns, types, RAW_SCHEMA, strict=True)]
    file = io.BytesIO()
    pq.write_table(pa.table(arrays, RAW_SCHEMA), file, compression="zstd", **options)
    return file.getvalue()


def forged(
    package: Path, new: Mapping[str, bytes], rows: int | None = None, compress: int = zipfile.ZIP_STORED
) -> Path:
    """The package with other files in it; sums, sizes and the number of readings fit. The comment stays."""
    with zipfile.ZipFile(package) as archive:
        files = {name: archive.read(name) for name in archive.namelist()} | dict(new)
        comment = archive.comment
    if rows is not None:
        description = json.loads(files["datapackage.json"])
        description["techport:readings"] = rows
        files["datapackage.json"] = json.dumps(description).encode()
    crate = json.loads(files["ro-crate-metadata.json"])
    crate["@graph"] = [node for node in crate["@graph"] if node["@type"] != "File"]
    crate["@graph"] += [
        {"@id": name, "@type": "File", "contentSize": str(len(content))}
        for name, content in files.items()
        if name not in ("SHA256SUMS", "ro-crate-metadata.json")
    ]
    files["ro-crate-metadata.json"] = json.dumps(crate).encode()
    sums = "".join(f"{hashlib.sha256(c).hexdigest()}  {n}\n" for n, c in files.items() if n != "SHA256SUMS")
    files["SHA256SUMS"] = sums.encode()
    path = package.with_name(f"forged-{len(list(package.parent.iterdir()))}.zip")
    with zipfile.ZipFile(path, "w", compress) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.comment = comment
    return path


def with_rows(package: Path, rows: Sequence[Row]) -> Path:
    return forged(package, {"readings.parquet": parquet_of(rows)}, len(rows))


def stored(store: ReadingStore, pilot: str | None = None) -> list[Row]:
    select = Selection(pilots=None if pilot is None else (pilot,))
    rows = store.read(Query(select=select)).read_all().to_pylist()
    return [(r["pilot"], r["device"], r["quantity"], r["time"], r["value"], r["received"], r["quality"]) for r in rows]


def refused(path: Path, parts: Parts, match: str) -> None:
    before, pilots = stored(parts[1]), [pilot.id for pilot in parts[0].pilots()]
    with pytest.raises(BadPackage, match=match):
        open_package(path, *parts, "ola")
    assert stored(parts[1]) == before
    assert [pilot.id for pilot in parts[0].pilots()] == pilots


def test_a_package_does_not_touch_another_pilots_readings(package: Path, here: Parts) -> None:
    theirs = ("victim", "kitchen", "air_temperature", START, 999.0, START, 0)
    refused(with_rows(package, [*rows_of(package), theirs]), here, "a reading of 'victim'")
    later = ("victim", "kitchen", "air_temperature", START + HOUR, 999.0, START, 0)
    refused(with_rows(package, [*rows_of(package), later]), here, "a reading of 'victim'")
    unheard = ("nobody", "kitchen", "air_temperature", START, 999.0, START, 0)
    refused(with_rows(package, [*rows_of(package), unheard]), here, "a reading of 'nobody'")


@pytest.mark.parametrize("kind", ["closed", "personal", "open"])
def test_a_borrowed_stream_does_not_reach_the_pilot_that_is_here(package: Path, here: Parts, kind: str) -> None:
    weather = WEATHER
    if kind == "personal":
        weather = weather.replace("data_class: open", "data_class: personal").replace("licence: CC-BY-4.0\n", "")
        weather += "personal_data: true\npurpose: p\nlegal_basis: b\ndpia: d\nretention: P1Y\n"
    registry, store, _ = here
    registry.import_pilot(parse_definition(weather), weather, "test")
    store.write(Batch.of([Reading("weather", "mast", "wind_speed", START, 3.5, START)]))
    if kind == "closed":
        for step in ("running", "ended", "closed"):
            lifecycle.transition(registry.database, registry.pilot("weather"), step, "kari")
    before = stored(store, "weather")
    if kind == "open":
        opened = open_package(package, *here, "ola")
        assert (opened.written, opened.left_out) == (96, 96)
    else:
        refused(package, here, "weather")
    assert stored(store, "weather") == before
    assert len(before) == 1


def test_what_is_here_already_stays(package: Path, here: Parts) -> None:
    registry, store, _ = here
    registry.import_pilot(
        parse_definition(SMALL), SMALL, "test", archived=registration.Past()
    )  # before its lender was taken away
    store.write(Batch.of([Reading("guest", "box", "air_temperature", START + HOUR, 21.5, START)]))
    opened = open_package(package, *here, "ola")
    values = {row[3]: row[4] for row in stored(store, "guest")}
    assert len(values) == 96
    assert list(values.values())[1] == 21.5
    assert (opened.rows, opened.written) == (192, 191)
    assert registry.state("guest") == "draft", "a pilot that did not come from a package keeps its life"
    assert final_evaluations(registry.database, registry.pilot("guest")) is None


def test_a_closed_pilot_gets_no_more_readings_from_another_package(package: Path, here: Parts) -> None:
    open_package(package, *here, "ola")
    assert here[0].state("guest") == "closed"
    before = stored(here[1])
    more = [*rows_of(package)[:96], ("guest", "box", "air_temperature", START + 200 * HOUR, 1.0, START, 0)]
    with pytest.raises(WrongState, match="closed"):
        open_package(with_rows(package, [*more, *rows_of(package)[96:]]), *here, "ola")
    changed = [(*row[:4], 99.0, *row[5:]) for row in rows_of(package)]
    evaluations = forged(package, {"readings.parquet": parquet_of(changed), "evaluation.json": b"[]"}, len(changed))
    open_package(evaluations, *here, "ola")
    assert stored(here[1]) == before
    assert final_evaluations(here[0].database, here[0].pilot("guest"))
    assert all(row.tally.balanced for row in audit(here[2], here[1]).rows)


BOX = ("guest", "box", "air_temperature")


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ((*BOX, START, float("nan"), START, 0), "not a number"),
        ((*BOX, START, float("inf"), START, 0), "not a number"),
        ((*BOX, 0, 1.0, START, 0), "before 2000"),
        ((*BOX, 4_000_000_000_000_000, 1.0, START, 0), "future"),
        ((*BOX, START, 1.0, 4_000_000_000_000_000, 0), "future"),
        ((*BOX, START, 1.0, START, 64), "flags"),
        (("guest", "../box", "air_temperature", START, 1.0, START, 0), "device"),
        (("guest", "", "air_temperature", START, 1.0, START, 0), "device"),
        (("guest", "box", "air\ntemperature", START, 1.0, START, 0), "quantity"),
        (("guest", "box", "t" * 81, START, 1.0, START, 0), "quantity"),
        (("guest", "box", "", START, 1.0, START, 0), "quantity"),
    ],
)
def test_a_row_that_no_message_could_have_made_is_refused(package: Path, here: Parts, row: Row, match: str) -> None:
    refused(with_rows(package, [row, *rows_of(package)[100:]]), here, match)


def test_rows_out_of_order_or_twice_are_refused(package: Path, here: Parts) -> None:
    rows = rows_of(package)
    refused(with_rows(package, [rows[0], *rows]), here, "out of order")
    refused(with_rows(package, [*rows[:5], *rows[96:], *rows[5:96]]), here, "out of order")
    own = [(*row[:2], "humidity" if number % 2 else row[2], *row[3:]) for number, row in enumerate(rows[:96])]
    refused(with_rows(package, own), here, "out of order")


def test_an_impossible_value_is_flagged_as_a_message_would_be(package: Path, here: Parts) -> None:
    rows = rows_of(package)
    rows[3] = (*rows[3][:4], 4711.0, *rows[3][5:])
    unsigned = with_rows(package, rows)
    open_package(unsigned, *here, "ola")
    assert [row[6] for row in stored(here[1], "guest")][:5] == [0, 0, 0, 1, 0]


def test_more_rows_or_bytes_than_declared_are_refused(package: Path, here: Parts) -> None:
    rows = rows_of(package)
    for declared in (len(rows) - 1, len(rows) + 1, -1):
        refused(forged(package, {"readings.parquet": parquet_of(rows)}, declared), here, "datapackage.json")
    with zipfile.ZipFile(forged(package, {})) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["devices.csv"] += b"x" * 100
    files["SHA256SUMS"] = "".join(
        f"{hashlib.sha256(c).hexdigest()}  {n}\n" for n, c in files.items() if n != "SHA256SUMS"
    ).encode()
    longer = package.with_name("longer.zip")
    with zipfile.ZipFile(longer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    refused(longer, here, r"devices.csv was changed.*bytes")


def test_zips_that_grow_are_refused_before_they_do(package: Path, here: Parts) -> None:
    bomb = forged(package, {"README.md": b"\0" * (300 << 20)}, compress=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1 << 20
    refused(bomb, here, "would become")
    many = package.with_name("many.zip")
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(10_000):
            archive.writestr(f"{number}", b"")
    refused(many, here, "list of files is too long")
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(100):
            archive.writestr(f"{number}", b"")
    refused(many, here, "100 files")


def test_two_million_rows_in_four_kilobytes_are_refused(package: Path, here: Parts) -> None:
    count = 2_000_000
    first = pa.array(np.full(count, START)).cast(RAW_SCHEMA.field("time").type)
    names = [pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), [name]) for name in BOX]
    table = pa.table([*names, first, np.zeros(count), first, pa.array(np.zeros(count, np.uint8))], RAW_SCHEMA)
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd", row_group_size=count, max_rows_per_page=count)
    assert len(file.getvalue()) < 8_000
    refused(forged(package, {"readings.parquet": file.getvalue()}, count), here, "which readings do not take")


@pytest.mark.slow
def test_a_page_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    """Names of a hundred megabytes, each of which the file holds in a few bytes."""
    names = ["x" * (100 << 20) + str(number) for number in range(12)]
    columns = [pa.array(["box"] * 12), pa.array(["t"] * 12)]
    times = pa.array(np.arange(12) + START).cast(RAW_SCHEMA.field("time").type)
    rest = [times, pa.array(np.zeros(12)), times, pa.array(np.zeros(12, np.uint8))]
    table = pa.table([pa.array(names), *columns, *rest], RAW_SCHEMA.names)
    path = tmp_path / "readings.parquet"
    pq.write_table(table, path, compression="zstd", use_dictionary=False, write_statistics=False)
    assert path.stat().st_size < 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadPackage, match="cannot be read"):
        list(read_rows(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.slow
def test_other_columns_and_broken_files_are_refused(package: Path, here: Parts) -> None:
    table = pq.read_table(io.BytesIO(parquet_of(rows_of(package))))
    more, renamed = table.append_column("x", table["value"]), table.rename_columns([*"abcdefg"])
    for other in (table.drop_columns(["quality"]), more, renamed):
        file = io.BytesIO()
        pq.write_table(other, file)
        refused(forged(package, {"readings.parquet": file.getvalue()}, len(other)), here, "has the columns")
    whole = parquet_of(rows_of(package))
    for broken in (b"", b"PAR1", whole[: len(whole) // 2], whole[:-8] + b"\xff\xff\xff\xffPAR1", whole[200:]):
        refused(forged(package, {"readings.parquet": broken}, 192), here, "readings.parquet")
    for name in ("history.json", "evaluation.json", "datapackage.json"):
        for content in (b"", b"{", b"[1]", b"[" * 100_000):
            refused(forged(package, {name: content}), here, name)


@pytest.mark.slow
def test_broken_files_end_the_reader_and_nothing_else(package: Path, tmp_path: Path) -> None:
    """A footer with other bytes ends a process that reads it, now and then: never this one."""
    whole = parquet_of(rows_of(package))
    chance = np.random.default_rng(4)
    path = tmp_path / "readings.parquet"
    refused_files = 0
    for _ in range(12):
        content = bytearray(whole)
        for place in chance.integers(len(content) - 1500, len(content) - 8, 3):
            content[place] = chance.integers(0, 256)
        path.write_bytes(content)
        try:
            assert sum(piece.num_rows for piece in read_rows(path)) <= 192
        except BadPackage:
            refused_files += 1
    assert refused_files


def test_names_of_files_do_not_lead_out_of_the_package(package: Path, here: Parts, tmp_path: Path) -> None:
    for name in ("../evil", "/tmp/evil", "a/b", "..", "a\\b"):
        refused(forged(package, {name: b"x"}), here, "no file of a package is called so")
    assert not (tmp_path / "evil").exists()


def test_the_life_of_a_pilot_cannot_be_invented(package: Path, here: Parts) -> None:
    with zipfile.ZipFile(package) as archive:
        steps = json.loads(archive.read("history.json"))
    for wrong in (steps[1:], [{**steps[0], "pilot": "victim"}, *steps[1:]], [*steps, steps[-1]]):
        refused(forged(package, {"history.json": json.dumps(wrong).encode()}), here, "history.json")


def test_what_was_planned_comes_with_the_package(package: Path, maker: tuple[Path, Parts], here: Parts) -> None:
    """Versions and the frozen plan as they were elsewhere; the version under which it came here follows them."""
    there = maker[1][0].database
    open_package(package, *here, "ola")
    database = here[0].database
    came, *before = reversed(registration.versions(database, "guest"))
    assert before[::-1] == registration.versions(there, "guest")
    assert came.why.startswith(registration.OPENED)
    frozen = registration.registration_of(database, "guest")
    assert frozen is not None
    assert frozen == registration.registration_of(there, "guest")
    said, elsewhere = (registration.status(one, here[0].pilot("guest")) for one in (database, there))
    assert said == elsewhere, "days late, changes and sum are those of the platform that made the package"
    open_package(package, *here, "ola")
    assert len(registration.versions(database, "guest")) == len(before) + 1


def test_an_older_package_opens_without_its_plan(package: Path, here: Parts) -> None:
    with zipfile.ZipFile(package) as archive:
        plan = json.loads(archive.read("plan.json"))
    open_package(
        forged(package, {"plan.json": json.dumps({**plan, "registration": None}).encode(), "versions.json": b"[]"}),
        *here,
        "ola",
    )
    said = registration.status(here[0].database, here[0].pilot("guest"))
    assert said.opened
    assert said.registration is None
    assert said.days_late == 0


@pytest.mark.parametrize(
    ("file", "change", "match"),
    [
        ("versions.json", {"version": 2}, "no version 1 of guest"),
        ("versions.json", {"at": 2**62}, "in the future"),
        ("versions.json", {"at": -1}, "in the future"),
        ("versions.json", {"why": "x" * 5000}, "more than 2000 letters"),
        ("plan.json", {"sha256": "0" * 64}, "does not have the sum"),
        ("plan.json", {"content": "{}", "sha256": hashlib.sha256(b"{}").hexdigest()}, "is no plan"),
        ("plan.json", {"at": 2**62}, "is no plan"),
    ],
)
def test_what_was_planned_cannot_be_invented(
    package: Path, here: Parts, file: str, change: dict[str, Any], match: str
) -> None:
    with zipfile.ZipFile(package) as archive:
        content = json.loads(archive.read(file))
    if file == "plan.json":
        content["registration"] |= change
    else:
        content[0] |= change
    refused(forged(package, {file: json.dumps(content).encode()}), here, match)


def test_another_plan_than_the_definitions_is_refused(package: Path, here: Parts) -> None:
    with zipfile.ZipFile(package) as archive:
        versions = json.loads(archive.read("versions.json"))
    versions[-1]["definition"]["question"]["en"] = "Something else?"
    refused(forged(package, {"versions.json": json.dumps(versions).encode()}), here, "something else than pilot.yaml")


def test_a_package_of_this_platform_is_told_apart(package: Path, maker: tuple[Path, Parts], here: Parts) -> None:
    assert open_package(package, *maker[1], "ola").origin == "this-platform"
    assert open_package(package, *here, "ola").origin == "unknown-key"
    assert "signed by another platform" in here[0].history("guest")[0].why
    with zipfile.ZipFile(package) as archive:
        archive.extractall(package.parent / "folder")
    assert open_package(package.parent / "folder", *maker[1], "ola").origin == "unsigned"
    refused(forged(package, {"README.md": b"other"}), maker[1], "changed since this platform signed it")
