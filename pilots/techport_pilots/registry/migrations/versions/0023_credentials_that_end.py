"""Credentials that end because another one has taken their place.

Revision: 0023
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.add_column("credentials", sa.Column("until", sa.BigInteger))
