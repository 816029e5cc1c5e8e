"""What stands beside the readings in a package: tables of devices, streams and events, and the four descriptions."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from urllib.parse import quote

import msgspec

from techport_pilots.definition.privacy import licence_of
from techport_pilots.devices.visits import Visit
from techport_pilots.handover.package import PackageWriter, instant
from techport_pilots.model import PilotDefinition
from techport_pilots.quantities import vocabulary_of
from techport_pilots.registry.deployments import deployments
from techport_pilots.registry.lifecycle import Change
from techport_pilots.reports.build import Report
from techport_pilots.reports.privacy_text import privacy_description, privacy_lines
from techport_pilots.reports.text import Words
from techport_pilots.time import micros_of
from techport_storage.csv_cells import harmless

NO_LICENCE = "No licence: ask before you use the data"
PERSONAL = "No licence: the readings can be about people, and may be used for the purpose they were collected for only"
_LICENCES = {
    "CC-BY-4.0": ("Creative Commons Attribution 4.0 International", "https://creativecommons.org/licenses/by/4.0/"),
    "CC0-1.0": ("Creative Commons Zero 1.0 Universal", "https://creativecommons.org/publicdomain/zero/1.0/"),
    "NLOD-2.0": ("Norwegian Licence for Open Government Data 2.0", "https://data.norge.no/nlod/en/2.0"),
}
_MEDIA_TYPES = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".parquet": "application/vnd.apache.parquet",
    ".ttl": "text/turtle",
    ".yaml": "application/yaml",
    ".zip": "application/zip",
}
_READINGS = {
    "pilot": ("string", "the pilot that the reading belongs to"),
    "device": ("string", "the device, an id of devices.csv"),
    "quantity": ("string", "what was measured; with the device a line of streams.csv, which has the unit"),
    "time": ("datetime", "when it was observed, UTC"),
    "value": ("number", "in the unit of the stream, as it was measured: flags never change it"),
    "received": ("datetime", "when it arrived, UTC"),
    "quality": ("integer", "sum of flags: 1 range, 2 spike, 4 stuck, 8 step, 16 doubtful time, 32 excluded; 0 is good"),
}
_DEVICES = {
    "device": ("string", "id"),
    "deployment": ("integer", "counts the places the device has been at, from 1"),
    "start": ("datetime", "when it came to this place; empty: from the beginning"),
    "title_nb": ("string", "name in Norwegian"),
    "title_en": ("string", "name in English"),
    "kind": ("string", "what it is"),
    "group": ("string", "group for KPIs and controls"),
    "latitude": ("number", "degrees, WGS 84"),
    "longitude": ("number", "degrees, WGS 84"),
    "height": ("number", "metres above the ground"),
}
_STREAMS = {
    "device": ("string", "id of devices.csv"),
    "quantity": ("string", "name of the quantity; .channel may follow"),
    "title_en": ("string", "what it is"),
    "unit": ("string", "UCUM code"),
    "cf_name": ("string", "standard name of the CF conventions, where there is one"),
    "interval": ("duration", "expected time between readings"),
    "low": ("number", "lowest valid value"),
    "high": ("number", "highest valid value"),
    "states": ("string", "what the numbers of a state mean: 0 = closed, 1 = open"),
}
_EVENTS = {
    "start": ("datetime", "when, UTC"),
    "end": ("datetime", "until when"),
    "kind": (
        "string",
        "installed, moved, calibrated, maintenance, outage, intervention, other; or excluded: left out of evaluation",
    ),
    "device": ("string", "the device it is about; empty: the pilot"),
    "quantity": ("string", "for excluded: only this quantity"),
    "text_nb": ("string", "in Norwegian"),
    "text_en": ("string", "in English"),
}
_VISITS = {
    "time": ("datetime", "when, UTC"),
    "device": ("string", "the device, an id of devices.csv"),
    "done": ("string", "looked, battery, cleaned, repaired or calibrated"),
    "comment": ("string", "what was written down"),
    "photo": ("string", "name in photos.zip; empty: none"),
    "who": ("string", "who was there"),
}
TABLES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "readings": _READINGS,
    "devices": _DEVICES,
    "streams": _STREAMS,
    "events": _EVENTS,
    "visits": _VISITS,
}


def devices_csv(pilot: PilotDefinition) -> str:
    """A line for each place that each device has been at."""
    rows = []
    for device in pilot.devices:
        for deployment in deployments(pilot, device):
            title, place = device.title, deployment.position
            at = [place.lat, place.lon, place.height] if place else [None, None, None]
            start = instant(deployment.start) if deployment.start is not None else None
            names = [title.nb if title else "", title.get("en") if title else device.id]
            rows.append([device.id, deployment.number, start, *names, device.kind, device.group, *at])
    return _csv(_DEVICES, rows)


def streams_csv(pilot: PilotDefinition) -> str:
    """A line for each stream that the definition describes."""
    words = vocabulary_of(pilot)
    rows = []
    for device in pilot.devices:
        for stream in device.streams:
            quantity = words.lookup(stream.quantity)
            low, high = stream.range or (quantity.range if quantity else None) or (None, None)
            title = (stream.title or (quantity.title if quantity else None)) or None
            unit, name = (quantity.unit, quantity.cf_name) if quantity else (None, None)
            interval = stream.interval or device.interval
            titles = quantity.states if quantity is not None and quantity.kind == "state" else ()
            states = ", ".join(f"{number} = {word.get('en')}" for number, word in enumerate(titles))
            row = [device.id, stream.quantity, title.get("en") if title else "", unit, name, interval, low, high]
            rows.append([*row, states])
    return _csv(_STREAMS, rows)


def events_csv(pilot: PilotDefinition) -> str:
    """Events and excluded windows, in order of time."""

    def utc(time: dt.datetime | None) -> str | None:
        return None if time is None else instant(micros_of(time, pilot.timezone))

    rows = [[utc(e.time), utc(e.end), e.kind, e.device, None, e.text.nb, e.text.en] for e in pilot.events]
    rows += [
        [utc(x.start), utc(x.end), "excluded", x.device, x.quantity, x.reason.nb, x.reason.en] for x in pilot.exclusions
    ]
    return _csv(_EVENTS, sorted(rows, key=lambda row: str(row[0])))


def visits_csv(visits: Sequence[Visit]) -> str:
    """Visits to devices, in order of time."""
    rows = [[instant(visit.at), visit.device, visit.done, visit.comment, visit.photo, visit.who] for visit in visits]
    return _csv(_VISITS, rows)


def datapackage(report: Report, writer: PackageWriter, rows: int) -> str:
    """Frictionless Data Package: https://specs.frictionlessdata.io/data-package/"""
    pilot = report.pilot
    resources: list[dict[str, object]] = []
    for table, fields in TABLES.items():
        file = f"{table}.csv"
        resource: dict[str, object] = {"name": table, "path": file, "profile": "tabular-data-resource"}
        resource |= {"format": "csv", "mediatype": "text/csv", "encoding": "utf-8", "dialect": {"delimiter": ","}}
        resource |= {"bytes": writer.sizes[file], "hash": f"sha256:{writer.sums[file]}", "schema": _schema(fields)}
        resources.append(resource)
    parquet = "readings.parquet"
    resources.append(
        {
            "name": "readings-parquet",
            "path": parquet,
            "format": "parquet",
            "mediatype": "application/vnd.apache.parquet",
            "hash": f"sha256:{writer.sums[parquet]}",
            "description": "The same readings as readings.csv",
        }
    )
    package = {
        "profile": "data-package",
        "name": pilot.id,
        "title": pilot.title.get("en"),
        "description": pilot.question.get("en"),
        "created": instant(report.made),
        "version": str(report.version),
        **_licences(pilot),
        "sources": [{"title": pilot.attribution}] if pilot.attribution else [],
        "contributors": [
            {"title": organisation.name, "role": "publisher" if organisation.role == "owner" else "contributor"}
            for organisation in pilot.organisations
        ],
        "techport:readings": rows,
        **_privacy(report),
        "resources": resources,
    }
    package = {key: value for key, value in package.items() if value != []}
    return json.dumps(package, ensure_ascii=False, indent=2) + "\n"


