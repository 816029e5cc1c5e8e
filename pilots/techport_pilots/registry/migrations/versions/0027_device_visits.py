"""Visits to devices, and photos of them.

Revision: 0027
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "device_visits",
        sa.Column("id", serial, primary_key=True, autoincrement=True),
        sa.Column("pilot", sa.String, nullable=False),
        sa.Column("device", sa.String, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("done", sa.String, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("photo", sa.String, nullable=False),
        sa.Column("event", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    op.create_index("device_visits_by_device", "device_visits", ["pilot", "device", "at"])
    op.create_table(
        "device_photos",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("pilot", sa.String, nullable=False),
        sa.Column("device", sa.String, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("who", sa.String, nullable=False),
    )
    op.create_index("device_photos_by_device", "device_photos", ["pilot", "device", "at"])
