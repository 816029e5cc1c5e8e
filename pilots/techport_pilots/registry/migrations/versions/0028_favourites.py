"""Pilots that people have marked with a star.

Revision: 0028
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.create_table(
        "favourites",
        sa.Column("user_id", sa.String, primary_key=True),
        sa.Column("pilot", sa.String, primary_key=True),
    )
