"""Makes and keeps the keys with which the service signs tokens, and their certificates."""
