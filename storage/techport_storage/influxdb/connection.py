"""The connection of an InfluxStore: where the server is, and what a refusal means.

influxdb-client makes the requests; its retries are switched off, so that the caller sees every failure. Answers come as
a stream of bytes, which responses.py reads. Two things that the client cannot do are done here with its pool: InfluxQL,
and uploads of files larger than memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import urllib3
from influxdb_client import Dialect, InfluxDBClient, WritePrecision, WriteService
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from techport_storage.errors import StoreUnavailable
from techport_storage.store_url import Secret, take_choice, take_timeout

CONNECTIONS = 16  # kept open; more requests at once open more, and close them again
_FAILED = 300  # HTTP statuses from here on
PARTIAL = frozenset({400, 422})  # a write of which the good lines are in
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_URL = "influxdb://HOST:PORT/ORG/BUCKET?token_file=FILE"


class RefusedLines(Exception):
    """The server kept some of the lines and refused others; it does not say which. The message is the server's."""


@dataclass(frozen=True, slots=True)
class Address:
    """What a store URL says. The token is not in it, only where to find it."""

    url: str  # http(s)://host:port
    org: str
    bucket: str
    secret: Secret
    gzip: bool = False
    several_writers: bool = False
    timeout_s: float = 30.0

    @classmethod
    def parse(cls, url: str) -> Address:
        """`influxdb://host:8086/org/bucket?token_file=/run/secrets/influx`. Raises ValueError.

        Options: token_file=FILE or token_env=NAME (one is needed), tls=on, gzip=on|off (on, but for a server on this
        machine), writers=one|several (one), timeout=SECONDS (30).
        """
        parts = urlsplit(url)
        if parts.username or parts.password:
            raise ValueError(f"an InfluxDB URL carries no password; write {_URL}")
        names = [unquote(name) for name in parts.path.strip("/").split("/")]
        if not parts.hostname or len(names) != 2 or not all(names) or "/" in "".join(names):
            raise ValueError(f"an InfluxDB URL names host, organisation and bucket: {_URL}")
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = given.keys() - {*_OPTIONS, "token_file", "token_env", "timeout"}
        if unknown:
            raise ValueError(f"an InfluxDB URL has no option {', '.join(sorted(unknown))} (a token belongs in a file)")
        chosen = {name: take_choice(given, name, *options) for name, options in _OPTIONS.items()}
        secret, timeout_s = Secret.take(given, "token", "InfluxDB"), take_timeout(given, 30.0)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        gzip = chosen["gzip"] == "on" or (chosen["gzip"] == "auto" and parts.hostname not in _LOOPBACK)
        return cls(
            url=f"{'https' if chosen['tls'] == 'on' else 'http'}://{host}:{parts.port or 8086}",
            org=names[0],
            bucket=names[1],
            secret=secret,
            gzip=gzip,
            several_writers=chosen["writers"] == "several",
            timeout_s=timeout_s,
        )

    def token(self) -> str:
        """The token itself. Raises StoreUnavailable, naming the place."""
        token = self.secret.read()
        if not token.isascii() or not token.isprintable():
            raise StoreUnavailable(f"the {self.secret.place} holds no {self.secret.name}")
        return token


_OPTIONS = {"tls": ("off", "on"), "gzip": ("auto", "on", "off"), "writers": ("one", "several")}


_PLAIN_CSV = Dialect(annotations=[])  # a header and rows, no annotations


