"""The API asked what its own description allows, and what it does not: no answer is the server's fault.

All checks of schemathesis are on, by its strategies and not by its pytest plugin, which does not run under pytest 9.
One of them, that whatever the description allows is accepted, is asked in a test of its own, and of the parameters in
SAYABLE: a JSON Schema cannot say of the others which names exist, which cursor continues which question, that an end
comes after its start, that `fill` needs `every`, or that NetCDF has no pages.

TECHPORT_FUZZ_EXAMPLES=500 pytest tests/dashboards/test_fuzz.py (or `make fuzz-api`) asks longer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.dashboards import showcase
from tests.dashboards.test_openapi import ELSEWHERE
from tests.dashboards.web import serving

schemathesis.serializer.alias("application/zip", "application/octet-stream")
ENDLESS = "/api/v1/live"
PATIENCE = 120  # seconds for one answer: machines may be busy
SAYABLE = {"limit", "quality", "format", "f", "crs"}
BOUNDED = settings(
    max_examples=int(os.environ.get("TECHPORT_FUZZ_EXAMPLES", "8")),
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Any]]:
    """Of a platform that has something to answer to every example."""
    folder = tmp_path_factory.mktemp("fuzz")
    city = showcase.build(folder)
    with serving(showcase.application(city, folder)) as address:
        snapshot = httpx.post(f"{address}/api/v1/snapshots", json={"end": "2026-09-02"}, timeout=PATIENCE)
        snapshot.raise_for_status()
        schema = schemathesis.openapi.from_url(f"{address}/api/v1/openapi.json", timeout=PATIENCE)
        yield [found.ok() for found in schema.get_all_operations() if found.ok().path != ENDLESS]
    city.close()


@pytest.mark.slow
def test_whatever_is_asked(operations: list[Any]) -> None:
    def ask(operation: Any) -> None:
        @BOUNDED
        @given(case=operation.as_strategy())
        def asked(case: schemathesis.Case) -> None:
            case.call_and_validate(excluded_checks=[positive_data_acceptance], timeout=PATIENCE)

        asked()

    assert len(operations) > 40
    all_of(operations, ask)


@pytest.mark.slow
def test_what_the_description_allows_is_accepted(operations: list[Any]) -> None:
    def ask(operation: Any) -> None:
        names: dict[str, dict[str, Any]] = {"path": {}, "query": {}}
        for one in operation.definition.raw.get("parameters", []):
            if one.get("required"):
                names[one["in"]][one["name"]] = one["example"]

        @BOUNDED
        @given(case=operation.as_strategy(path_parameters=names["path"]))
        def accepted(case: schemathesis.Case) -> None:
            case.query = {name: value for name, value in (case.query or {}).items() if name in SAYABLE} | names["query"]
            if case.query.get("format") == "netcdf":  # whole time series, which no page of them is
                case.query.pop("limit", None)
            case.call_and_validate(timeout=PATIENCE)

        accepted()

    reading = [one for one in operations if one.method.upper() == "GET" and f"get {one.path}" not in ELSEWHERE]
    assert len(reading) > 25
    all_of(reading, ask)


def all_of(operations: list[Any], ask: Callable[[Any], None]) -> None:
    """Every operation, so that one run tells everything."""
    problems: list[str] = []
    for operation in operations:
        try:
            ask(operation)
        except Exception as error:  # noqa: BLE001 - of every kind
            problems.append(f"{operation.method} {operation.path}: {error!r}")
    assert not problems, "\n".join(problems)
