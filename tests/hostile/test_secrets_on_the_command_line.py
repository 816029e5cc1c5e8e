"""Words of a command line are read by every user of the machine: no password stands there."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from techport.cli import app
from techport.options import without_password

CANARY = "canary-4711"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://techport:{CANARY}@db.example/techport",
        f"postgresql://techport:{CANARY}/@db.example/techport",
        f"postgresql+psycopg://techport:p@{CANARY}@db.example/techport",
        f"postgresql://db.example/techport?password={CANARY}",
        f"postgresql://db.example/techport?user=techport&PASSWORD={CANARY}",
        f"influxdb://org:{CANARY}@influx.example/org/bucket",
        f"influxdb://influx.example/org/bucket?token={CANARY}",
    ],
)
def test_a_url_with_a_password_is_refused(url: str) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        without_password(url)
    assert CANARY not in str(caught.value)
    assert "registry_password_file" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        None,
        "sqlite:////srv/city:1/registry@2.sqlite",
        "postgresql://techport@db.example:5432/techport",
        "postgresql://db.example/techport?sslmode=require",
        "influxdb://influx.example:8086/org/bucket?token_file=/run/secrets/token",
        "duckdb:////srv/readings.duckdb",
    ],
)
def test_other_urls_are_taken(url: str | None) -> None:
    assert without_password(url) == url


@pytest.mark.parametrize(
    "words",
    [
        ["audit", "--registry"],
        ["serve", "--registry"],
        ["up", "--store"],
        ["store", "copy", "duckdb:///a.duckdb"],
        ["pilot", "list", "--registry"],
        ["doctor", "--registry"],
    ],
)
def test_commands_refuse_it_and_do_not_repeat_it(words: list[str]) -> None:
    result = CliRunner().invoke(app, [*words, f"postgresql://techport:{CANARY}@127.0.0.1:1/x"])
    assert result.exit_code == 2
    assert CANARY not in result.output
    assert "list of processes" in " ".join(result.output.split()).replace("│ │", "").replace("│", "")
