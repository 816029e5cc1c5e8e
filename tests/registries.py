"""Empty registries in files: their tables are made once for a process and copied for each test, ten times as fast."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

from techport_pilots.registry.registry import Registry

NAME = "registry.sqlite"  # as in a data folder


def registry_in(folder: Path) -> str:
    """The URL of the registry in the folder. Where there is none, an empty one is put there."""
    file = folder / NAME
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_with_tables())
    return f"sqlite:///{file}"


@cache
def _with_tables() -> bytes:
    folder = Path(tempfile.mkdtemp(prefix="techport-registry-"))
    try:
        Registry.open(f"sqlite:///{folder / NAME}").close()
        assert [path.name for path in folder.iterdir()] == [NAME], "all of it stands in this file"
        return (folder / NAME).read_bytes()
    finally:
        shutil.rmtree(folder)
