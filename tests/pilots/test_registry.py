"""The registry, on SQLite and on PostgreSQL."""

from __future__ import annotations

import ast
import concurrent.futures
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from techport_pilots.errors import RegistryUnavailable, UnknownPilot, WrongState
from techport_pilots.model import DeviceDefinition, PilotDefinition, QuantityDefinition, StreamDefinition, Text
from techport_pilots.registry.database import Database, revisions
from techport_pilots.registry.intervals import LearnedInterval
from techport_pilots.registry.registry import Registry
from techport_pilots.registry.tables import metadata
from techport_pilots.registry.view import Origin
from techport_storage.microseconds import HOUR, MINUTE
from techport_storage.model import Stream
from tests.servers.postgres import Postgres


def pilot(name: str = "elgeseter", **changes: object) -> PilotDefinition:
    device = DeviceDefinition(
        id="kirka",
        interval="PT1H",
        streams=[
            StreamDefinition("pm10", range=(0, 500)),
            StreamDefinition("air_temperature.inlet", interval="PT10M"),
            StreamDefinition("studs", title=Text("Pigger", "Studs")),
        ],
    )
    own = QuantityDefinition("studs", Text("Piggdekkandel", "Share of studded tyres"), "%", (0, 100))
    plain = PilotDefinition(
        id=name, title=Text("Feiing", "Sweeping"), question=Text(en="Does it help?"), devices=[device], quantities=[own]
    )
    return msgspec.structs.replace(plain, **changes)


def test_an_imported_pilot_comes_back_as_it_was(registry: Registry) -> None:
    registry.import_pilot(pilot(), "source", "kari")

    assert registry.pilot("elgeseter") == pilot()
    assert registry.pilots() == [pilot()]


def test_every_change_is_kept_as_a_version_and_the_same_again_is_none(registry: Registry) -> None:
    changed = pilot(title=Text("Feiing om natta", "Sweeping at night"))

    numbers = [
        registry.import_pilot(pilot(), "first", "kari"),
        registry.import_pilot(pilot(), "first, with a comment", "ola"),
        registry.import_pilot(changed, "second", "ola"),
        registry.import_pilot(pilot(), "back again", "kari"),
    ]

    assert numbers == [1, 1, 2, 3]
    assert [(v.version, v.who) for v in registry.history("elgeseter")] == [(3, "kari"), (2, "ola"), (1, "kari")]
    assert [registry.source("elgeseter", n) for n in (1, 2, 3, 4)] == ["first", "second", "back again", None]
    assert registry.pilot("elgeseter") == pilot()


def test_an_unknown_pilot_is_told_what_is_near(registry: Registry) -> None:
    registry.import_pilot(pilot("elgeseter"), "", "kari")

    with pytest.raises(UnknownPilot, match="did you mean elgeseter") as caught:
        registry.pilot("elgesetr")
    assert caught.value.near == ["elgeseter"]
    with pytest.raises(UnknownPilot):
        registry.streams(pilot="nobody")


def test_the_version_grows_with_every_change_and_with_nothing_else(registry: Registry) -> None:
    seen = [registry.version()]
    for step in (
        lambda: registry.import_pilot(pilot(), "", "kari"),
        lambda: registry.note_streams([Stream("elgeseter", "kirka", "mystery")]),
        lambda: registry.import_pilot(pilot(licence="CC0-1.0"), "", "kari"),
    ):
        step()
        seen.append(registry.version())
        step()
        assert registry.version() == seen[-1]
    assert seen == sorted(set(seen))


def test_two_processes_see_each_others_changes(registry: Registry, registry_url: str) -> None:
    other = Registry.open(registry_url)
    try:
        assert registry.pilots() == []
        other.import_pilot(pilot(), "", "kari")
        assert [p.id for p in registry.pilots()] == ["elgeseter"]
        registry.note_streams([Stream("elgeseter", "kirka", "mystery")])
        assert "mystery" in [s.stream.quantity for s in other.streams()]
    finally:
        other.close()


def test_streams_say_what_a_page_needs(registry: Registry) -> None:
    registry.import_pilot(pilot(), "", "kari")
    registry.note_streams([Stream("elgeseter", "kirka", "mystery"), Stream("elgeseter", "box", "laeq.left")])

    streams = {info.stream.quantity: info for info in registry.streams(pilot="elgeseter")}

    assert list(streams) == ["laeq.left", "air_temperature.inlet", "mystery", "pm10", "studs"]
    pm10 = streams["pm10"]
    assert (pm10.unit, pm10.unit_label, pm10.range, pm10.interval_us) == ("ug/m3", "µg/m³", (0, 500), HOUR)
    assert pm10.described
    assert pm10.title.get("nb") == "Svevestøv PM10"
    inlet = streams["air_temperature.inlet"]
    assert (inlet.title.get("en"), inlet.interval_us) == ("Air temperature (inlet)", 10 * MINUTE)
    assert (streams["studs"].title.get("nb"), streams["studs"].unit) == ("Pigger", "%")
    assert (streams["mystery"].described, streams["mystery"].unit, streams["mystery"].range) == (False, None, None)
    assert (streams["laeq.left"].described, streams["laeq.left"].unit_label) == (False, "dB(A)")
    assert [s.stream.device for s in registry.streams(device="box")] == ["box"]
    assert [(d.device, d.described) for d in registry.devices()] == [("box", False), ("kirka", True)]


