"""What scripts beside this module build or fetch once per machine, into a cache outside the work tree."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.conftest import unavailable


def find_cached(name: str, script: str, *arguments: str, doing: str = "fetches it once", usable: bool = True) -> Path:
    """A file or folder in the cache. Skips where it is not; where CI=true it is built, else the test fails.

    Parameters
    ----------
    name : str
        Of the file or folder, with its version.
    script : str
        What puts it there and prints its path: a file beside this module.
    *arguments : str
        Of the script.
    doing : str
        What the script does, for the reason of a skip.
    usable : bool
        Whether this machine can run what is in the cache.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "techport"
    cached = Path(os.environ.get("TECHPORT_CACHE") or home) / name
    if cached.exists() and usable:
        return cached
    build = Path(__file__).with_name(script)
    if os.environ.get("CI") == "true":
        built = subprocess.run([str(build), *arguments], stdout=subprocess.PIPE, text=True, check=False)
        if built.returncode == 0:
            return Path(built.stdout.strip())
    command = " ".join([str(build.relative_to(build.parents[2])), *arguments])
    return unavailable(f"{name} is not in {cached.parent}; {command} {doing}")
