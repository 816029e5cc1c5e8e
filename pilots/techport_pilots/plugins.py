"""The package whose folders are plug-ins. Another layer holds it, so it is loaded by its name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path

PLUGINS = "techport_ingest.decoding.formats"


def search_path() -> Iterable[str]:
    """The directories that hold the folders."""
    return importlib.import_module(PLUGINS).__path__


def folder_names() -> list[str]:
    """The folders that are packages, in alphabetical order, found without loading them."""
    return sorted(module.name for module in pkgutil.iter_modules(search_path()) if module.ispkg)


def table_files() -> list[Path]:
    """The tables of families, which are formats without code: `<folder>/families/<format>.yaml`."""
    return sorted(file for folder in search_path() for file in Path(folder).glob("*/families/*.yaml"))
