"""Run by Alembic with the connection that `sshaft_identity.database.database` hands over, inside its transaction."""

from alembic import context

from sshaft_identity.database.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
