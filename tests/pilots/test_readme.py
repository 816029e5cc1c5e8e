"""What pilots/README.md shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from techport_pilots.definition.load import parse_definition
from techport_pilots.errors import DefinitionError
from techport_pilots.model import DeviceDefinition, PilotDefinition, StreamDefinition
from tests.conftest import ROOT

README = (ROOT / "pilots" / "README.md").read_text("utf-8")


def example(language: str) -> str:
    [block] = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return str(block)


def test_the_definition_can_be_used_as_it_is() -> None:
    pilot = parse_definition(example("yaml"))
    assert [stream.quantity for stream in pilot.devices[0].streams] == ["pm10", "air_temperature.inlet"]


def test_the_mistakes_are_said_as_it_shows() -> None:
    text = example("yaml")
    for right, wrong in (
        ("lat: 63.4243, lon: 10.3955", "lat: 10.3955, lon: 63.4243"),
        ("    interval: PT10M", "    intervall: PT10M"),
        ("air_temperature.inlet", "temperature"),
    ):
        assert right in text
        text = text.replace(right, wrong)
    with pytest.raises(DefinitionError) as caught:
        parse_definition(text, file="pilot.yaml")
    assert str(caught.value) + "\n" == example("text")


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(example("python"), "pilots/README.md", "exec"), {})
    assert (tmp_path / "data" / "registry.sqlite").exists()


@pytest.mark.parametrize("kind", [PilotDefinition, DeviceDefinition, StreamDefinition])
def test_every_field_is_described(kind: type) -> None:
    table = "\n".join(line for line in README.splitlines() if line.startswith("|"))
    fields: tuple[str, ...] = kind.__struct_fields__  # type: ignore[attr-defined]
    assert [field for field in fields if f"`{field}`" not in table] == []
