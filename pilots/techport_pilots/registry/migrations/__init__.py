"""Alembic's scripts: how a database of an older techport becomes one of this techport. Run by database.migrate()."""
