"""Runs the migrations for Alembic, in the transaction of the connection that `database.database` gives."""

from alembic import context

from sshaft_identity.database.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
