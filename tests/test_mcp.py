"""The tools of techport mcp, called as a language model's program calls them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import mcp
import pytest

from techport.client import Client
from techport.mcp_server import mcp_server
from tests.dashboards.conftest import AIR, hourly
from tests.dashboards.web import City, serving

pytestmark = [pytest.mark.anyio, pytest.mark.heavy]
KPI = """
phases:
  - {name: before, kind: baseline, start: 2025-10-21, end: 2025-10-26}
  - {name: after, kind: intervention, start: 2025-10-26, end: 2025-10-31}
kpis:
  - {id: dust, title: {en: Dust}, quantity: pm10, statistic: mean, direction: lower, target: -2}
"""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def model(tmp_path: Path) -> AsyncIterator[mcp.Client]:
    city = City.at(tmp_path)
    city.import_text(AIR + KPI)
    city.write(*hourly("kai-luft", "kran", "pm10", 10))
    with serving(city.app(signed_in=False)) as address, Client(address) as client:
        async with mcp.Client(mcp_server(client)) as model:
            yield model
    city.close()


async def answer(model: mcp.Client, tool: str, **arguments: Any) -> Any:
    result = await model.call_tool(tool, arguments)
    text = result.content[0].text  # type: ignore[union-attr]
    assert not result.is_error, text
    return json.loads(text)


async def test_seven_tools_read_and_an_evaluation_is_never_bare(model: mcp.Client) -> None:
    tools = (await model.list_tools()).tools
    assert len(tools) == 7
    assert all(tool.annotations is not None and tool.annotations.read_only_hint for tool in tools)
    assert [pilot["id"] for pilot in await answer(model, "list_pilots")] == ["kai-luft"]
    about = await answer(model, "describe_pilot", pilot="kai-luft")
    assert (about["devices"], about["quantities"]) == (2, ["air_temperature", "pm10"])
    assert len(await answer(model, "list_streams", pilot="kai-luft", quantity="pm*")) == 2
    assert len(await answer(model, "latest_values", pilot="kai-luft")) == 1
    days = await answer(model, "readings", pilot="kai-luft", quantity="pm10", start="2025-10-22", end="2025-10-24")
    assert [row["count"] for row in days["rows"]] == [24, 24]
    assert days["aggregates"] == {"pm10": "mean"}
    assert await answer(model, "completeness", pilot="kai-luft", start="2025-10-22", end="2025-10-24")
    evaluation = await answer(model, "evaluate_kpi", pilot="kai-luft", kpi="dust")
    assert {"verdict", "interval", "checks", "reasons", "left_out", "final"} <= set(evaluation)


async def test_mistakes_are_explained_to_the_model(model: mcp.Client) -> None:
    wrong = await model.call_tool("readings", {"pilot": "kai-luft", "quantity": "pm01", "start": "-P1D"})
    assert wrong.is_error
    assert "pm10" in wrong.content[0].text  # type: ignore[union-attr]


async def test_too_many_rows_are_not_fetched(model: mcp.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("techport.mcp_server.MOST_ROWS", 5)
    asked: list[dict[str, Any]] = []
    read = Client.readings
    monkeypatch.setattr(Client, "readings", lambda self, **question: asked.append(question) or read(self, **question))
    question = {"pilot": "kai-luft", "quantity": "pm10", "start": "2025-10-22", "every": "PT1H"}
    result = await model.call_tool("readings", question)
    assert "larger `every`" in result.content[0].text  # type: ignore[union-attr]
    assert asked[0]["limit"] == 6
