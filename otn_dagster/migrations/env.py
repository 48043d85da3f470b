"""Alembic's entry point; the connection comes from ``otn_dagster.database.migrate``."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table="schema_version", version_table_schema="platform")
with context.begin_transaction():
    context.run_migrations()
