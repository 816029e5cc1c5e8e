"""Passwords of devices that are rotated: old and new both work, until the old one ends by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from techport.cli import app
from techport_ingest.brokers.auth import AccessFiles, PlatformUser
from techport_pilots.access import credentials as module
from techport_pilots.access.credentials import Credentials
from techport_pilots.definition.load import parse_definition
from techport_pilots.errors import WrongState
from techport_pilots.registry import lifecycle
from techport_pilots.registry.registry import Registry
from techport_storage.microseconds import DAY, HOUR
from techport_storage.model import Micros
from tests.dashboards.conftest import AIR
from tests.registries import registry_in

START: Micros = 1_760_000_000_000_000


class Clock:
    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> Micros:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "now", clock)
    return clock


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    return Credentials(Registry.open(registry_in(tmp_path)).database)


def works(credentials: Credentials, issued: module.Issued) -> bool:
    return credentials.check(issued.username, issued.password) is not None


def test_old_and_new_work_until_the_old_one_ends(credentials: Credentials, clock: Clock) -> None:
    old, other = credentials.issue("air", "lamp-1", "kari"), credentials.issue("air", "lamp-2", "kari")
    new = credentials.rotate("air", "lamp-1", "ola", overlap=DAY)
    assert (old.username, new.username) == ("air/lamp-1", "air/lamp-1~2")
    assert new.topic == old.topic
    clock.at += DAY - 1
    assert works(credentials, old)
    assert works(credentials, new)
    assert {one.username: one.until for one in credentials.all("air", "lamp-1")} == {
        "air/lamp-1": START + DAY,
        "air/lamp-1~2": None,
    }
    clock.at += 1
    assert not works(credentials, old)
    assert works(credentials, new)
    assert works(credentials, other)
    assert [one.username for one in credentials.all()] == ["air/lamp-1~2", "air/lamp-2"]


def test_a_second_rotation_does_not_prolong_the_first(credentials: Credentials, clock: Clock) -> None:
    first = credentials.issue("air", "lamp-1", "kari")
    second = credentials.rotate("air", "lamp-1", "kari", overlap=HOUR)
    third = credentials.rotate("air", "lamp-1", "kari", overlap=DAY)
    assert len({first.username, second.username, third.username}) == 3
    clock.at += HOUR
    assert [works(credentials, one) for one in (first, second, third)] == [False, True, True]
    clock.at += DAY
    fourth = credentials.rotate("air", "lamp-1", "kari", overlap=DAY)
    assert fourth.username == first.username, "a name is free again when its password has ended"
    assert not works(credentials, first)


def test_one_of_two_is_revoked_or_all_are_replaced(credentials: Credentials, clock: Clock) -> None:
    old = credentials.issue("air", "lamp-1", "kari")
    new = credentials.rotate("air", "lamp-1", "kari", overlap=DAY)
    assert not credentials.revoke("air", "lamp-2", old.username), "of another device"
    assert credentials.revoke("air", "lamp-1", old.username)
    assert (works(credentials, old), works(credentials, new)) == (False, True)
    replaced = credentials.issue("air", "lamp-1", "kari")
    assert (works(credentials, new), works(credentials, replaced)) == (False, True)


def test_many_are_issued_at_once(credentials: Credentials, clock: Clock) -> None:
    devices = [f"box-{number:03}" for number in range(100)]
    issued = credentials.issue_all("air", devices, "kari")
    assert [one.topic for one in issued] == [f"pilots/air/{device}/readings" for device in devices]
    assert len({one.password for one in issued}) == 100
    assert all(works(credentials, one) for one in issued[::33])


def test_mosquitto_knows_both_users_until_one_ends(credentials: Credentials, clock: Clock, tmp_path: Path) -> None:
    credentials.issue("air", "lamp-1", "kari")
    credentials.rotate("air", "lamp-1", "kari", overlap=DAY)
    files = AccessFiles(tmp_path, credentials.all, False, lambda: [PlatformUser("worker", "secret")])

    def users() -> list[str]:
        files.write()
        names = [line.split(":")[0] for line in (tmp_path / "passwords").read_text().splitlines()]
        rights = (tmp_path / "access").read_text()
        assert all(f"user {name}\n" in rights for name in names)
        assert "pilots/air/lamp-1~2" not in rights, "the second user has the device's topics"
        return names

    assert users() == ["worker", "air/lamp-1", "air/lamp-1~2"]
    clock.at += DAY
    assert users() == ["worker", "air/lamp-1~2"]


def test_the_command_line_rotates(credentials: Credentials, tmp_path: Path) -> None:
    registry = Registry.open(registry_in(tmp_path))
    registry.import_pilot(parse_definition(AIR), AIR, "test")
    old = credentials.issue("kai-luft", "kran", "kari")
    where = ["--data", str(tmp_path), "--registry", registry_in(tmp_path)]
    printed = CliRunner().invoke(app, ["device", "rotate", "kai-luft", "kran", *where, "--overlap", "P1D"])
    assert printed.exit_code == 0, printed.output
    username, password = (line.partition(": ")[2].strip() for line in printed.output.splitlines()[:2])
    assert works(credentials, old)
    assert credentials.check(username, password) is not None
    for arguments in (["nowhere", *where], ["kran", *where, "--overlap", "soon"]):
        refused = CliRunner().invoke(app, ["device", "rotate", "kai-luft", *arguments])
        assert refused.exit_code != 0


def test_devices_of_a_closed_pilot_get_no_password(credentials: Credentials, tmp_path: Path) -> None:
    registry = Registry.open(registry_in(tmp_path))
    registry.import_pilot(parse_definition(AIR), AIR, "test")
    pilot = registry.pilot("kai-luft")
    for state in ("running", "ended", "closed"):
        lifecycle.transition(registry.database, pilot, state, "kari", "test")
    with pytest.raises(WrongState):
        credentials.issue("kai-luft", "kran", "kari")
    with pytest.raises(WrongState):
        credentials.rotate("kai-luft", "kran", "kari", overlap=DAY)
    assert credentials.all() == []
