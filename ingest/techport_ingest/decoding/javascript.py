"""Makers' JavaScript decoders, run in a sandbox: the payload codec interface of The Things Network.

    function decodeUplink({bytes, fPort}) { return {data: {temperature: 21.5}, warnings: [], errors: []} }

The older `Decoder(bytes, port)` and ChirpStack 3's `Decode(fPort, bytes)` are understood too. Each device type has a
V8 context of its own, without network or files; a call that takes too long or too much memory ends with a
RejectedMessage, and its context is made anew. https://www.thethingsindustries.com/docs/integrations/payload-formatters/javascript/uplink/
"""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import msgspec
from py_mini_racer import JSEvalException, JSOOMException, JSTimeoutException, MiniRacer

from techport_ingest.message import RejectedMessage

_LONGEST_SOURCE = 1_000_000
_LONGEST_RESULT = 256_000
_LONGEST_PAYLOAD = 4096
_ACCIDENTS = 5
_REST = 60  # seconds

_THROWN = re.compile(r"\w*Error\b|Uncaught|<anonymous>:\d")

# Runs the decoder and gives its answer as text, so that nothing but a string crosses over.
_RUNNER = """
function __techport_run(hex, port) {
  const bytes = [];
  for (let i = 0; i < hex.length; i += 2) bytes.push(parseInt(hex.substr(i, 2), 16));
  let answer;
  if (typeof decodeUplink === 'function') answer = decodeUplink({bytes: bytes, fPort: port, variables: {}});
  else if (typeof Decoder === 'function') answer = {data: Decoder(bytes, port)};
  else answer = {data: Decode(port, bytes, {})};
  const text = JSON.stringify(answer === undefined ? null : answer);
  return text.length > LIMIT ? 'too long' : text;
}
""".replace("LIMIT", str(_LONGEST_RESULT))


class Limits(msgspec.Struct, frozen=True):
    """What one call may take. Time is on the wall: a codec needs less than 1 ms, the rest is for a busy machine."""

    milliseconds: int = 500
    megabytes: int = 32


class BadCodec(ValueError):
    """Source text that cannot be a codec; the message says why."""


class JavaScriptCodec:
    """One device type's decoder: a PayloadCodec. Not thread-safe; its context opens at the first uplink."""

    def __init__(self, source: str, limits: Limits | None = None) -> None:
        """Raises BadCodec for source that is too long; what is wrong inside shows when it runs (`check`)."""
        if len(source) > _LONGEST_SOURCE:
            raise BadCodec(f"the codec has {len(source)} characters; at most {_LONGEST_SOURCE} are run")
        self.source = source
        self._limits = limits or Limits()
        self._context: MiniRacer | None = None
        self._accidents = 0
        self._last_accident = 0.0

    def __call__(self, payload: bytes, port: int) -> dict[str, Any]:
        """The `data` that the codec returns. Raises RejectedMessage for its errors, time and memory included."""
        if len(payload) > _LONGEST_PAYLOAD:
            raise RejectedMessage("too-long.radio", size=len(payload))
        text = self._run(f"__techport_run('{payload.hex()}',{int(port)})")
        if text == "too long":
            raise RejectedMessage("codec-memory.result", limit=_LONGEST_RESULT)
        try:
            answer = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            raise RejectedMessage("codec-error.not-json") from None
        data = answer.get("data") if type(answer) is dict else None
        errors = answer.get("errors") if type(answer) is dict else None
        if errors:
            raise RejectedMessage("codec-error.reported", errors=str(errors)[:200])
        if type(data) is not dict:
            raise RejectedMessage("codec-error.no-data")
        return data

    def check(self) -> None:
        """Raises BadCodec if the source does not parse or defines none of the three functions."""
        try:
            self._open().eval(
                "typeof decodeUplink==='function'||typeof Decoder==='function'||typeof Decode==='function'||"
                "(()=>{throw new Error('it defines no decodeUplink function')})()"
            )
        except RejectedMessage as error:
            raise BadCodec(error.detail) from None
        except JSEvalException as error:
            raise BadCodec(_first_line(error)) from None

    def close(self) -> None:
        """Give the context's memory back; the next call opens a new one."""
        context, self._context = self._context, None
        if context is not None:
            context.close()

    def _run(self, expression: str) -> str:
        context = self._open()
        try:
            answer = context.eval(expression, timeout_sec=self._limits.milliseconds / 1000)
        except JSTimeoutException:
            self._renew(context)
            raise RejectedMessage("codec-time", limit=self._limits.milliseconds) from None
        except JSOOMException:
            self._renew(context)
            raise RejectedMessage("codec-memory.heap", limit=self._limits.megabytes) from None
        except JSEvalException as error:
            if not _THROWN.search(str(error)):
                self._renew(context)
            raise RejectedMessage("codec-error.thrown", error=_first_line(error)) from None
        self._accidents = 0
        if type(answer) is not str:
            raise RejectedMessage("codec-error.nothing")
        return answer

    def _renew(self, context: MiniRacer) -> None:
        """Give up a context that V8 has stopped: what its script left half done cannot be trusted.

        V8 cannot stop in the middle of one of its own functions, such as writing out a text of 256 MB. Nobody waits for
        that here: the context is closed beside us.
        """
        self._context = None
        self._accidents += 1
        self._last_accident = time.monotonic()
        threading.Thread(target=_close_when_idle, args=(context,), name="codec-closer", daemon=True).start()

    def _open(self) -> MiniRacer:
        if self._accidents >= _ACCIDENTS and time.monotonic() - self._last_accident < _REST:
            raise RejectedMessage("codec-stopped", times=_ACCIDENTS, rest=_REST)
        if self._context is None:
            context = MiniRacer()
            context.set_hard_memory_limit(self._limits.megabytes * 1_000_000)
            try:
                context.eval(self.source, timeout_sec=1.0)
                context.eval(_RUNNER)
            except JSEvalException as error:
                self._renew(context)
                raise RejectedMessage("codec-error.thrown", error=_first_line(error)) from None
            self._context = context
        return self._context


class CodecShelf:
    """The codecs of many device types. At most `most` contexts are open; the longest unused is closed first.

    Each context takes 2 to 5 MB. Use it from one thread.
    """

    def __init__(self, most: int = 64, limits: Limits | None = None) -> None:
        self._most = most
        self._limits = limits
        self._codecs: dict[str, JavaScriptCodec] = {}

    def codec(self, device_type: str, source: str) -> JavaScriptCodec:
        """The codec of a device type; other source text than before replaces it. Raises BadCodec."""
        known = self._codecs.pop(device_type, None)
        if known is None or known.source != source:
            if known is not None:
                known.close()
            known = JavaScriptCodec(source, self._limits)
        self._codecs[device_type] = known
        while len(self._codecs) > self._most:
            self._codecs.pop(next(iter(self._codecs))).close()
        return known


def _close_when_idle(context: MiniRacer) -> None:
    for _ in range(40):
        try:
            context.eval("0", timeout_sec=1.0)
            break
        except JSEvalException:
            time.sleep(0.25)
    context.close()


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "Error" in line), lines[0] if lines else type(error).__name__)[:200]