def test_the_first_part_of_a_device_keeps_its_stream(registry: Registry) -> None:
    registry.import_pilot(pilot(), "", "kari")
    registry.note_origins([Origin("elgeseter", "kirka", "air_temperature", "bme280")])
    version = registry.version()
    registry.note_origins([Origin("elgeseter", "kirka", "air_temperature", "ds18b20")])
    assert registry.version() == version
    assert registry.snapshot().pilots["elgeseter"].devices["kirka"].origins == {"air_temperature": "bme280"}


def test_learned_intervals_stand_beside_promised_ones(registry: Registry) -> None:
    registry.import_pilot(pilot(), "", "kari")
    registry.note_streams([Stream("elgeseter", "kirka", "mystery")])
    learned = [LearnedInterval("elgeseter", "kirka", name, MINUTE) for name in ("mystery", "pm10")]
    registry.note_intervals(learned)
    version = registry.version()
    registry.note_intervals([one._replace(interval=MINUTE + MINUTE // 3) for one in learned])
    assert registry.version() == version
    streams = {info.stream.quantity: info for info in registry.streams(pilot="elgeseter")}
    assert (streams["mystery"].interval_us, streams["mystery"].learned_interval_us) == (None, MINUTE)
    assert (streams["pm10"].interval_us, streams["pm10"].learned_interval_us) == (HOUR, None)


def test_a_stream_with_a_name_that_no_database_takes_is_noted_all_the_same(registry: Registry) -> None:
    registry.import_pilot(pilot(), "", "kari")
    registry.note_streams([Stream("elgeseter", "kirka", "a\0b\ud800" + "c" * 5000)])

    [noted] = [info.stream.quantity for info in registry.streams() if not info.described]
    assert noted.startswith("a␀b\\ud800ccc")


def test_a_snapshot_answers_for_every_message_without_the_database(registry: Registry) -> None:
    registry.import_pilot(pilot(), "", "kari")
    registry.note_streams([Stream("elgeseter", "kirka", "mystery")])
    snapshot = registry.snapshot()
    registry.close()

    view = snapshot.pilot("elgeseter")
    assert view is not None
    device = view.device("kirka")
    assert device is not None
    pm10, mystery = device.stream("pm10"), device.stream("mystery")
    assert pm10 is not None
    assert mystery is not None
    assert (pm10.stream, pm10.lo, pm10.hi, pm10.described) == (Stream("elgeseter", "kirka", "pm10"), 0, 500, True)
    assert (mystery.lo, mystery.hi, mystery.described) == (float("-inf"), float("inf"), False)
    assert device.stream("never heard of") is None
    assert (device.undescribed("no2").lo, device.undescribed("no2").hi) == (-90, 1000)
    assert snapshot.pilot("nobody") is None
    assert view.device("nobody") is None


def test_a_snapshot_does_not_change(registry: Registry) -> None:
    registry.import_pilot(pilot(), "", "kari")
    before = registry.snapshot()
    assert registry.snapshot() is before
    registry.import_pilot(pilot(devices=[]), "", "kari")

    old = before.pilot("elgeseter")
    assert old is not None
    assert old.device("kirka") is not None
    now = registry.snapshot()
    assert now.version > before.version
    new = now.pilot("elgeseter")
    assert new is not None
    assert new.device("kirka") is None


@pytest.mark.heavy
def test_many_open_an_empty_database_at_once(registry_url: str) -> None:
    """Processes and threads that start together: one makes the tables, all of them work."""
    if registry_url.startswith("sqlite"):
        registry_url = registry_url.replace("registry.sqlite", "empty.sqlite")
    program = (
        "import sys\n"
        "from techport_pilots.registry.registry import Registry\n"
        "from techport_storage.model import Stream\n"
        "r = Registry.open(sys.argv[1]); r.note_streams([Stream('p', sys.argv[2], 'pm10')]); r.close()"
    )
    command = [sys.executable, "-c", program, registry_url]
    processes = [subprocess.Popen([*command, f"d{n}"], stderr=subprocess.PIPE) for n in range(2)]
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        opened = list(threads.map(Registry.open, [registry_url] * 8))
    said = [process.communicate()[1].decode() for process in processes]

    assert said == [""] * 2
    assert [registry.version() for registry in opened] == [2] * 8
    for registry in opened:
        registry.close()


def test_many_import_at_once_and_every_version_is_kept(registry: Registry) -> None:
    versions = [pilot(attribution=f"version {n}") for n in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        numbers = list(threads.map(lambda p: registry.import_pilot(p, p.attribution, "kari"), versions))

    assert sorted(numbers) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert registry.version() == 8


def test_the_migrations_make_the_tables_that_the_code_expects(registry: Registry) -> None:
    with registry.database._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_names_of_the_scripts_are_the_revisions_in_their_order() -> None:
    config = Config()
    config.set_main_option("script_location", "techport_pilots.registry:migrations")
    walked = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert revisions() == walked[::-1]


@pytest.mark.slow
@pytest.mark.heavy
def test_a_command_that_migrates_nothing_does_not_wait_for_alembic(registry: Registry, registry_url: str) -> None:
    """Its import takes as long as a third of the start of a command."""
    program = """import sys
import techport.cli
from techport_pilots.registry.database import Database
Database.open(sys.argv[1]).close()
assert "sqlalchemy" in sys.modules
assert "alembic" not in sys.modules"""
    subprocess.run([sys.executable, "-c", program, registry_url], check=True)


@pytest.mark.slow
@pytest.mark.heavy
def test_a_command_that_serves_nothing_does_not_wait_for_the_web_server() -> None:
    """Its import takes longer than everything else together."""
    program = """import sys
import techport.cli
assert "techport_dashboards.app" not in sys.modules
assert "fastapi" not in sys.modules"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_sqlite_keeps_what_it_said_it_kept(tmp_path: Path) -> None:
    registry = Registry.open(f"sqlite:///{tmp_path}/folder/that/is/new/registry.sqlite")
    with registry.database.reading() as transaction:
        settings = {
            name: transaction.execute(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}
    registry.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://localhost/x", "duckdb:///x"])
def test_a_url_of_another_kind_is_refused_with_what_would_be_accepted(url: str) -> None:
    with pytest.raises(ValueError, match="sqlite:///path"):
        Database.open(url)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database, but something somebody may want to keep" * 100)
    with pytest.raises(ValueError, match=r"notes\.txt is not an SQLite database"):
        Database.open(f"sqlite:///{file}")
    assert file.read_text().startswith("not a database")


def test_a_database_of_a_newer_techport_is_left_alone(registry: Registry, registry_url: str) -> None:
    with registry.database.writing() as transaction:
        transaction.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ValueError, match=r"9999.*use the newer techport"):
        Database.open(registry_url)


def test_a_database_that_is_away_is_not_now() -> None:
    with pytest.raises(RegistryUnavailable, match=r"127\.0\.0\.1"):
        Database.open("postgresql://someone:secret@127.0.0.1:1/x")
    with pytest.raises(RegistryUnavailable) as caught:
        Database.open("postgresql://someone:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)


@pytest.mark.faults
def test_a_server_that_stands_still_is_not_waited_for(postgres: Postgres) -> None:
    """Open connections, new ones and those that wait for one in the pool: each call ends in a bounded time."""
    registry = Registry.open(postgres.database(), timeout_s=0.5)
    assert registry.version() == 0

    def ask(_: int) -> float:
        begun = time.monotonic()
        with pytest.raises(RegistryUnavailable):
            registry.version()
        return time.monotonic() - begun

    with postgres.paused(), concurrent.futures.ThreadPoolExecutor(20) as threads:
        assert max(threads.map(ask, range(20))) < 9
    assert registry.version() == 0, "it answers again as soon as the server does"
    registry.close()


def test_a_statement_that_takes_too_long_is_ended(postgres: Postgres) -> None:
    database = Database.open(postgres.database(), timeout_s=0.5)
    with pytest.raises(RegistryUnavailable, match="statement timeout"), database.reading() as transaction:
        transaction.execute("SELECT pg_sleep(5)")
    with database.reading() as transaction:
        assert transaction.execute("SELECT 1").scalar() == 1
    database.close()


def test_a_list_of_values_is_a_tuple(registry: Registry) -> None:
    query = "SELECT version FROM registry_version WHERE id IN :ids"
    with registry.database.reading() as transaction:
        assert transaction.execute(query, {"ids": ()}).all() == []
        assert len(transaction.execute(query, {"ids": tuple(range(10))}).all()) == 1


def test_nobody_else_touches_the_engine() -> None:
    """The import contract keeps SQLAlchemy inside the registry's folder; this keeps its engine inside one module."""
    components = Path(__file__).parents[2]
    for source in components.glob("[a-z]*/techport*/**/*.py"):
        if source.parts[-2:] == ("registry", "database.py"):
            continue
        accesses = [node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Attribute)]
        assert not [node.lineno for node in accesses if node.attr in ("engine", "_engine")], source


def test_a_version_replaces_only_the_one_that_its_author_has_seen(registry: Registry) -> None:
    registry.import_pilot(pilot(), "", "kari", replaces=0)
    changed = pilot(licence="CC0-1.0")
    for seen in (0, 2):
        with pytest.raises(WrongState):
            registry.import_pilot(changed, "", "ola", replaces=seen)
    assert registry.import_pilot(changed, "", "ola", replaces=1) == 2
    assert registry.written(changed.id) == (2, changed)
    assert registry.written(changed.id, 1) == (1, pilot())
    for name, version in ((changed.id, 3), ("nowhere", None)):
        with pytest.raises(UnknownPilot):
            registry.written(name, version)
