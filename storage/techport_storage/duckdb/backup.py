"""A database file that nobody has open, saved in a folder and brought back."""

from __future__ import annotations

import shutil
from pathlib import Path

_NAME = "readings.duckdb"
_SUFFIXES = ("", ".wal")  # a write-ahead log, where one is left, belongs to its database


def backup(file: Path, folder: Path) -> int:
    """Copy the database into `folder`, which must not exist; the number of files. Raises OSError."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no such store: {file}")
    if folder.exists():
        raise FileExistsError(f"{folder} exists already")
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    copied = _copy(file, unfinished / _NAME)
    unfinished.rename(folder)
    return copied


def restore(folder: Path, file: Path) -> int:
    """Copy a database that `backup` saved to `file`, which must not exist; the number of files. Raises OSError."""
    if not (folder / _NAME).is_file():
        raise FileNotFoundError(f"{folder} is not a backup of a DuckDB store: it has no {_NAME}")
    file.parent.mkdir(parents=True, exist_ok=True)
    return _copy(folder / _NAME, file)


def _copy(source: Path, target: Path) -> int:
    pairs = [(source.with_name(source.name + suffix), target.with_name(target.name + suffix)) for suffix in _SUFFIXES]
    existing = [(path, copy) for path, copy in pairs if path.exists()]
    for path, copy in existing:
        shutil.copy2(path, copy)
    return len(existing)
