"""Work that outlasts a request, and how often clients asked: what several web processes have to agree on.

Revision: 0032
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("about", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("step", sa.String, nullable=False),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("begun", sa.BigInteger, nullable=False),
        sa.Column("ended", sa.BigInteger),
        sa.Column("problem", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("worker", sa.String, nullable=False),
        sa.Column("seen", sa.BigInteger, nullable=False),
    )
    running = sa.text("state = 'running'")
    op.create_index(
        "jobs_running", "jobs", ["kind", "about"], unique=True, sqlite_where=running, postgresql_where=running
    )
    op.create_table(
        "request_limits",
        sa.Column("subject", sa.String, primary_key=True),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
