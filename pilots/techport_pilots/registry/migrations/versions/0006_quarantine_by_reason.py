"""An index that counts what is set aside without reading the messages.

Revision: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    columns = ["pilot", "reason", "device", "day", "received", "value_count", "replay_requested"]
    op.create_index("quarantine_by_reason", "quarantine", columns)
