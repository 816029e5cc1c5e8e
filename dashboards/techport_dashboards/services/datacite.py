"""What a repository needs to know of a snapshot: DataCite metadata, schema.org JSON-LD, and links for machines.

DataCite: https://schema.datacite.org/meta/kernel-4.5/. Signposting (typed links in HTTP headers, by which a program
finds the file, the licence and the citation of a landing page): https://signposting.org/FAIR/.
"""

from __future__ import annotations

from typing import Any

from techport_dashboards.query.formats import PARQUET
from techport_dashboards.services.citation import ENGLISH, citation, creators, licence_url, local_date, page_of, span
from techport_dashboards.services.snapshots import Snapshot

SCHEMA = "http://datacite.org/schema/kernel-4"
JSON = "application/vnd.datacite.datacite+json"


def datacite(snapshot: Snapshot, base: str, publisher: str) -> dict[str, Any]:
    """The metadata that DataCite asks for, in the JSON that its API takes."""
    dates = [{"date": snapshot.created[:10], "dateType": "Created"}]
    if snapshot.start is not None:
        end = local_date(snapshot.end or snapshot.created, snapshot.zone)
        dates.append({"date": f"{local_date(snapshot.start, snapshot.zone)}/{end}", "dateType": "Collected"})
    return {
        "schemaVersion": SCHEMA,
        **({"doi": snapshot.doi} if snapshot.doi else {}),
        "url": page_of(snapshot, base),
        "creators": [{"name": name, "nameType": "Organizational"} for name in creators(snapshot)],
        "titles": [{"title": f"Readings of {', '.join(snapshot.titles)}, {span(snapshot, ENGLISH)}", "lang": "en"}],
        "publisher": {"name": publisher},
        "publicationYear": snapshot.created[:4],
        "types": {"resourceTypeGeneral": "Dataset", "resourceType": "Time series of sensor readings"},
        "dates": dates,
        "sizes": [f"{snapshot.rows} rows", f"{snapshot.bytes} bytes"],
        "formats": [PARQUET],
        "version": snapshot.id,
        "rightsList": [_rights(licence) for licence in snapshot.licences],
        "alternateIdentifiers": [
            {"alternateIdentifier": f"sha256:{snapshot.sha256}", "alternateIdentifierType": "SHA-256"}
        ],
        "descriptions": [{"description": citation(snapshot, base, ENGLISH), "descriptionType": "Other", "lang": "en"}],
    }


def schema_org(snapshot: Snapshot, base: str, publisher: str) -> dict[str, Any]:
    """The snapshot for search engines of data sets. https://schema.org/Dataset"""
    page = page_of(snapshot, base)
    about: dict[str, Any] = {
        "@context": "https://schema.org/",
        "@type": "Dataset",
        "@id": page,
        "url": page,
        "identifier": [value for value in (snapshot.doi and f"https://doi.org/{snapshot.doi}", snapshot.id) if value],
        "name": f"Readings of {', '.join(snapshot.titles)}, {span(snapshot, ENGLISH)}",
        "description": f"{snapshot.rows} rows of sensor readings, frozen on {snapshot.created[:10]}.",
        "version": snapshot.id,
        "dateCreated": snapshot.created,
        "isAccessibleForFree": True,
        "creator": [{"@type": "Organization", "name": name} for name in creators(snapshot)],
        "publisher": {"@type": "Organization", "name": publisher},
        "citation": citation(snapshot, base, ENGLISH),
        "distribution": {
            "@type": "DataDownload",
            "contentUrl": _file(snapshot, base),
            "encodingFormat": PARQUET,
            "contentSize": f"{snapshot.bytes} B",
            "sha256": snapshot.sha256,
        },
    }
    if snapshot.start is not None and snapshot.end is not None:
        about["temporalCoverage"] = f"{snapshot.start}/{snapshot.end}"
    licences = [url for licence in snapshot.licences if (url := licence_url(licence))]
    return about | ({"license": licences if len(licences) > 1 else licences[0]} if licences else {})


def page_links(snapshot: Snapshot, base: str) -> str:
    """The header Link of the landing page."""
    address = f"{base}/api/v1/snapshots/{snapshot.id}"
    links = [
        f'<{_cited(snapshot, base)}>; rel="cite-as"',
        '<https://schema.org/Dataset>; rel="type"',
        '<https://schema.org/AboutPage>; rel="type"',
        f'<{_file(snapshot, base)}>; rel="item"; type="{PARQUET}"',
        f'<{address}/datacite.json>; rel="describedby"; type="{JSON}"',
        f'<{address}>; rel="describedby"; type="application/json"',
        *(f'<{url}>; rel="license"' for licence in snapshot.licences if (url := licence_url(licence))),
    ]
    return ", ".join(links)


def file_links(snapshot: Snapshot, base: str) -> str:
    """The header Link of the file: back to the landing page."""
    return f'<{page_of(snapshot, base)}>; rel="collection"; type="text/html", <{_cited(snapshot, base)}>; rel="cite-as"'


def _cited(snapshot: Snapshot, base: str) -> str:
    return f"https://doi.org/{snapshot.doi}" if snapshot.doi else page_of(snapshot, base)


def _file(snapshot: Snapshot, base: str) -> str:
    return f"{base}/api/v1/snapshots/{snapshot.id}/readings.parquet"


def _rights(licence: str) -> dict[str, str]:
    url = licence_url(licence)
    spdx = {"rightsUri": url, "rightsIdentifier": licence, "rightsIdentifierScheme": "SPDX"} if url else {}
    return {"rights": licence, **spdx}
