"""The files of a package, a zip or a folder, read within the sizes that it declares.

    SHA256SUMS ─► ro-crate-metadata.json: bytes of each file ─► datapackage.json: number of readings ─► the rest

Nothing is unpacked but the readings, which a Parquet reader wants as a file; they go beside the package or where the
caller says, which is on a disk. A zip's list of files is bounded before it is read.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec

from techport_pilots.errors import BadPackage
from techport_pilots.handover.package import sums_of

MAX_FILES = 64
MAX_TEXT = 16 << 20  # bytes of a file that is read into memory
MAX_RATIO = 100  # bytes that a byte of the package may become; text of readings takes a tenth
FREE_BYTES = 16 << 20  # that a small package may have beyond that
_MAX_LIST = 256 << 10  # bytes of a zip's list of files, and of one read of it
_PIECE = 128 << 10
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SUM = re.compile(r"[0-9a-f]{64}")

SUMS = "SHA256SUMS"
CRATE = "ro-crate-metadata.json"
READINGS = "readings.parquet"
NEEDED = ("pilot.yaml", "history.json", "evaluation.json", READINGS, CRATE, "datapackage.json")
ENTITY_IDS, VERSIONS, PLAN = "entity-ids.json", "versions.json", "plan.json"
_OPTIONAL = (ENTITY_IDS, VERSIONS, PLAN)
"""Packages of earlier versions do not have them."""


class Archive(Protocol):
    """Files by name, with the bytes that each takes unpacked."""

    comment: bytes

    @property
    def sizes(self) -> Mapping[str, int]: ...

    def open(self, name: str) -> IO[bytes]: ...


class Contents(msgspec.Struct, frozen=True):
    """A package that is as its sums and sizes say."""

    sums: bytes  # SHA256SUMS as it stands
    comment: bytes
    texts: dict[str, bytes]  # of the small files among NEEDED, and of those that it has of _OPTIONAL
    readings: Path
    rows: int  # declared


@contextmanager
def opened_package(path: Path, folder: Path) -> Iterator[Contents]:
    """The package, checked; its readings are unpacked to a new folder within `folder` meanwhile. Raises BadPackage."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="opening-") as unpacked:
        try:
            with _archive(path) as archive:
                contents = _read(archive, Path(unpacked), path)
        except BadPackage:
            raise
        except (zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError, RuntimeError) as error:
            raise BadPackage(f"{path.name} is no package, or only a part of one: {error}") from error
        yield contents


def _read(archive: Archive, unpacked: Path, path: Path) -> Contents:
    """Every file that the sums name, once: those of NEEDED are kept, the others only summed up."""
    if SUMS not in archive.sizes:
        raise BadPackage(f"{path.name} has no {SUMS}: it is no package")
    sums_text = _small(archive, SUMS)
    sums = sums_of(_utf8(SUMS, sums_text))
    for name, total in sums.items():
        if not _NAME.fullmatch(name) or not _SUM.fullmatch(total):
            raise BadPackage(f"{SUMS} names {name[:100]!r}: no file of a package is called so")
    for name in NEEDED:
        if name not in sums:
            raise BadPackage(f"the package has no {name}")
    for name in sums:
        if name not in archive.sizes:
            raise BadPackage(f"{name} is missing from the package")
    texts = {CRATE: _checked(archive, CRATE, sums)}
    declared = _declared_sizes(texts[CRATE])
    for name in sums:
        if name != CRATE and archive.sizes[name] != declared.get(name):
            raise BadPackage(_changed(name, f"it has {archive.sizes[name]} bytes, {CRATE} says {declared.get(name)}"))
    for name in (*NEEDED, *_OPTIONAL):
        if name in sums and name not in (CRATE, READINGS) and not _too_long(archive, name):
            texts[name] = _checked(archive, name, sums)
    rows = _declared_rows(texts["datapackage.json"])
    for name in sums:
        if name not in texts:
            target = unpacked / READINGS if name == READINGS else None
            _sum_up(archive, name, sums[name], target)
    return Contents(sums_text, archive.comment, texts, unpacked / READINGS, rows)


def _too_long(archive: Archive, name: str) -> bool:
    """Whether it is a file that a pilot can do without, as of hundreds of versions of a long definition."""
    return name in (VERSIONS, PLAN) and archive.sizes[name] > MAX_TEXT


