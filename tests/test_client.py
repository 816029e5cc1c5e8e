"""techport.client over a real server: frames, pages, retries, snapshots, and errors that say what is wrong."""

from __future__ import annotations

import datetime as dt
import importlib.util
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from techport.client import ApiError, Client
from techport.kept_tokens import keep_tokens, tokens_file
from techport_dashboards import WebSettings
from techport_pilots.access.shares import Shares, ShareTerms
from tests.dashboards.conftest import AIR, HOURS, hourly
from tests.dashboards.web import City, serving

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("client")
    city = City.at(folder)
    city.import_text(AIR)
    for device in ("kran", "port"):
        city.write(*hourly("kai-luft", device, "pm10", 10))
    app = city.app(WebSettings(snapshots=folder / "snapshots", page_size=1), signed_in=False)
    with serving(app) as address, Client(address, token=folder / "token") as client:
        shares = Shares(city.registry.database)
        terms = ShareTerms(title="Quay", audience="public", quantities=["pm10"], resolution="P1D")
        shares.create(city.registry.pilot("kai-luft"), terms, "test", publish=True)
        yield client
    city.close()


def test_a_share_is_read_at_its_address(client: Client) -> None:
    """As the platform is: lists in pages, readings, metadata, figures."""
    (share,) = httpx2.get(client.address("shares")).json()["items"]
    with Client(share["address"]) as reader:
        assert list(reader.pilots()["id"]) == [share["id"]]
        assert len(reader.devices()) == 2
        days = reader.readings()
        assert len(days) == 2 * 11  # from 02:00 on the 21st to 01:00 on the 31st in Oslo
        assert set(days["pilot"]) == {share["id"]}
        assert reader.metadata()["sources"][0]["title"] == "Quay"


def test_readings_come_as_frames(client: Client) -> None:
    question: dict[str, Any] = {"pilot": "kai-luft", "device": ["kran", "port"], "quantity": "pm10"}
    pandas = client.readings(**question)
    assert len(pandas) == 2 * HOURS
    assert str(pandas["time"].dt.tz) == "UTC"
    assert client.readings(**question, to="polars")["value"].to_list() == pandas["value"].tolist()
    assert client.readings(**question, to="arrow")["value"].to_pylist() == pandas["value"].tolist()
    start = dt.datetime(2025, 10, 22, tzinfo=dt.UTC)
    days = client.readings(**question, start=start, end=start + dt.timedelta(days=2), every="P1D", zone="UTC")
    assert [str(day) for day in days["date"]] == ["2025-10-22", "2025-10-23"] * 2
    if importlib.util.find_spec("xarray"):
        dataset = client.readings(**question, to="xarray")
        assert dict(dataset.sizes) == {"stream": 2, "time": HOURS}
    else:
        with pytest.raises(ImportError, match="pip install xarray"):
            client.readings(**question, to="xarray")


def test_lists_are_read_to_their_end(client: Client) -> None:
    """A page has one item here."""
    assert list(client.pilots()["id"]) == ["kai-luft"]
    assert sorted(client.devices("kai-luft")["id"]) == ["kran", "port"]
    assert len(client.streams(pilot="kai-luft")) == 3
    assert set(client.latest(pilot="kai-luft")["value"]) == {10 + (HOURS - 1) / 7}
    assert client.devices("kai-luft", to="polars")["id"].sort().to_list() == ["kran", "port"]
    assert client.streams(to="polars").columns == client.streams().columns.to_list()
    assert client.latest(pilot="kai-luft", to="arrow")["value"].to_pylist() == [10 + (HOURS - 1) / 7] * 2
    assert client.snapshots(to="polars").columns == client.snapshots().columns.to_list()
    with pytest.raises(ValueError, match="none of pandas, polars, arrow"):
        client.pilots(to="excel")  # type: ignore[call-overload]
    assert client.pilot("kai-luft")["id"] == "kai-luft"
    assert client.kpis("kai-luft") == []
    assert client.metadata(pilot="kai-luft", every="P1D")["aggregates"]["pm10"] == "mean"
    figure = client.figure("kai-luft", "pm10", "2025-10-21", "2025-10-25")
    assert figure.layout.yaxis.title.text == "µg/m³"


def test_snapshots(client: Client) -> None:
    frozen = client.freeze(pilot="kai-luft", quantity="pm10", start="2025-10-21", end="2025-11-21")
    assert "SHA-256" in frozen["citation"]
    assert len(client.snapshot_readings(frozen["id"])) == 2 * HOURS
    assert list(client.snapshots()["id"]) == [frozen["id"]]


def test_errors_show_what_is_right(client: Client) -> None:
    with pytest.raises(ApiError, match=r"pm01.*pm10") as error:
        client.readings(pilot="kai-luft", quantity="pm01")
    assert (error.value.status, error.value.parameter) == (400, "quantity")
    with pytest.raises(ApiError) as missing:
        client.pilot("nobody")
    assert missing.value.status == 404
    assert client.address("readings", pilot=["a", "b"], start=None) == f"{client._root}/api/v1/readings?pilot=a%2Cb"


def test_a_busy_server_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("techport.client.time.sleep", waits.append)
    answers: list[httpx2.Response | Exception] = [
        httpx2.Response(503, headers={"Retry-After": "7"}),
        httpx2.ConnectError("refused"),
        httpx2.Response(200, json={"items": [], "next": None}),
    ]

    def answered(request: httpx2.Request) -> httpx2.Response:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    client = Client("http://127.0.0.1:9")
    client._http = httpx2.Client(transport=httpx2.MockTransport(answered))
    assert client.pilots().empty
    assert waits == [7.0, 1.0]
    answers[:] = [httpx2.Response(503, json={"detail": "Busy."})]
    with pytest.raises(ApiError, match="Busy"):
        client.freeze(pilot="kai-luft")  # a change is sent once


def test_the_token_that_login_kept_is_used_for_its_address(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    address, token = client._root, client._http.headers["authorization"].removeprefix("Bearer ")
    closed = f"{address}/api/v1/portfolio"
    with Client(address) as nobody:
        assert nobody._http.get(closed).status_code == 401
    keep_tokens({address: token})
    with Client(f"{address}/") as somebody:
        assert somebody._http.get(closed).status_code == 200
    assert stat.S_IMODE(tokens_file().stat().st_mode) == 0o600
