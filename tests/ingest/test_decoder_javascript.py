"""Makers' JavaScript in its sandbox: what it may take, and that one codec's accident is not another's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from techport_ingest.decoding.javascript import BadCodec, CodecShelf, JavaScriptCodec, Limits
from techport_ingest.message import RejectedMessage

THERMOMETER = """
function decodeUplink(input) {
  var raw = (input.bytes[0] << 8) | input.bytes[1];
  return {data: {temperature: (raw > 0x7fff ? raw - 0x10000 : raw) / 10, port: input.fPort}};
}
"""


@pytest.fixture
def thermometer() -> Iterator[JavaScriptCodec]:
    codec = JavaScriptCodec(THERMOMETER)
    yield codec
    codec.close()


@pytest.fixture(scope="module")
def shelf() -> CodecShelf:
    return CodecShelf(limits=Limits(milliseconds=5_000))


def test_decodes(thermometer: JavaScriptCodec) -> None:
    assert thermometer(bytes.fromhex("00EB"), 3) == {"temperature": 23.5, "port": 3}
    assert thermometer(bytes.fromhex("FFF6"), 3) == {"temperature": -1, "port": 3}


@pytest.mark.parametrize(
    ("body", "reasons"),
    [
        ("while (true) {}", {"codec-time"}),
        ("/(a+)+$/.test('a'.repeat(40) + 'b')", {"codec-time"}),
        # Which limit is met first depends on how busy the machine is.
        ("const a = []; while (true) a.push(new Array(1000).fill(7));", {"codec-memory", "codec-time"}),
        ("return {data: {x: 'a'.repeat(2 ** 28)}};", {"codec-memory", "codec-time", "codec-error"}),
        ("(function f() { f(); })();", {"codec-error"}),
        ("throw new Error('port 9 is not mine');", {"codec-error"}),
        ("throw 7;", {"codec-error"}),
        ("return 7;", {"codec-error"}),
        ("return;", {"codec-error"}),
        ("return {data: [1]};", {"codec-error"}),
        ("return {data: {x: 10n}};", {"codec-error"}),
        ("const a = {}; a.a = a; return {data: a};", {"codec-error"}),
        ("return {errors: ['wrong port']};", {"codec-error"}),
        ("return {data: {x: 'a'.repeat(300000)}};", {"codec-memory"}),
        ("JSON.stringify = () => 7; return {data: {}};", {"codec-error"}),
    ],
)
def test_what_goes_wrong_is_a_bad_message(body: str, reasons: set[str]) -> None:
    patience = 5_000 if "codec-time" not in reasons else 150
    codec = JavaScriptCodec(f"function decodeUplink(input) {{ {body} }}", Limits(milliseconds=patience, megabytes=32))
    for _ in range(2):  # and so is the next one: the codec goes on
        with pytest.raises(RejectedMessage) as refused:
            codec(b"\x01", 1)
        assert refused.value.reason in reasons
    codec.close()


def test_nothing_of_the_machine_can_be_reached(thermometer: JavaScriptCodec) -> None:
    names = "['require', 'process', 'fetch', 'XMLHttpRequest', 'WebSocket', 'importScripts', 'Deno', 'Bun']"
    probe = JavaScriptCodec(
        f"function decodeUplink() {{ return {{data: {{found: {names}.filter(n => n in globalThis).length}}}}; }}"
    )
    assert probe(b"", 1) == {"found": 0}
    probe.close()


def test_a_codec_goes_on_after_an_accident() -> None:
    source = "function decodeUplink(i) { while (i.bytes[0] == 9) {} return {data: {x: i.bytes[0]}}; }"
    codec = JavaScriptCodec(source, Limits(milliseconds=500))
    assert codec(b"\x01", 1) == {"x": 1}
    with pytest.raises(RejectedMessage):
        codec(b"\x09", 1)
    assert codec(b"\x02", 1) == {"x": 2}
    codec.close()


def test_a_codec_that_always_meets_its_limits_is_disabled() -> None:
    """It would cost everybody else its time limit with each message."""
    codec = JavaScriptCodec("function decodeUplink() { while (true) {} }", Limits(milliseconds=20))
    reasons = []
    for _ in range(7):
        with pytest.raises(RejectedMessage) as refused:
            codec(b"", 1)
        reasons.append(refused.value.reason)
    assert reasons == ["codec-time"] * 3 + ["codec-disabled"] * 4


def test_device_types_do_not_share_variables() -> None:
    shelf = CodecShelf()
    counting = "var seen = (globalThis.seen || 0); function decodeUplink() { return {data: {n: ++seen}}; }"
    first, second = shelf.codec("a", counting), shelf.codec("b", counting)
    assert [first(b"", 1), first(b"", 1), second(b"", 1)] == [{"n": 1}, {"n": 2}, {"n": 1}]
    assert shelf.codec("a", counting) is first
    assert shelf.codec("a", counting + "//") is not first


def test_only_so_many_contexts_are_open() -> None:
    shelf = CodecShelf(most=2)
    codecs = [shelf.codec(str(i), f"function decodeUplink() {{ return {{data: {{i: {i}}}}}; }}") for i in range(5)]
    assert [codec(b"", 1) for codec in codecs] == [{"i": i} for i in range(5)]  # closed ones open again
    assert [codec.pid is not None for codec in codecs] == [False, False, False, True, True]
    assert codecs[0](b"", 1) == {"i": 0}
    assert [codec.pid is not None for codec in codecs] == [True, False, False, False, True]
    shelf.keep([codecs[0]])
    assert [codec.pid is not None for codec in codecs] == [True, False, False, False, False]
    shelf.close()
    assert codecs[0].pid is None


@pytest.mark.parametrize(
    "source", ["function decodeUplink( {", "let x = 1;", "throw new Error('no');", "while (true) {}"]
)
def test_source_that_is_no_codec_is_refused_when_it_is_checked(source: str) -> None:
    with pytest.raises(BadCodec):
        JavaScriptCodec(source).check()


def test_other_interfaces_are_understood() -> None:
    for source in (
        "function Decoder(bytes, port) { return {n: bytes.length}; }",
        "function Decode(fPort, bytes) { return {n: bytes.length}; }",
    ):
        codec = JavaScriptCodec(source)
        codec.check()
        assert codec(b"abc", 1) == {"n": 3}
        codec.close()


@settings(max_examples=50, deadline=None)
@given(payload=st.binary(max_size=60), port=st.integers(0, 255))
def test_any_bytes(shelf: CodecShelf, payload: bytes, port: int) -> None:
    codec = shelf.codec("echo", "function decodeUplink(i) { return {data: {bytes: i.bytes, port: i.fPort}}; }")
    assert codec(payload, port) == {"bytes": list(payload), "port": port}


UTF_8 = "new TextDecoder('utf-8').decode(new Uint8Array([195, 165]))"
BUFFERS = """
    const b = Buffer.from('0102c0ff', 'hex');
    return {data: {
        h: Buffer.from(i.bytes).toString('hex'), b: b.toString('base64'), u: b.readUIntBE(1, 3), l: b.readInt16LE(2),
        f: Buffer.from([66, 40, 0, 0]).readFloatBE(0), s: b.slice(1, 2)[0], n: Buffer.isBuffer(b),
    }};