class Connection:
    """Requests to one bucket. Safe for threads. Every method raises StoreUnavailable."""

    def __init__(self, address: Address, token: str | None = None) -> None:
        self.address = address
        self.client = InfluxDBClient(
            url=address.url,
            token=address.token() if token is None else token,
            org=address.org,
            timeout=(5_000, address.timeout_s * 1000),
            connection_pool_maxsize=CONNECTIONS,
            retries=False,
        )
        self._write_api = self.client.write_api(write_options=SYNCHRONOUS)
        self._write_service = WriteService(self.client.api_client)
        self._query_api = self.client.query_api()
        self._delete_api = self.client.delete_api()

    def write(self, lines: bytes) -> None:
        """Lines with times in µs. On the server's disk when this returns. Raises RefusedLines."""
        org, bucket = self.address.org, self.address.bucket
        try:
            with self.errors():
                if self.address.gzip:
                    # Not the client's own gzip: it compresses at level 9, fourteen times the work for a fifth less.
                    compressor = zlib.compressobj(1, wbits=31)
                    body = compressor.compress(lines) + compressor.flush()
                    self._write_service.post_write(
                        org, bucket, body, precision=WritePrecision.US, content_encoding="gzip"
                    )
                else:
                    self._write_api.write(bucket, org, lines, WritePrecision.US)  # type: ignore[arg-type]  # it is a str
        except Refused as refusal:
            if refusal.status in PARTIAL:
                raise RefusedLines(str(refusal)) from None
            raise

    def influxql(self, statements: Sequence[str], rows: int = 10_000) -> urllib3.BaseHTTPResponse:
        """Ask in InfluxQL (`/query` of the v1 API), which influxdb-client has no method for.

        Parameters
        ----------
        statements
            InfluxQL SELECT or SHOW statements. The answer numbers their results from 0, in this order.
        rows
            Rows of a series after which the server begins the next document, so that it never holds a whole answer.

        Returns
        -------
        urllib3.BaseHTTPResponse
            Unread: MessagePack documents, one behind the other, with times in µs; `stream_bytes` and
            `responses.series` read them. The caller reads it to its end or closes it.

        Raises
        ------
        StoreUnavailable
            The server does not answer, or refuses (unknown token, no such bucket, not allowed).

        Notes
        -----
        MessagePack keeps float64 to the bit and its columns can be cut out without an object for each number;
        docs/influxdb.md says which questions are asked in InfluxQL and which in Flux.
        https://docs.influxdata.com/influxdb/v2/api-guide/influxdb-1x/query/
        """
        fields = {"q": ";".join(statements), "chunked": "true", "chunk_size": str(rows)}
        with self.errors():
            answer: urllib3.BaseHTTPResponse = self.client.api_client.call_api(
                "/query",
                "POST",
                query_params=[("db", self.address.bucket), ("epoch", "u")],
                header_params={
                    "Content-Type": "application/x-www-form-urlencoded",
                    "Accept": "application/x-msgpack",
                },
                post_params=list(fields.items()),
                _return_http_data_only=True,
                _preload_content=False,
            )
        return answer

    def flux(self, script: str) -> urllib3.BaseHTTPResponse:
        """Ask in Flux. The answer is unread: CSV without annotations. The caller reads it to its end or closes it."""
        with self.errors():
            answer: urllib3.BaseHTTPResponse = self._query_api.query_raw(script, self.address.org, _PLAIN_CSV)
        return answer

    def delete(self, start: str, stop: str, predicate: str) -> None:
        """Both ends included; RFC 3339."""
        with self.errors():
            self._delete_api.delete(start, stop, predicate, self.address.bucket, self.address.org)

    def org_id(self) -> str:
        with self.errors():
            organisations = self.client.organizations_api().find_organizations(org=self.address.org)
        return str(organisations[0].id)

    def upload(self, path: str, body: BinaryIO) -> None:
        """Send a file that may be larger than memory; influxdb-client takes bodies as bytes only."""
        client = self.client.api_client
        with self.errors():
            answer = client.rest_client.pool_manager.request(
                "POST",
                self.address.url + path,
                body=body,
                headers=client.default_headers,
                timeout=urllib3.Timeout(connect=5, read=self.address.timeout_s),
            )
            if answer.status >= _FAILED:
                raise ApiException(http_resp=answer)

    def errors(self) -> AbstractContextManager[None]:
        """Around every use of `client`: what the libraries raise becomes StoreUnavailable."""
        return _translate_errors(self.address)

    def close(self) -> None:
        self.client.close()


def stream_bytes(address: Address, answer: urllib3.BaseHTTPResponse, size: int = 1 << 18) -> Iterator[bytes]:
    """The answer piece by piece. Closes the connection when it is left before its end: the server stops working."""
    ended = False
    try:
        with _translate_errors(address):
            while piece := answer.read(size):
                yield piece
        ended = True
    finally:
        if ended:
            answer.release_conn()
        else:
            answer.close()


class Refused(StoreUnavailable):
    """The server answered, with an HTTP status that is not a success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def _translate_errors(address: Address) -> Iterator[None]:
    """What the libraries raise as StoreUnavailable, in a sentence that names the server and never the token."""
    place = f"InfluxDB at {address.url}"
    try:
        yield
    except ApiException as error:
        advice = {
            401: "does not know the token",
            403: "does not let this token do that",
            404: f"has no organisation {address.org!r} with a bucket {address.bucket!r} that this token may use",
        }.get(error.status or 0, f"answered {error.status}")
        raise Refused(error.status or 0, f"{place} {advice}: {_message(error.body)}") from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise StoreUnavailable(f"{place} does not answer: {type(error).__name__}") from error


def _message(body: bytes | str | None) -> str:
    """The sentence in InfluxDB's error document."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        document = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text[:300]
    if isinstance(document, dict):
        return str(document.get("message") or document.get("error") or text)[:300]
    return text[:300]
