"""HTTP as it is defined: HEAD, OPTIONS, Allow, CORS, parts of files, slashes at the end, ends of the calendar."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import polars as pl
import pytest

from techport_dashboards import WebSettings
from techport_dashboards.query.answer_files import (
    MOST_FILES,
    MOST_OF_CLIENT,
    AnswerFile,
    AnswerFiles,
    part_of,
    spooled,
)
from techport_dashboards.web.methods import RouteTable
from tests.dashboards.conftest import HOURS
from tests.dashboards.web import City, serving

pytestmark = pytest.mark.anyio
READINGS = "/api/v1/readings?pilot=kai-luft&quantity=pm10"


@pytest.mark.parametrize(
    "path",
    [
        f"{READINGS}&format=parquet",
        f"{READINGS}&format=csv",
        READINGS,
        "/sta/v1.1/Things",
        "/edr",
        "/catalog.ttl",
        "/",
        "/healthz",
        "/api/v1/nothing-here",
        f"{READINGS}&limit=0",
    ],
)
async def test_head_is_get_without_the_body(client: httpx.AsyncClient, path: str) -> None:
    whole = await client.get(path, headers={"Accept-Encoding": "identity"})
    head = await client.head(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    if "content-length" in whole.headers:
        assert head.headers["content-length"] == str(len(whole.content))


async def test_head_of_an_endless_stream_ends(city: City) -> None:
    with serving(city.app()) as address, httpx.Client(base_url=address, timeout=10) as client:
        answer = client.head("/api/v1/live?pilot=kai-luft")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert client.get("/healthz").status_code == 200, "the connection goes on"


async def test_every_route_with_get_answers_options(city: City, client: httpx.AsyncClient) -> None:
    answer = await client.options("/api/v1/snapshots")
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, POST, OPTIONS")
    refused = await client.delete("/api/v1/snapshots")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, POST, OPTIONS")
    assert "Allow" in refused.json()["remedy"]
    assert "POST" in (await client.options("/api/v1/pilots/kai-luft/events")).headers["allow"]
    assert (await client.options("/api/v1/nothing-here")).status_code == 404
    table = RouteTable.of(city.app().routes)
    for _, methods in table.routes:
        assert not methods or methods <= {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


async def test_scripts_of_other_sites_read_open_data_only(city: City) -> None:
    origin = {"Origin": "https://observablehq.com", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    app = city.app(signed_in=False)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        preflight = {**origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "range"}
        answer = await client.options(READINGS, headers=preflight)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "Range" in answer.headers["access-control-allow-headers"]
        assert "Authorization" not in answer.headers["access-control-allow-headers"]
        assert "POST" not in answer.headers["access-control-allow-methods"]
        for path, status in ((READINGS, 200), ("/api/v1/nothing-here", 404), (f"{READINGS}&nonsense=1", 400)):
            shown = await client.get(path, headers=origin)
            assert shown.status_code in (status, 401)
            assert shown.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in shown.headers
            assert "Link" in shown.headers["access-control-expose-headers"]
        assert "access-control-allow-origin" not in (await client.get("/", headers=origin)).headers
        posted = await client.post("/api/v1/snapshots", headers=origin, json={})
        assert "access-control-allow-origin" not in posted.headers
    off = city.app(dataclasses.replace(WebSettings(), cors=False))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(off), base_url="http://127.0.0.1") as client:
        assert "access-control-allow-origin" not in (await client.get(READINGS, headers=origin)).headers


@pytest.mark.parametrize("path", ["/edr/", "/edr/collections/", "/edr/conformance/?f=json", "/sta/v1.1/Things/"])
async def test_a_slash_at_the_end_changes_nothing(client: httpx.AsyncClient, path: str) -> None:
    name, _, query = path.partition("?")
    plain = await client.get(f"{name.removesuffix('/')}{'?' if query else ''}{query}")
    assert (await client.get(path)).json() == plain.json()
    assert plain.status_code == 200


async def test_a_page_with_a_slash_too_many_is_redirected(client: httpx.AsyncClient) -> None:
    answer = await client.get("/pilots/kai-luft/?nb=1")
    assert (answer.status_code, answer.headers["location"]) == (308, "/pilots/kai-luft?nb=1")
    assert (await client.get("http://127.0.0.1//example.org/")).status_code == 404


async def test_parts_of_a_file(client: httpx.AsyncClient) -> None:
    path = f"{READINGS}&start=2025-10-21&format=parquet"
    whole = await client.get(path)
    size = len(whole.content)
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-length"] == str(size)
    for header, expected in (
        ("bytes=0-3", whole.content[:4]),
        ("bytes=-4", b"PAR1"),
        (f"bytes={size - 4}-", b"PAR1"),
        (f"bytes=0-{size * 2}", whole.content),
    ):
        part = await client.get(path, headers={"Range": header})
        assert (part.status_code, part.content) == (206, expected), header
        assert part.headers["content-range"].endswith(f"/{size}")
        assert "content-encoding" not in part.headers
    outside = await client.get(path, headers={"Range": f"bytes={size}-"})
    assert (outside.status_code, outside.headers["content-range"]) == (416, f"bytes */{size}")
    another = await client.get(path, headers={"Range": "bytes=0-3", "If-Range": '"of another file"'})
    assert (another.status_code, len(another.content)) == (200, size)
    unchanged = await client.get(path, headers={"If-None-Match": whole.headers["etag"]})
    assert unchanged.status_code == 304


async def test_parts_of_a_running_answer_are_of_one_file(city: City, client: httpx.AsyncClient) -> None:
    """`end` is now and the buckets are not over: each request of its own would be another file."""
    path = f"{READINGS}&start=2025-10-21&every=P1D&format=csv"
    length = int((await client.head(path)).headers["content-length"])
    first = await client.get(path, headers={"Range": "bytes=0-99"})
    second = await client.get(path, headers={"Range": "bytes=100-"})
    assert len(first.content + second.content) == length
    lines = (first.content + second.content).decode().splitlines()
    assert lines[0].startswith("pilot,device,quantity,time")
    assert all(line.count(",") == lines[0].count(",") for line in lines)


def test_ranges_as_rfc_9110_says() -> None:
    assert part_of("bytes=2-5", 10) == (206, 2, 6)
    assert part_of("bytes=-3", 10) == (206, 7, 10)
    assert part_of("bytes=8-", 10) == (206, 8, 10)
    assert part_of("bytes=10-", 10) is None
    assert part_of("bytes=-0", 10) is None
    for ignored in ("", "lines=1-2", "bytes=5-2", "bytes=0-1,3-4", "bytes=-", "bytes=x-y"):
        assert part_of(ignored, 10) == (200, 0, 10), ignored


def test_what_is_too_large_for_a_file_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("techport_dashboards.query.answer_files.LARGEST", 10)
    closed = []

    def pieces() -> Iterator[bytes]:
        try:
            yield from (b"abcd", b"efgh", b"ijkl", b"mn")
        finally:
            closed.append(True)

    stream = spooled(pieces(), {}, "text/csv")  # type: ignore[arg-type]
    assert not isinstance(stream, AnswerFile)
    assert b"".join(stream) == b"abcdefghijklmn"
    assert closed == [True]
    small = spooled((part for part in (b"ab", b"cd")), {}, "text/csv")
    assert isinstance(small, AnswerFile)
    assert small.size == 4


def test_files_lie_in_the_folder_that_is_given_and_have_no_name(tmp_path: Path) -> None:
    """The system's folder for temporary files is memory in a container."""
    folder = tmp_path / "data" / "spool"
    file = spooled((part for part in (b"ab",)), {}, "text/csv", folder)
    assert isinstance(file, AnswerFile)
    if Path("/proc/self/fd").is_dir():
        assert os.readlink(f"/proc/self/fd/{file.file.fileno()}").startswith(str(folder))  # noqa: PTH115 - deleted
    assert list(folder.iterdir()) == []


