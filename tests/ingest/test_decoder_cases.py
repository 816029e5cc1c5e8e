"""Every format, by folders of cases: decoders/<format>/<case>/. Adding a case, or a format, needs no code here.

    topic            the topic
    message          the payload; message.hex where it is binary, in hexadecimal, white space ignored
    expected.json    what is found, in order; or {"reason": ...} where the message has to be rejected
    source.yaml      the entry under sources: that reads it; the same file in the format's folder is for all its cases
    retained         an empty file: the broker repeats an old message
    before/<n>/      messages that come first (topic, message), for decoders that remember

Without a source.yaml the source is one that has nothing but a topic and the format: the format's usual topic where that
covers the case's, otherwise the case's. The message arrives at 2026-05-04T12:31:40Z and takes the way that messages
take in production: a definition is read, the router finds the decoder, the reader decodes and checks.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import yaml

from techport_ingest.decoding.reader import Reader, decode
from techport_ingest.decoding.router import Route, Router
from techport_ingest.message import DeviceEvent, Found, Message, Observed, RejectedMessage, Unreadable
from techport_pilots.definition.load import parse_definition
from techport_pilots.formats import DEFAULT, formats
from techport_pilots.model import DeviceDefinition, PilotDefinition
from techport_pilots.quantities import builtin
from techport_pilots.registry.view import IngestView
from techport_pilots.topics import topic_matches

FOLDER = Path(__file__).parent / "decoders"
CASES = sorted(file.parent for file in FOLDER.glob("*/*/expected.json"))
RECEIVED = 1_777_897_900_000_000
PILOT = "air"


def read_message(folder: Path) -> Message:
    binary = folder / "message.hex"
    payload = bytes.fromhex(binary.read_text()) if binary.exists() else (folder / "message").read_bytes()
    topic, retained = (folder / "topic").read_text().strip(), (folder / "retained").exists()
    return Message(topic, payload, received=RECEIVED, id=1, retained=retained)


def source_of(case: Path, topic: str) -> dict[str, object] | None:
    """The source's entry in the definition; None where none is needed."""
    for folder in (case, case.parent):
        if (folder / "source.yaml").exists():
            source: dict[str, object] = yaml.safe_load((folder / "source.yaml").read_text())
            return source
    form = formats()[case.parent.name]
    if form.name == DEFAULT:
        return None
    if form.topic and topic_matches(form.topic, topic):
        return {"topic": form.topic, "format": form.name}
    own_topic = f"pilots/{PILOT}/+/{form.own_topic}"
    return {"topic": own_topic if topic_matches(own_topic, topic) else topic, "format": form.name}


def pilot_of(case: Path) -> PilotDefinition:
    source = source_of(case, read_message(case).topic)
    definition = {"id": PILOT, "title": "Air", "question": "Is it clean?", "timezone": "Europe/Oslo", "devices": []}
    return parse_definition(yaml.safe_dump({**definition, "sources": [source] if source else []}))


def outcome(case: Path) -> object:
    """What the platform makes of the case's message, in the words of expected.json."""
    pilot, router = pilot_of(case), Router()
    router.use(IngestView.of(1, [pilot], []))
    for earlier in sorted((case / "before").glob("*")):
        message = read_message(earlier)
        decode(message, route_of(router, message))
    message = read_message(case)
    try:
        findings = decode(message, route_of(router, message))
    except RejectedMessage as rejected:
        return {"reason": rejected.reason}
    check_accounted_for(pilot, case, findings)
    return [in_words(finding) for finding in findings]


def route_of(router: Router, message: Message) -> Route:
    route = router.route(message.topic)
    assert route is not None, f"no source of the case takes {message.topic}"
    return route


def check_accounted_for(pilot: PilotDefinition, case: Path, findings: list[Found]) -> None:
    """The reader, with the devices that were found, stores, rejects or ignores each finding, and fails at none."""
    names = dict.fromkeys(finding.device.lower() for finding in findings if finding.device)
    devices = [DeviceDefinition(id=name) for name in names]
    snapshot = IngestView.of(1, [msgspec.structs.replace(pilot, devices=devices)], [])
    reader = Reader()
    reader.use(snapshot)
    earlier = [read_message(folder) for folder in sorted((case / "before").glob("*"))]
    before, after = reader.read(earlier, snapshot), reader.read([read_message(case)], snapshot)
    assert [problem.reason for problem in before.rejected + after.rejected if problem.reason == "decoder-failed"] == []
    rejected = sum(problem.values for problem in after.rejected)
    assert len(after.batch()) + rejected + len(after.ignored) == max(len(findings), 1)


def in_words(finding: Found) -> dict[str, object]:
    """A finding as expected.json writes it; what is not there is left out."""
    words: dict[str, object] = {"device": finding.device}
    if isinstance(finding, Observed):
        optional = {"time": finding.time, "unit": finding.unit}
        words |= {"key": finding.key, "value": finding.value}
    elif isinstance(finding, DeviceEvent):
        optional = {"time": finding.time, "text": finding.text or None}
        words |= {"event": finding.kind}
    elif isinstance(finding, Unreadable):
        optional = {"key": finding.key, "values": finding.values if finding.values != 1 else None}
        words |= {"unreadable": finding.rejection.code}
    else:
        optional = {"key": finding.key or None}
        words |= {"ignored": finding.rule}
    return words | {name: value for name, value in optional.items() if value is not None}


@pytest.mark.parametrize("case", CASES, ids=[f"{case.parts[-2]}-{case.parts[-1]}" for case in CASES])
def test_case(case: Path) -> None:
    assert outcome(case) == json.loads((case / "expected.json").read_bytes())


def test_every_format_has_cases() -> None:
    assert {case.parts[-2] for case in CASES} == set(formats())


def test_what_is_named_like_a_quantity_is_one() -> None:
    """Names that decoders give themselves are the vocabulary's, so that a unit and a range come with them."""
    expected = [json.loads((case / "expected.json").read_bytes()) for case in CASES if case.parts[-2] != DEFAULT]
    findings = [finding for findings in expected for finding in findings if type(finding) is dict]
    units = ("°C", "Cel", "hPa", "µg/m³", "lx")
    keys = {finding["key"] for finding in findings if "value" in finding and finding.get("unit") in units}
    assert {key for key in keys if key not in builtin()} == set()
