"""A disk that fails, for one process: full, read-only, or without power, by a library in front of C's (preload.c).

Needs no rights and no file system of its own. What was not synced is lost with the power: all of it, or pages of it, as
dice say. What preload.c does not see stays: files that were made, renamed or removed.
"""

from __future__ import annotations

import random
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from shutil import which
from typing import Literal, NamedTuple

import numpy as np

SOURCE = Path(__file__).with_suffix(".c")
PAGE = 4096
_HEAD = struct.Struct("<cIQQI")
_MODES = {"works": b"\0", "full": b"\1", "read-only": b"\2"}


@cache
def library() -> Path | None:
    """The compiled library; None where there is no C compiler."""
    compiler = which("cc") or which("gcc")
    if compiler is None:
        return None
    target = Path(tempfile.mkdtemp(prefix="techport-faults-")) / "preload.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(target), str(SOURCE), "-ldl", "-lpthread"], check=True
    )
    return target


class Disk:
    """The disk that a process sees whose files lie in `folder`."""

    def __init__(self, folder: Path, beside: Path) -> None:
        """`beside` is a folder for what has to be written down meanwhile."""
        self._folder = folder.resolve()
        self._log = beside / "writes.log"
        self._mode = beside / "disk"
        self._mode.write_bytes(_MODES["works"])

    @property
    def environment(self) -> dict[str, str]:
        """For the process."""
        loaded = library()
        if loaded is None:
            return {}
        names = {"FAULTS_FOLDER": self._folder, "FAULTS_LOG": self._log, "FAULTS_MODE": self._mode}
        return {"LD_PRELOAD": str(loaded), **{name: str(path) for name, path in names.items()}}

    def be(self, mode: Literal["works", "full", "read-only"]) -> None:
        """From now on."""
        with self._mode.open("r+b") as file:  # the process has it mapped into its memory
            file.write(_MODES[mode])

    def lose_power(self, dice: random.Random) -> int:
        """Take back what no process has synced; none runs any more. The number of bytes that are lost with it."""
        lost = sum(_take_back(path, writes, dice) for path, writes in _unsynced(self._log).items())
        self._log.write_bytes(b"")
        return lost


class _Write(NamedTuple):
    """What stood at a place of a file before it was written to, and how long the file was."""

    offset: int
    size: int
    before: bytes


def _unsynced(log: Path) -> dict[Path, list[_Write]]:
    """The writes to each file since it was synced last."""
    writes: dict[Path, list[_Write]] = {}
    for kind, path, write in _records(log.read_bytes() if log.exists() else b""):
        if kind == b"S":
            writes.pop(path, None)
        else:
            writes.setdefault(path, []).append(write)
    return writes


def _records(content: bytes) -> Iterator[tuple[bytes, Path, _Write]]:
    at = 0
    while at + _HEAD.size <= len(content):
        kind, path_length, offset, size, length = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        if at + path_length + length > len(content):  # cut off by the kill: then the write has not begun
            return
        path, before = content[at : at + path_length], content[at + path_length : at + path_length + length]
        at += path_length + length
        yield kind, Path(path.decode(errors="surrogateescape")), _Write(offset, size, before)


def _take_back(path: Path, writes: list[_Write], dice: random.Random) -> int:
    if not path.exists():
        return 0
    new = path.read_bytes()
    synced = bytearray(new)
    for write in reversed(writes):
        end = write.offset + len(write.before)
        if write.before:
            synced.extend(bytes(max(0, end - len(synced))))
            synced[write.offset : end] = write.before
        del synced[write.size :]
        synced.extend(bytes(write.size - len(synced)))
    result = bytes(synced)
    if dice.random() < 0.5:  # some pages had reached the disk by themselves
        longest = max(len(new), len(synced))
        pages = list(range(0, longest, PAGE))
        survives = {page for page in pages if dice.random() < 0.5}
        padded = new.ljust(longest, b"\0"), bytes(synced).ljust(longest, b"\0")
        mixed = b"".join(padded[0 if page in survives else 1][page : page + PAGE] for page in pages)
        result = mixed[: max(len(synced), min(len(new), max(survives, default=-PAGE) + PAGE))]
    path.write_bytes(result)
    both = min(len(new), len(result))
    differs = np.frombuffer(new[:both], np.uint8) != np.frombuffer(result[:both], np.uint8)
    return int(differs.sum()) + abs(len(new) - len(result))
