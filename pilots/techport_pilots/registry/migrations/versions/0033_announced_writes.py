"""What writers of the store were about to write, so that several need not ask it about every reading.

Revision: 0033
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    op.create_table(
        "announced_writes",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("places", sa.LargeBinary, nullable=False),
    )