"""
BUFFER_VALUES = {"h": "fff6", "b": "AQLA/w==", "u": 180479, "l": -64, "f": 42, "s": 2, "n": True}
TEMPERATURE = "const data = {t: Buffer.from(bytes).readInt16BE(0) / 10};"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("function Decoder(bytes, port) { return {t: bytes[0] / 10}; }", {"t": 25.5}),
        ("function Decode(fPort, bytes, variables) { return {t: bytes[1], port: fPort}; }", {"t": 246, "port": 7}),
        (f"function decodeUplink({{bytes}}) {{ {TEMPERATURE} return {{data}}; }}", {"t": -1}),
        ("const decodeUplink = input => ({data: {t: input.recvTime.getUTCFullYear()}});", {"t": 2026}),
        ("module.exports = {decodeUplink: input => ({data: {t: input.bytes.length}})};", {"t": 2}),
        ("exports.decodeUplink = function (input) { return {data: {t: input.bytes.length}}; };", {"t": 2}),
        ("module.exports = {Decoder: (bytes, port) => ({t: port})};", {"t": 7}),
        ("function Decoder(b) { return {t: b.length}; }\nmodule.exports = {Decoder};", {"t": 2}),
        ("function decodeUplink(i) { console.log(i); return {data: {t: i.fPort}}; }\nmodule.exports = {};", {"t": 7}),
        ("function decodeUplink(i) { return {data: {s: btoa('hei'), t: atob('aGVp')}}; }", {"s": "aGVp", "t": "hei"}),
        (f"function decodeUplink(i) {{ return {{data: {{s: {UTF_8}}}}}; }}", {"s": "å"}),
        (f"function decodeUplink(i) {{ {BUFFERS} }}", BUFFER_VALUES),
    ],
)
def test_codecs_run_as_on_the_network_servers(source: str, expected: dict[str, object]) -> None:
    codec = JavaScriptCodec(source, Limits(milliseconds=5_000))
    codec.check()
    assert codec(b"\xff\xf6", 7, 1_777_897_900_000) == expected
    codec.close()
