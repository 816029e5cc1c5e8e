"""Every reason that ingest gives has a name that readers can read, in their language."""

from __future__ import annotations

import ast

from techport_dashboards.services.reasons import REASONS, reason_of
from techport_dashboards.web.payload import SHOWN, raw
from tests.conftest import ROOT
from tests.dashboards.test_pages import texts_of

RAISED = ("BadMessage", "_bad")


def reasons_given() -> set[str]:
    """First arguments of whatever ingest calls to refuse something."""
    found = set()
    for path in (ROOT / "ingest" / "techport_ingest").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in RAISED and node.args:
                given = node.args[0]
                found |= {n.value for n in ast.walk(given) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return found


def test_every_reason_has_its_words() -> None:
    given = reasons_given()
    assert len(given) > 30, "the walk no longer sees the reasons"
    assert given - set(REASONS) == set(), (
        "these have no words yet in dashboards/techport_dashboards/services/reasons.py"
    )
    assert reason_of("of-tomorrow").title == "of-tomorrow"


def test_the_words_are_in_bokmaal() -> None:
    words = {text for reason in REASONS.values() for text in reason}
    assert words - texts_of("nb") == set()


def test_a_payload_is_shown_as_what_it_is() -> None:
    assert not raw('{"t": "21,5 °C"}'.encode()).binary
    mixed = raw(b"\x01\x67\x00\xd7")
    assert (mixed.binary, mixed.hex, mixed.size) == (True, "01 67 00 d7", 4)
    long = raw(b"x" * (SHOWN + 1))
    assert (long.cut, len(long.text)) == (True, SHOWN)
