"""Does this version answer as another one does? Every GET of the data API, asked of both over the same data.

    python -m benchmarks.compare_answers CHECKOUT    e.g. of the last release, with its own .venv

Both versions build the platform of tests/dashboards/showcase.py and a finished pilot (tests/pilots/trial.py) in folders
of their own, with their own code, and answer on loopback under one fixed clock. Asked are all GET operations that this
version's OpenAPI document describes, with every example of every parameter and with the names that are in the data;
every entity set, navigation and system query option of SensorThings; and the catalogue. Lists are followed through
their pages.

Left out: answers that are errors in both, fields that were renamed (RENAMED), added (ADDED) or removed on purpose
(REMOVED), and text that is rendered for people (TEXTS). Prints each difference; the exit code is 1 if there is one.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
NOW = 1_791_806_400  # 2026-10-12T12:00:00Z: all phases of the data are over
PORTS = 18_491, 18_492
PAGES = 3  # of a list that are followed
DIGITS = 1e-12

RENAMED: Mapping[str, str] = {
    "refused": "rejected",
    "fate": "outcome",
    "set_aside": "quarantined",
    "discarded": "deleted",
}
"""Fields of answers, before and after (CHANGELOG.md)."""

ADDED = {*RENAMED.values(), "samples", "code", "params", "session_losses"}
"""Fields that an earlier version need not have."""

REMOVED = {"bootstrap"}
"""Fields that are gone on purpose (CHANGELOG.md)."""

TEXTS = {"detail", "hint", "description", "remedy", "summary"}
"""Sentences for people, which were reworded."""

REWORDED: Mapping[str, str] = {
    "Data of pilots": "Data from pilots",
    "Collection of OGC API EDR": "Collection in OGC API EDR",
}
"""Titles of the catalogue, before and after."""

EVALUATION_TEXTS = {"reasons", "method", "left_out"}
"""Where `nb` and `en` are sentences."""

LEFT_OUT: Mapping[str, str] = {
    "/api/v1/live": "never ends",
    "/api/v1/problems": "describes errors in words",
    "/api/v1/problems/{kind}": "describes an error in words",
}
"""Operations that are not compared, with the reason."""


# -- One version: run by its own interpreter


def serve(folder: Path, port: int) -> None:
    """The platform of the checkout whose `tests` can be imported, until the process ends."""
    fixed = NOW * 1_000_000_000
    time.time_ns = lambda: fixed
    time.time = lambda: float(NOW)
    import anyio
    import httpx

    from tests.dashboards import showcase
    from tests.dashboards.web import serving
    from tests.pilots import trial

    city = showcase.build(folder)
    city.import_text(trial.YAML)
    city.store.write(trial.readings())
    app = showcase.application(city, folder)

    async def prepare() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            await showcase.prepare(client)

    anyio.run(prepare)
    with serving(app, port):
        print("ready", flush=True)
        sys.stdin.read()  # until whoever started this goes away
    city.close()


@contextmanager
def version(checkout: Path, folder: Path, port: int) -> Iterator[str]:
    """The address of the checkout's platform."""
    python = checkout / ".venv/bin/python"
    if not python.is_file():
        raise SystemExit(f"{python} is missing: make the environment of that checkout first (uv sync --frozen)")
    command = [str(python), "-P", str(Path(__file__).resolve()), "--serve", str(folder), "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "TZ": "UTC"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=checkout, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            if process.stdout.readline().strip() != "ready":
                raise SystemExit(f"the platform of {checkout} did not start")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.stdin.close()
            process.wait(timeout=60)


# -- What is asked


class Request(NamedTuple):
    path: str
    params: Mapping[str, Any]
    headers: Mapping[str, str] = {}

    def __str__(self) -> str:
        query = "&".join(f"{name}={value}" for name, value in self.params.items())
        accept = f" (Accept: {self.headers['accept']})" if self.headers else ""
        return f"{self.path}{'?' if query else ''}{query}{accept}"


SHAPES = [
    {},
    {"every": "PT1H"},
    {"every": "P1D", "zone": "Europe/Oslo", "aggregate": "mean,min,max,count"},
    {"shape": "wide"},
    {"order": "-time"},
    {"quality": "good"},
]
"""Of readings, each in every format."""

STA_OPTIONS = [
    {},
    {"$top": "2", "$count": "true"},
    {"$top": "3", "$skip": "1", "$orderby": "id desc"},
    {"$select": "id"},
    {"$resultFormat": "GeoJSON"},
    {"$resultFormat": "dataArray"},
    {"$resultFormat": "CSV"},
]
STA_EXPANDS = {
    "Things": ["Datastreams", "Locations", "HistoricalLocations", "Datastreams($expand=ObservedProperty,Sensor)"],
    "Locations": ["Things", "HistoricalLocations"],
    "HistoricalLocations": ["Thing", "Locations"],
    "Datastreams": ["Thing", "Sensor", "ObservedProperty", "Observations($top=2;$orderby=phenomenonTime desc)"],
    "Sensors": ["Datastreams"],
    "ObservedProperties": ["Datastreams"],
    "Observations": ["Datastream", "FeatureOfInterest"],
    "FeaturesOfInterest": ["Observations($top=2)"],
}
STA_FILTERS = {
    "Things": ["startswith(name,'I')", "Datastreams/unitOfMeasurement/symbol eq 'µg/m³'", "name eq 'Ila school'"],
    "Locations": ["st_within(location, geography'POLYGON((10.3 63.4,10.5 63.4,10.5 63.5,10.3 63.5,10.3 63.4))')"],
    "Datastreams": ["ObservedProperty/name eq 'PM10'", "substringof('school',name)", "phenomenonTime ne null"],
    "Observations": [
        "result gt 29",
        "result lt 15 or result ge 29.5",
        "phenomenonTime ge 2026-09-20T00:00:00Z and phenomenonTime lt 2026-09-20T06:00:00Z",
        "year(phenomenonTime) eq 2026 and month(phenomenonTime) eq 9 and day(phenomenonTime) eq 3",
    ],
}


def requests_of(ask: Any, before: Mapping[str, Any]) -> Iterator[Request]:
    """Everything that is asked; `ask` gives the JSON of an address of this version, which knows the data. `before` are
    the addresses of the other version's OpenAPI document: what is new cannot be compared."""
    yield from described(ask, before)
    yield from sensor_things(ask)
    for path in ("/catalog", "/catalog.ttl", "/catalog.jsonld"):
        yield Request(path, {})
    for accept in ("text/turtle", "application/ld+json", "text/csv"):
        yield Request("/catalog", {}, {"accept": accept})
        yield Request("/api/v1/readings", {"pilot": "school-air", "limit": 50}, {"accept": accept})
    for path in ("/healthz", "/readyz"):
        yield Request(path, {})


def described(ask: Any, before: Mapping[str, Any]) -> Iterator[Request]:
    """The operations of the OpenAPI document, with the examples of their parameters and with names from the data."""
    from tests.dashboards.changes import DESCRIPTION
    from tests.dashboards.examples import examples

    names = names_in(ask)
    for path, operations in ask(DESCRIPTION)["paths"].items():
        operation = operations.get("get")
        if operation is None or path not in before or path in LEFT_OUT or path.startswith("/catalog"):
            continue
        for example in examples(f"get {path}", operation):
            yield Request(example.url, example.query)
        parameters = operation.get("parameters", [])
        required = {p["name"]: p["example"] for p in parameters if p["in"] == "query" and p.get("required")}
        accepted = {parameter["name"] for parameter in parameters}
        for address in addresses(path, names):
            yield Request(address, required)
        if {"pilot", "device"} <= accepted and "{pilot}" not in path:
            for pilot, device in names.devices:
                yield from of_device(path, accepted, {**required, "pilot": pilot, "device": device})
        if "limit" in accepted:
            for address in itertools.islice(addresses(path, names), 1):
                yield Request(address, {**required, "limit": 2})


def of_device(path: str, accepted: set[str], names: Mapping[str, Any]) -> Iterator[Request]:
    """Of one device, in every format that there is."""
    spans = [{"start": "2026-03-02", "end": "2026-03-06"}, {"start": "2026-09-30", "end": "2026-10-03"}]
    for span in spans if "start" in accepted else [{}]:
        if "format" not in accepted:
            yield Request(path, {**names, **span})
            continue
        for shape in SHAPES:
            for form in ("json", "ndjson", "csv", "csv-nb", "parquet", "arrow"):
                yield Request(path, {**names, **span, **shape, "format": form})


class Names(NamedTuple):
    """What is in the data."""

    pilots: list[str]
    devices: list[tuple[str, str]]
    kpis: list[tuple[str, str]]
    entries: list[tuple[str, str]]
    snapshots: list[str]


def names_in(ask: Any) -> Names:
    pilots = [pilot["id"] for pilot in ask("/api/v1/pilots")["items"]]
    devices = [(device["pilot"], device["id"]) for device in ask("/api/v1/devices")["items"]]
    kpis = [(pilot, kpi["id"]) for pilot in pilots for kpi in ask(f"/api/v1/pilots/{pilot}/kpis")["items"]]
    entries = [
        (pilot, str(entry["id"])) for pilot in pilots for entry in ask(f"/api/v1/pilots/{pilot}/quarantine")["items"]
    ]
    return Names(pilots, devices, kpis, entries, [one["id"] for one in ask("/api/v1/snapshots")["items"]])


def addresses(path: str, names: Names) -> Iterator[str]:
    """The path with every name that fits in its braces; none where the data has no such thing."""
    known: Mapping[tuple[str, ...], Iterable[tuple[str, ...]]] = {
        (): [()],
        ("pilot",): [(pilot,) for pilot in names.pilots],
        ("pilot", "device"): names.devices,
        ("pilot", "kpi"): names.kpis,
        ("pilot", "entry"): names.entries,
        ("pilot", "location"): names.devices,
        ("id",): [(snapshot,) for snapshot in names.snapshots],
    }
    holes = tuple(part.partition("}")[0] for part in path.split("{")[1:])
    for values in known.get(holes, []):
        yield path.format(**dict(zip(holes, values, strict=True)))


def sensor_things(ask: Any) -> Iterator[Request]:
    root = "/sta/v1.1"
    yield Request(root, {})
    for entities, expands in STA_EXPANDS.items():
        address = f"{root}/{entities}"
        for options in STA_OPTIONS:
            yield Request(address, options)
        for expand in expands:
            yield Request(address, {"$expand": expand, "$top": "5"})
        for condition in STA_FILTERS.get(entities, []):
            yield Request(address, {"$filter": condition, "$top": "20", "$count": "true"})
        for entity in ask(f"{address}?$top=3")["value"]:
            path = entity["@iot.selfLink"].partition("/sta/")[2]
            yield Request(f"/sta/{path}", {})
            for name, value in entity.items():
                if name.endswith("@iot.navigationLink"):
                    yield Request(f"/sta/{value.partition('/sta/')[2]}", {"$top": "5"})
                elif "@" not in name:
                    yield Request(f"/sta/{path}/{name}", {})
                    yield Request(f"/sta/{path}/{name}/$value", {})


# -- How two answers differ


def differences(place: str, before: Any, after: Any) -> Iterator[str]:
    """Where two JSON values differ, but for renamed, added and rendered fields."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            here = name if name in after else RENAMED.get(name, name)
            if here not in after and name in REMOVED:
                continue
            if here not in after:
                yield f"{place}.{name}: is gone; was {short(value)}"
            elif name in EVALUATION_TEXTS:
                yield from differences(f"{place}.{name}", without_sentences(value), without_sentences(after[here]))
            elif name not in TEXTS:
                yield from differences(f"{place}.{name}", value, after[here])
        for name in after.keys() - before.keys() - ADDED:
            yield f"{place}.{name}: is new; {short(after[name])}"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, pair in enumerate(zip(before, after, strict=True)):
            yield from differences(f"{place}[{number}]", *pair)
    elif not same(before, after):
        yield f"{place}: was {short(before)}, is {short(after)}"


def same(before: Any, after: Any) -> bool:
    if isinstance(before, float) and isinstance(after, float):
        return math.isclose(before, after, rel_tol=DIGITS, abs_tol=1e-12)
    if isinstance(before, str) and isinstance(after, str):
        return plain(before) == plain(after) or RENAMED.get(before) == after
    return type(before) is type(after) and bool(before == after)


def plain(text: str) -> str:
    """Without what differs on purpose: the ports that the two answer on, and reworded titles."""
    for port in PORTS:
        text = text.replace(f"127.0.0.1:{port}", "127.0.0.1")
    for before, after in REWORDED.items():
        text = text.replace(before, after)
    return text


def without_sentences(value: Any) -> Any:
    """Reasons and methods without what is said to people; codes are new."""
    if isinstance(value, list):
        return [without_sentences(part) for part in value]
    if isinstance(value, dict):
        return {name: without_sentences(part) for name, part in value.items() if name not in ("nb", "en", *ADDED)}
    return value


def short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else f"{text[:117]}..."


def content(answer: Any) -> Any:
    """What an answer says, as JSON values; tables as their columns, whatever their compression."""
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if kind == "text/turtle":
        return sorted(plain(answer.text).splitlines())
    if kind.endswith("ndjson"):
        return [json.loads(line) for line in answer.text.splitlines()]
    if kind.endswith("json"):
        return answer.json()
    if kind == "text/csv":
        return list(csv.reader(io.StringIO(answer.text)))
    if kind in ("application/vnd.apache.parquet", "application/vnd.apache.arrow.stream"):
        return table(answer.content, kind)
    return plain(answer.text)


def table(data: bytes, kind: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if kind.endswith("parquet"):
        rows = pq.read_table(io.BytesIO(data))
    else:
        with pa.ipc.open_stream(data) as reader:
            rows = reader.read_all()
    columns = {name: str(rows.schema.field(name).type) for name in rows.column_names}
    metadata = {key.decode(): value.decode() for key, value in (rows.schema.metadata or {}).items()}
    return {"columns": columns, "metadata": metadata, "rows": rows.to_pylist()}


# -- Ask both


def compare(request: Request, before: Any, after: Any) -> tuple[str, list[str]]:
    """Ask both, page by page: what came, and the differences."""
    lines: list[str] = []
    paths = [(request.path, dict(request.params))] * 2
    for page in range(PAGES):
        answers = [
            client.get(path, params=params or None, headers=request.headers)
            for client, (path, params) in zip((before, after), paths, strict=True)
        ]
        codes = [answer.status_code for answer in answers]
        if min(codes) >= 400:
            return ("errors in both" if page == 0 else "compared"), lines
        place = f"page {page + 1}: " if page else ""
        if codes[0] != codes[1]:
            return "compared", [*lines, f"{place}status was {codes[0]}, is {codes[1]}: {short(answers[1].text)}"]
        kinds = [answer.headers.get("content-type", "") for answer in answers]
        if kinds[0] != kinds[1]:
            lines.append(f"{place}content type was {kinds[0]}, is {kinds[1]}")
        contents = [content(answer) for answer in answers]
        following = [next_page(value, request) for value in contents]
        lines += differences(place or "answer", *contents)
        if None in following or lines:
            break
        paths = [page_of for page_of in following if page_of is not None]
    return "compared", lines


def next_page(value: Any, request: Request) -> tuple[str, dict[str, Any]] | None:
    """Where the list goes on. What a cursor holds is each version's own matter: it is taken out of the answer."""
    if not isinstance(value, dict):
        return None
    if isinstance(cursor := value.get("next"), str) and "items" in value:
        value["next"] = "more"
        return request.path, {**request.params, "cursor": cursor}
    if isinstance(link := value.get("@iot.nextLink"), str):
        value["@iot.nextLink"] = "more"
        return link, {}
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, nargs="?", help="of the version to compare with")
    parser.add_argument("--only", default="", help="requests whose address has this in it")
    parser.add_argument("--most", type=int, default=4, help="differences printed of a request (default: %(default)s)")
    parser.add_argument("--errors", action="store_true", help="print the requests that both answer with an error")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve, options.port)
        return
    if options.checkout is None:
        parser.error("name the checkout to compare with")
    sys.path.insert(0, str(ROOT))
    import httpx

    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before, after = folder / "before", folder / "after"
        with (
            version(options.checkout.resolve(), before, PORTS[0]) as first,
            version(ROOT, after, PORTS[1]) as second,
            httpx.Client(base_url=first, timeout=300, follow_redirects=True) as old,
            httpx.Client(base_url=second, timeout=300, follow_redirects=True) as new,
        ):
            asked: dict[str, Request] = {}
            from tests.dashboards.changes import DESCRIPTION

            addresses_before = old.get(DESCRIPTION).raise_for_status().json()["paths"]
            for request in requests_of(lambda path: new.get(path).raise_for_status().json(), addresses_before):
                asked.setdefault(str(request), request)
            for request in asked.values():
                if options.only not in str(request):
                    continue
                outcome, lines = compare(request, old, new)
                outcomes["different" if lines else outcome] += 1
                if options.errors and outcome != "compared":
                    print(f"error in both: {request}", flush=True)
                for line in lines[: options.most]:
                    print(f"{request}\n    {line}", flush=True)
                if len(lines) > options.most:
                    print(f"    and {len(lines) - options.most} more")
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())))
    raise SystemExit(1 if outcomes["different"] else 0)


if __name__ == "__main__":
    main()
