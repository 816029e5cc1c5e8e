"""Which pilots are open although their definition does not say so.

A definition that did not say was open under CC-BY-4.0; from now on it is internal without a licence. What is in the
registry keeps what it had: definitions that lack the two fields get the old default, and the pages of pilots whose file
never said that they are open show it until a file says so.

Revision: 0011
"""

from __future__ import annotations

import json
import re
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_SAID = re.compile(r"^\s*[\"']?data_class[\"']?\s*:", re.MULTILINE)


def upgrade() -> None:
    assumed = op.create_table("assumed_open", sa.Column("pilot", sa.String, primary_key=True))
    columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in ("pilot", "version", "definition", "source")]
    versions = sa.table("pilot_versions", *columns)
    newest: dict[str, tuple[dict[str, object], str]] = {}
    bind = op.get_bind()
    for pilot, version, text, source in bind.execute(sa.select(*columns).order_by(*columns[:2])).all():
        definition = json.loads(text)
        before = dict(definition)
        definition.setdefault("data_class", "open")
        definition.setdefault("licence", "CC-BY-4.0")
        if definition != before:
            where = (versions.c.pilot == pilot) & (versions.c.version == version)
            content = json.dumps(definition, ensure_ascii=False, separators=(",", ":"))
            bind.execute(sa.update(versions).where(where).values(definition=content))
        newest[pilot] = definition, source
    rows = [
        {"pilot": pilot}
        for pilot, (definition, source) in newest.items()
        if definition["data_class"] == "open" and not _SAID.search(source)
    ]
    if rows:
        op.bulk_insert(assumed, rows)
