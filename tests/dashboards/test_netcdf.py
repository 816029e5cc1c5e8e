"""NetCDF files of /readings: what xarray reads is what pandas reads, and the checker of the CF conventions agrees."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cf_units
import compliance_checker
import httpx
import numpy as np
import pandas as pd
import pytest
import xarray
from compliance_checker.suite import CheckSuite

from techport_dashboards.query import netcdf
from techport_dashboards.query.netcdf import CONVENTIONS
from techport_pilots.quantities import builtin
from techport_pilots.units import udunits
from techport_storage.model import Quality, Reading
from tests.dashboards import test_groups as groups
from tests.dashboards.test_groups import PILOT
from tests.dashboards.web import City

pytestmark = pytest.mark.anyio
CHECKER: Any = CheckSuite  # neither has types
UNIT: Any = cf_units.Unit
PLACED = (
    PILOT.replace("{id: a,", "{id: a, position: {lat: 63.42, lon: 10.39, height: 3},")
    .replace("- id: b\n", "- id: b\n    position: {lat: 63.41, lon: 10.40, height: 2.5}\n")
    .replace("{id: door,", "{id: door, position: {lat: 63.40, lon: 10.41},")
)
QUESTION = {"pilot": "gater", "start": "2025-10-24", "end": "2025-10-29"}


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    city = City.at(tmp_path_factory.mktemp("netcdf"))
    city.import_text(PLACED)
    groups.fill(city)
    yield city
    city.close()


@pytest.fixture
async def asked(streets: City) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(streets.app(signed_in=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/api/v1/") as client:
        yield client


async def content(asked: httpx.AsyncClient, file_format: str, **parameters: str) -> bytes:
    answer = await asked.get("readings", params={**QUESTION, **parameters, "format": file_format})
    assert answer.status_code == 200, answer.text
    assert file_format != "netcdf" or answer.headers["content-type"] == "application/x-netcdf"
    return answer.content


def as_frame(dataset: xarray.Dataset, names: list[str]) -> pd.DataFrame:
    """The rows of a contiguous ragged array, as CF appendix H.2.4 says to read it."""
    station = np.repeat(dataset["station_id"].to_numpy().astype(str), dataset["row_size"].to_numpy())
    columns = {name: dataset[name].to_numpy() for name in ("time", *names)}
    return pd.DataFrame({"station": station, **columns})


@pytest.mark.dates
async def test_readings_with_their_flags(asked: httpx.AsyncClient) -> None:
    question = {"device": "a,b", "quantity": "pm10,laeq"}
    dataset = xarray.open_dataset(io.BytesIO(await content(asked, "netcdf", **question)), engine="h5netcdf")
    flat = pd.read_parquet(io.BytesIO(await content(asked, "parquet", **question)))
    flat["station"] = flat["pilot"].astype(str) + "/" + flat["device"].astype(str)
    truth = flat.pivot(index=["station", "time"], columns="quantity", values="value").sort_index().reset_index()
    rows = as_frame(dataset, ["pm10", "laeq"])
    assert rows["station"].tolist() == truth["station"].tolist()
    assert (rows["time"].to_numpy() == truth["time"].dt.tz_localize(None).to_numpy()).all()
    for name in ("pm10", "laeq"):
        np.testing.assert_array_equal(rows[name], truth[name].astype(float))
    assert dataset["pm10"].attrs["units"] == "ug m-3"
    assert dataset["pm10"].attrs["standard_name"] == "mass_concentration_of_pm10_ambient_aerosol_particles_in_air"
    assert dataset["pm10_flags"].attrs["flag_meanings"].split()[0] == str(Quality.RANGE.name).lower()
    assert dataset["lat"].to_numpy().tolist() == [63.42, 63.41]
    assert dataset["height"].to_numpy().tolist() == [3, 2.5]


@pytest.mark.dates
async def test_buckets_have_bounds_over_the_clock_change(asked: httpx.AsyncClient) -> None:
    question = {"device": "a,b", "quantity": "pm10", "every": "P1D", "aggregate": "mean,max,p90"}
    dataset = xarray.open_dataset(io.BytesIO(await content(asked, "netcdf", **question)), engine="h5netcdf")
    flat = pd.read_parquet(io.BytesIO(await content(asked, "parquet", **question)))
    rows = as_frame(dataset, ["pm10_mean", "pm10_max", "pm10_p90", "pm10_count"])
    for name in ("mean", "max", "p90", "count"):
        np.testing.assert_array_equal(rows[f"pm10_{name}"], flat[name])
    hours = np.diff(dataset["time_bounds"].to_numpy().astype("datetime64[us]"), axis=1) / np.timedelta64(1, "h")
    assert hours.ravel().tolist() == [24, 24, 25, 24, 24] * 2
    assert dataset["pm10_max"].attrs["cell_methods"] == "time: maximum"


@pytest.mark.parametrize(
    "question",
    [
        {"device": "a,b"},
        {"device": "a,b,door", "every": "PT1H"},
        {"device": "a,b", "quantity": "pm10", "every": "P1D", "aggregate": "mean,min,max,std,median,sum,p95"},
        {"device": "a", "quantity": "pm10", "every": "PT1H", "rolling": "PT8H", "fill": "null"},
        {"device": "a", "end": "2025-10-24T01:00:00Z"},
        {"device": "a,silent", "start": "2020-01-01", "end": "2020-02-01"},
    ],
)
async def test_the_checker_of_the_conventions_finds_nothing(
    asked: httpx.AsyncClient, tmp_path: Path, question: dict[str, str]
) -> None:
    path = tmp_path / "readings.nc"
    path.write_bytes(await content(asked, "netcdf", **question))
    CHECKER.load_all_available_checkers()
    suite = CHECKER()
    dataset = suite.load_dataset(str(path))
    version = CONVENTIONS.removeprefix("CF-")
    # This one check of version 6.1 fails with a ValueError on every ragged array; it is about domain variables,
    # of which there are none.
    skipped = ["check_domain_variables"]
    results, errors = suite.run_all(dataset, [f"cf:{version}"], skip_checks=skipped)[f"cf:{version}"]
    assert not errors
    assert len(results) > 25
    failed = [result for result in results if result.weight >= 2 and not whole(result.value)]
    wrong = [message for result in failed for message in result.msgs]
    assert not failed, wrong


def whole(value: Any) -> bool:
    """Whether a check gives all its points."""
    return value[0] == value[1] if isinstance(value, tuple) else bool(value)


def test_every_unit_and_name_of_the_vocabulary_is_one_of_the_conventions() -> None:
    table = Path(compliance_checker.__file__).with_name("data") / "cf-standard-name-table.xml"
    units = {
        str(entry.get("id")): entry.findtext("canonical_units") or "1"
        for entry in ElementTree.parse(table).getroot().findall("entry")
    }
    for quantity in builtin():
        unit = UNIT(udunits(quantity.unit))
        assert not unit.is_unknown(), quantity
        if quantity.cf_name:
            assert unit.is_convertible(units[quantity.cf_name]), (quantity.name, unit, units[quantity.cf_name])


@pytest.mark.parametrize(
    ("code", "other", "factor"),
    [
        ("ug/m3", "kg m-3", 1e-9),
        ("kW.h", "J", 3.6e6),
        ("mg/L", "kg m-3", 1e-3),
        ("uS/cm", "S m-1", 1e-4),
        ("m/s2", "m s-2", 1),
        ("umol/m2/s", "mol m-2 s-1", 1e-6),
        ("[ppm]", "1", 1e-6),
        ("{particles}/cm3", "m-3", 1e6),
        ("kV.A{reactive}", "W", 1e3),
        ("mm/h", "m s-1", 1e-3 / 3600),
    ],
)
def test_units_mean_the_same(code: str, other: str, factor: float) -> None:
    assert UNIT(udunits(code)).convert(1.0, other) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("parameters", "parameter"),
    [
        ({"device": "a,c"}, "device"),
        ({"group": "street"}, "group"),
        ({"profile": "hour"}, "profile"),
        ({"shape": "wide"}, "shape"),
        ({"columns": "time"}, "columns"),
        ({"limit": "5"}, "limit"),
    ],
)
async def test_what_is_no_time_series_of_a_place(
    asked: httpx.AsyncClient, parameters: dict[str, str], parameter: str
) -> None:
    answer = await asked.get("readings", params={**QUESTION, **parameters, "format": "netcdf"})
    assert (answer.status_code, answer.json()["parameter"]) == (400, parameter), answer.text


async def test_more_than_memory_holds_is_refused(asked: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("techport_dashboards.query.netcdf.MOST_NUMBERS", 100)
    answer = await asked.get("readings", params={**QUESTION, "device": "a", "format": "netcdf"})
    assert answer.status_code == 422
    assert "parquet" in answer.json()["example"]


async def test_quantities_called_like_coordinates_or_alike_are_all_there(tmp_path: Path) -> None:
    city = City.at(tmp_path)
    city.import_text(PLACED)
    at = 1_761_300_000_000_000
    names = ["a-b", "a_b", "a_b_flags", "height", "lat", "row_size", "time", "7"]
    city.write(*(Reading("gater", "a", name, at, float(number), at) for number, name in enumerate(names)))
    transport = httpx.ASGITransport(city.app(signed_in=False))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/api/v1/") as client:
        raw = xarray.open_dataset(io.BytesIO(await content(client, "netcdf", device="a")), engine="h5netcdf")
        hours = await content(client, "netcdf", device="a", every="PT1H", aggregate="mean,max")
        means = xarray.open_dataset(io.BytesIO(hours), engine="h5netcdf")
    city.close()
    assert (raw["lat"].item(), raw["height"].item(), raw["row_size"].item()) == (63.42, 3, 1)
    titled = {
        about.attrs["long_name"]: about for about in raw.data_vars.values() if "ancillary_variables" in about.attrs
    }
    assert {name: titled[name].item() for name in names} == {name: float(i) for i, name in enumerate(names)}
    assert all(raw[about.attrs["ancillary_variables"]].item() == 0 for about in titled.values())
    of_hours = sorted(about.item() for about in means.data_vars.values() if about.attrs.get("cell_methods"))
    assert of_hours == sorted([*range(len(names))] * 2)


async def test_many_quantities_are_refused_before_they_are_put_together(
    asked: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has all times of all devices: far more numbers than there are rows."""
    rows = len((await content(asked, "csv", device="a,b,door")).splitlines())
    of_quantity, looked_at = netcdf._of_quantity, []

    def of_quantity_noted(*given: Any) -> Any:
        looked_at.append(given[1])
        return of_quantity(*given)

    monkeypatch.setattr(netcdf, "_of_quantity", of_quantity_noted)
    monkeypatch.setattr(netcdf, "MOST_NUMBERS", rows + 100)
    answer = await asked.get("readings", params={**QUESTION, "device": "a,b,door", "format": "netcdf"})
    assert (answer.status_code, 0 < len(looked_at) < 5) == (422, True)
