"""Answers of bounded size as files: with a length, and in parts (RFC 9110, Range).

polars, DuckDB, fsspec and xarray ask for the length first and then for parts, each in a request of its own. All parts
have to be of the same file, so what was made for the first of these requests is kept for a minute for the same client.
The files have no name on the disk: they are gone with the process, and after that minute in any case.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

LARGEST = 64 << 20
"""Bytes of an answer that is made a file of; larger ones are streamed."""
MOST_ROWS: Mapping[str, int] = {"parquet": 5_000_000, "arrow": 2_000_000, "feather": 2_000_000, "netcdf": 5_000_000}
MOST_ROWS_OF_TEXT = 500_000
"""Rows of an answer that are worth trying, by what a row takes in each format."""
_LASTS = 60.0  # seconds after it was last asked for
_LASTS_AT_MOST = 600.0  # seconds after it was made
_FRESH = 30.0  # seconds in which a client that asks for the length again gets the same file
_MOST_KEPT = 256 << 20  # bytes of all files
MOST_FILES = 200
MOST_OF_CLIENT = 40
"""Each holds a file of the process open, of which there are a thousand: a client that asks for the lengths of ever more
addresses loses its own oldest files, and nobody else's."""
_PIECE = 1 << 18
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

Key = tuple[str, ...]
"""Whose file it is, by the client's address first, and of which request."""


@dataclass(slots=True)
class AnswerFile:
    """A whole answer, and the headers that belong to it."""

    file: IO[bytes]
    size: int
    headers: dict[str, str]
    media_type: str
    made: float
    used: float


class AnswerFiles:
    """Those that further requests may ask parts of. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[Key, AnswerFile] = OrderedDict()
        self._expires = False  # a timer runs

    def find(self, key: Key, *, fresh: bool) -> AnswerFile | None:
        """The file of the key; with `fresh` only one that was made just now."""
        now = time.monotonic()
        with self._lock:
            file = self._files.get(key)
            if file is None or now - file.used > _LASTS or now - file.made > (_FRESH if fresh else _LASTS_AT_MOST):
                return None
            file.used = now
            self._files.move_to_end(key)
            return file

    def keep(self, key: Key, file: AnswerFile) -> None:
        with self._lock:
            self._files[key] = file
            self._files.move_to_end(key)
            of_client = [other for other in self._files if other[0] == key[0]]
            for oldest in of_client[:-MOST_OF_CLIENT]:
                del self._files[oldest]
            while len(self._files) > MOST_FILES or sum(stored.size for stored in self._files.values()) > _MOST_KEPT:
                self._files.popitem(last=False)
            start, self._expires = not self._expires, True
        if start:
            self._expire_later()

    def _expire_later(self) -> None:
        timer = threading.Timer(_LASTS, self._expire)
        timer.daemon = True
        timer.start()

    def _expire(self) -> None:
        now = time.monotonic()
        with self._lock:
            over = [
                key
                for key, file in self._files.items()
                if now - file.used > _LASTS * 0.99 or now - file.made > _LASTS_AT_MOST
            ]
            for key in over:
                del self._files[key]
            self._expires = bool(self._files)
            again = self._expires
        if again:
            self._expire_later()


def spooled(
    pieces: Generator[bytes], headers: Mapping[str, str], media_type: str, folder: Path | None = None
) -> AnswerFile | Generator[bytes]:
    """The pieces as a file; or, where they are more than LARGEST bytes, all of them as a stream again.

    `folder` is on a disk: the system's for temporary files, which is taken where it is None, is often in memory.
    """
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it is closed when nobody has it any more
    size, digest = 0, hashlib.blake2b(digest_size=12)
    try:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
            if size > LARGEST:
                return _rest(file, size, pieces)
    except BaseException:
        pieces.close()
        raise
    file.flush()
    now = time.monotonic()
    tagged = {"etag": f'"{digest.hexdigest()}"', **{name.lower(): value for name, value in headers.items()}}
    return AnswerFile(file, size, tagged, media_type, now, now)


def _rest(file: IO[bytes], size: int, pieces: Generator[bytes]) -> Generator[bytes]:
    try:
        file.flush()
        yield from _read(file, 0, size)
        yield from pieces
    finally:
        pieces.close()
        file.close()


def _read(file: IO[bytes], start: int, end: int) -> Iterator[bytes]:
    """Bytes [start, end), whoever else reads at the same time."""
    for place in range(start, end, _PIECE):
        yield os.pread(file.fileno(), min(_PIECE, end - place), place)


class FileAnswer(Response):
    """A file, or the part of it that the request asks for."""

    def __init__(self, file: AnswerFile) -> None:
        super().__init__(None, 200, {**file.headers, "Accept-Ranges": "bytes"}, file.media_type)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Headers(scope=scope)
        if_range = asked.get("if-range")
        text = asked.get("range", "")
        if if_range is not None and if_range != self.headers.get("etag"):
            text = ""  # it has a part of another file: here is all of this one
        part = part_of(text, self._file.size)
        if part is None:
            self.status_code, start, end = 416, 0, 0
            self.headers["Content-Range"] = f"bytes */{self._file.size}"
        else:
            self.status_code, start, end = part
            if self.status_code == 206:
                self.headers["Content-Range"] = f"bytes {start}-{end - 1}/{self._file.size}"
        self.headers["Content-Length"] = str(end - start)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        pieces = _read(self._file.file, start, end)
        while (piece := await to_thread.run_sync(next, pieces, b"")) != b"":
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def part_of(header: str, size: int) -> tuple[int, int, int] | None:
    """Status and [start, end) for a header Range; None where the range is outside the file.

    All of it (200) where there is no range, or what RFC 9110 section 14.2 lets a server ignore: several at once, or one
    that ends before it begins.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or not (match[1] or match[2]):
        return 200, 0, size
    if not match[1]:  # the last bytes
        length = int(match[2])
        return (206, max(0, size - length), size) if length and size else None
    start, last = int(match[1]), int(match[2]) if match[2] else size
    if last < start:
        return 200, 0, size
    return (206, start, min(size, last + 1)) if start < size else None
