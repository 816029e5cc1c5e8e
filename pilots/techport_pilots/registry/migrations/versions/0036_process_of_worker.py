"""Which process runs under a worker's name: an earlier one books nothing any more.

Revision: 0036
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"


def upgrade() -> None:
    op.add_column("workers", sa.Column("process", sa.String))
