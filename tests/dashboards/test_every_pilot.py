"""Every page of every pilot that comes with techport, in both languages: definitions as people write them."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from techport_dashboards.web.navigation import MAIN, OF_PILOT
from techport_simulators.demo import demo_in
from techport_storage.clock import now, now_datetime
from techport_storage.microseconds import MINUTE
from techport_storage.model import Batch, Reading
from tests.dashboards.web import City

pytestmark = [pytest.mark.anyio, pytest.mark.heavy]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    folder = tmp_path_factory.mktemp("demo")
    city = City.at(folder)
    for file in demo_in(folder / "definitions", now_datetime().date()):
        city.import_text(file.read_text("utf-8"))
    at = now()
    for pilot in city.registry.pilots():
        for device in pilot.devices:
            names = [stream.quantity for stream in device.streams]
            city.store.write(
                Batch.of([Reading(pilot.id, device.id, name, at - MINUTE, 1.0, at - MINUTE) for name in names])
            )
    yield city
    city.close()


@pytest.mark.slow
@pytest.mark.parametrize("language", ["nb", "en"])
async def test_every_page_of_every_pilot_answers(demo: City, language: str) -> None:
    paths = {place.path.format(pilot=pilot.id) for place in (*MAIN, *OF_PILOT) for pilot in demo.registry.pilots()}
    assert len(paths) > 50
    transport = httpx.ASGITransport(demo.app(), raise_app_exceptions=False)
    failed = {}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for path in sorted(paths):
            answer = await client.get(path, params={"lang": language})
            size = sum(len(name) + len(value) for name, value in answer.headers.raw)
            if answer.status_code != 200 or size > 2_000:
                failed[path] = (answer.status_code, size)
    assert failed == {}


async def test_a_report_is_saved_under_its_pilots_name(demo: City) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(demo.app()), base_url="http://127.0.0.1") as client:
        answer = await client.get("/pilots/school-air/report?lang=en")
    assert answer.headers["content-disposition"] == 'inline; filename="school-air-en.html"'
