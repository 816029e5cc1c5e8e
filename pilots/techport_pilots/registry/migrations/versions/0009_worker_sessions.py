"""Sessions of workers at their broker, and when one was lost.

Until now a worker's client id was its name, which anybody could guess. Workers that have been here keep that id as the
previous one, whose session is emptied at their next start.

Revision: 0009
"""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    sessions = op.create_table(
        "worker_sessions",
        sa.Column("worker", sa.String, primary_key=True),
        sa.Column("client_id", sa.String, nullable=False),
        sa.Column("previous", sa.String),
        sa.Column("broker", sa.String),
    )
    op.create_table(
        "session_losses",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("worker", sa.String, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("accepted_by", sa.String),
        sa.Column("accepted_why", sa.Text),
        sqlite_autoincrement=True,
    )
    workers = sa.table("workers", sa.column("worker", sa.String))
    for (worker,) in op.get_bind().execute(sa.select(workers.c.worker)).all():
        row = {
            "worker": worker,
            "client_id": f"techport-{worker}-{secrets.token_hex(12)}",
            "previous": f"techport-{worker}",
        }
        op.bulk_insert(sessions, [row])
