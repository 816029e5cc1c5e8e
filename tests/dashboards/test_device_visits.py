"""In front of the box: the log of visits, photos without a trace of who took them and where, and the QR code."""

from __future__ import annotations

import dataclasses
import io
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from techport.platform import files_of_pilots
from techport.settings import load_settings
from techport_dashboards import WebSettings
from techport_dashboards.pages import device_visits
from techport_dashboards.pages.device_visits import qr_code
from techport_pilots.accounting.message_tap import MessageTap, Outcome, TappedMessage
from techport_pilots.devices import photos
from techport_pilots.devices.photos import NotAPhoto, PhotoStore, redrawn
from techport_pilots.devices.visits import DONE, EVENTS, VisitLog
from techport_pilots.handover.partial_erasure import Part, erase_part
from techport_pilots.registry.lifecycle import transition
from techport_storage.clock import now
from tests.dashboards.web import Caller, City

pytestmark = pytest.mark.anyio
DEVICE = "/pilots/kai-luft/devices/kran"


def picture(size: tuple[int, int] = (64, 48), form: str = "JPEG", orientation: int = 1) -> bytes:
    """Red above, blue below, with EXIF that says who took it, where, and how it is turned."""
    image = Image.new("RGB", size, "red")
    image.paste("blue", (0, size[1] // 2, size[0], size[1]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Kanari phones"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (63.0, 25.0, 49.8)
    out = io.BytesIO()
    image.save(out, form, exif=exif)
    return out.getvalue()


def client_of(city: City, folder: Path, caller: Caller = "operator", pilot: str = "kai-luft") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(city.app(WebSettings(photos=folder), caller=caller, pilot=pilot))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_photo_is_kept_upright_and_without_exif(form: str) -> None:
    sent = picture((2_000, 1_000), form, orientation=6)  # the camera was turned to the left
    assert b"Kanari" in sent
    kept = redrawn(sent)
    assert b"Kanari" not in kept
    assert b"Exif" not in kept
    with Image.open(io.BytesIO(kept)) as image:
        assert (image.format, image.size) == ("JPEG", (800, 1_600))
        assert dict(image.getexif()) == {}
        pixel = image.getpixel((700, 800))
        assert isinstance(pixel, tuple)
        assert pixel[0] > 200 > pixel[2], "the upper half is to the right now"


def test_a_transparent_picture_stands_on_white() -> None:
    out = io.BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(out, "PNG")
    with Image.open(io.BytesIO(redrawn(out.getvalue()))) as image:
        assert image.getpixel((4, 4)) == (255, 255, 255)


def bomb() -> bytes:
    """A PNG whose heading says that it is 60,000 pixels wide and high."""
    small = io.BytesIO()
    Image.new("L", (1, 1)).save(small, "PNG")
    heading = b"IHDR" + struct.pack(">II", 60_000, 60_000) + small.getvalue()[24:29]
    return small.getvalue()[:12] + heading + struct.pack(">I", zlib.crc32(heading)) + small.getvalue()[33:]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "format"),
        (b"GIF89a", "format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "format"),
        (picture()[:200], "format"),
        (bomb(), "pixels"),
        (bytes(photos.LARGEST + 1), "bytes"),
    ],
    ids=["nothing", "gif", "svg", "cut off", "bomb", "large"],
)
def test_what_is_no_photo_is_refused(content: bytes, code: str) -> None:
    with pytest.raises(NotAPhoto) as refused:
        redrawn(content)
    assert refused.value.code == code


@pytest.mark.parametrize("form", ["PNG", "WEBP", "progressive JPEG", "JPEG"])
def test_what_is_decoded_in_full_size_is_smaller(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """30 kB of WebP may be 200 MB in memory; a JPEG is made smaller while it is read, unless it is progressive."""
    monkeypatch.setattr(photos, "MOST_PIXELS_IN_MEMORY", 64 * 48 - 1)
    out = io.BytesIO()
    Image.new("RGB", (64, 48)).save(out, form.split()[-1], **({"progressive": True} if " " in form else {}))
    if form == "JPEG":
        assert redrawn(out.getvalue())
    else:
        with pytest.raises(NotAPhoto, match="pixels"):
            redrawn(out.getvalue())


def test_one_picture_is_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    most: list[int] = []
    opened = Image.open

    def slowly(*args: Any, **more: Any) -> Any:
        held.append(1)
        most.append(len(held))
        time.sleep(0.05)
        picture = opened(*args, **more)
        held.pop()
        return picture

    content = picture()
    monkeypatch.setattr(Image, "open", slowly)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(redrawn, [content] * 8))
    assert max(most) == 1


