"""The audit log, and its head.

Revision: 0024
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"

_TEXTS = ("who", "who_salt", "who_digest", "about", "about_salt", "about_digest", "hash")


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("what", sa.String, nullable=False),
        sa.Column("pilot", sa.String, nullable=False),
        sa.Column("times", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text if name == "about" else sa.String, nullable=False) for name in _TEXTS),
    )
    op.create_index("audit_log_by_pilot", "audit_log", ["pilot", "number"])
    op.create_index("audit_log_by_who", "audit_log", ["who"])
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
        sa.Column("anchor_number", sa.BigInteger, nullable=False),
        sa.Column("anchor_hash", sa.String, nullable=False),
    )
    op.execute("INSERT INTO audit_head (id, number, hash, anchor_number, anchor_hash) VALUES (1, 0, '', 0, '')")
