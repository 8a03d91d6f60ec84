"""Serves the pages that people see in their browser."""
