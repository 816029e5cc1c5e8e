"""Whose messages a replay is about, so that its result is told to nobody else. Of earlier ones nobody knows.

Revision: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("replays", sa.Column("pilot", sa.String))