def _small(archive: Archive, name: str) -> bytes:
    if archive.sizes[name] > MAX_TEXT:
        raise BadPackage(f"{name} has {archive.sizes[name]} bytes; at most {MAX_TEXT} are read")
    with archive.open(name) as file:
        return b"".join(iter(lambda: file.read(_PIECE), b""))


def _checked(archive: Archive, name: str, sums: Mapping[str, str]) -> bytes:
    content = _small(archive, name)
    total = hashlib.sha256(content).hexdigest()
    if total != sums[name]:
        raise BadPackage(_changed(name, f"its SHA-256 is {total}"))
    return content


def _sum_up(archive: Archive, name: str, expected: str, target: Path | None) -> None:
    """Read the file through to compare its sum, into `target` where there is one; never beyond its size."""
    summed, left = hashlib.sha256(), archive.sizes[name]
    with archive.open(name) as file, target.open("wb") if target else io.BytesIO() as copy:
        while piece := file.read(_PIECE):
            left -= len(piece)
            if left < 0:
                raise BadPackage(_changed(name, "it is longer than it says"))
            summed.update(piece)
            if target:
                copy.write(piece)
    if summed.hexdigest() != expected:
        raise BadPackage(_changed(name, f"its SHA-256 is {summed.hexdigest()}"))


def _changed(name: str, how: str) -> str:
    return f"{name} was changed since the package was made: {how}"


def _declared_sizes(crate: bytes) -> dict[str, int]:
    """Bytes of each file, as the RO-Crate says."""
    graph = _json(CRATE, crate).get("@graph")
    sizes = {}
    for node in graph if isinstance(graph, list) else []:
        if isinstance(node, dict) and node.get("@type") == "File" and str(node.get("contentSize")).isdecimal():
            sizes[str(node.get("@id"))] = int(str(node["contentSize"])[:20])
    return sizes


def _declared_rows(description: bytes) -> int:
    """The number of readings, as the data package says."""
    rows = _json("datapackage.json", description).get("techport:readings")
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 0:
        raise BadPackage("datapackage.json does not say how many readings there are (techport:readings)")
    return rows


def _json(name: str, content: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadPackage(f"{name} cannot be read: {error}") from error


def _utf8(name: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BadPackage(f"{name} is not text in UTF-8: {error}") from error


# -- A zip or a folder.


@contextmanager
def _archive(path: Path) -> Iterator[Archive]:
    if path.is_dir():
        yield _Folder(path)
        return
    with path.open("rb") as file, zipfile.ZipFile(_BoundedReads(file)) as archive:
        yield _Zip(archive, path)


class _Folder:
    """A folder that a package was unpacked to. The signature is not among its files."""

    comment = b""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.sizes: Mapping[str, int] = {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}

    def open(self, name: str) -> IO[bytes]:
        return (self._folder / name).open("rb")


class _Zip:
    """A zip whose list of files and whose sizes are plausible. Raises BadPackage."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive = archive
        self.comment = archive.comment
        entries = archive.infolist()
        self.sizes: Mapping[str, int] = {entry.filename: entry.file_size for entry in entries}
        if len(entries) > MAX_FILES:
            raise BadPackage(f"{path.name} has {len(entries)} files; a package has at most {MAX_FILES}")
        if len(self.sizes) != len(entries):
            raise BadPackage(f"{path.name} has two files of one name")
        if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
            raise BadPackage(f"{path.name} is packed in a way that packages are not: use deflate")
        total, size = sum(self.sizes.values()), path.stat().st_size
        if total > FREE_BYTES + MAX_RATIO * size:
            raise BadPackage(
                f"{path.name} would become {total} bytes from {size}: at most {MAX_RATIO} for each are unpacked"
            )

    def open(self, name: str) -> IO[bytes]:
        return self._archive.open(name)


class _BoundedReads(io.RawIOBase):
    """A file of which nobody reads more than some at once: zipfile takes a zip's whole list of files in one read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        if size > _MAX_LIST:
            raise BadPackage("the package's list of files is too long: it is no package of a pilot")
        return self._file.read(size if size >= 0 else _MAX_LIST)