def test_data_frames_read_an_address(city: City) -> None:
    with serving(city.app(signed_in=False)) as address:
        table = f"{address}{READINGS}&device=kran"
        assert len(pl.read_parquet(f"{table}&format=parquet")) == HOURS
        assert pl.scan_parquet(f"{table}&format=parquet").select(pl.col("value").max()).collect().item() > 40
        assert len(pl.read_csv(f"{table}&format=csv")) == HOURS


EXTREMES = ["0001-01-01", "9999-12-31", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999-12:00", "-P9998Y"]


@pytest.mark.parametrize("zone", ["Europe/Oslo", "America/New_York"])
async def test_the_ends_of_the_calendar(client: httpx.AsyncClient, zone: str) -> None:
    for start in EXTREMES:
        for end in [None, *EXTREMES]:
            for more in ("", "&every=P1M&fill=null", "&every=PT1H", "&every=P1Y&aggregate=max"):
                path = f"{READINGS}&limit=1&start={start}&zone={zone}{more}" + (f"&end={end}" if end else "")
                answer = await client.get(path.replace("&limit=1", "") if "fill" in more else path)
                assert answer.status_code in (200, 400, 422), (path, answer.text)
        trace = await client.get("/api/v1/pilots/kai-luft/devices/kran/trace", params={"time": start})
        assert trace.status_code in (200, 400, 404), (start, trace.text)
    everything = await client.get(f"{READINGS}&start=0001-01-01&limit=1&zone={zone}")
    assert everything.json()["items"]
    assert not (await client.get(f"{READINGS}&start=9999-12-31&limit=1&zone={zone}")).json()["items"]


def test_a_client_that_asks_for_many_lengths_holds_few_files_open() -> None:
    """Each file and each timer would stay for a minute, and a process may have a thousand files open."""
    files, threads = AnswerFiles(), threading.active_count()
    file = spooled((part for part in (b"ab",)), {}, "text/csv")
    assert isinstance(file, AnswerFile)
    files.keep(("192.0.2.1", "first"), file)
    for number in range(500):
        files.keep(("192.0.2.2", str(number)), file)
    assert files.find(("192.0.2.1", "first"), fresh=True) is file, "another client's"
    kept = [number for number in range(500) if files.find(("192.0.2.2", str(number)), fresh=True)]
    assert kept == list(range(500 - MOST_OF_CLIENT, 500)), "the newest"
    for number in range(500):
        files.keep((f"198.51.100.{number}", ""), file)
    assert sum(files.find((f"198.51.100.{number}", ""), fresh=True) is not None for number in range(500)) == MOST_FILES
    assert threading.active_count() <= threads + 1
