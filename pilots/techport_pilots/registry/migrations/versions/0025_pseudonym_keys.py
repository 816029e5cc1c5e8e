"""Keys of pseudonyms.

Revision: 0025
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.create_table(
        "pseudonym_keys",
        sa.Column("pilot", sa.String, primary_key=True),
        sa.Column("length", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("period", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
    )
