"""Leases and commit spans under the names that the code gives them.

Revision: 0030
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    # A lease is held for seconds or minutes and taken anew: there is nothing to carry over.
    op.drop_table("chores")
    op.create_table(
        "leases",
        sa.Column("task", sa.String, primary_key=True),
        sa.Column("worker", sa.String, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
    op.drop_index("passages_by_arrival", "passages")
    op.drop_index("passages_by_age", "passages")
    op.rename_table("passages", "commit_spans")
    op.create_index("commit_spans_by_arrival", "commit_spans", ["last"])
    op.create_index("commit_spans_by_age", "commit_spans", ["visible"])
