"""One open alert for a condition, one line for a recipient, and of which pilot a message tells.

Revision: 0022
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

_OPEN_TWICE = (
    "UPDATE alerts SET recovered = seen WHERE recovered IS NULL AND id NOT IN"
    " (SELECT min(id) FROM alerts WHERE recovered IS NULL GROUP BY pilot, rule, subject)"
)
_TOLD_TWICE = (
    "DELETE FROM alert_recipients WHERE id NOT IN (SELECT max(id) FROM alert_recipients GROUP BY pilot, address)"
)


def upgrade() -> None:
    op.execute(_OPEN_TWICE)
    still_so = sa.text("recovered IS NULL")
    op.create_index(
        "alerts_open_once",
        "alerts",
        ["pilot", "rule", "subject"],
        unique=True,
        sqlite_where=still_so,
        postgresql_where=still_so,
    )
    op.execute(_TOLD_TWICE)
    op.create_index("alert_recipients_once", "alert_recipients", ["pilot", "address"], unique=True)
    op.add_column("outbox", sa.Column("pilot", sa.String))
