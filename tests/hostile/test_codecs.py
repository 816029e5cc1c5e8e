"""JavaScript that wants to end the ingest worker, or to see what is its alone."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from techport_ingest.decoding.javascript import CodecShelf, JavaScriptCodec, Limits
from techport_ingest.decoding.reader import Reader
from techport_ingest.message import Message, RejectedMessage
from techport_ingest.metrics import Metrics
from techport_pilots.i18n.language import ENGLISH
from techport_pilots.model import DeviceDefinition, PilotDefinition, SourceDefinition, Text
from techport_pilots.registry.view import IngestView
from tests.ingest.running import eventually

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="limits and /proc of Linux")
PATIENT = Limits(milliseconds=20_000)

DEADLY = {
    "upper case of 256 MB": "return {data: {x: 'a'.repeat(2 ** 28).toUpperCase().length}};",
    "JSON of 512 MB": "return {data: {x: 'a'.repeat(2 ** 29 - 24)}};",
    "texts outside of the heap's limit": "const a = []; for (let i = 0; i < 40; i++) a.push('b'.repeat(2e7) + i);"
    "return {data: {x: a.map(s => s.toUpperCase()).length}};",
    "an array of 2^29": "return {data: {x: new Array(2 ** 27).fill(1.5).concat(new Array(2 ** 27).fill(2)).length}};",
    "bytes beside the heap": "const a = []; for (let i = 0; i < 4000; i++) a.push(new Uint8Array(1e6).fill(1));"
    "return {data: {x: a.length}};",
}


def _codec(body: str, limits: Limits = PATIENT) -> JavaScriptCodec:
    return JavaScriptCodec(f"function decodeUplink(input) {{ {body} }}", limits)


def _ended(pid: int) -> bool:
    """Whether every thread of it has ended; its parent may not have noticed."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return len(threads) == 1 and (threads[0] / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _children() -> set[int]:
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


@pytest.mark.parametrize("name", DEADLY)
def test_what_v8_does_not_survive_is_one_rejected_message(name: str) -> None:
    codec = _codec(f"if (input.bytes[0] !== 9) return {{data: {{x: input.bytes[0]}}}}; {DEADLY[name]}")
    assert codec(b"\x01", 1) == {"x": 1}
    with pytest.raises(RejectedMessage) as refused:
        codec(b"\x09", 1)
    # Whichever of its limits it reaches first, which depends on how busy the machine is.
    assert refused.value.reason in {"codec-memory", "codec-crash", "codec-error", "codec-time"}
    assert refused.value.detail
    assert codec(b"\x02", 1) == {"x": 2}
    codec.close()


@LINUX
def test_memory_of_the_process_is_bounded() -> None:
    codec = _codec("globalThis.a = (globalThis.a || []); a.push(new Uint8Array(2e7).fill(1)); return {data: {n: 1}};")
    largest = 0
    refused = None
    while refused is None:
        try:
            codec(b"", 1)
        except RejectedMessage as error:
            refused = error
        else:
            status = Path(f"/proc/{codec.pid}/status").read_text()
            largest = max(largest, next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line))
    assert largest < 300_000  # kB
    codec.close()


@LINUX
def test_the_process_has_nothing_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TECHPORT_CANARY", "secret")
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        codec = _codec("return {data: {x: 1}};")
        assert codec(b"", 1) == {"x": 1}
        process = Path(f"/proc/{codec.pid}")
        assert (process / "environ").read_bytes() in (b"", b"LC_CTYPE=C.UTF-8\0")  # Python itself sets that
        targets = [str(file.readlink()) for file in (process / "fd").iterdir()]
        assert not [target for target in targets if target.startswith(str(tmp_path))]
        assert len([target for target in targets if target.startswith("socket:")]) <= 3  # ours, and one loop's pair
        limits = (process / "limits").read_text()
        for name in ("Max data size", "Max address space", "Max cpu time"):
            line = next(line for line in limits.splitlines() if line.startswith(name))
            assert line.removeprefix(name).split()[0] != "unlimited", line
        assert (process / "cwd").readlink() == Path("/")
        codec.close()


@pytest.mark.slow
@LINUX
def test_what_goes_on_after_the_answer_is_ended() -> None:
    """It would take a processor for ever: no message waits for it, so no time limit meets it."""
    codec = _codec("setTimeout(() => { while (true) {} }, 1); return {data: {x: 1}};", Limits(milliseconds=500))
    assert codec(b"", 1) == {"x": 1}
    pid = codec.pid
    assert pid is not None
    eventually(lambda: _ended(pid), "the process is ended")
    codec.close()


@LINUX
def test_a_process_that_hangs_or_is_killed_is_replaced() -> None:
    codec = _codec("return {data: {x: input.bytes[0]}};", Limits(milliseconds=100))
    assert codec(b"\x01", 1) == {"x": 1}
    first = codec.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    with pytest.raises(RejectedMessage) as refused:
        codec(b"\x02", 1)
    assert refused.value.reason == "codec-time"
    assert codec(b"\x03", 1) == {"x": 3}
    second = codec.pid
    assert second is not None
    os.kill(second, signal.SIGKILL)
    eventually(lambda: _ended(second), "the process has ended")
    assert codec(b"\x04", 1) == {"x": 4}
    assert len({first, second, codec.pid}) == 3
    assert not _children() & {first, second}
    codec.close()