def ro_crate(report: Report, writer: PackageWriter) -> str:
    """RO-Crate 1.1: https://w3id.org/ro/crate/1.1"""
    pilot = report.pilot
    files = [
        {
            "@id": name,
            "@type": "File",
            "encodingFormat": _MEDIA_TYPES.get(PurePath(name).suffix, "text/plain"),
            "contentSize": str(writer.sizes[name]),
            "sha256": total,
        }
        for name, total in sorted(writer.sums.items())
    ]
    name, path = _licence(pilot)
    named = [
        (organisation.url or f"#organisation-{number}", organisation)
        for number, organisation in enumerate(pilot.organisations, start=1)
    ]
    organisations = {  # one that has two roles is one organisation
        key: {
            "@id": key,
            "@type": "Organization",
            "name": organisation.name,
            **({"url": organisation.url} if organisation.url else {}),
        }
        for key, organisation in named
    }
    owners = (
        dict.fromkeys(key for key, organisation in named if organisation.role == "owner") or list(organisations)[:1]
    )
    root = {
        "@id": "./",
        "@type": "Dataset",
        "identifier": pilot.id,
        "name": pilot.title.get("en"),
        "description": pilot.question.get("en"),
        "datePublished": instant(report.made)[:10],
        "temporalCoverage": f"{instant(report.start)}/{instant(report.end)}",
        "license": {"@id": path},
        **_conditions(report),
        "author": _references(organisations),
        "publisher": _references(owners),
        "hasPart": _references(str(file["@id"]) for file in files),
    }
    root = {key: value for key, value in root.items() if value != []}
    about = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
    }
    licence = {"@id": path, "@type": "CreativeWork", "name": name, "identifier": licence_of(pilot)}
    graph = [about, root, licence, *organisations.values(), *files]
    crate = {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}
    return json.dumps(crate, ensure_ascii=False, indent=2) + "\n"


