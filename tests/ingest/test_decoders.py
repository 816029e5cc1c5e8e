"""The native decoder: what its folders of cases (test_decoder_cases.py) cannot say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from techport_ingest.decoding.common import json_document
from techport_ingest.decoding.decoder import make_decoder
from techport_ingest.decoding.formats.native import decoder as native
from techport_ingest.message import Message, Observed, RejectedMessage, Unreadable


def message(payload: bytes, topic: str = "pilots/air/lamp-7/readings") -> Message:
    return Message(topic, payload, received=1_777_897_900_000_000, id=1)


def outcome(given: Message) -> object:
    """What a decoder makes of a message, in the words of expected.json."""
    device = given.topic.split("/")[2]
    try:
        observed = native.decode(given, device)
    except RejectedMessage as problem:
        return {"reason": problem.reason}
    return [
        {"device": o.device, "time": o.time, "key": o.key, "value": o.value} | ({"unit": o.unit} if o.unit else {})
        for o in observed
    ]


def test_refusals_say_what_was_wrong_where_and_what_to_do() -> None:
    with pytest.raises(RejectedMessage) as refused:
        native.decode(message(b'{"time": "2026-05-04T12:30:00Z", "pm10" 21.5}'), "lamp-7")
    assert "byte 40" in refused.value.detail
    assert "Send one object" in refused.value.hint


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b'{"a": NaN}', "nan.json"),
        (b'{"a": nan}', "nan.json"),
        (b'{"a": -Infinity}', "nan.json"),
        (b'{"a": [inf, 1]}', "nan.json"),
        (b'{"a": "nan", "b" 3}', "not-json.malformed"),
        (b'{"tenant": 1 "b": 3}', "not-json.malformed"),
        (b'{"a": 1', "truncated.json"),
        (b'{"a": tr', "truncated.json"),
        (b"\xef\xbb\xbf{}", "not-json.bom"),
        (b'{"a": 1e999}', "number-too-large.json"),
        (b'{"\xf8": 1}', "not-utf8.byte"),
        (b" ", "empty.json"),
    ],
)
def test_text_that_is_not_json_has_a_reason(payload: bytes, code: str) -> None:
    with pytest.raises(RejectedMessage) as rejected:
        json_document(payload)
    assert rejected.value.rejection.code == code


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (b"{}", 'structure of its format: "end_device_ids" is missing.'),
        (b'{"end_device_ids": {}}', 'structure of its format: "device_id" is missing (in $.end_device_ids).'),
        (
            b'{"end_device_ids": {"device_id": 3}}',
            "text was expected instead of a number (in $.end_device_ids.device_id).",
        ),
        (b"[]", "an object was expected instead of an array."),
    ],
)
def test_json_of_another_structure_is_told_in_words(payload: bytes, sentence: str) -> None:
    with pytest.raises(RejectedMessage) as rejected:
        make_decoder("tts-v3")(message(payload), "lamp-7")
    assert sentence in rejected.value.detail


@given(payload=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@example(payload=b'{"a":' * 5_000)
@example(payload=b'[{"a":' * 200 + b"1" + b"}]" * 200)
@example(payload=b'{"a":"\\ud800"}')
@example(payload=b"9" * 100_000)
def test_a_decoder_returns_values_or_raises_bad_message(payload: bytes) -> None:
    check_contract(payload)


NUMBERS = st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=5)
DOCUMENTS = st.recursive(
    NUMBERS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)


@given(document=DOCUMENTS | st.fixed_dictionaries({"time": DOCUMENTS, "pm10": DOCUMENTS}))
def test_any_json_document_is_read_or_refused(document: object) -> None:
    check_contract(json.dumps(document).encode())


KEYS = st.text(alphabet='ab"\\é', min_size=1, max_size=3).filter(lambda key: key != "time")


@given(
    pairs=st.lists(st.tuples(KEYS, st.integers() | st.text(max_size=3)), min_size=1, max_size=6),
    ascii_only=st.booleans(),
)
def test_a_key_that_stands_twice_is_always_found(pairs: list[tuple[str, int | str]], ascii_only: bool) -> None:
    """However the keys are escaped: whether the shortcut by counting quotation marks is exact."""
    body = ",".join(f"{json.dumps(key, ensure_ascii=ascii_only)}:{json.dumps(value)}" for key, value in pairs)
    expected: object = {"reason": "duplicate-key"}
    if len(dict(pairs)) == len(pairs):
        expected = [{"device": "lamp-7", "time": None, "key": key, "value": value} for key, value in pairs]
    assert outcome(message(b"{" + body.encode() + b"}")) == expected


def check_contract(payload: bytes) -> None:
    try:
        observed = native.decode(message(payload), "lamp-7")
    except RejectedMessage as problem:
        complete = bool(problem.reason and problem.detail and problem.hint)
    else:
        complete = all(
            isinstance(one, Unreadable) or (isinstance(one, Observed) and (one.time is None or type(one.time) is int))
            for one in observed
        )
    assert complete


def test_shared_payloads_are_read_or_refused(shared: Path) -> None:
    """Real captures of twenty formats: none may surprise the decoder."""
    files = [file for file in (shared / "payloads").rglob("*") if file.is_file()]
    assert len(files) > 50
    for file in files:
        check_contract(file.read_bytes())


def test_a_heading_that_was_read_before_means_what_it_says() -> None:
    decode = make_decoder("csv")
    messages = (
        b"time;pm10;Lufttemperatur [\xc2\xb0F]\n2026-05-04T12:00:00Z;17,5;50\n",
        b"Lufttemperatur [\xc2\xb0F];time;pm10\n50;2026-05-04T12:00:00Z;17,5\n",
        b"time,device,quantity,value,unit\n2026-05-04T12:00:00Z,lamp-7,pm10,17.5,\n",
        b"time;pm10;pm10\n2026-05-04T12:00:00Z;17,5;9\n",
    )

    def read(payload: bytes) -> object:
        try:
            return sorted((one.key, one.value, one.unit) for one in decode(message(payload), "lamp-7"))  # type: ignore[union-attr]
        except RejectedMessage as problem:
            return problem.reason

    first = [read(payload) for payload in messages]
    assert first[0] == first[1] == [("air_temperature", 50.0, "°F"), ("pm10", 17.5, None)]
    assert first[2:] == [[("pm10", 17.5, None)], "duplicate-key"]
    assert [read(payload) for payload in messages] == first
