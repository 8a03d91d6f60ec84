"""Alembic: the tables' history. A new file in `versions` for every change; no file is changed once it was released."""
