"""What was wrong with a message, as a code and parameters instead of sentences in English.

Entries that are there keep their sentences and have no code.

Revision: 0008
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("quarantine", sa.Column("code", sa.String))
    op.add_column("quarantine", sa.Column("params", sa.Text))
    messages = sa.table("watched_messages", sa.column("id", sa.Integer), sa.column("outcome", sa.Text))
    connection = op.get_bind()
    for number, outcome in connection.execute(sa.select(messages.c.id, messages.c.outcome)).all():
        changed = json.dumps(_with_codes(json.loads(outcome)))
        connection.execute(sa.update(messages).where(messages.c.id == number).values(outcome=changed))


def _with_codes(outcome: dict[str, Any]) -> dict[str, Any]:
    """The outcome of a watched message, with each refusal's sentences below its reason."""
    refused = outcome.pop("refused", [])
    outcome["values"] = [
        {"outcome" if name == "fate" else name: part for name, part in value.items()} for value in outcome["values"]
    ]
    outcome["rejected"] = [
        {
            "rejection": {"code": one["reason"], "recorded": {"detail": one["detail"], "hint": one["hint"]}},
            "field": one.get("field"),
            "values": one.get("values", 1),
        }
        for one in refused
    ]
    return outcome
