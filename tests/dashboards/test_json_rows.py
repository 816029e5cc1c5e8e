"""Rows as JSON, column by column, are what Python makes of them; and the view of the registry behind them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pyarrow as pa
import pytest

from techport_dashboards.query.formats import json_rows
from techport_dashboards.query.registry_cache import RECENT_S, RegistryCache
from techport_pilots.registry.registry import Registry
from tests.pilots import trial
from tests.registries import registry_in

ODD = 'a "quoted" \\ ø name\n'


def names(*values: str | None) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode()


@pytest.mark.parametrize(
    "columns",
    [
        {"pilot": names("p", "p", "p"), "value": pa.array([1.0, None, 0.1])},
        {"value": pa.array([1.0, None, 0.1]), "unit": names("um", "um", "um")},
        {"pilot": names("p", "p"), "device": names(ODD, ODD), "n": pa.array([1, 2]), "unit": names("", "")},
        {"pilot": names("p", "p"), "unit": names("um", "um")},
        {"pilot": names("p", None), "device": names("a", ODD), "quality": pa.array([0, 255], pa.uint8())},
        {ODD: names("p"), "plain": pa.array([ODD])},
        {"device": names("a", "b", "b").slice(1), "value": pa.array([2.5, -1e300])},
    ],
)
def test_rows_are_as_they_are(columns: dict[str, pa.Array]) -> None:
    batch = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
    assert json.loads(json_rows(iter([batch, batch.slice(1)]))) == batch.to_pylist() + batch.slice(1).to_pylist()
    assert json_rows(iter([batch.slice(0, 0)])) == b"[]"


def test_a_recent_view_is_hardly_older_than_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    registry = Registry.open(registry_in(tmp_path))
    cache = RegistryCache(registry)
    assert not cache.recent().pilots
    registry.import_pilot(trial.definition(), trial.YAML, "test")
    moment[0] += RECENT_S
    assert not cache.recent().pilots, "it has just been looked"
    assert cache.current().pilots
    assert cache.recent().pilots, "as somebody has just seen it"
    moment[0] += 2 * RECENT_S
    registry.import_pilot(trial.definition(), trial.YAML.replace("Elgeseter", "Elgeseter "), "test")
    assert cache.recent() is cache.current()
    registry.close()
