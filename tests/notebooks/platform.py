"""The platform that docs/notebooks are executed on: a swept street, and the demo's schools, with made-up readings."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from nbclient import NotebookClient

from techport_dashboards import WebSettings
from techport_pilots.definition.load import parse_definition
from techport_simulators.demo import definition_path
from techport_simulators.past import past_of
from techport_storage.microseconds import SECOND
from techport_storage.model import Batch, Stream
from tests.dashboards.web import City, serving
from tests.pilots import trial

NOTEBOOKS = Path(__file__).resolve().parents[2] / "docs/notebooks"
FIRST, LAST = (int(dt.datetime(2026, 10, day, tzinfo=dt.UTC).timestamp()) * SECOND for day in (12, 31))
ADDRESS = "TECHPORT_ADDRESS"
FORMAT: Any = nbformat  # it has no types


@contextmanager
def platform(folder: Path) -> Iterator[str]:
    """Its address, for as long as it runs."""
    city = City.at(folder)
    schools = _hourly(definition_path("school-air").read_text("utf-8"))
    city.import_text(schools)
    for past in past_of(parse_definition(schools), 1, FIRST, LAST):
        streams = [Stream(past.pilot, past.device, quantity) for quantity in past.quantities]
        count = len(past.time)
        whole = np.isfinite(past.values).ravel()
        city.store.write(
            Batch(
                streams,
                np.repeat(np.arange(len(streams), dtype=np.int32), count)[whole],
                np.tile(past.time, len(streams))[whole],
                past.values.ravel()[whole],
                np.tile(past.received, len(streams))[whole],
                np.zeros(count * len(streams), np.uint8)[whole],
            )
        )
    city.import_text(trial.YAML)
    city.store.write(trial.readings())
    with serving(city.app(WebSettings(query_seconds=600), signed_in=False)) as address:
        yield address
    city.close()


def _hourly(definition: str) -> str:
    """The definition with devices that send every hour, and always did."""
    return re.sub(r"interval: PT10S\n +previous: .*", "interval: PT1H", definition)


def executed(path: Path, address: str) -> Any:
    """The notebook with the outputs of this platform. Raises nbclient's CellExecutionError."""
    notebook = FORMAT.read(path, as_version=4)
    os.environ[ADDRESS] = address
    try:
        asyncio.run(NotebookClient(notebook, timeout=120, kernel_name="python3").async_execute())
    finally:
        del os.environ[ADDRESS]
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it was run
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return notebook


def shown(notebook: Any) -> list[list[str]]:
    """What each cell shows, as text."""
    return [
        [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.get("outputs", ())]
        for cell in notebook.cells
    ]
