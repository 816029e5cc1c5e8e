"""The connection of an InfluxStore: where it is, and what a refusal means.

influxdb-client carries the requests (pool, TLS, token); retries are switched off, so that the one who asked sees every
failure. Answers come as bytes or as a stream of bytes; what is in them is for influx_answers.py.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException

from techport_storage.errors import StoreUnavailable

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
    token_file: Path | None = None
    token_env: str | None = None
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
        chosen = {name: _choice(given, name, *options) for name, options in _OPTIONS.items()}
        token_file, token_env, timeout = (given.pop(name, None) for name in ("token_file", "token_env", "timeout"))
        if given:
            raise ValueError(f"an InfluxDB URL has no option {', '.join(sorted(given))} (a token belongs in a file)")
        if bool(token_file) == bool(token_env):
            raise ValueError("say where the InfluxDB token is: token_file=FILE or token_env=NAME")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        gzip = chosen["gzip"] == "on" or (chosen["gzip"] == "auto" and parts.hostname not in _LOOPBACK)
        return cls(
            url=f"{'https' if chosen['tls'] == 'on' else 'http'}://{host}:{parts.port or 8086}",
            org=names[0],
            bucket=names[1],
            token_file=Path(token_file) if token_file else None,
            token_env=token_env,
            gzip=gzip,
            several_writers=chosen["writers"] == "several",
            timeout_s=_seconds(timeout) if timeout else 30.0,
        )

    def token(self) -> str:
        """The token itself. Raises StoreUnavailable, naming the place."""
        if self.token_file is not None:
            try:
                token = self.token_file.read_text().strip()
            except OSError as error:
                raise StoreUnavailable(f"InfluxDB token in {self.token_file}: {error.strerror}") from None
            place = f"file {self.token_file}"
        else:
            token = os.environ.get(self.token_env or "", "").strip()
            place = f"variable {self.token_env}"
        if not token or not token.isascii() or not token.isprintable():
            raise StoreUnavailable(f"the {place} holds no InfluxDB token")
        return token


_OPTIONS = {"tls": ("off", "on"), "gzip": ("auto", "on", "off"), "writers": ("one", "several")}


class Connection:
    """Requests to one bucket. Safe for threads. Every method raises StoreUnavailable."""

    def __init__(self, address: Address, token: str | None = None) -> None:
        self.address = address
        self._client = InfluxDBClient(
            url=address.url,
            token=address.token() if token is None else token,
            org=address.org,
            timeout=(5_000, address.timeout_s * 1000),
            connection_pool_maxsize=CONNECTIONS,
            retries=False,
        )

    def write(self, lines: bytes) -> None:
        """Lines with times in µs. On the server's disk when this returns. Raises RefusedLines."""
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if self.address.gzip:
            headers["Content-Encoding"] = "gzip"
            squeeze = zlib.compressobj(1, wbits=31)  # the lowest level: a tenth of the size for a twentieth of the time
            lines = squeeze.compress(lines) + squeeze.flush()
        where = {"org": self.address.org, "bucket": self.address.bucket, "precision": "us"}
        try:
            self._call("/api/v2/write", where, headers, body=lines)
        except Refused as refusal:
            if refusal.status in PARTIAL:
                raise RefusedLines(str(refusal)) from None
            raise

    def influxql(self, statements: Sequence[str], rows: int = 10_000) -> urllib3.BaseHTTPResponse:
        """Answers as MessagePack, a document for every `rows` rows of a series; times in µs. The caller closes it."""
        fields = {"q": ";".join(statements), "chunked": "true", "chunk_size": str(rows)}
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/x-msgpack"}
        where = {"db": self.address.bucket, "epoch": "u"}
        return self._stream("/query", where, headers, post_params=list(fields.items()))

    def flux(self, script: str) -> urllib3.BaseHTTPResponse:
        """Answers as CSV without annotations. The caller closes it."""
        headers = {"Content-Type": "application/vnd.flux", "Accept": "application/csv"}
        return self._stream("/api/v2/query", {"org": self.address.org}, headers, body=script.encode())

    def delete(self, start: str, stop: str, predicate: str) -> None:
        """Both ends included; RFC 3339."""
        where = {"org": self.address.org, "bucket": self.address.bucket}
        self.json("POST", "/api/v2/delete", where, {"start": start, "stop": stop, "predicate": predicate})

    def json(self, method: str, path: str, query: Mapping[str, str], body: object = None) -> Any:
        """A call of InfluxDB's management API; its answer decoded, None where there is none."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        answer = self._call(path, query, headers, method=method, body=body)
        return msgspec.json.decode(answer) if answer else None

    def transfer(self, method: str, path: str, body: BinaryIO | None = None) -> urllib3.BaseHTTPResponse:
        """A call whose body and answer are files too large for memory. The caller reads the answer and releases it."""
        client = self._client.api_client
        with _translate_errors(self.address):
            answer: urllib3.BaseHTTPResponse = client.rest_client.pool_manager.request(
                method,
                self.address.url + path,
                body=body,
                headers=client.default_headers,
                timeout=urllib3.Timeout(connect=5, read=self.address.timeout_s),
                preload_content=False,
            )
            if answer.status >= _FAILED:
                raise ApiException(http_resp=answer)  # type: ignore[no-untyped-call]
        return answer

    def close(self) -> None:
        self._client.close()  # type: ignore[no-untyped-call]

    def _call(self, path: str, query: Mapping[str, str], headers: dict[str, str], **request: Any) -> bytes:
        with _translate_errors(self.address):
            answer = self._request(path, query, headers, **request)
            try:
                return bytes(answer.read())
            finally:
                answer.release_conn()

    def _stream(
        self, path: str, query: Mapping[str, str], headers: dict[str, str], **request: Any
    ) -> urllib3.BaseHTTPResponse:
        with _translate_errors(self.address):
            return self._request(path, query, headers, **request)

    def _request(
        self, path: str, query: Mapping[str, str], headers: dict[str, str], method: str = "POST", **request: Any
    ) -> urllib3.BaseHTTPResponse:
        answer: urllib3.BaseHTTPResponse = self._client.api_client.call_api(  # type: ignore[no-untyped-call]
            path,
            method,
            query_params=list(query.items()),
            header_params=headers,
            _return_http_data_only=True,
            _preload_content=False,
            **request,
        )
        return answer


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


def _choice(given: dict[str, str], name: str, *options: str) -> str:
    chosen = given.pop(name, options[0])
    if chosen not in options:
        raise ValueError(f"{name}={chosen}: use one of {', '.join(options)}")
    return chosen


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise ValueError(f"timeout={text}: give seconds between 0 and 3600")
    return seconds
