"""An S3 server for tests: moto's (Apache-2.0), on a free port of the loopback.

In a process of its own: deltalake holds Python's lock while it asks, so a server in this one could not answer.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import httpx
import pytest

from tests.servers.mosquitto import free_port


@dataclass(frozen=True)
class ObjectStorage:
    """A bucket, with the credentials that it takes in a file."""

    endpoint: str
    bucket: str
    credentials: Path

    def url(self, folder: str) -> str:
        """What `archive` takes."""
        options = f"endpoint={self.endpoint}&region=us-east-1&credentials_file={self.credentials}"
        return f"s3://{self.bucket}/{folder}?{options}"

    def objects(self, folder: str) -> dict[str, bytes]:
        """Everything that lies there."""
        client = _client(self.endpoint)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{folder}/")
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return {key: client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}


def _client(endpoint: str):  # type: ignore[no-untyped-def]
    access = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **access)


@pytest.fixture(scope="module")
def object_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStorage]:
    """An empty bucket."""
    folder, port = tmp_path_factory.mktemp("s3"), free_port()
    credentials = folder / "credentials"
    credentials.write_text("[default]\naws_access_key_id = test\naws_secret_access_key = test\n")
    storage = ObjectStorage(f"http://127.0.0.1:{port}", "city", credentials)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            _wait(storage.endpoint, server)
            _client(storage.endpoint).create_bucket(Bucket=storage.bucket)
            yield storage
        finally:
            server.terminate()


def _wait(endpoint: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 300
    while True:
        try:
            httpx.get(f"{endpoint}/moto-api/", timeout=5)
            return
        except httpx.TransportError:
            if server.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.1)
