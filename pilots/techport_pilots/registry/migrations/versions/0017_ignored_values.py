"""What was ignored of messages, with the messages; what devices say that they are; units of undescribed streams.

Revision: 0017
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "stream_units",
        sa.Column("pilot", sa.String, primary_key=True),
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("quantity", sa.String, primary_key=True),
        sa.Column("unit", sa.String, nullable=False),
    )
    op.create_table(
        "device_properties",
        sa.Column("pilot", sa.String, primary_key=True),
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "ignored_values",
        sa.Column("pilot", sa.String, primary_key=True),
        sa.Column("device", sa.String, primary_key=True),
        sa.Column("rule", sa.String, primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("parts", sa.BigInteger, nullable=False),
        sa.Column("value", sa.Text),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "ignored_messages",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("pilot", sa.String, nullable=False),
        sa.Column("device", sa.String, nullable=False),
        sa.Column("topic", sa.String, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("parts", sa.Text, nullable=False),
        sa.Column("replay_requested", sa.BigInteger),
        sa.Column("replay_worker", sa.String),
        sa.Column("replay_taken", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    op.create_index("ignored_messages_by_device", "ignored_messages", ["pilot", "device", "id"])
    op.create_index("ignored_messages_by_arrival", "ignored_messages", ["pilot", "received"])
    op.create_index("ignored_messages_by_replay", "ignored_messages", ["replay_requested"])
