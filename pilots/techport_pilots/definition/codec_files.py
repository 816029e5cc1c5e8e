"""Codecs that are kept as files beside a definition."""

from __future__ import annotations

import re
from pathlib import Path as FilePath
from typing import Any

from techport_pilots.definition.misfit import Misfit, Path, misfit

_FILE = re.compile(r"[\w.@+-][\w./@+ -]*\.m?js")
_LARGEST = 1_000_000


def is_file_name(text: str) -> bool:
    """Whether a codec is given as the name of a file rather than as its text."""
    return _FILE.fullmatch(text.strip()) is not None


def insert(definition: object, folder: FilePath) -> list[Misfit]:
    """Put the text of codec files where the definition names them.

    Parameters
    ----------
    definition : object
        Plain values, as read from YAML; changed in place.
    folder : pathlib.Path
        Where the definition stands. Files elsewhere are not read.

    Returns
    -------
    list of Misfit
        Files that cannot be read.
    """
    misfits: list[Misfit] = []
    sources = definition.get("sources") if isinstance(definition, dict) else None
    for index, source in enumerate(sources if isinstance(sources, list) else []):
        if not isinstance(source, dict):
            continue
        misfits += _insert(source, "codec", ("sources", index, "codec"), folder)
        codecs = source.get("codecs")
        if not isinstance(codecs, dict):
            continue
        for name in list(codecs):
            misfits += _insert(codecs, name, ("sources", index, "codecs", name), folder)
    return misfits


def _insert(holder: dict[Any, Any], key: str, path: Path, folder: FilePath) -> list[Misfit]:
    name = holder.get(key)
    if not isinstance(name, str) or not is_file_name(name):
        return []
    file = (folder / name.strip()).resolve()
    try:
        if not file.is_relative_to(folder.resolve()) or file.stat().st_size > _LARGEST:
            raise OSError
        holder[key] = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        del holder[key]
        return [misfit(path, "codec-file", file=name.strip()[:100])]
    return []
