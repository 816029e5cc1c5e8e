"""A client that has an answer already is told so before the store is read, in every format, and only then."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from techport_storage.microseconds import HOUR, SECOND
from techport_storage.model import Reading
from tests.dashboards.conftest import AIR, HOURS, START
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
PAST = "/api/v1/readings?device=kran&quantity=pm10&start=2025-10-21&end=2025-10-26"
FORMATS = ("json", "ndjson", "csv", "csv-nb", "parquet", "arrow")


async def ask(client: httpx.AsyncClient, path: str, tag: str = "") -> httpx.Response:
    return await client.get(path, headers={"if-none-match": tag} if tag else {})


@pytest.mark.parametrize("file_format", FORMATS)
async def test_what_was_not_changed_is_not_sent_again(city: City, client: httpx.AsyncClient, file_format: str) -> None:
    path = f"{PAST}&format={file_format}"
    first = await ask(client, path)
    tag = first.headers["etag"]
    assert first.status_code == 200
    assert "no-cache" in first.headers["cache-control"]
    again = await ask(client, path, tag)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    city.write(Reading("kai-luft", "kran", "pm10", START + HOURS * HOUR, 1.0, START))  # behind what was asked for
    city.write(Reading("kai-luft", "port", "pm10", START + SECOND, 1.0, START))  # another stream
    assert (await ask(client, path, tag)).status_code == 304
    city.write(Reading("kai-luft", "kran", "pm10", START + SECOND, 99.0, START))
    changed = await ask(client, path, tag)
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
    assert changed.content != first.content


async def test_each_question_has_a_tag_of_its_own(client: httpx.AsyncClient) -> None:
    paths = [
        *(f"{PAST}&format={file_format}" for file_format in FORMATS),
        f"{PAST}&format=csv&quality=good",
        f"{PAST}&format=csv&shape=wide",
        f"{PAST}&format=csv&every=PT1H",
        f"{PAST}&format=csv&every=PT1H&aggregate=max",
        f"{PAST}&format=csv&limit=5",
        f"{PAST.replace('kran', 'port')}&format=csv",
    ]
    tags = [(await ask(client, path)).headers["etag"] for path in paths]
    assert len(set(tags)) == len(paths)


async def test_another_definition_is_another_answer(city: City, client: httpx.AsyncClient) -> None:
    tag = (await ask(client, f"{PAST}&format=parquet")).headers["etag"]
    city.import_text(AIR.replace("CC-BY-4.0", "CC0-1.0"))
    changed = await ask(client, f"{PAST}&format=parquet", tag)
    assert changed.status_code == 200
    assert b"CC0-1.0" in changed.content


async def test_the_end_of_time_moves(city: City, client: httpx.AsyncClient) -> None:
    """Without an end everything new counts; buckets that still fill have no tag, as their completeness moves on."""
    path = "/api/v1/readings?device=kran&quantity=pm10&format=csv"
    tag = (await ask(client, path)).headers["etag"]
    assert (await ask(client, path, tag)).status_code == 304
    city.write(Reading("kai-luft", "kran", "pm10", START + HOURS * HOUR, 1.0, START))
    assert (await ask(client, path, tag)).status_code == 200
    assert "etag" not in (await ask(client, f"{path}&every=P1D")).headers


async def test_another_opening_of_the_store_forgets_the_tags(
    city: City, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    tag = (await ask(client, f"{PAST}&format=csv")).headers["etag"]
    city.close()
    again = City.at(tmp_path)
    try:
        transport = httpx.ASGITransport(again.app())
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as other:
            assert (await ask(other, f"{PAST}&format=csv", tag)).status_code == 200
    finally:
        again.close()
