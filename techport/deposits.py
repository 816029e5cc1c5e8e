"""Drafts at repositories that register DOIs: a snapshot's file and metadata, sent over their HTTP APIs.

    DataCite metadata of the snapshot ─► what the repository calls it ─► draft ─► file

Nothing is published: a person looks at the draft and does that there. Zenodo: https://developers.zenodo.org; Dataverse
(DataverseNO): https://guides.dataverse.org/en/latest/api/native-api.html.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import httpx2

from techport.errors import CannotRun

Repository = Literal["zenodo", "dataverseno"]
SERVERS: Mapping[Repository, str] = {"zenodo": "https://zenodo.org", "dataverseno": "https://dataverse.no"}
COLLECTION = "root"
_TIMEOUT_S = 300.0
_LICENCES = {
    "CC-BY-4.0": ("CC BY 4.0", "http://creativecommons.org/licenses/by/4.0"),
    "CC0-1.0": ("CC0 1.0", "http://creativecommons.org/publicdomain/zero/1.0"),
    "CC-BY-SA-4.0": ("CC BY-SA 4.0", "http://creativecommons.org/licenses/by-sa/4.0"),
}
"""Those that Dataverse knows, by SPDX identifier; of another one the description tells."""


@dataclass(frozen=True, slots=True)
class Deposit:
    """What is sent where. The token is not part of it."""

    repository: Repository
    server: str
    about: Mapping[str, Any]  # DataCite metadata
    licences: tuple[str, ...]  # SPDX
    file: Path
    contact: str | None = None  # e-mail address, which Dataverse asks for
    collection: str = COLLECTION  # of Dataverse


@dataclass(frozen=True, slots=True)
class Draft:
    """What the repository made of it."""

    page: str
    doi: str | None  # that it will have once it is published


def check(deposit: Deposit) -> None:
    """Raise CannotRun where it cannot be sent as it is."""
    parts = urlsplit(deposit.server)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise CannotRun(f"{deposit.server} is not an https address: the token could be read on the way")
    if not deposit.licences:
        raise CannotRun(
            "the snapshot has no licence, so nobody could use it: give the pilot a licence: and freeze again"
        )
    if deposit.repository == "dataverseno" and not deposit.contact:
        raise CannotRun("Dataverse needs somebody to ask: give --contact ADDRESS")


def send(deposit: Deposit, token: str) -> Draft:
    """Make the draft.

    Raises
    ------
    CannotRun
        The repository refuses, cannot be reached, or names another server to send the file to. Where the draft is
        there already without its file, the text says so.
    """
    check(deposit)
    # A redirect is not followed: the token is for this server alone.
    with httpx2.Client(base_url=deposit.server, timeout=_TIMEOUT_S, follow_redirects=False) as http:
        try:
            return _SENDERS[deposit.repository](http, deposit, token)
        except httpx2.TransportError as error:
            raise CannotRun(f"{deposit.server} cannot be reached: {error}") from error


# -- Zenodo


def zenodo_metadata(deposit: Deposit) -> dict[str, Any]:
    about = deposit.about
    collected = next((d["date"] for d in about["dates"] if d["dateType"] == "Collected" and "/" in d["date"]), None)
    start, _, end = (collected or "").partition("/")
    return {
        "upload_type": "dataset",
        "title": about["titles"][0]["title"],
        "creators": [{"name": creator["name"]} for creator in about["creators"]],
        "description": _description(deposit),
        "publication_date": about["dates"][0]["date"],
        "version": about["version"],
        "access_right": "open",
        "license": deposit.licences[0].lower(),
        "related_identifiers": [{"identifier": about["url"], "relation": "isIdenticalTo", "resource_type": "dataset"}],
        "prereserve_doi": True,
        **({"dates": [{"type": "Collected", "start": start, "end": end}]} if collected else {}),
    }


def _send_to_zenodo(http: httpx2.Client, deposit: Deposit, token: str) -> Draft:
    headers = {"Authorization": f"Bearer {token}"}
    made = _checked(http.post("/api/deposit/depositions", json={"metadata": zenodo_metadata(deposit)}, headers=headers))
    page = str(made["links"].get("html") or f"{deposit.server}/deposit/{made['id']}")
    bucket = str(made["links"]["bucket"])
    if urlsplit(bucket)[:2] != urlsplit(deposit.server)[:2]:
        raise CannotRun(f"{deposit.server} wants the file at {bucket}, another server. The draft without it: {page}")
    with deposit.file.open("rb") as file:
        length = str(deposit.file.stat().st_size)
        answer = http.put(
            f"{bucket}/{quote(deposit.file.name)}", content=file, headers={**headers, "Content-Length": length}
        )
    _checked(answer, page)
    return Draft(page, made.get("metadata", {}).get("prereserve_doi", {}).get("doi"))


# -- Dataverse


def dataverse_metadata(deposit: Deposit) -> dict[str, Any]:
    about = deposit.about
    authors = [{"authorName": _primitive("authorName", creator["name"])} for creator in about["creators"]]
    contact = {"datasetContactEmail": _primitive("datasetContactEmail", deposit.contact or "")}
    description = {"dsDescriptionValue": _primitive("dsDescriptionValue", _description(deposit))}
    subjects = {
        "typeName": "subject",
        "multiple": True,
        "typeClass": "controlledVocabulary",
        "value": ["Earth and Environmental Sciences"],
    }
    fields = [
        _primitive("title", about["titles"][0]["title"]),
        _compound("author", authors),
        _compound("datasetContact", [contact]),
        _compound("dsDescription", [description]),
        subjects,
        _primitive("alternativeURL", about["url"]),
    ]
    collected = next((d["date"] for d in about["dates"] if d["dateType"] == "Collected" and "/" in d["date"]), None)
    if collected:
        start, _, end = collected.partition("/")
        period = {
            "dateOfCollectionStart": _primitive("dateOfCollectionStart", start),
            "dateOfCollectionEnd": _primitive("dateOfCollectionEnd", end),
        }
        fields.append(_compound("dateOfCollection", [period]))
    version: dict[str, Any] = {"metadataBlocks": {"citation": {"displayName": "Citation Metadata", "fields": fields}}}
    if deposit.licences[0] in _LICENCES:
        name, uri = _LICENCES[deposit.licences[0]]
        version["license"] = {"name": name, "uri": uri}
    else:
        version["termsOfUse"] = f"{', '.join(deposit.licences)}: https://spdx.org/licenses/{deposit.licences[0]}.html"
    return {"datasetVersion": version}


def _primitive(name: str, value: str) -> dict[str, Any]:
    return {"typeName": name, "multiple": False, "typeClass": "primitive", "value": value}


def _compound(name: str, values: list[dict[str, Any]]) -> dict[str, Any]:
    return {"typeName": name, "multiple": True, "typeClass": "compound", "value": values}


def _send_to_dataverse(http: httpx2.Client, deposit: Deposit, token: str) -> Draft:
    headers = {"X-Dataverse-key": token}
    address = f"/api/dataverses/{quote(deposit.collection, safe='')}/datasets"
    made = _checked(http.post(address, json=dataverse_metadata(deposit), headers=headers))["data"]
    identifier = str(made["persistentId"])
    page = f"{deposit.server}/dataset.xhtml?persistentId={quote(identifier)}&version=DRAFT"
    about_file = {"description": "Readings, as Parquet", "restrict": "false", "tabIngest": "false"}
    with deposit.file.open("rb") as file:
        answer = http.post(
            f"/api/datasets/:persistentId/add?persistentId={quote(identifier)}",
            data={"jsonData": json.dumps(about_file)},
            files={"file": (deposit.file.name, file, "application/vnd.apache.parquet")},
            headers=headers,
        )
    _checked(answer, page)
    return Draft(page, identifier.removeprefix("doi:") if identifier.startswith("doi:") else None)


_SENDERS = {"zenodo": _send_to_zenodo, "dataverseno": _send_to_dataverse}


def _description(deposit: Deposit) -> str:
    checksum = deposit.about["alternateIdentifiers"][0]["alternateIdentifier"].removeprefix("sha256:")
    licences = ", ".join(deposit.licences)
    return (
        f"{deposit.about['titles'][0]['title']}. Sensor readings frozen as a Parquet file "
        f"({deposit.about['sizes'][0]}), with units, zone and attribution in its metadata. "
        f"SHA-256 {checksum}. Licence: {licences}."
    )


def _checked(answer: httpx2.Response, draft: str | None = None) -> dict[str, Any]:
    """The body. Raises CannotRun with what the repository says."""
    behind = f" The draft without its file: {draft}" if draft else ""
    if answer.status_code >= 300:
        text = answer.text[:300].strip() or "nothing"
        raise CannotRun(f"the repository answered {answer.status_code} and said {text}.{behind}")
    try:
        return dict(answer.json())
    except ValueError as error:
        raise CannotRun(f"the repository did not answer with JSON.{behind}") from error
