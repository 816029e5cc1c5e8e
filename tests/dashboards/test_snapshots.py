"""A snapshot is the same for ever, says what it is, and can be checked."""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pyarrow.parquet as pq
import pytest
from datacite import schema45

from techport_dashboards import WebSettings
from techport_dashboards.services import citation
from techport_dashboards.services.snapshots import Snapshot
from techport_storage.microseconds import SECOND
from techport_storage.model import Reading
from tests.dashboards.conftest import HOURS, START
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
SNAPSHOTS = "/api/v1/snapshots"
QUESTION = {"pilot": ["kai-luft"], "quantity": ["pm10"], "start": "2025-10-21", "end": "2025-11-21"}


@pytest.fixture
async def freezer(city: City, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(city.app(WebSettings(snapshots=tmp_path / "snapshots")))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


async def test_late_data_does_not_change_it(city: City, freezer: httpx.AsyncClient) -> None:
    made = await freezer.post(SNAPSHOTS, json=QUESTION)
    assert made.status_code == 201, made.text
    snapshot = made.json()
    first = await freezer.get(snapshot["file"])
    assert hashlib.sha256(first.content).hexdigest() == snapshot["sha256"]
    assert pq.read_table(io.BytesIO(first.content)).num_rows == snapshot["rows"] == 2 * HOURS
    city.write(Reading("kai-luft", "kran", "pm10", START + 5 * SECOND, 99.0, START))
    again = await freezer.get(snapshot["file"], headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert (await freezer.get(snapshot["file"])).content == first.content
    assert "immutable" in first.headers["cache-control"]
    other = (await freezer.post(SNAPSHOTS, json=QUESTION)).json()
    assert other["id"] != snapshot["id"]
    assert other["rows"] == snapshot["rows"] + 1


async def test_it_says_what_it_is_and_how_to_cite_it(freezer: httpx.AsyncClient) -> None:
    snapshot = (await freezer.post(SNAPSHOTS, json=QUESTION)).json()
    assert (await freezer.get(snapshot["url"])).json() == snapshot
    assert (await freezer.get(SNAPSHOTS)).json()["items"] == [snapshot]
    assert snapshot["question"] == QUESTION
    assert snapshot["doi"] is None
    for part in ("Air on the quay", snapshot["sha256"], snapshot["page"], "CC-BY-4.0", "[DOI]"):
        assert part in snapshot["citation"]


async def test_repositories_and_programs_find_what_they_need(freezer: httpx.AsyncClient, tmp_path: Path) -> None:
    snapshot = (await freezer.post(SNAPSHOTS, json=QUESTION)).json()
    described = (await freezer.get(f"{SNAPSHOTS}/{snapshot['id']}/datacite.json")).json()
    schema45.validator.validate(described)
    assert {one["date"] for one in described["dates"]} >= {"2025-10-21/2025-11-21"}
    page = await freezer.get(snapshot["page"])
    links: dict[str, list[str]] = {}
    for link in page.headers["link"].split(", <"):
        url, _, rest = link.lstrip("<").partition(">")
        links.setdefault(rest.split('"')[1], []).append(url)
    assert links["cite-as"] == [snapshot["page"]]
    assert links["item"] == [snapshot["file"]]
    assert links["license"] == ["https://spdx.org/licenses/CC-BY-4.0.html"]
    assert (await freezer.get(links["describedby"][0])).json() == described
    back = (await freezer.get(snapshot["file"])).headers["link"]
    assert f'<{snapshot["page"]}>; rel="collection"' in back
    (text,) = re.findall(r'<script type="application/ld\+json">(.*?)</script>', page.text, re.DOTALL)
    about = json.loads(text)
    assert (about["@type"], about["distribution"]["sha256"]) == ("Dataset", snapshot["sha256"])
    file = tmp_path / "snapshots" / f"{snapshot['id']}.json"
    file.chmod(0o600)
    file.write_text(json.dumps({**json.loads(file.read_text()), "doi": "10.12345/abc"}))
    registered = (await freezer.get(f"{SNAPSHOTS}/{snapshot['id']}/datacite.json")).json()
    schema45.validator.validate(registered)
    assert "<https://doi.org/10.12345/abc>" in (await freezer.get(snapshot["page"])).headers["link"]


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("nb", ("Øyeblikksbilde", "Målinger fra Air on the quay, 2025-10-21 til 2025-11-21", "480 rader")),
        ("en", ("Snapshot", "Readings of Air on the quay, 2025-10-21 to 2025-11-21", "480 rows")),
    ],
)
async def test_people_find_it_at_the_address_that_is_cited(
    freezer: httpx.AsyncClient, language: str, words: tuple[str, ...]
) -> None:
    snapshot = (await freezer.post(SNAPSHOTS, json=QUESTION)).json()
    answer = await freezer.get(snapshot["page"], params={"lang": language})
    assert answer.status_code == 200
    for word in (*words, snapshot["sha256"], snapshot["file"], "[DOI]", "@misc{techport-"):
        assert word in answer.text, word
    (asked,) = re.findall(r'href="(/api/v1/readings[^"]+)"', answer.text)
    assert len((await freezer.get(html.unescape(asked))).json()["items"]) == 2 * HOURS