def _references(names: Iterable[str]) -> object:
    """Nodes by their names; a single one stands alone, as the compacted form of JSON-LD has it."""
    references = [{"@id": name} for name in names]
    return references[0] if len(references) == 1 else references


def _licence(pilot: PilotDefinition) -> tuple[str, str]:
    """Title and address of the licence."""
    licence = licence_of(pilot)
    if not licence:
        return (PERSONAL if pilot.personal_data else NO_LICENCE), "#no-licence"
    return _LICENCES.get(licence, (licence, f"https://spdx.org/licenses/{quote(licence)}"))


def _licences(pilot: PilotDefinition) -> dict[str, object]:
    """As a Data Package lists them; nothing where there is none."""
    licence = licence_of(pilot)
    if not licence:
        return {}
    title, path = _licence(pilot)
    return {"licenses": [{"name": licence, "title": title, "path": path}]}


def licence_text(pilot: PilotDefinition) -> str:
    attribution = f"\nAttribution:\n{pilot.attribution}\n" if pilot.attribution else ""
    name, path = _licence(pilot)
    if not licence_of(pilot):
        return f"{name}.\n{attribution}"
    return f"{name} ({licence_of(pilot)})\n{path}\n{attribution}"


def _privacy(report: Report) -> dict[str, object]:
    """Of a Data Package: why personal data may be here, and until when."""
    described = privacy_description(report)
    return {"techport:personal_data": described} if described else {}


def _conditions(report: Report) -> dict[str, object]:
    """Of an RO-Crate: the same in a property of schema.org, as text."""
    lines = privacy_lines(report, Words("en", report.pilot.timezone))
    return {"conditionsOfAccess": "; ".join(f"{heading}: {text}" for heading, text in lines)} if lines else {}


def history(taken: Sequence[Change]) -> str:
    """The steps of the pilot's life."""
    return msgspec.json.format(msgspec.json.encode(taken), indent=2).decode() + "\n"


def readme(report: Report, rows: int, citation: str) -> str:
    """What is in the package and how to begin, for somebody who has nothing else."""
    pilot = report.pilot
    columns = "\n".join(f"| `{name}` | {kind} | {meaning} |" for name, (kind, meaning) in _READINGS.items())
    return f"""# {pilot.title.get("en")} ({pilot.id})

{pilot.question.get("en")}

{rows} readings of {len(pilot.devices)} devices, {instant(report.start)} to {instant(report.end)}.
Begin with `report-en.html` or `report-nb.html`: they open in any browser.

```python
import pandas as pd

readings = pd.read_parquet("readings.parquet")
good = readings[readings.quality == 0]
```

| file | what is in it |
|---|---|
| `report-nb.html`, `report-en.html` | the report: result, uncertainty, data quality, method |
| `readings.parquet`, `readings.csv` | every reading, the same in both, ordered by device, quantity and time |
| `devices.csv`, `streams.csv`, `events.csv` | where and what was measured, in which unit; what happened |
| `visits.csv`, `photos.zip` | who was at which device and what was done; photos of devices, where there are any |
| `pilot.yaml` | the definition of the pilot: phases, KPIs, devices |
| `evaluation.json`, `quality.json` | every KPI with its interval; how complete the data is |
| `history.json` | the steps of the pilot's life: who, when, why |
| `versions.json`, `plan.json` | every version of the definition; what the start froze, and changes since |
| `entity-ids.json` | numbers of the pilot's entities in SensorThings |
| `datapackage.json`, `dcat.ttl`, `ro-crate-metadata.json` | the same, described for machines |
| `SHA256SUMS` | `sha256sum -c SHA256SUMS` shows that nothing was changed |

| column | type | meaning |
|---|---|---|
{columns}

Times are UTC. `techport pilot open FILE` restores the pilot on another platform, where every KPI comes out the same.

Licence: {licence_of(pilot) or "none, ask before you use the data"}. Cite as:

> {citation}
{_personal(report)}"""


def _personal(report: Report) -> str:
    lines = privacy_lines(report, Words("en", report.pilot.timezone))
    if not lines:
        return ""
    rows = "".join(f"| {heading} | {text} |\n" for heading, text in lines)
    return f"""
## Personal data

{PERSONAL}. Keep it from others, and erase it with all copies by the date below.

| | |
|---|---|
{rows}"""


def _schema(fields: Mapping[str, tuple[str, str]]) -> dict[str, object]:
    return {
        "fields": [
            {"name": name, "type": kind, "description": meaning, **({"format": "any"} if kind == "datetime" else {})}
            for name, (kind, meaning) in fields.items()
        ],
        "missingValues": [""],
    }


def _csv(fields: Mapping[str, object], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(fields)
    out.writerows([_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    return "" if value is None else harmless(value) if isinstance(value, str) else value
