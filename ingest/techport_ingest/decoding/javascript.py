"""Makers' JavaScript decoders, run in a sandbox: the payload codec interface of The Things Network.

    function decodeUplink({bytes, fPort}) { return {data: {temperature: 21.5}, warnings: [], errors: []} }

The older `Decoder(bytes, port)` and ChirpStack 3's `Decode(fPort, bytes)` are understood too, and modules that export
one of them; codec_environment.js holds what network servers give to codecs besides. Each source has a process
of its own with limits (codec_process.py). A call that takes too long or too much memory, or ends its process, is a
RejectedMessage, and the process is started anew; a codec that ends MOST_DEATHS processes within an hour is disabled.
https://www.thethingsindustries.com/docs/integrations/payload-formatters/javascript/uplink/

A message costs most on the way to the process and back. Who has many gives them to `prepare` at once; calls find the
answers there.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import structlog

from techport_ingest.decoding.codec_child import LONGEST_RESULT
from techport_ingest.decoding.codec_process import (
    Answer,
    CodecBroken,
    CodecDied,
    CodecProcess,
    CodecUnavailable,
    Limits,
    Uplink,
)
from techport_ingest.message import RejectedMessage
from techport_pilots.accounting.rejection import Rejection

__all__ = ["BadCodec", "CodecShelf", "JavaScriptCodec", "Limits", "Uplink"]

log = structlog.get_logger(__name__)

MOST_DEATHS = 3
"""So many processes may end within _REMEMBERED_S before a codec is disabled."""

_REMEMBERED_S = 3600.0
_LONGEST_SOURCE = 1_000_000
_LONGEST_PAYLOAD = 4096
_MOST_UPLINKS = 256  # in one request
_MOST_BYTES = 64_000

OnDeath = Callable[[str, bool], None]
"""(reason: the code's part before the dot, whether the codec is disabled now)"""


class BadCodec(ValueError):
    """Source text that cannot be a codec; the message says why."""


class JavaScriptCodec:
    """One source's decoder: a PayloadCodec. Not thread-safe; its process starts at the first uplink."""

    def __init__(
        self, source: str, limits: Limits | None = None, *, name: str = "", on_death: OnDeath | None = None
    ) -> None:
        """Raises BadCodec for source that is too long; what is wrong inside shows when it runs (`check`)."""
        if len(source) > _LONGEST_SOURCE:
            raise BadCodec(f"the codec has {len(source)} characters; at most {_LONGEST_SOURCE} are run")
        self.source = source
        self.name = name
        self.before_use: Callable[[JavaScriptCodec], None] = _nothing
        self._limits = limits or Limits()
        self._on_death = on_death
        self._process: CodecProcess | None = None
        self._deaths: deque[float] = deque()
        self._disabled: Rejection | None = None
        self._broken: Rejection | None = None
        self._prepared: dict[Uplink, deque[Answer]] = {}

    def __call__(self, payload: bytes, port: int, received: int = 0) -> dict[str, Any]:
        """The `data` that the codec returns. Raises RejectedMessage for its errors, time and memory included."""
        if len(payload) > _LONGEST_PAYLOAD:
            raise RejectedMessage("too-long.radio", size=len(payload))
        uplink = (payload, port, received)
        prepared = self._prepared.get(uplink)
        answer = prepared.popleft() if prepared else self._decode([uplink])[0]
        return _data(answer)

    def prepare(self, uplinks: Sequence[Uplink]) -> None:
        """Decode these at once, in order. Answers wait for the calls, until `forget`."""
        uplinks = [uplink for uplink in uplinks if len(uplink[0]) <= _LONGEST_PAYLOAD]
        for uplink, answer in zip(uplinks, self._decode(uplinks), strict=True):
            self._prepared.setdefault(uplink, deque()).append(answer)

    def forget(self) -> None:
        """Drop answers that nobody has called for."""
        self._prepared.clear()

    def check(self) -> None:
        """Raises BadCodec if the source does not parse or defines none of the three functions."""
        try:
            CodecProcess(self.source, self._limits, check=True).close()
        except CodecBroken as error:
            raise BadCodec(str(error)) from None
        except CodecDied as error:
            raise BadCodec(error.rejection.detail()) from None

    def close(self) -> None:
        """End the process; the next call starts a new one."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._process is None else self._process.pid

    def _decode(self, uplinks: Sequence[Uplink]) -> list[Answer]:
        """An answer for each. When a process ends at one of many, those without an answer are tried one by one, so
        that the message is found; that counts as one death.
        """
        answers: list[Answer] = []
        one_by_one_until = 0
        batch_died: CodecDied | None = None
        while len(answers) < len(uplinks):
            if batch_died is not None and len(answers) >= one_by_one_until:  # each alone went well
                self._count_death(batch_died)
                batch_died = None
            alone = len(answers) < one_by_one_until
            batch = [uplinks[len(answers)]] if alone else _batch(uplinks, len(answers))
            self._notice_end()
            refused = self._disabled or self._broken
            if refused is not None:
                answers += [refused] * len(batch)
                continue
            expected = len(answers) + len(batch)
            try:
                for answer in self._running().decode(batch):
                    answers.append(answer)  # kept when the process ends at a later one
            except CodecUnavailable as error:
                answers += [Rejection("decoder-failed", {"error": "CodecUnavailable", "text": str(error)})] * len(batch)
            except CodecBroken as error:
                self._broken = Rejection("codec-error.thrown", {"error": str(error)})
            except CodecDied as error:
                self.close()
                if expected - len(answers) == 1:
                    self._count_death(error)
                    answers.append(error.rejection)
                    one_by_one_until, batch_died = 0, None
                else:
                    one_by_one_until, batch_died = expected, error
        if batch_died is not None:
            self._count_death(batch_died)
        return answers

    def _running(self) -> CodecProcess:
        self.before_use(self)
        if self._process is None:
            self._process = CodecProcess(self.source, self._limits)
        return self._process

    def _notice_end(self) -> None:
        """Count a process that ended between two requests: of what it left running, or by somebody's hand."""
        if self._process is not None and not self._process.running:
            died, self._process = self._process.ended(), None
            self._count_death(died)

    def _count_death(self, error: CodecDied) -> None:
        now = time.monotonic()
        self._deaths.append(now)
        while now - self._deaths[0] > _REMEMBERED_S:
            self._deaths.popleft()
        reason = error.rejection.reason
        disabled = len(self._deaths) >= MOST_DEATHS
        log.warning("a codec's process ended", codec=self.name, reason=str(error), deaths=len(self._deaths))
        if disabled:
            self._disabled = _disabled(error.rejection)
            self.close()
            log.error("a codec is disabled until its text changes or the worker starts again", codec=self.name)
        if self._on_death is not None:
            self._on_death(reason, disabled)


class CodecShelf:
    """The codecs of many sources. At most `most` processes run; the longest unused one is ended first.

    Each process takes about 30 MB. Use it from one thread.
    """

    def __init__(self, most: int = 16, limits: Limits | None = None, on_death: OnDeath | None = None) -> None:
        self._most = most
        self._limits = limits
        self._on_death = on_death
        self._codecs: dict[tuple[str, str], JavaScriptCodec] = {}
        self._started: list[JavaScriptCodec] = []  # the longest unused first

    def codec(self, name: str, source: str) -> JavaScriptCodec:
        """The codec of a source of messages; other text is another codec. Raises BadCodec."""
        codec = self._codecs.get((name, source))
        if codec is None:
            codec = JavaScriptCodec(source, self._limits, name=name, on_death=self._on_death)
            codec.before_use = self._make_room
            self._codecs[name, source] = codec
        return codec

    def keep(self, codecs: Collection[JavaScriptCodec]) -> None:
        """Close and forget all others."""
        for key, codec in list(self._codecs.items()):
            if not any(codec is other for other in codecs):
                codec.close()
                del self._codecs[key]

    def close(self) -> None:
        """End every process."""
        for codec in self._codecs.values():
            codec.close()

    def _make_room(self, user: JavaScriptCodec) -> None:
        self._started = [codec for codec in self._started if codec is not user and codec.pid is not None]
        while len(self._started) >= self._most:
            self._started.pop(0).close()
        self._started.append(user)


def _batch(uplinks: Sequence[Uplink], start: int) -> list[Uplink]:
    size, end = 0, start
    most = min(len(uplinks), start + _MOST_UPLINKS)
    while end < most and (end == start or size + len(uplinks[end][0]) < _MOST_BYTES):
        size += len(uplinks[end][0])
        end += 1
    return list(uplinks[start:end])


def _disabled(last: Rejection) -> Rejection:
    """What messages of a disabled codec are rejected with, by what its last process died of."""
    if last.reason == "codec-time":
        return Rejection("codec-disabled.time", {"times": MOST_DEATHS, "limit": last.params["limit"]})
    if last.reason == "codec-memory":
        return Rejection("codec-disabled.memory", {"times": MOST_DEATHS, "limit": last.params["limit"]})
    return Rejection("codec-disabled.crash", {"times": MOST_DEATHS, "error": last.params["error"]})


def _data(answer: Answer) -> dict[str, Any]:
    if isinstance(answer, Rejection):
        raise RejectedMessage.of(answer)
    if answer is None:
        raise RejectedMessage("codec-error.nothing")
    if answer == "too long":
        raise RejectedMessage("codec-memory.result", limit=LONGEST_RESULT)
    try:
        document = msgspec.json.decode(answer)
    except (msgspec.DecodeError, RecursionError):
        raise RejectedMessage("codec-error.not-json") from None
    data = document.get("data") if type(document) is dict else None
    errors = document.get("errors") if type(document) is dict else None
    if errors:
        raise RejectedMessage("codec-error.reported", errors=str(errors)[:200])
    if type(data) is not dict:
        raise RejectedMessage("codec-error.no-data")
    return data


def _nothing(codec: JavaScriptCodec) -> None:
    """Who has no shelf makes no room."""
