"""Photos of devices, as pages show them."""

from __future__ import annotations

from techport_dashboards.settings import WebSettings
from techport_pilots.devices.photos import Photo, PhotoStore
from techport_pilots.registry.database import Database


def photo_store(settings: WebSettings) -> PhotoStore | None:
    """The photos that this process keeps; None: it keeps none."""
    return None if settings.photos is None else PhotoStore(settings.photos)


def newest_photo(settings: WebSettings, database: Database, pilot: str, device: str) -> Photo | None:
    """What the device looks like, as far as anybody has taken a photo."""
    store = photo_store(settings)
    photos = [] if store is None else store.of(database, pilot, device)
    return photos[0] if photos else None
