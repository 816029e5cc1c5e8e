"""The API as tools of a language model (Model Context Protocol, https://modelcontextprotocol.io/): seven, all reading.

An evaluation always comes with its interval, its checks and what limits it: a verdict alone would be repeated as fact.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from techport.client import ApiError, Client

MOST_ROWS = 500
"""Rows of one answer: more fill the context of a model and help nobody. Wider buckets say the same."""

INSTRUCTIONS = """Readings of IoT pilots in a city. Begin with list_pilots. Times are UTC with local labels, units UCUM.
Say how complete the data is (completeness) when you draw a conclusion from it. Never report a verdict of evaluate_kpi
without its interval and its checks, and say so when it is not final."""

_EVALUATED = (
    *("kpi", "sentence", "unit", "verdict", "final", "settled", "effect", "interval", "percent", "percent_interval"),
    *(
        "confidence",
        "expected",
        "baseline",
        "intervention",
        "control_change",
        "checks",
        "reasons",
        "left_out",
        "method",
    ),
)


def mcp_server(client: Client) -> MCPServer:
    """The server over a client of the API; run() serves one model over standard input and output."""
    server: MCPServer = MCPServer("techport", instructions=INSTRUCTIONS)
    reading = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)

    def tool(function: Callable[..., str]) -> None:
        @wraps(function)
        def explained(*arguments: Any, **named: Any) -> str:
            try:
                return function(*arguments, **named)
            except ApiError as error:  # what is wrong and what would be right; other errors are not the model's
                raise ToolError(str(error)) from error

        server.tool(annotations=reading, structured_output=False)(explained)

    @tool
    def list_pilots() -> str:
        """The pilots that can be seen: id, title, question, phases and licence."""
        return _rows(client.pilots())

    @tool
    def describe_pilot(pilot: str) -> str:
        """One pilot by its id: what it asks, its phases, its KPIs as it defined them, and what its devices measure."""
        about = client.pilot(pilot) | {"kpis": client.kpis(pilot)}
        streams = client.streams(pilot=pilot)
        quantities = sorted(set(streams["quantity"])) if len(streams) else []
        return _text(about | {"devices": len(client.devices(pilot)), "quantities": quantities})

    @tool
    def list_streams(pilot: str, quantity: str = "*") -> str:
        """Which device of a pilot measures what, in which unit. `quantity` may hold `*`."""
        return _rows(client.streams(pilot=pilot, quantity=quantity))

    @tool
    def latest_values(pilot: str, quantity: str = "*") -> str:
        """The newest reading of each stream of a pilot, with its time."""
        return _rows(client.latest(pilot=pilot, quantity=quantity))

    @tool
    def readings(pilot: str, quantity: str, start: str, end: str = "now", every: str = "P1D", device: str = "*") -> str:
        """Readings in buckets, each with the mean that fits its quantity, its count and its completeness.

        start and end: ISO 8601 with an offset, a date (local), or a duration before now such as -P7D. every: PT1H, P1D.
        """
        question: dict[str, Any] = {"pilot": pilot, "device": device, "quantity": quantity}
        question |= {"start": start, "end": end, "every": every}
        frame = client.readings(**question, limit=MOST_ROWS + 1)
        if len(frame) > MOST_ROWS:
            return f"More than {MOST_ROWS} rows are too many; ask with a larger `every` or for fewer devices."
        return _text({"aggregates": client.metadata(**question)["aggregates"], "rows": json.loads(_rows(frame))})

    @tool
    def completeness(pilot: str, start: str = "-P7D", end: str = "now") -> str:
        """How complete the readings of each stream are: received, expected, and the share of it."""
        return _rows(client.completeness(pilot=pilot, start=start, end=end))

    @tool
    def evaluate_kpi(pilot: str, kpi: str) -> str:
        """Whether an intervention changed a KPI: the effect with its interval, the checks, the reasons, and what was
        left out. `final` false: it is still running, and `verdict` says so."""
        evaluation = client.evaluation(pilot, kpi)
        return _text({name: evaluation.get(name) for name in _EVALUATED})

    return server


def _rows(frame: Any) -> str:
    return str(frame.head(MOST_ROWS).to_json(orient="records", date_format="iso", force_ascii=False))


def _text(body: Any) -> str:
    return json.dumps(body, ensure_ascii=False, default=str)
