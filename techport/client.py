"""A client of the HTTP API: readings as data frames, with paging, retries and errors that say what is wrong.

    from techport.client import Client

    with Client("http://127.0.0.1:8080") as city:
        hours = city.readings(pilot="school-air", quantity="pm10", start="-P7D", every="PT1H")

It adds nothing that an address could not say: `city.address(...)` gives the one that it asks.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload
from urllib.parse import quote, urlencode

import httpx2

from techport.kept_tokens import kept_tokens

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

Names = str | Iterable[str] | None
"""A name, several, or a pattern with `*`. None: all."""
Table = Literal["pandas", "polars", "arrow"]
Frame = Literal["pandas", "polars", "arrow", "xarray"]

_RETRIED = (429, 502, 503, 504)
_LONGEST_WAIT_S = 60.0


class ApiError(Exception):
    """The API refused a request. The message says what is wrong; `example` shows a value that is right."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.kind = str(problem.get("type", "")).rpartition("/")[2]
        self.parameter = problem.get("parameter")
        self.example = problem.get("example")
        hint = f" For example {self.parameter}={self.example}." if self.parameter and self.example else ""
        super().__init__(f"{problem.get('detail') or f'HTTP status {status}'}{hint}")


class Client:
    """One platform. Safe to use from several threads."""

    def __init__(
        self,
        address: str = "http://127.0.0.1:8080",
        token: str | Path | None = None,
        *,
        timeout_s: float = 120.0,
        attempts: int = 4,
    ) -> None:
        """A client of the platform at an address.

        Parameters
        ----------
        address : str
            Where the platform is, without a path; or a share of it, `https://.../shared/KEY`.
        token : str or Path, optional
            An API token, or the file that it is in. Without, the one that `techport login` kept for this address, if
            it did. Open data needs none.
        timeout_s : float
            How long the server may be silent.
        attempts : int
            How often a request is sent that cannot be answered now: a busy server, too many requests, no connection.
            The time between is what the server says in `Retry-After`, else it doubles from half a second.
        """
        text = token.read_text() if isinstance(token, Path) else token or kept_tokens().get(address.rstrip("/"))
        headers = {"Authorization": f"Bearer {text.strip()}"} if text else {}
        self._root = address.rstrip("/")
        self._http = httpx2.Client(headers=headers, timeout=timeout_s, follow_redirects=True)
        self._attempts = max(1, attempts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # -- What there is

    @overload
    def pilots(self, *, to: Literal["pandas"] = "pandas") -> pd.DataFrame: ...
    @overload
    def pilots(self, *, to: Literal["polars"]) -> pl.DataFrame: ...
    @overload
    def pilots(self, *, to: Literal["arrow"]) -> pa.Table: ...
    def pilots(self, *, to: Table = "pandas") -> Any:
        """The pilots that you may see, one a row."""
        return self._table(to, "pilots")

    def pilot(self, pilot: str) -> dict[str, Any]:
        """One pilot: its question, phases, and what it measures."""
        return self._object(f"pilots/{quote(pilot, safe='')}")

    @overload
    def devices(self, pilot: Names = None, *, to: Literal["pandas"] = "pandas", **choice: Any) -> pd.DataFrame: ...
    @overload
    def devices(self, pilot: Names = None, *, to: Literal["polars"], **choice: Any) -> pl.DataFrame: ...
    @overload
    def devices(self, pilot: Names = None, *, to: Literal["arrow"], **choice: Any) -> pa.Table: ...
    def devices(self, pilot: Names = None, *, to: Table = "pandas", **choice: Any) -> Any:
        """Devices, one a row. `choice`: bbox, within, near."""
        return self._table(to, "devices", pilot=pilot, **choice)

    @overload
    def streams(
        self, pilot: Names = None, device: Names = None, quantity: Names = None, *, to: Literal["pandas"] = "pandas"
    ) -> pd.DataFrame: ...
    @overload
    def streams(
        self, pilot: Names = None, device: Names = None, quantity: Names = None, *, to: Literal["polars"]
    ) -> pl.DataFrame: ...
    @overload
    def streams(
        self, pilot: Names = None, device: Names = None, quantity: Names = None, *, to: Literal["arrow"]
    ) -> pa.Table: ...
    def streams(
        self, pilot: Names = None, device: Names = None, quantity: Names = None, *, to: Table = "pandas"
    ) -> Any:
        """Streams with their units, one a row."""
        return self._table(to, "streams", pilot=pilot, device=device, quantity=quantity)

    # -- Readings

    @overload
    def readings(self, *, to: Literal["pandas"] = "pandas", **question: Any) -> pd.DataFrame: ...
    @overload
    def readings(self, *, to: Literal["polars"], **question: Any) -> pl.DataFrame: ...
    @overload
    def readings(self, *, to: Literal["arrow"], **question: Any) -> pa.Table: ...
    @overload
    def readings(self, *, to: Literal["xarray"], **question: Any) -> Any: ...
    def readings(self, *, to: Frame = "pandas", **question: Any) -> Any:
        """All readings, or all buckets, that the parameters of /api/v1/readings ask for.

        Parameters
        ----------
        to : str
            pandas, polars, arrow, or xarray (which has to be installed).
        **question
            pilot, device, quantity, start, end, every, aggregate, group, profile, zone, quality, fill, shape, order,
            limit, value, columns, ... : docs/api.md. Lists are several names. Times may be datetime objects with an
            offset.

        Raises
        ------
        ApiError
            A name, a time or a parameter is wrong, or the server cannot answer.
        """
        content = self._get("readings", {**question, "format": "parquet"}).content
        return _dataset(content) if to == "xarray" else _table_of(content, to)

    @overload
    def latest(
        self, pilot: Names = None, device: Names = None, quantity: Names = None, *, to: Literal["pandas"] = "pandas"
    ) -> pd.DataFrame: ...
    @overload
    def latest(
        self, pilot: Names = None, device: Names = None, quantity: Names = None, *, to: Literal["polars"]
    ) -> pl.DataFrame: ...
    @overload
    def latest(
        self, pilot: Names = None, device: Names = None, quantity: Names = None, *, to: Literal["arrow"]
    ) -> pa.Table: ...
    def latest(self, pilot: Names = None, device: Names = None, quantity: Names = None, *, to: Table = "pandas") -> Any:
        """The newest reading of each stream, one a row."""
        return self._table(to, "latest", pilot=pilot, device=device, quantity=quantity)

    def metadata(self, **question: Any) -> dict[str, Any]:
        """Range, zone, units, aggregates, licences and attribution of what `readings` would answer."""
        return self._object("readings/metadata", **question)

    @overload
    def completeness(self, *, to: Literal["pandas"] = "pandas", **question: Any) -> pd.DataFrame: ...
    @overload
    def completeness(self, *, to: Literal["polars"], **question: Any) -> pl.DataFrame: ...
    @overload
    def completeness(self, *, to: Literal["arrow"], **question: Any) -> pa.Table: ...
    def completeness(self, *, to: Table = "pandas", **question: Any) -> Any:
        """How complete the readings are, one stream a row."""
        return self._table(to, "completeness", **question)

    # -- What pilots have found

    def kpis(self, pilot: str) -> list[dict[str, Any]]:
        """The KPIs of a pilot as it defined them, with their values so far."""
        return list(self._items(f"pilots/{quote(pilot, safe='')}/kpis", {}))

    def evaluation(self, pilot: str, kpi: str) -> dict[str, Any]:
        """Whether a KPI's effect is real: its interval, the checks, and the verdict where there is one."""
        return self._object(f"pilots/{quote(pilot, safe='')}/kpis/{quote(kpi, safe='')}/evaluation")

    def figure(self, pilot: str, quantity: str, start: str, end: str = "now", **more: Any) -> Any:
        """A chart of the pages, as a plotly.graph_objects.Figure."""
        import plotly.io

        question = {"quantity": quantity, "start": start, "end": end, **more}
        text = self._get(f"pilots/{quote(pilot, safe='')}/figure.json", question).text
        return plotly.io.from_json(text, skip_invalid=True)  # type: ignore[no-untyped-call]

    # -- Snapshots

    def freeze(self, **question: Any) -> dict[str, Any]:
        """Freeze what `readings` answers, to be cited: needs a token. Returns the snapshot with its citation."""
        body = {name: _listed(value) if name in _LISTS else value for name, value in question.items()}
        return dict(self._sent("POST", "snapshots", json=body).json())

    @overload
    def snapshots(self, *, to: Literal["pandas"] = "pandas") -> pd.DataFrame: ...
    @overload
    def snapshots(self, *, to: Literal["polars"]) -> pl.DataFrame: ...
    @overload
    def snapshots(self, *, to: Literal["arrow"]) -> pa.Table: ...
    def snapshots(self, *, to: Table = "pandas") -> Any:
        """The snapshots there are, one a row."""
        return self._table(to, "snapshots")

    def snapshot(self, snapshot: str) -> dict[str, Any]:
        """One snapshot: its question, checksum, and how to cite it."""
        return self._object(f"snapshots/{quote(snapshot, safe='')}")

    @overload
    def snapshot_readings(self, snapshot: str, *, to: Literal["pandas"] = "pandas") -> pd.DataFrame: ...
    @overload
    def snapshot_readings(self, snapshot: str, *, to: Literal["polars"]) -> pl.DataFrame: ...
    @overload
    def snapshot_readings(self, snapshot: str, *, to: Literal["arrow"]) -> pa.Table: ...
    def snapshot_readings(self, snapshot: str, *, to: Table = "pandas") -> Any:
        """The frozen rows. Raises ValueError where the file is not the one that the snapshot describes."""
        import hashlib

        content = self._get(f"snapshots/{quote(snapshot, safe='')}/readings.parquet", {}).content
        expected = self.snapshot(snapshot)["sha256"]
        if hashlib.sha256(content).hexdigest() != expected:
            raise ValueError(f"the file of snapshot {snapshot} does not have the checksum {expected}")
        return _table_of(content, to)

    # -- Addresses

    def address(self, path: str, **parameters: Any) -> str:
        """The address below /api/v1 that is asked for these parameters."""
        pairs = [(name, _text(value)) for name, value in parameters.items() if value is not None]
        return f"{self._root}/api/v1/{path}" + (f"?{urlencode(pairs)}" if pairs else "")

    def _table(self, to: Table, path: str, **parameters: Any) -> Any:
        items = list(self._items(path, parameters))
        match to:
            case "pandas":
                import pandas as pd

                return pd.DataFrame(items)
            case "polars":
                import polars as pl

                return pl.DataFrame(items, infer_schema_length=None)
            case "arrow":
                import pyarrow as pa

                names = dict.fromkeys(name for item in items for name in item)
                return pa.table({name: [item.get(name) for item in items] for name in names})
        raise ValueError(f"{to!r} is none of pandas, polars, arrow")

    def _items(self, path: str, parameters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The items of all pages."""
        cursor: dict[str, Any] = {}
        while True:
            body = self._get(path, {**parameters, **cursor}).json()
            if isinstance(body, list):
                yield from body
                return
            yield from body["items"]
            if body.get("next") is None:
                return
            cursor = {"cursor": body["next"]}

    def _object(self, path: str, **parameters: Any) -> dict[str, Any]:
        return dict(self._get(path, parameters).json())

    def _get(self, path: str, parameters: Mapping[str, Any]) -> httpx2.Response:
        return self._sent("GET", path, **dict(parameters))

    def _sent(self, method: str, path: str, *, json: Any = None, **parameters: Any) -> httpx2.Response:
        """The answer. A change is sent once: nobody knows whether one that was not answered was made."""
        attempts = self._attempts if method == "GET" else 1
        for attempt in range(1, attempts + 1):
            wait = min(_LONGEST_WAIT_S, 0.5 * 2 ** (attempt - 1))
            try:
                answer = self._http.request(method, self.address(path, **parameters), json=json)
            except httpx2.TransportError:
                if attempt == attempts:
                    raise
            else:
                if answer.status_code not in _RETRIED or attempt == attempts:
                    return _checked(answer)
                retry_after = answer.headers.get("retry-after", "")
                wait = min(_LONGEST_WAIT_S, float(retry_after)) if retry_after.isdecimal() else wait
            time.sleep(wait)
        raise AssertionError("a request is sent at least once")


_LISTS = ("pilot", "device", "quantity", "aggregate", "value", "columns", "group")


def _checked(answer: httpx2.Response) -> httpx2.Response:
    if answer.status_code < 400:
        return answer
    is_problem = "json" in answer.headers.get("content-type", "")
    raise ApiError(answer.status_code, answer.json() if is_problem else {"detail": answer.text[:200]})


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(item) for item in value]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return ",".join(map(str, value)) if isinstance(value, Iterable) else str(value)


def _table_of(content: bytes, to: Table) -> Any:
    """The rows of a Parquet file."""
    match to:
        case "pandas":
            import pandas as pd

            return pd.read_parquet(io.BytesIO(content))
        case "polars":
            import polars as pl

            return pl.read_parquet(io.BytesIO(content))
        case "arrow":
            return _arrow(content)
    raise ValueError(f"{to!r} is none of pandas, polars, arrow, xarray")


def _arrow(content: bytes) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(content))


def _dataset(content: bytes) -> Any:
    """An xarray.Dataset of readings with the dimensions stream and time; gaps are NaN."""
    try:
        import xarray as xr  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ImportError("xarray is not installed: pip install xarray") from error
    import json

    table = _arrow(content)
    frame = table.to_pandas()
    names = ["pilot", "device", "quantity"]
    frame["stream"] = frame[names].astype(str).agg("/".join, axis=1)
    frame["time"] = frame["time"].dt.tz_localize(None)  # numpy has no zones: UTC
    values = [name for name in frame.columns if frame[name].dtype.kind in "fiu" and name not in names]
    dataset = xr.Dataset.from_dataframe(frame.set_index(["stream", "time"])[values])
    about = json.loads(table.schema.metadata.get(b"techport", b"{}"))
    dataset.attrs |= {
        "zone": about.get("zone"),
        "source": ", ".join(source["title"] for source in about.get("sources", [])),
    }
    return dataset
