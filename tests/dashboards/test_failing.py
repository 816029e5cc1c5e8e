"""What a reader gets when the store fails: an error, or a connection that breaks, never a file that ends early."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pyarrow as pa
import pytest

from techport_storage.errors import StoreUnavailable
from techport_storage.model import Query, Selection
from tests.dashboards.web import City, serving


def test_a_store_that_is_away_is_a_503_that_says_so(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("the store is away")

    for name in ("read", "latest", "streams"):
        monkeypatch.setattr(type(city.store), name, away)
    with serving(city.app()) as address:
        for path in ("/api/v1/readings", "/api/v1/latest", "/api/v1/streams"):
            answer = httpx.get(address + path)
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert answer.json()["type"].endswith("/store-unavailable")
        page = httpx.get(address, headers={"accept": "text/html"})
        assert page.status_code == 503
        assert "the store is away" in page.text


@pytest.mark.parametrize("file_format", ["csv", "ndjson", "parquet"])
def test_a_store_that_fails_half_way_breaks_the_connection(
    city: City, monkeypatch: pytest.MonkeyPatch, file_format: str
) -> None:
    whole = city.store.read(Query(select=Selection())).read_all()

    def half(*_: object) -> pa.RecordBatchReader:
        def batches() -> Iterator[pa.RecordBatch]:
            yield from whole.to_batches(max_chunksize=100)[:3]
            raise StoreUnavailable("gone in the middle")

        return pa.RecordBatchReader.from_batches(whole.schema, batches())

    monkeypatch.setattr(type(city.store), "read", half)
    # Where nothing has been sent yet, as of a Parquet file's first row group, it is an error like any other.
    broken = (httpx.RemoteProtocolError, httpx.HTTPStatusError)
    with serving(city.app()) as address, pytest.raises(broken):
        httpx.get(f"{address}/api/v1/readings?format={file_format}").raise_for_status()
