"""Style sheets, scripts and plotly.js: read into memory, compressed once, cached by browsers for good.

The path of an asset holds a digest of all of them, so that it can never go stale, and modules that import each other
by relative path stay within one version. Nothing comes from another host.
"""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

STATIC = Path(__file__).with_name("static")
PLOTLY = "vendor/plotly.js"
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".json": "application/json"}


@dataclass(frozen=True, slots=True)
class Asset:
    content: bytes
    media_type: str
    compressed: bytes

    @classmethod
    def of(cls, content: bytes, suffix: str) -> Asset:
        return cls(content, MEDIA_TYPES.get(suffix, "application/octet-stream"), gzip.compress(content, 9, mtime=0))


class Assets:
    """All assets by their path below `static/`. plotly.js, the large one, is read when first asked for."""

    def __init__(self, folder: Path = STATIC) -> None:
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        self._assets = {
            name: Asset.of(path.read_bytes(), path.suffix)
            for name, path in files.items()
            if path.suffix in MEDIA_TYPES and not name.startswith("vendor/")
        }
        self._plotly = plotly_bundle(folder)
        self._lock = threading.Lock()
        self.version = digest({name: asset.content for name, asset in self._assets.items()}, self._plotly)

    def get(self, name: str) -> Asset | None:
        if name != PLOTLY:
            return self._assets.get(name)
        with self._lock:
            if PLOTLY not in self._assets:
                self._assets[PLOTLY] = Asset.of(self._plotly.read_bytes(), ".js")
            return self._assets[PLOTLY]

    def url(self, name: str) -> str:
        return f"/static/{self.version}/{name}"


def plotly_bundle(folder: Path) -> Path:
    """The small plotly.js that a build put under static/vendor, else the whole one that the plotly package carries."""
    small = sorted((folder / "vendor").glob("plotly*.js"))
    if small:
        return small[0]
    import plotly

    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


def digest(contents: Mapping[str, bytes], bundle: Path) -> str:
    """Changes whenever an asset does. The bundle is known by name and size: hashing 5 MB would delay the start."""
    state = hashlib.blake2b(f"{bundle.name} {bundle.stat().st_size}".encode(), digest_size=6)
    for name, content in contents.items():
        state.update(name.encode() + content)
    return state.hexdigest()