async def test_a_visit_with_a_photo_is_written_down(city: City, tmp_path: Path) -> None:
    async with client_of(city, tmp_path / "photos", "editor") as client:
        page = (await client.get(f"{DEVICE}/visits?lang=en")).text
        assert "Nobody has written down a visit yet" in page
        assert 'id="take"' in page
        sent = await client.post(f"{DEVICE}/photos", content=picture(), headers={"content-type": "image/jpeg"})
        assert sent.status_code == 201, sent.text
        name, address = sent.json()["photo"], sent.json()["address"]
        form = {"done": "battery", "comment": "<b>Rust on the hinge", "photo": name}
        assert (await client.post(f"{DEVICE}/visits?lang=en", data=form)).status_code == 303
        page = (await client.get(f"{DEVICE}/visits?lang=en")).text
        assert "Battery changed" in page
        assert "&lt;b&gt;Rust on the hinge" in page
        assert "editor@example.org" in page
        assert f'src="{address}"' in page
        kept = await client.get(address)
        assert (kept.status_code, kept.headers["content-type"]) == (200, "image/jpeg")
        assert "no-cache" in kept.headers["cache-control"]
        [event] = city.registry.pilot("kai-luft").events
        assert (event.kind, event.device, event.text.nb, event.text.en) == (
            "maintenance",
            "kran",
            "Batteri byttet",
            "Battery changed",
        )
        assert (await client.get(f"{DEVICE}/photos/photo-{'0' * 24}.jpg")).status_code == 404
        assert (await client.get(address.replace("/kran/", "/port/"))).status_code == 404, "of another device"
        [visit] = VisitLog(city.registry.database).of("kai-luft", "kran")
        removed = await client.post(f"{DEVICE}/visits", data={"remove": str(visit.id), "confirmed": "yes"})
        assert removed.status_code == 303
        assert city.registry.pilot("kai-luft").events == []
        assert f'src="{address}"' in (await client.get(f"{DEVICE}/visits")).text, "the photo stays until it is deleted"
        assert (await client.post(f"{address}/delete", data={})).status_code == 400
        assert (await client.post(f"{address}/delete", data={"confirmed": "yes"})).status_code == 303
        assert (await client.get(address)).status_code == 404
        assert list((tmp_path / "photos").rglob("*.*")) == []


async def test_its_messages_are_watched_from_there(city: City, tmp_path: Path) -> None:
    async with client_of(city, tmp_path / "photos", "editor") as client:
        assert "Watch for an hour" in (await client.get(f"{DEVICE}/visits?lang=en")).text
        assert (await client.post(f"{DEVICE}/visits?lang=en", data={"watch": "yes"})).status_code == 303
        assert ("kai-luft", "kran") in MessageTap(city.registry.database).current()
        assert "Waiting for the first message" in (await client.get(f"{DEVICE}/visits?lang=en")).text
        at = now()
        message = TappedMessage(
            pilot="kai-luft",
            device="kran",
            topic="t",
            payload=b'{"pm10": "<b>12"}',
            received=at,
            worker="w-1",
            committed=at,
            outcome=Outcome(),
        )
        MessageTap(city.registry.database).record([message])
        page = (await client.get(f"{DEVICE}/visits?lang=en")).text
        assert "&lt;b&gt;12" in page
        assert "Waiting for the first message" not in page
    async with client_of(city, tmp_path / "photos", "viewer") as client:
        assert "&lt;b&gt;12" not in (await client.get(f"{DEVICE}/visits?lang=en")).text, "payloads are for researchers"


@pytest.mark.parametrize("done", DONE)
async def test_what_was_done_becomes_an_event_of_its_kind(city: City, done: str) -> None:
    pilot = city.registry.pilot("kai-luft")
    VisitLog(city.registry.database).add(pilot, "kran", done, "kari")  # type: ignore[arg-type]
    kinds = [event.kind for event in city.registry.pilot("kai-luft").events]
    assert kinds == ([] if done == "looked" else [EVENTS[done]])  # type: ignore[index]


