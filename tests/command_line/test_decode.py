"""techport decode: what would become of a message, without a running platform."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from techport.cli import app
from tests.ingest.test_sources import MAPPED

CASES = Path(__file__).parents[1] / "ingest" / "decoders"


def run(payload: bytes, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["decode", *arguments], input=payload)
    return result.exit_code, result.output


def test_a_good_message_is_shown_as_it_would_be_stored() -> None:
    case = CASES / "zigbee2mqtt" / "weather"
    topic = (case / "topic").read_text().strip()
    code, said = run((case / "message").read_bytes(), "--format", "zigbee2mqtt", "--topic", topic, "--json")
    assert code == 0
    values = {one["quantity"]: (one["value"], one["unit"]) for one in json.loads(said)["readings"]}
    assert values["battery_voltage"] == (2.99, "V")
    assert values["air_pressure"] == (1002, "hPa")


def test_a_value_that_would_be_rejected_is_shown_with_reason_and_hint() -> None:
    code, said = run(b'{"temp": "21,5", "pm10": 20}\n')
    assert code == 1
    assert "pm10" in said
    assert "not-a-number" in said
    assert "Send 21.5 without quotes." in said


def test_the_sources_of_a_definition_are_used(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(MAPPED, "utf-8")
    code, said = run(b'{"temp": "21,5"}', "--pilot", str(file), "--topic", "pilots/lab/kirka/readings")
    assert code == 0
    assert "air_temperature  21.5 Cel" in said
    code, said = run(b'{"temp": 1}', "--pilot", str(file), "--topic", "pilots/lab/nobody/readings")
    assert code == 1
    assert "unknown-device" in said


def test_a_binary_message_is_given_in_hexadecimal() -> None:
    code, said = run(b"01 67 00 EB", "--hex", "--format", "cayenne-lpp", "--topic", "lora/roof-3")
    assert code == 0
    assert "23.5 Cel" in said


def test_a_format_that_nobody_reads_is_a_mistake_in_the_call() -> None:
    code, said = run(b"", "--format", "tasmotta")
    assert code == 2
    assert "tasmota" in said
