"""The process in which a maker's JavaScript runs. Started by codec_process.py as a script, with the standard library,
V8, and one socket as its standard input; it imports nothing of the platform.

    us ◄─ "R"                      V8 is loaded and the limits are set
    us ─► settings, source         JSON
    us ◄─ "O" | "E" text           the source is loaded, or what it threw
    us ─► [[hex, port, ms], ...]   uplinks, with the time of reception
    us ◄─ "A" [text, ...]          answers of the next ones, as many as were ready within SLICE_MS
          "T" text                 what the next one threw
          "L" time|heap|text       a limit was reached somewhere among the next ones; this process ends

A frame is four bytes of length, big-endian, and so many bytes. Whatever V8 does not survive ends this process alone.
"""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

SLICE_MS = 50
"""After so long, answers that are ready are handed over. A call that reaches its time limit delays no others."""

LONGEST_RESULT = 256_000
_LONGEST_ANSWERS = 1_000_000

_THROWN = re.compile(r"\w*Error\b|Uncaught|<anonymous>:\d")

# What the runner needs later, before a codec can replace it.
_BEFORE = """
const __techport_answers = [];
const __techport_json = JSON.stringify;
const __techport_now = Date.now;
"""

# The function of a codec: a global one, or one that a module exports.
_FIND = """
function __techport_codec() {
  const made = typeof module === 'object' && module ? module.exports : undefined;
  const given = typeof exports === 'object' && exports ? exports : undefined;
  if (typeof decodeUplink === 'function') return ['decodeUplink', decodeUplink];
  for (const home of [made, given]) {
    if (home && typeof home.decodeUplink === 'function') return ['decodeUplink', home.decodeUplink];
    if (home && home.default && typeof home.default.decodeUplink === 'function') {
      return ['decodeUplink', home.default.decodeUplink];
    }
  }
  if (typeof Decoder === 'function') return ['Decoder', Decoder];
  if (typeof Decode === 'function') return ['Decode', Decode];
  for (const home of [made, given]) {
    if (home && typeof home.Decoder === 'function') return ['Decoder', home.Decoder];
    if (home && typeof home.Decode === 'function') return ['Decode', home.Decode];
  }
  throw new Error('it defines no decodeUplink function');
}
"""

# Runs the decoder and gives its answers as text, so that nothing but a string crosses over.
_RUNNER = """
function __techport_run(uplinks) {
  const started = __techport_now();
  let length = 0;
  for (const [hex, port, received] of uplinks) {
    const bytes = [];
    for (let i = 0; i < hex.length; i += 2) bytes.push(parseInt(hex.substr(i, 2), 16));
    let answer;
    const [kind, decode] = __techport_codec();
    if (kind === 'decodeUplink') {
      answer = decode({bytes: bytes, fPort: port, variables: {}, recvTime: new Date(received)});
    } else if (kind === 'Decoder') answer = {data: decode(bytes, port)};
    else answer = {data: decode(port, bytes, {})};
    let text = JSON.stringify(answer === undefined ? null : answer);
    text = text.length > LONGEST_RESULT ? 'too long' : text;
    __techport_answers.push(typeof text === 'string' ? text : null);
    length += text === null ? 0 : text.length;
    if (length > LONGEST_ANSWERS || __techport_now() - started > SLICE_MS) break;
  }
  return __techport_json(__techport_answers.splice(0));
}
"""
for _name, _number in (
    ("LONGEST_RESULT", LONGEST_RESULT),
    ("LONGEST_ANSWERS", _LONGEST_ANSWERS),
    ("SLICE_MS", SLICE_MS),
):
    _RUNNER = _RUNNER.replace(_name, str(_number))

_CHECK = "__techport_codec() && true"


def main() -> None:
    """Answer until the other end closes the socket."""
    sys.path.insert(0, sys.argv[1])  # where V8 is
    megabytes = int(sys.argv[2])
    import resource

    from py_mini_racer import JSEvalException, JSOOMException, JSTimeoutException, MiniRacer

    connection = socket.socket(fileno=0)
    context = MiniRacer()
    context.set_hard_memory_limit(megabytes * 1_000_000)
    context.eval(Path(__file__).with_name("codec_environment.js").read_text("utf-8"))
    context.eval(_BEFORE)
    _limit_memory(resource, 2 * megabytes + 64)

    def limited(expression: str, seconds: float) -> Any:
        """The value of the expression. Ends this process where a limit is reached."""
        used = time.process_time()
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 3, hard))
        try:
            return context.eval(expression, timeout_sec=seconds)
        except JSTimeoutException:
            _end(connection, b"Ltime")
        except JSOOMException:
            _end(connection, b"Lheap")
        except JSEvalException as error:
            if not _THROWN.search(str(error)):
                _end(connection, b"L" + _first_line(error).encode(errors="replace"))
            raise

    _send(connection, b"R")
    settings = json.loads(_receive(connection))
    try:
        limited(settings["source"], 1.0)
        limited(_FIND + _RUNNER, 1.0)
        if settings["check"]:
            limited(_CHECK, 1.0)
    except JSEvalException as error:
        _end(connection, b"E" + _first_line(error).encode(errors="replace"))
    _send(connection, b"O")
    seconds = settings["milliseconds"] / 1000
    while True:
        uplinks = json.loads(_receive(connection))
        done = 0
        while done < len(uplinks):
            thrown = None
            try:
                answers = limited(f"__techport_run({json.dumps(uplinks[done:])})", seconds)
            except JSEvalException as error:
                thrown = _first_line(error).encode(errors="replace")
                answers = limited("__techport_json(__techport_answers.splice(0))", seconds)
            number = _length(answers)
            if number:
                _send(connection, b"A" + answers.encode(errors="replace"))
            if thrown is not None:
                _send(connection, b"T" + thrown)
            if not number and thrown is None:
                _end(connection, b"Lno answer")
            done += number + (thrown is not None)


def _limit_memory(resource: Any, megabytes: int) -> None:
    """Allow so much more memory than is in use now. V8 reserves addresses (1.4 TB) and half a gigabyte of room for
    code at its start without using them, so that no fixed number would do.
    """
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(limit, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        with Path("/proc/self/status").open(encoding="ascii") as status:
            in_use = {line.split(":")[0]: line.split()[1] for line in status if line.startswith("Vm")}
    except OSError:  # not Linux: V8's own limit alone
        return
    for limit, name in ((resource.RLIMIT_DATA, "VmData"), (resource.RLIMIT_AS, "VmSize")):
        most = int(in_use[name]) * 1024 + megabytes * 1_000_000
        resource.setrlimit(limit, (most, most))


def _length(answers: Any) -> int:
    """How many answers there are; 0 where the codec has broken the runner."""
    try:
        return len(json.loads(answers))
    except (TypeError, ValueError, RecursionError):
        return 0


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "Error" in line), lines[0] if lines else type(error).__name__)[:200]


def _send(connection: socket.socket, frame: bytes) -> None:
    connection.sendall(struct.pack(">I", len(frame)) + frame)


def _receive(connection: socket.socket) -> bytes:
    return _exactly(connection, struct.unpack(">I", _exactly(connection, 4))[0])


def _exactly(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            os._exit(0)
        received += part
    return bytes(received)


def _end(connection: socket.socket, frame: bytes) -> None:
    """Say it and end at once: V8 may be in the middle of something that nothing stops."""
    _send(connection, frame)
    os._exit(0)


if __name__ == "__main__":
    main()