@LINUX
def test_the_process_ends_with_the_worker() -> None:
    script = """
        import os, signal
        from techport_ingest.decoding.javascript import JavaScriptCodec
        codec = JavaScriptCodec("function decodeUplink() { return {data: {x: 1}}; }")
        assert codec(b"", 1) == {"x": 1}
        print(codec.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    eventually(lambda: _ended(int(ended.stdout)), "the process has ended")


@pytest.mark.slow
def test_the_deadly_message_is_found_among_many() -> None:
    """Others of the same batch are decoded, and the codec is not blamed twice for one message."""
    deadly = DEADLY["JSON of 512 MB"]
    codec = _codec(f"if (input.bytes[0] === 9) {{ {deadly} }} return {{data: {{x: input.bytes[0]}}}};")
    numbers = [*range(1, 9), 9, *range(10, 40), 9, *range(40, 60)]
    codec.prepare([(bytes([number]), 1, 0) for number in numbers])
    for number in numbers:
        if number == 9:
            with pytest.raises(RejectedMessage):
                codec(b"\x09", 1)
        else:
            assert codec(bytes([number]), 1) == {"x": number}
    codec.forget()
    with pytest.raises(RejectedMessage) as third:
        codec(b"\x09", 1)
    assert third.value.reason != "codec-disabled"
    with pytest.raises(RejectedMessage) as after:
        codec(b"\x01", 1)
    assert after.value.reason == "codec-disabled"
    assert "3 times" in after.value.detail
    codec.close()


def test_what_a_codec_does_to_the_runner_hurts_itself_only() -> None:
    for body in (
        "Array.prototype.push = () => 1; return {data: {x: 1}};",
        "Array.prototype.splice = () => 'x'; return {data: {x: 1}};",
        "Array.prototype.toJSON = () => 7; return {data: {x: 1}};",
        "globalThis.__techport_run = () => 5; return {data: {x: 1}};",
        "__techport_answers.push('1', '2', '3'); return {data: {x: 1}};",
        "Date.now = () => 0; return {data: {x: 1}};",
        "String.prototype.substr = () => { throw new Error('x'); }; return {data: {x: 1}};",
    ):
        codec = _codec(body)
        for _ in range(3):
            try:
                assert codec(b"\x01", 1) in ({"x": 1},)
            except RejectedMessage as refused:
                assert refused.reason.startswith("codec-")  # noqa: PT017 - both are right
        codec.close()


@pytest.fixture
def reader() -> Iterator[tuple[Reader, Metrics, CollectorRegistry]]:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    reader = Reader(on_codec_death=metrics.count_codec_death)
    yield reader, metrics, registry
    reader.close()


def _pilot(name: str, codec: str) -> PilotDefinition:
    topic = f"v3/{name}/devices/+/up"
    source = SourceDefinition(topic=topic, format="tts-v3", codec=codec)
    return PilotDefinition(
        id=name, title=Text(), question=Text(), devices=[DeviceDefinition(id="meter")], sources=[source]
    )


def _uplink(pilot: str, number: int, second: int) -> Message:
    data = base64.b64encode(bytes([number])).decode()
    payload = (
        f'{{"end_device_ids":{{"device_id":"meter"}},"uplink_message":{{"received_at":"2026-05-04T12:31:{second:02d}Z",'
        f'"f_port":1,"frm_payload":"{data}"}}}}'
    )
    return Message(f"v3/{pilot}/devices/meter/up", payload.encode(), int(time.time() * 1e6), second)


@pytest.mark.slow
def test_a_disabled_codec_is_reported_and_costs_nobody_else(
    reader: tuple[Reader, Metrics, CollectorRegistry],
) -> None:
    reading, _, registry = reader
    good = "function decodeUplink(i) { return {data: {temperature: i.bytes[0]}}; }"
    deadly = f"function decodeUplink(i) {{ {DEADLY['JSON of 512 MB']} }}"
    view = IngestView.of(1, [_pilot("good", good), _pilot("bad", deadly)], [])
    reading.use(view)
    messages = [_uplink(pilot, number, number) for number in range(1, 9) for pilot in ("good", "bad")]
    columns = reading.read(messages, view)
    assert len(columns.batch()) == 8
    codes = [part.rejection.code for part in columns.rejected]
    assert len(codes) == 8
    assert codes[3:] == [codes[-1]] * 5
    assert codes[-1].startswith("codec-disabled.")
    assert "disabled" in columns.rejected[-1].rejection.title(ENGLISH)
    assert "3 times" in columns.rejected[-1].rejection.detail(ENGLISH)
    assert registry.get_sample_value("techport_ingest_codecs_disabled_total") == 1
    changed = IngestView.of(2, [_pilot("good", good), _pilot("bad", good)], [])
    reading.use(changed)
    assert len(reading.read([_uplink("bad", 3, 30)], changed).batch()) == 1


def test_many_at_once_give_what_one_after_the_other_gives() -> None:
    source = """
        function decodeUplink(input) {
          if (input.bytes.length === 3) throw new Error('three');
          if (input.bytes.length === 4) return;
          if (input.bytes.length === 5) return {errors: ['five']};
          if (input.bytes.length === 6) return {data: {x: 'y'.repeat(300000)}};
          if (input.bytes.length === 7) return 7;
          return {data: {n: input.bytes.length, sum: input.bytes.reduce((a, b) => a + b / 7, 0), port: input.fPort}};
        }
    """
    uplinks = [(os.urandom(number % 11), number % 200, 1000 * number) for number in range(400)]

    def answers(prepared: bool) -> list[object]:
        codec = CodecShelf(limits=PATIENT).codec("any", source)
        if prepared:
            codec.prepare(uplinks)
        told: list[object] = []
        for payload, port, received in uplinks:
            try:
                told.append(codec(payload, port, received))
            except RejectedMessage as refused:
                told.append(str(refused))
        codec.close()
        return told

    assert answers(prepared=True) == answers(prepared=False)
