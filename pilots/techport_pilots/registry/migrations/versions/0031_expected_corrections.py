"""Corrections that a worker is about to store, which would be duplicates to nobody's knowledge if it were killed.

Revision: 0031
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.add_column("corrections", sa.Column("worker", sa.String))
