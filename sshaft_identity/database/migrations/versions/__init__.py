"""Holds one file for each migration. `down_revision` gives their order."""
