"""Devices' passwords as NATS servers take them, beside the hash for mosquitto.

Revision: 0035
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    op.add_column("credentials", sa.Column("bcrypt", sa.String))
