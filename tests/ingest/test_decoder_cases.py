"""Every format but the native one, by folders of cases: decoders/<format>/<case>/.

    topic            the topic
    message          the payload; message.hex where it is binary, in hexadecimal, white space ignored
    expected.json    what is found, in order; or {"reason": ...} where the message has to be refused
    before/<n>/      messages that come first (topic, message), for decoders that remember
    options.json     settings of the decoder, "retained": true for a repeated message, "device" where the topic names
    one codec.js         a maker's decoder for the radio's bytes

The message arrives at 2026-05-04T12:31:40Z. Adding a case needs no code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from techport_ingest.decoding.formats import Decoder, cayenne_lpp, make_decoders, without_stale
from techport_ingest.decoding.formats.chirpstack_v4 import ChirpStack
from techport_ingest.decoding.formats.csv_lines import Columns, CsvLines
from techport_ingest.decoding.formats.line_protocol import LineProtocol
from techport_ingest.decoding.formats.tasmota import Tasmota
from techport_ingest.decoding.formats.tts_v3 import TheThingsStack
from techport_ingest.decoding.javascript import JavaScriptCodec
from techport_ingest.decoding.lorawan import PayloadCodec
from techport_ingest.message import BadMessage, DeviceEvent, Found, Message, Observed
from techport_pilots.quantities import builtin

FOLDER = Path(__file__).parent / "decoders"
CASES = sorted(file.parent for file in FOLDER.glob("*/*/expected.json") if file.parts[-3] != "native")
RECEIVED = 1_777_897_900_000_000


def read_message(folder: Path, retained: bool = False) -> Message:
    binary = folder / "message.hex"
    payload = bytes.fromhex(binary.read_text()) if binary.exists() else (folder / "message").read_bytes()
    return Message((folder / "topic").read_text().strip(), payload, received=RECEIVED, id=1, retained=retained)


def decoder_for(case: Path, options: dict[str, Any]) -> Decoder:
    form = case.parts[-2]
    codec: PayloadCodec | None = cayenne_lpp.codec if options.get("codec") == "cayenne-lpp" else None
    if (case / "codec.js").exists():
        codec = JavaScriptCodec((case / "codec.js").read_text())
    if codec is not None:
        return TheThingsStack(codec) if form == "tts-v3" else ChirpStack(codec)
    if "zone" in options:
        return Tasmota(ZoneInfo(options["zone"]))
    if "columns" in options:
        return CsvLines(msgspec.convert(options["columns"], Columns))
    if "precision" in options:
        return LineProtocol(options["precision"])
    return make_decoders()[form]


def in_words(one: Found) -> dict[str, object]:
    """A finding as expected.json writes it; what is not there is left out."""
    if isinstance(one, Observed):
        words = {"device": one.device, "time": one.time, "key": one.key, "value": one.value, "unit": one.unit}
    elif isinstance(one, DeviceEvent):
        words = {"device": one.device, "time": one.time, "event": one.kind, "text": one.text or None}
    else:
        words = {"device": one.device, "ignored": one.rule, "key": one.key or None}
    return {name: value for name, value in words.items() if value is not None}


def outcome(case: Path) -> object:
    file = case / "options.json"
    options = json.loads(file.read_bytes()) if file.exists() else {}
    decode = decoder_for(case, options)
    device = options.get("device", "")
    for earlier in sorted((case / "before").glob("*")):
        decode(read_message(earlier), device)
    message = read_message(case, options.get("retained", False))
    try:
        return [in_words(one) for one in without_stale(message, decode(message, device))]
    except BadMessage as problem:
        return {"reason": problem.reason}


@pytest.mark.parametrize("case", CASES, ids=[f"{case.parts[-2]}-{case.parts[-1]}" for case in CASES])
def test_case(case: Path) -> None:
    assert outcome(case) == json.loads((case / "expected.json").read_bytes())


def test_every_format_has_cases() -> None:
    assert {case.parts[-2] for case in CASES} == set(make_decoders()) - {"native"}


def test_what_is_named_like_a_quantity_is_one() -> None:
    """Names that decoders give themselves are the vocabulary's, so that a unit and a range come with them."""
    found = [one for case in CASES for one in json.loads((case / "expected.json").read_bytes()) if type(one) is dict]
    keys = {one["key"] for one in found if "value" in one and one.get("unit") in ("°C", "Cel", "hPa", "µg/m³", "lx")}
    assert {key for key in keys if key not in builtin()} == set()
