"""Keys with which the service signs tokens, and their certificates."""