async def test_who_may_see_a_photo(city: City, tmp_path: Path) -> None:
    """Whoever may see the pilot's pages; to others it is as if there were none."""
    folder = tmp_path / "photos"
    city.import_text(
        "id: hemmelig\ntitle: {en: Secret}\nquestion: {en: 'Is it?'}\ndevices: [{id: kran}]\ndata_class: internal\n"
    )
    photo = PhotoStore(folder).add(city.registry.database, "hemmelig", "kran", picture(), "kari")
    address = f"/pilots/hemmelig/devices/kran/photos/{photo.name}"
    expected: dict[Caller, int] = {"viewer": 200, "outsider": 404}
    for caller, status in expected.items():
        async with client_of(city, folder, caller, "hemmelig") as client:
            assert (await client.get(address)).status_code == status, caller
            page = await client.get("/pilots/hemmelig/devices/kran/visits?lang=en")
            assert page.status_code == status
            assert ("kari" in page.text, "I am here" in page.text) == (False, False), "what viewers may not know or do"
            refused = await client.post("/pilots/hemmelig/devices/kran/photos", content=picture())
            assert refused.status_code == (403 if status == 200 else 404)
    transport = httpx.ASGITransport(city.app(WebSettings(photos=folder), signed_in=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        assert (await client.get(address)).status_code == 401


async def test_forms_and_files_that_are_wrong(city: City, tmp_path: Path) -> None:
    async with client_of(city, tmp_path / "photos") as client:
        for form in ({}, {"done": "burned"}, {"done": "looked", "photo": "../../token"}, {"remove": "1"}):
            assert (await client.post(f"{DEVICE}/visits", data=form)).status_code in (400, 404), form
        for content in (b"", b"GIF89a", bytes(photos.LARGEST + 1)):
            answer = await client.post(f"{DEVICE}/photos?lang=en", content=content)
            assert answer.status_code in (400, 413), answer.text
        assert VisitLog(city.registry.database).of("kai-luft", "kran") == []
        transition(city.registry.database, city.registry.pilot("kai-luft"), "running", "kari", "starts")
    async with client_of(city, tmp_path / "photos") as client:
        assert (await client.get("/pilots/kai-luft/devices/nowhere/visits")).status_code == 404


async def test_erasing_a_device_erases_its_photos_and_visits(city: City, tmp_path: Path) -> None:
    store, database = PhotoStore(tmp_path / "photos"), city.registry.database
    pilot = city.registry.pilot("kai-luft")
    for device in ("kran", "port"):
        photo = store.add(database, "kai-luft", device, picture(), "kari")
        VisitLog(database).add(pilot, device, "looked", "kari", comment="Kanari", photo=photo.name)
    assert len(store.files_of("kai-luft")) == 2
    part = Part(pilot="kai-luft", device="kran")
    erase_part(city.registry, city.store, city.ledger, part, store.files_of)
    [left] = store.of(database, "kai-luft", "port")
    assert [path.name for path in store.files_of("kai-luft")] == [left.name]
    assert store.of(database, "kai-luft", "kran") == []
    assert VisitLog(database).of("kai-luft", "kran") == []
    [visit] = VisitLog(database).of("kai-luft", "port")
    assert visit.photo == left.name
    later = Part(pilot="kai-luft", end=now() + 1)
    erase_part(city.registry, city.store, city.ledger, later, store.files_of)
    assert store.files_of("kai-luft") == []


def test_the_platform_erases_photos_with_a_pilot(tmp_path: Path) -> None:
    settings = load_settings({"data": tmp_path})
    kept = settings.photos_folder / "kai-luft" / f"photo-{'0' * 24}.jpg"
    kept.parent.mkdir(parents=True)
    for path in (kept, kept.with_name("another.txt")):
        path.touch()
    assert files_of_pilots(settings)("kai-luft") == [kept]
    assert files_of_pilots(settings)("another") == []


async def test_a_label_has_the_address_that_the_platform_is_known_by(city: City) -> None:
    app = city.app(WebSettings(public_url="https://pilots.example.org", host_names=("pilots.example.org",)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        page = (await client.get(f"{DEVICE}/label?lang=en")).text
        address = f"https://pilots.example.org{DEVICE}/visits"
        assert address in page
        assert str(qr_code(address)) in page
        assert "works only on this machine" not in page
        labels = (await client.get("/pilots/kai-luft/labels?lang=en")).text
        assert labels.count('class="qr"') == 2
    plain = httpx.ASGITransport(city.app(dataclasses.replace(WebSettings(), public_url=None)))
    async with httpx.AsyncClient(transport=plain, base_url="http://127.0.0.1") as client:
        assert "works only on this machine" in (await client.get(f"{DEVICE}/label?lang=en")).text


async def test_labels_of_many_devices_are_drawn_some_at_a_time(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a QR code, which takes longer to draw than all else on the page."""
    monkeypatch.setattr(device_visits, "LABELS_AT_ONCE", 1)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(city.app()), base_url="http://127.0.0.1") as client:
        first = (await client.get("/pilots/kai-luft/labels?lang=en")).text
        second = (await client.get("/pilots/kai-luft/labels?lang=en&start=2")).text
        assert [page.count('class="qr"') for page in (first, second)] == [1, 1]
        assert ("start=2" in first, 'rel="prev"' in first) == (True, False)
        assert ("start=1" in second, 'rel="next"' in second) == (True, False)
        beyond = await client.get("/pilots/kai-luft/labels?start=1000000")
        assert (beyond.status_code, beyond.text.count('class="qr"')) == (200, 0)
        assert (await client.get("/pilots/kai-luft/labels?start=0")).status_code == 400
