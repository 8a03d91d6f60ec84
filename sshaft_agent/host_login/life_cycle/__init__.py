"""Knows what has become of each account after its first login: in use, suspended, locked or expired."""
