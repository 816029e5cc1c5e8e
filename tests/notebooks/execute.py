"""Executes docs/notebooks and keeps their outputs: python -m tests.notebooks.execute"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.notebooks.platform import FORMAT, NOTEBOOKS, executed, platform

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, platform(Path(folder)) as address:
        for path in sorted(NOTEBOOKS.glob("*.ipynb")):
            FORMAT.write(executed(path, address), path)
