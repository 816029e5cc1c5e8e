"""techport deposit, against a stand-in of both repositories that keeps what it is sent."""

from __future__ import annotations

import email.message
import email.parser
import email.policy
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner, Result

from techport.cli import app
from techport.errors import CannotRun
from techport_dashboards.services.snapshots import Snapshot, SnapshotStore
from techport_pilots.definition.load import parse_definition
from techport_pilots.registry.registry import Registry

TOKEN = "a-token-of-the-researcher"
CONTENT = b"PAR1 as if it were a file PAR1"
PILOT = """
id: {id}
title: {{en: Streets}}
question: {{en: "Is it loud?"}}
timezone: Europe/Oslo
data_class: {data_class}
licence: CC-BY-4.0
devices: [{{id: a, streams: [{{quantity: pm10}}]}}]
"""


class Asked(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class StandIn(ThreadingHTTPServer):
    """A repository that says yes, unless it is told otherwise."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[Asked] = []
        self.refuse_at: str | None = None
        self.bucket: str | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        asked = Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        self.server.asked.append(asked)
        known = asked.headers.get("authorization") == f"Bearer {TOKEN}" or asked.headers.get("x-dataverse-key") == TOKEN
        answers: dict[str, Any] = {
            "/api/deposit/depositions": {
                "id": 7,
                "links": {
                    "bucket": self.server.bucket or f"{self.server.address}/api/files/b1",
                    "html": f"{self.server.address}/deposit/7",
                },
                "metadata": {"prereserve_doi": {"doi": "10.5072/zenodo.7"}},
            },
            "/api/dataverses/city/datasets": {"status": "OK", "data": {"id": 3, "persistentId": "doi:10.5072/FK2/ABC"}},
        }
        refused = self.server.refuse_at is not None and self.path.startswith(self.server.refuse_at)
        status = 401 if not known else 400 if refused else 201
        text = json.dumps(
            answers.get(self.path, {}) if status == 201 else {"message": "the collection is full"}
        ).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_PUT = _answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def repository() -> Iterator[StandIn]:
    server = StandIn()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with an open and an internal pilot, and a snapshot of each."""
    folder = tmp_path_factory.mktemp("deposit")
    registry = Registry.open(f"sqlite:///{folder}/registry.sqlite")
    for pilot, data_class in (("streets", "open"), ("inside", "internal")):
        text = PILOT.format(id=pilot, data_class=data_class)
        registry.import_pilot(parse_definition(text), text, "test")
    registry.close()
    store = SnapshotStore(folder / "snapshots")
    for number, pilot in enumerate(("streets", "inside")):
        snapshot_id, checksum, size = store.write([CONTENT, bytes([number])])
        store.describe(
            Snapshot(
                id=snapshot_id,
                created="2026-11-30T10:00:00.000000Z",
                pilots=[pilot],
                question={},
                start="2026-10-01T22:00:00.000000Z",
                end="2026-11-01T23:00:00.000000Z",
                every=None,
                zone="Europe/Oslo",
                rows=12,
                bytes=size,
                sha256=checksum,
                licences=["CC-BY-4.0"],
                attribution=["Trondheim kommune"],
                titles=["Streets"],
            )
        )
    (folder / "token").write_text(TOKEN + "\n")
    (folder / "empty").write_text("\n")
    return folder


def snapshot_of(data: Path, pilot: str) -> Snapshot:
    return next(snapshot for snapshot in SnapshotStore(data / "snapshots").all() if snapshot.pilots == [pilot])


def deposit(
    data: Path, to: str, server: str, *more: str, pilot: str = "streets", token: str = "token", said: str = ""
) -> Result:
    words = ["deposit", snapshot_of(data, pilot).id, "--to", to, "--server", server, "--data", str(data)]
    return CliRunner().invoke(app, [*words, "--token-file", str(data / token), *more], input=said)


def test_a_draft_at_zenodo(data: Path, repository: StandIn) -> None:
    result = deposit(data, "zenodo", repository.address, "--yes")
    assert result.exit_code == 0, result.output
    made, sent = repository.asked
    assert (made.method, made.path) == ("POST", "/api/deposit/depositions")
    metadata = json.loads(made.body)["metadata"]
    assert metadata["upload_type"] == "dataset"
    assert metadata["creators"] == [{"name": "Trondheim kommune"}]
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["dates"] == [{"type": "Collected", "start": "2026-10-02", "end": "2026-11-02"}]
    snapshot = snapshot_of(data, "streets")
    assert snapshot.sha256 in metadata["description"]
    assert (sent.method, sent.path) == ("PUT", f"/api/files/b1/{snapshot.id}.parquet")
    assert sent.body == CONTENT + b"\0"
    assert not [asked for asked in repository.asked if "publish" in asked.path], "a person publishes"
    assert f"{repository.address}/deposit/7" in result.output
    assert "10.5072/zenodo.7" in result.output
    assert TOKEN not in result.output


def test_a_draft_at_a_dataverse(data: Path, repository: StandIn) -> None:
    more = ("--collection", "city", "--contact", "data@example.org", "--yes")
    result = deposit(data, "dataverseno", repository.address, *more)
    assert result.exit_code == 0, result.output
    made, sent = repository.asked
    version = json.loads(made.body)["datasetVersion"]
    assert version["license"]["name"] == "CC BY 4.0"
    fields = {field["typeName"]: field for field in version["metadataBlocks"]["citation"]["fields"]}
    assert fields["author"]["value"][0]["authorName"]["value"] == "Trondheim kommune"
    assert fields["datasetContact"]["value"][0]["datasetContactEmail"]["value"] == "data@example.org"
    assert {"title", "dsDescription", "subject"} <= fields.keys()
    assert sent.path == "/api/datasets/:persistentId/add?persistentId=doi%3A10.5072/FK2/ABC"
    head = f"Content-Type: {sent.headers['content-type']}\r\n\r\n".encode()
    parser = email.parser.BytesParser(_class=email.message.EmailMessage, policy=email.policy.HTTP)
    parts = {
        part.get_param("name", header="content-disposition"): part
        for part in parser.parsebytes(head + sent.body).iter_parts()
    }
    assert json.loads(parts["jsonData"].get_content())["tabIngest"] == "false"
    assert parts["file"].get_payload(decode=True) == CONTENT + b"\0"
    assert "version=DRAFT" in result.output


def test_nothing_is_sent_without_a_yes(data: Path, repository: StandIn) -> None:
    for said in ("n\n", ""):
        result = deposit(data, "zenodo", repository.address, said=said)
        assert result.exit_code == 1
        assert "CC-BY-4.0" in result.output, "what would be sent is shown before"
    assert not repository.asked
    assert deposit(data, "zenodo", repository.address, said="y\n").exit_code == 0
    assert len(repository.asked) == 2


@pytest.mark.parametrize(
    ("more", "pilot", "token", "why"),
    [
        ({}, "streets", "empty", "is empty"),
        ({}, "inside", "token", "not open data"),
        ({"to": "dataverseno"}, "streets", "token", "--contact"),
        ({"server": "http://zenodo.example.org"}, "streets", "token", "not an https address"),
    ],
)
def test_what_is_not_sent(
    data: Path, repository: StandIn, more: dict[str, str], pilot: str, token: str, why: str
) -> None:
    asked = {"to": "zenodo", "server": repository.address} | more
    result = deposit(data, asked["to"], asked["server"], "--yes", pilot=pilot, token=token)
    assert isinstance(result.exception, CannotRun), result.output
    assert why in str(result.exception)
    assert not repository.asked


def test_a_token_and_a_repository_have_to_be_named(data: Path) -> None:
    words = ["deposit", snapshot_of(data, "streets").id, "--data", str(data)]
    assert CliRunner().invoke(app, [*words, "--to", "zenodo", "--yes"]).exit_code == 2
    assert CliRunner().invoke(app, [*words, "--to", "figshare", "--token-file", str(data / "token")]).exit_code == 2
    gone = CliRunner().invoke(
        app, ["deposit", "0" * 24, *words[2:], "--to", "zenodo", "--token-file", str(data / "token")]
    )
    assert "there is no snapshot" in str(gone.exception)


def test_what_the_repository_says_is_told(data: Path, repository: StandIn) -> None:
    repository.refuse_at = "/api/files"
    result = deposit(data, "zenodo", repository.address, "--yes")
    assert "collection is full" in str(result.exception)
    assert "/deposit/7" in str(result.exception), "the draft is there, without its file"
    repository.refuse_at = None
    repository.bucket = "http://127.0.0.2:1/api/files/b1"
    before = len(repository.asked)
    result = deposit(data, "zenodo", repository.address, "--yes")
    assert "another server" in str(result.exception)
    assert len(repository.asked) == before + 1
