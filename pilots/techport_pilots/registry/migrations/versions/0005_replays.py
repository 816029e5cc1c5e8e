"""Replays: who asked for messages of the quarantine to be taken again, and what came of it.

Revision: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "replays",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("entries", sa.BigInteger, nullable=False),
        *(
            sa.Column(count, sa.BigInteger, nullable=False, server_default="0")
            for count in ("stored", "duplicates", "refused", "ignored")
        ),
    )
