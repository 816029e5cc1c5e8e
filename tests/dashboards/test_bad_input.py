"""What people and attackers send by hand: refused with the parameter that was wrong, at once, or answered unharmed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from techport_dashboards import WebSettings
from techport_storage.microseconds import HOUR, SECOND
from techport_storage.model import Reading
from tests.dashboards.conftest import START
from tests.dashboards.web import City, serving

pytestmark = pytest.mark.anyio
READINGS = "/api/v1/readings"
CROSSED = json.dumps({"type": "Polygon", "coordinates": [[[10, 63], [11, 64], [11, 63], [10, 64], [10, 63]]]})
OPEN = json.dumps({"type": "Polygon", "coordinates": [[[10, 63], [11, 64]]]})
DEEP = '{"type":"GeometryCollection","geometries":[' * 500 + "]}" * 500


@pytest.fixture
async def visitor(city: City, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = city.app(WebSettings(snapshots=tmp_path / "snapshots"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        yield client


@pytest.mark.parametrize(
    ("parameters", "wrong"),
    [
        ({"start": "2025-10-23", "end": "2025-10-22"}, "end"),
        ({"start": "now", "end": "-P1D"}, "end"),
        ({"start": "2025-10-22", "end": "2025-10-22"}, "end"),
        ({"start": "0000-01-01"}, "start"),
        ({"start": "-P99999999D"}, "start"),
        ({"start": "2025-10-22T08:00:00+99:00"}, "start"),
        ({"every": "1ns"}, "every"),
        ({"every": "PT0.000000001S"}, "every"),
        ({"every": "PT0S"}, "every"),
        ({"every": "-PT1H"}, "every"),
        ({"every": "P99999999Y"}, "every"),
        ({"every": "PT1H", "aggregate": "p101"}, "aggregate"),
        ({"every": "PT1H", "aggregate": "mean(value);drop table readings"}, "aggregate"),
        ({"zone": "Mars/Olympus"}, "zone"),
        ({"zone": "../../etc/passwd"}, "zone"),
        ({"within": CROSSED}, "within"),
        ({"within": OPEN}, "within"),
        ({"within": DEEP}, "within"),
        ({"bbox": "10,64,11,63"}, "bbox"),
        ({"bbox": "nan,nan,nan,nan"}, "bbox"),
        ({"near": "10.4,63.4,-1"}, "near"),
        ({"near": "1e400,63.4,1"}, "near"),
        ({"cursor": "AAAA"}, "cursor"),
        ({"cursor": "%00"}, "cursor"),
        ({"limit": "99999999999999999999999"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"quality": "bad"}, "quality"),
        ({"pilot": "'; DROP TABLE readings; --"}, "pilot"),
        ({"quantity": "**********************************x"}, "quantity"),
        ({"device": "👾"}, "device"),
        ({"downsample": "lttb", "points": "1"}, "points"),
        ({"fill": "linear"}, "fill"),
        ({"max_gap": "forever"}, "max_gap"),
        ({"format": "exe"}, "format"),
    ],
)
async def test_a_wrong_parameter_is_named(visitor: httpx.AsyncClient, parameters: dict[str, str], wrong: str) -> None:
    answer = await visitor.get(READINGS, params=parameters)
    assert answer.status_code in (400, 406), answer.text[:300]
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem.get("parameter") == wrong or (wrong == "fill" and problem["parameter"] in ("every", "start"))
    assert problem.get("example") or wrong == "cursor", "a right one is shown"
    assert len(answer.content) < 2_000, "an error does not throw back what it was thrown"


async def test_a_nul_byte_is_refused(visitor: httpx.AsyncClient) -> None:
    answer = await visitor.get(READINGS, params={"zone": "Europe/Oslo\x00"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


async def test_a_million_devices_in_a_list(visitor: httpx.AsyncClient) -> None:
    names = ",".join(f"d{n}" for n in range(5_000))  # as many as an address holds
    answer = await visitor.get(READINGS, params={"device": names})
    assert (answer.status_code, answer.json()["parameter"]) == (400, "device")
    answer = await visitor.post("/api/v1/snapshots", json={"device": [f"d{n}" for n in range(300_000)]})
    assert (answer.status_code, answer.json()["parameter"]) == (400, "device")
    answer = await visitor.post("/api/v1/snapshots", json={"device": [f"d{n}" for n in range(1_000_000)]})
    assert answer.status_code == 413
    answer = await visitor.get("/edr/collections/kai-luft/locations/kran", params={"parameter-name": names})
    assert answer.status_code == 400


async def test_a_cursor_continues_its_own_question_only(visitor: httpx.AsyncClient) -> None:
    one = (await visitor.get(READINGS, params={"pilot": "kai-luft", "limit": 5})).json()["next"]
    for other in ({"pilot": "stille"}, {"pilot": "kai-luft", "quantity": "pm10"}, {"every": "PT1H"}):
        answer = await visitor.get(READINGS, params={**other, "limit": 5, "cursor": one})
        assert (answer.status_code, answer.json()["type"]) == (400, "/api/v1/problems/bad-cursor"), other
    changed = one[:-3] + ("AAA" if not one.endswith("AAA") else "BBB")
    answer = await visitor.get(READINGS, params={"pilot": "kai-luft", "limit": 5, "cursor": changed})
    assert answer.status_code in (200, 400)
    listed = (await visitor.get("/api/v1/streams", params={"limit": 1})).json()["next"]
    assert (await visitor.get(READINGS, params={"cursor": listed})).status_code == 400


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5_000 + "1" + ")" * 5_000,
        "not " * 900 + "true",
        " and ".join(["result gt 1"] * 500),
        "-" * 3_000 + "1 eq 1",
        "concat(" * 400 + "name,name" + ")" * 400 + " eq 'x'",
        "name in (" + ",".join(f"'{n}'" for n in range(5_000)) + ")",
        "result div 0 eq 1 or " * 300 + "result eq 1",
        "geo.intersects(location, geography'POLYGON((" + ",".join(["0 0"] * 900) + "))')",
    ],
)
async def test_filters_that_are_bombs(visitor: httpx.AsyncClient, text: str) -> None:
    for kind in ("Things", "Observations"):
        answer = await visitor.get(f"/sta/v1.1/{kind}", params={"$filter": text})
        assert answer.status_code in (400, 422), (kind, answer.status_code)


async def test_expansions_that_are_bombs(visitor: httpx.AsyncClient) -> None:
    deep = "Things/Datastreams/Thing/Datastreams/Thing/Datastreams/Thing/Datastreams"
    nested = "Datastreams($expand=Thing(" * 40 + "))" * 40
    for text in (
        deep.removeprefix("Things/"),
        nested,
        ",".join(["Datastreams"] * 3_000) + "(",
        "Datastreams($top=" * 9,
    ):
        answer = await visitor.get("/sta/v1.1/Things", params={"$expand": text})
        assert answer.status_code == 400, text[:60]


@pytest.mark.parametrize("name", ["x\r\nSet-Cookie: a=b", 'x"; filename="evil.exe', "../../registry.sqlite", "æøå"])
async def test_names_do_not_leak_into_headers_or_paths(city: City, name: str) -> None:
    """Through a real server, where a line break in a header would be one."""
    with serving(city.app()) as address:
        async with httpx.AsyncClient(base_url=address) as client:
            for path in (READINGS, "/api/v1/devices", "/catalog", "/pilots/kai-luft", "/edr/collections/kai-luft"):
                answer = await client.get(path, params={"pilot": name, "lang": name, "f": name, "zone": name})
                assert answer.status_code < 500
                assert "set-cookie" not in answer.headers
                assert "evil" not in answer.headers.get("content-disposition", "")
            for path in ("/api/v1/pilots/{}", "/pilots/{}/report", "/static/0/{}", "/sta/v1.1/{}", "/snapshots/{}"):
                assert (await client.get(path.format(quote(name, safe="")))).status_code in (400, 404, 405)


async def test_another_host_in_the_request_is_not_believed(visitor: httpx.AsyncClient) -> None:
    for headers in ({"host": "evil.example"}, {"host": "127.0.0.1\t"}, {"host": ""}):
        answer = await visitor.get("/catalog.ttl", headers=headers)
        assert answer.status_code in (400, 403, 421) or "evil" not in answer.text


async def test_a_spreadsheet_runs_no_formula_that_a_device_sent(city: City, visitor: httpx.AsyncClient) -> None:
    names = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", '=HYPERLINK("http://evil")']
    at = START + 1_000 * HOUR
    city.write(*(Reading("kai-luft", "port", name, at, 1.0, at + SECOND) for name in names))
    for file_format, separator in (("csv", ","), ("csv-nb", ";")):
        answer = await visitor.get(READINGS, params={"pilot": "kai-luft", "device": "port", "format": file_format})
        assert answer.status_code == 200
        cells = [cell for row in csv.reader(io.StringIO(answer.text), delimiter=separator) for cell in row]
        assert sum("evil" in cell or "calc" in cell for cell in cells) == 2
        for cell in cells:
            assert not cell.lstrip("\ufeff").startswith(("=", "@", "\t")), cell
            assert not cell.startswith(("+1", "-2")), cell
        wide = {"shape": "wide", "every": "P1D", "fill": "null", "start": "2025-12-01", "end": "2025-12-03"}
        answer = await visitor.get(READINGS, params={"device": "port", "format": file_format, **wide})
        assert not any(cell.lstrip("\ufeff").startswith(("=", "@", "\t", "+")) for cell in answer.text.split(separator))


@pytest.mark.parametrize("value", [1e300, -1.7976931348623157e308, 5e-324])
async def test_one_absurd_reading_closes_no_page(city: City, visitor: httpx.AsyncClient, value: float) -> None:
    """A broken device sends it, whatever its flag: the pages of all the others, and its own, are still there."""
    at = START + 1_000 * HOUR
    city.write(*(Reading("kai-luft", "kran", name, at, value, at + SECOND) for name in ("pm10", "air_temperature")))
    about = "pilot=kai-luft&device=kran&quantity=pm10&start=2025-10-02&end=2026-01-01"
    pages = ("", "/kpis", "/phases", "/quality", "/report", "/close", "/devices/kran", f"/chart?{about}")
    for path in ("/", "/portfolio", "/explore", "/public/kai-luft", *(f"/pilots/kai-luft{page}" for page in pages)):
        answer = await visitor.get(path, headers={"Accept": "text/html"})
        assert answer.status_code < 500, path
    overview = await visitor.get("/pilots/kai-luft?lang=nb")
    assert overview.status_code == 200
    if abs(value) > 1:
        assert "E300" in overview.text or "E308" in overview.text
    for every in ("", "&every=P1D&aggregate=mean,sum,energy_mean,vector_mean,std"):
        answer = await visitor.get(f"{READINGS}?{about}{every}")
        assert answer.status_code == 200
        json.loads(answer.text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
