"""Alembic calls this to run the migrations in the transaction that database.migrate() opened."""

from alembic import context

from techport_pilots.registry.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
