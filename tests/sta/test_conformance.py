"""Level 1 of the OGC conformance suite for SensorThings passes: the Sensing Core, read only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dashboards.conftest import hourly
from tests.dashboards.web import City, serving
from tests.servers import cite

# The suite follows every relation and takes an empty answer for an error, so here every device stands somewhere.
PLACED = """
id: plassert
title: {en: Placed}
question: {en: "Where is it?"}
devices:
  - {id: a, position: {lat: 63.42, lon: 10.39}, interval: PT1H, streams: [{quantity: pm10}, {quantity: pm25}]}
  - {id: b, position: {lat: 63.43, lon: 10.41}, interval: PT1H, streams: [{quantity: pm10}]}
phases: [{name: before, kind: baseline, start: 2025-10-01, end: 2025-11-01}]
"""


@pytest.mark.slow
def test_level_1_of_the_ogc_suite_passes(tmp_path: Path) -> None:
    city = City.at(tmp_path)
    city.import_text(PLACED)
    for device, quantity in (("a", "pm10"), ("a", "pm25"), ("b", "pm10")):
        city.write(*hourly("plassert", device, quantity, 5))
    with serving(city.app()) as address:
        verdicts = cite.run(f"{address}/sta/v1.1", tmp_path)
    assert {verdict.name for verdict in verdicts} >= {"checkServiceRootUri", "readEntitiesAndCheckResponse"}
    city.close()
    assert [verdict for verdict in verdicts if verdict.status != "PASS"] == []
