"""Photos of devices: files of the data folder, and a row for each that says whose it is.

A photo is drawn anew before it is kept: smaller, upright, as JPEG without EXIF, so that neither the place and the phone
that it was taken with nor anything else that a file may carry is in it.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import tempfile
import threading
from pathlib import Path

import msgspec

from techport_pilots.registry.database import Database, name
from techport_pilots.registry.lifecycle import refuse_if_closed
from techport_storage.clock import now
from techport_storage.model import Micros

LARGEST = 4_000_000
"""Bytes of a photo as it is sent."""
MOST_PIXELS = 50_000_000
"""Of a JPEG as it is sent: a few bytes may say that they are a very large picture."""
MOST_PIXELS_IN_MEMORY = 16_000_000
"""Of other pictures, which are decoded in full size before they are made smaller: up to twelve bytes a pixel."""
LONGEST_SIDE = 1_600
"""Pixels of a photo as it is kept."""
MOST = 200
"""Photos of one device."""

_JPEG_QUALITY = 82
_ONE_AT_A_TIME = threading.Lock()
"""Held while a picture is in memory: many that are sent at once would be gigabytes."""
_FORMATS = ("JPEG", "PNG", "WEBP")
_NAME = re.compile(r"photo-[0-9a-f]{24}\.jpg")

_ADD = "INSERT INTO device_photos (name, pilot, device, at, who) VALUES (:name, :pilot, :device, :at, :who)"
_OF_DEVICE = (
    "SELECT name, pilot, device, at, who FROM device_photos WHERE pilot = :pilot AND device = :device"
    " ORDER BY at DESC, name"
)
_DELETE = "DELETE FROM device_photos WHERE pilot = :pilot AND device = :device AND name = :name"


class NotAPhoto(ValueError):
    """What was sent is no picture that can be kept. `code` is format, pixels or bytes."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


class TooManyPhotos(Exception):
    """The device has MOST photos."""


class Photo(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    pilot: str
    device: str
    at: Micros
    who: str


def is_photo(path: Path) -> bool:
    """Whether a file is named as a photo is."""
    return _NAME.fullmatch(path.name) is not None


class PhotoStore:
    """The photos of a folder. Methods that take the database may raise RegistryUnavailable."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, database: Database, pilot: str, device: str, content: bytes, who: str) -> Photo:
        """Keep a photo. Raises NotAPhoto, TooManyPhotos, WrongState where the pilot is closed, OSError."""
        if len(self.of(database, pilot, device)) >= MOST:
            raise TooManyPhotos
        picture = redrawn(content)
        photo = Photo(name=f"photo-{secrets.token_hex(12)}.jpg", pilot=pilot, device=name(device), at=now(), who=who)
        path = self.path(photo)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partly = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(picture)
                file.flush()
                os.fsync(file.fileno())
            Path(partly).replace(path)
            with database.writing() as transaction:
                refuse_if_closed(transaction, pilot)
                transaction.execute(_ADD, msgspec.to_builtins(photo))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            Path(partly).unlink(missing_ok=True)
        return photo

    def of(self, database: Database, pilot: str, device: str) -> list[Photo]:
        """Photos of a device, the newest first."""
        with database.reading() as transaction:
            rows = transaction.execute(_OF_DEVICE, {"pilot": pilot, "device": name(device)})
            return [Photo(**row._mapping) for row in rows]

    def delete(self, database: Database, photo: Photo) -> None:
        """Erase a photo, the file first."""
        self.path(photo).unlink(missing_ok=True)
        row = {"pilot": photo.pilot, "device": photo.device, "name": photo.name}
        with database.writing() as transaction:
            transaction.execute(_DELETE, row)

    def path(self, photo: Photo) -> Path:
        return self._folder / photo.pilot / photo.name

    def files_of(self, pilot: str) -> list[Path]:
        """The files of a pilot's photos, for when they have to be erased; those of a process that was killed too."""
        folder = self._folder / pilot
        return sorted(path for path in folder.glob("*") if is_photo(path) or path.suffix == ".part")


def redrawn(content: bytes) -> bytes:
    """The picture as it is kept.

    Parameters
    ----------
    content : bytes
        JPEG, PNG or WebP.

    Returns
    -------
    bytes
        JPEG of at most LONGEST_SIDE pixels a side, turned as its EXIF says, without any metadata.

    Raises
    ------
    NotAPhoto
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if len(content) > LARGEST:
        raise NotAPhoto("bytes")
    try:
        with _ONE_AT_A_TIME, Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
            small_at_once = picture.format == "JPEG" and not picture.info.get("progressive")
            if picture.width * picture.height > (MOST_PIXELS if small_at_once else MOST_PIXELS_IN_MEMORY):
                raise NotAPhoto("pixels")
            picture.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))  # a JPEG is decoded no larger than needed
            picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            upright = ImageOps.exif_transpose(picture)
            plain = Image.new("RGB", upright.size, "white")
            with_alpha = upright.convert("RGBA")
            plain.paste(with_alpha, mask=with_alpha.getchannel("A"))
            out = io.BytesIO()
            plain.save(out, "JPEG", quality=_JPEG_QUALITY, optimize=True)
            return out.getvalue()
    except NotAPhoto:
        raise
    except Image.DecompressionBombError as error:
        raise NotAPhoto("pixels") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise NotAPhoto("format") from error
