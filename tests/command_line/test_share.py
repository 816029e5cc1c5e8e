"""techport share: what it makes, lists, publishes and ends."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from techport.cli import app
from techport_pilots.access import audit_log
from techport_pilots.access.operator_token import OperatorToken
from techport_pilots.access.shares import Share, Shares
from techport_pilots.definition.load import parse_definition
from techport_pilots.registry.registry import Registry
from tests.dashboards.conftest import AIR

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/shared/([a-z0-9-]+)")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    registry = Registry.open(f"sqlite:///{tmp_path}/registry.sqlite")
    registry.import_pilot(parse_definition(AIR), AIR, "test")
    registry.close()
    OperatorToken.of(tmp_path)
    return tmp_path


def run(data: Path, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["share", *words, "--data", str(data)])
    return result.exit_code, f"{result.output} {result.exception or ''}"


def shares(data: Path) -> list[Share]:
    registry = Registry.open(f"sqlite:///{data}/registry.sqlite")
    found = Shares(registry.database).of("kai-luft")
    registry.close()
    return found


def test_a_share_is_made_listed_published_and_ended(data: Path) -> None:
    code, said = run(
        data, "create", "kai-luft", "--quantity", "pm10", "--every", "P1D", "--precision", "none", "--draft"
    )
    assert code == 0, said
    (made,) = shares(data)
    match = ADDRESS.search(said)
    assert match is not None
    assert match[1] == made.key
    assert (made.terms.resolution, made.terms.precision, made.terms.title) == ("P1D", None, "Air on the quay")
    assert (made.terms.licence, made.published) == ("CC-BY-4.0", None)
    assert "not published" in run(data, "list")[1]
    assert run(data, "publish", made.id)[0] == 0
    assert "not published" not in run(data, "list", "kai-luft")[1]
    assert run(data, "publish", made.id)[0] != 0
    assert run(data, "revoke", made.id)[0] == 0
    assert made.key not in run(data, "list")[1]
    assert run(data, "revoke", made.id)[0] != 0
    registry = Registry.open(f"sqlite:///{data}/registry.sqlite")
    logged = [(entry.kind, entry.what) for entry in audit_log.export(registry.database)]
    registry.close()
    assert logged == [
        ("shared", "techport share create"),
        ("shared", "techport share publish"),
        ("shared", "techport share revoke"),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "kai-luft", "--quantity", "no2"), "measures"),
        (("create", "kai-luft", "--quantity", "pm10", "--every", "often"), "time resolution"),
        (("create", "kai-luft", "--quantity", "pm10", "--precision", "near"), "metres"),
        (("create", "kai-luft", "--quantity", "pm10", "--start", "soon"), "not a date"),
        (("create", "kai-luft", "--quantity", "pm10", "--for", "nobody"), "organisation"),
        (("create", "kai-lufta", "--quantity", "pm10"), "kai-luft"),
        (("revoke", "share-aaaaaaaa"), "no share"),
    ],
)
def test_mistakes_are_told(data: Path, words: tuple[str, ...], said: str) -> None:
    code, output = run(data, *words)
    assert code != 0
    assert said in output
    assert shares(data) == []
