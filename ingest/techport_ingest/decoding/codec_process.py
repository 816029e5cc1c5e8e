"""A process that runs one maker's JavaScript (codec_child.py), seen from here.

V8 does not survive everything that a script can ask of it: a text of 512 MB ends the process, and memory outside its
heap is not counted. So each codec has a process of its own with limits of the operating system, an empty environment,
no file of ours and nothing but a socket to us. Here we wait no longer than was agreed, and take nothing from it but
text. It is killed when this process ends (children.py).
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from techport_ingest.decoding import codec_child
from techport_pilots.accounting.rejection import Rejection
from techport_pilots.children import start_child

Uplink = tuple[bytes, int, int]
"""Bytes that came over the radio, their port, and when they were received, in ms since 1970."""

Answer = str | None | Rejection
"""JSON text; None for no text at all; or why the codec gives no answer."""

_START_S = 60.0
_GRACE_S = 5.0
_LARGEST_FRAME = 16_000_000
_FATAL = re.compile(r"Fatal [^\n]{0,150}")


class Limits(msgspec.Struct, frozen=True):
    """What one call may take. Time is on the wall: a codec needs less than 1 ms, the rest is for a busy machine."""

    milliseconds: int = 500
    megabytes: int = 32


class CodecUnavailable(Exception):
    """No process for the codec can be started here: nothing that the codec could help."""


class CodecBroken(Exception):
    """The source does not load; the message says why."""


class CodecDied(Exception):
    """The process has ended, or had to be ended, in the middle of its work."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.detail())
        self.rejection = rejection


class CodecProcess:
    """One process with one codec loaded. Not thread-safe."""

    def __init__(self, source: str, limits: Limits, check: bool = False) -> None:
        """Raises CodecUnavailable, CodecBroken and CodecDied; with `check` also CodecBroken for a source without any
        of the three functions.
        """
        self._limits = limits
        v8 = importlib.util.find_spec("py_mini_racer")
        if v8 is None or v8.origin is None:
            raise CodecUnavailable("the package mini-racer is not installed")
        self._socket, child_socket = socket.socketpair()
        packages = str(Path(v8.origin).parent.parent)
        command = [sys.executable, "-I", codec_child.__file__, packages, str(limits.megabytes)]
        try:
            self._process = start_child(
                command,
                signal.SIGKILL,
                stdin=child_socket.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            self._socket.close()
            raise CodecUnavailable(str(error)) from None
        finally:
            child_socket.close()
        self.close = weakref.finalize(self, _end, self._process, self._socket)
        try:
            if self._receive(_START_S) != b"R":
                raise CodecUnavailable("its process does not start as it should")
        except CodecDied as error:
            raise CodecUnavailable(str(error)) from None
        settings = {"source": source, "milliseconds": limits.milliseconds, "check": check}
        self._send(msgspec.json.encode(settings))
        frame = self._receive(3.0 + _GRACE_S)
        if frame[:1] == b"E":
            self.close()
            raise CodecBroken(_text(frame))
        if frame != b"O":
            raise self._limit(frame)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def ended(self) -> CodecDied:
        """Why a process that is no longer `running` has ended."""
        return self._died()

    def decode(self, uplinks: Sequence[Uplink]) -> Iterator[Answer]:
        """Answers in order, as they come. Raises CodecDied at the first one, or any later one, that will not come."""
        self._send(msgspec.json.encode([(payload.hex(), port, received) for payload, port, received in uplinks]))
        missing = len(uplinks)
        while missing:
            frame = self._receive(self._limits.milliseconds / 1000 * 2 + _GRACE_S)
            if frame[:1] == b"T":
                missing -= 1
                yield Rejection("codec-error.thrown", {"error": _text(frame)})
                continue
            if frame[:1] != b"A":
                raise self._limit(frame)
            try:
                answers = msgspec.json.decode(frame[1:], type=list[str | None])
            except msgspec.DecodeError:
                answers = []
            if not 0 < len(answers) <= missing:
                raise self._limit(b"Lits answers are not in order")
            missing -= len(answers)
            yield from answers

    def _send(self, frame: bytes) -> None:
        try:
            self._socket.settimeout(_GRACE_S)
            self._socket.sendall(struct.pack(">I", len(frame)) + frame)
        except OSError:  # TimeoutError is one
            raise self._died() from None

    def _receive(self, patience_s: float) -> bytes:
        deadline = time.monotonic() + patience_s
        size = struct.unpack(">I", self._exactly(4, deadline))[0]
        if not 0 < size <= _LARGEST_FRAME:
            raise self._limit(b"Lits answers are not in order")
        return self._exactly(size, deadline)

    def _exactly(self, size: int, deadline: float) -> bytes:
        received = bytearray()
        while len(received) < size:
            try:
                self._socket.settimeout(max(0.001, deadline - time.monotonic()))
                part = self._socket.recv(size - len(received))
            except TimeoutError:
                self.close()
                raise CodecDied(Rejection("codec-time", {"limit": self._limits.milliseconds})) from None
            except OSError:
                part = b""
            if not part:
                raise self._died()
            received += part
        return bytes(received)

    def _limit(self, frame: bytes) -> CodecDied:
        """What a process says of its own end."""
        self.close()
        text = _text(frame)
        if frame == b"Ltime":
            return CodecDied(Rejection("codec-time", {"limit": self._limits.milliseconds}))
        if frame == b"Lheap":
            return CodecDied(Rejection("codec-memory.heap", {"limit": self._limits.megabytes}))
        return CodecDied(Rejection("codec-error.thrown", {"error": text}))

    def _died(self) -> CodecDied:
        """What a process that said nothing has died of, by its status and last words."""
        try:
            status = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            status = 0
        assert self._process.stderr is not None
        os.set_blocking(self._process.stderr.fileno(), False)
        words = (self._process.stderr.read(65_536) or b"").decode(errors="replace")
        self.close()
        fatal = _FATAL.search(words)
        if status == -signal.SIGXCPU:
            return CodecDied(Rejection("codec-time", {"limit": self._limits.milliseconds}))
        if "out of memory" in words or "MemoryError" in words:
            return CodecDied(Rejection("codec-memory.process", {"limit": 2 * self._limits.megabytes + 64}))
        error = fatal.group(0) if fatal else signal.Signals(-status).name if status < 0 else f"exit code {status}"
        return CodecDied(Rejection("codec-crash", {"error": error}))


def _end(process: subprocess.Popen[bytes], connection: socket.socket) -> None:
    connection.close()
    process.kill()
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


def _text(frame: bytes) -> str:
    return frame[1:].decode(errors="replace")[:200]
