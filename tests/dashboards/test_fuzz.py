"""The API asked what its own description allows, and what it does not: no answer is the server's fault.

With all checks of schemathesis but one (a cursor or the name of a pilot can be of the right form and still be none of
ours: that has to be refused), by its strategies and not by its pytest plugin, which does not run under pytest 9.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from techport_dashboards import WebSettings
from tests.dashboards.conftest import AIR, NOISE, hourly
from tests.dashboards.web import City, serving

ENDLESS = "/api/v1/live"
BOUNDED = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
def test_whatever_is_asked(tmp_path: Path) -> None:
    city = City.at(tmp_path)
    city.import_text(AIR)
    city.import_text(NOISE)
    city.write(*hourly("kai-luft", "kran", "pm10", 10), *hourly("stille", "kran", "laeq", 40))
    app = city.app(WebSettings(rate_limit=0, snapshots=tmp_path / "snapshots"))
    problems: list[str] = []
    with serving(app) as address:
        schema = schemathesis.openapi.from_url(f"{address}/api/v1/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations()]
        assert len(operations) > 20
        for operation in operations:
            if operation.path == ENDLESS:
                continue
            try:
                _asked(operation)
            except Exception as error:  # noqa: BLE001 - all of them, so that one run tells everything
                problems.append(f"{operation.method} {operation.path}: {error}")
    city.close()
    assert problems == []


def _asked(operation: Any) -> None:
    @BOUNDED
    @given(case=operation.as_strategy())
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    ask()