def test_tex_is_escaped() -> None:
    snapshot = msgspec.convert(
        {
            "id": "a" * 24,
            "created": "2025-11-24",
            "pilots": ["x"],
            "question": {},
            "zone": "UTC",
            "start": None,
            "end": None,
            "every": None,
            "rows": 1,
            "bytes": 1,
            "sha256": "b",
            "doi": "10.1/x",
            "licences": ["CC0-1.0"],
            "attribution": ["A & B_{C}"],
            "titles": ["50 % \\o/"],
        },
        Snapshot,
    )
    text = citation.bibtex(snapshot, "https://data.example.no")
    assert r"author = {{A \& B\_\{C\}}}" in text
    assert r"50 \% \textbackslash{}o/" in text
    assert "doi = {10.1/x}" in text


async def test_the_same_rows_are_the_same_snapshot(freezer: httpx.AsyncClient) -> None:
    one, two = [(await freezer.post(SNAPSHOTS, json=QUESTION)).json() for _ in range(2)]
    assert one == two


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({"limit": 5}, "limit"),
        ({"format": "csv"}, "format"),
        ({"downsample": "lttb"}, "downsample"),
        ({"shape": "long", "group": ["nonsense"]}, "group"),
        ({"pilot": ["kai"]}, "pilot"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
async def test_what_cannot_be_frozen(freezer: httpx.AsyncClient, body: dict[str, object], parameter: str) -> None:
    answer = await freezer.post(SNAPSHOTS, json=body)
    assert (answer.status_code, answer.json()["parameter"]) == (400, parameter)


@pytest.mark.parametrize(
    "shape",
    [
        {"group": ["quantity"], "every": "P1D"},
        {"group": ["device"]},
        {"profile": "hour", "aggregate": ["mean", "p95"]},
        {"shape": "wide", "every": "P1D"},
        {"every": "PT1H", "rolling": "PT8H"},
        {"every": "P1D", "aggregate": ["time_mean"], "fill": "null"},
        {"order": "-time"},
    ],
)
async def test_every_shape_of_an_answer_can_be_frozen(freezer: httpx.AsyncClient, shape: dict[str, Any]) -> None:
    made = await freezer.post(SNAPSHOTS, json={**QUESTION, "end": "2025-10-28", **shape})
    assert made.status_code == 201, made.text
    snapshot = made.json()
    file = await freezer.get(snapshot["file"])
    frozen = pq.read_table(io.BytesIO(file.content))
    asked = {name: ",".join(value) if isinstance(value, list) else value for name, value in shape.items()}
    question = {"pilot": "kai-luft", "quantity": "pm10", "start": "2025-10-21", "end": "2025-10-28", **asked}
    answer = await freezer.get("/api/v1/readings", params={**question, "format": "parquet"})
    assert frozen.equals(pq.read_table(io.BytesIO(answer.content)))
    assert frozen.num_rows == snapshot["rows"] > 0
    assert snapshot["question"] == {**QUESTION, "end": "2025-10-28", **shape}


@pytest.mark.parametrize("snapshot_id", ["0" * 24, "x", "..%2f..%2fregistry", "%00"])
async def test_other_files_are_out_of_reach(freezer: httpx.AsyncClient, snapshot_id: str) -> None:
    for path in (
        f"{SNAPSHOTS}/{snapshot_id}",
        f"{SNAPSHOTS}/{snapshot_id}/readings.parquet",
        f"/snapshots/{snapshot_id}",
    ):
        assert (await freezer.get(path)).status_code == (400 if "%00" in path else 404)


async def test_without_a_folder_nothing_is_frozen(client: httpx.AsyncClient) -> None:
    assert (await client.post(SNAPSHOTS, json=QUESTION)).status_code == 404


async def test_swagger_ui_comes_from_here(client: httpx.AsyncClient) -> None:
    page = await client.get("/api/v1/docs")
    assert "://" not in page.text
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "start.js"):
        assert f"docs/{name}" in page.text
        assert (await client.get(f"/api/v1/docs/{name}")).status_code == 200
    assert (await client.get("/api/v1/docs/..%2f__init__.py")).status_code == 404
    assert (await client.get("/api/v1/openapi.json")).json()["openapi"].startswith("3.")


@pytest.mark.parametrize(("most", "most_bytes"), [(1, 10**9), (10, 8_000)])
async def test_no_more_is_frozen_than_there_is_room_for(city: City, tmp_path: Path, most: int, most_bytes: int) -> None:
    folder = tmp_path / "snapshots"
    settings = WebSettings(snapshots=folder, snapshots_most=most, snapshots_bytes=most_bytes)
    transport = httpx.ASGITransport(city.app(settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        first = await client.post(SNAPSHOTS, json=QUESTION)
        assert first.status_code == 201, first.text
        assert 4_000 < first.json()["bytes"] < 8_000
        refused = await client.post(SNAPSHOTS, json=QUESTION | {"quantity": ["air_temperature"]})
        assert refused.status_code == 507
        assert "snapshots_most" in refused.json()["remedy"]
        assert (await client.post(SNAPSHOTS, json=QUESTION)).json()["id"] == first.json()["id"]
    assert len(list(folder.iterdir())) == 2


async def test_an_answer_too_large_for_the_room_leaves_nothing_behind(city: City, tmp_path: Path) -> None:
    folder = tmp_path / "snapshots"
    transport = httpx.ASGITransport(city.app(WebSettings(snapshots=folder, snapshots_bytes=100)))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        refused = await client.post(SNAPSHOTS, json=QUESTION)
        assert (refused.status_code, refused.json()["type"][-7:]) == (507, "no-room")
    assert list(folder.iterdir()) == []
