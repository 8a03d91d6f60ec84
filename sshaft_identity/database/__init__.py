"""Keeps the service's rows: connections to SQLite or PostgreSQL, tables, migrations, copies and news of changes."""
